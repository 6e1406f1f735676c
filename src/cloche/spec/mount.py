"""A mount as a value: what a snapshotter returns and the kernel layer makes."""

from __future__ import annotations

from cloche.spec.record import Record


class Mount(Record):
    """One thing to mount, in containerd's terms.

    type: a filesystem's name, or "bind".
    source: a host path, or a filesystem's own word for its source ("overlay").
    options: as mount(8) takes them after -o ("ro", "rbind", "lowerdir=/a:/b").
    """

    type: str
    source: str
    options: tuple[str, ...] = ()
