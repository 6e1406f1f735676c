"""Applying a layer to mounts that somebody describes, as containerd's differ does."""

from __future__ import annotations

import os

from cloche.errors import InvalidArgument
from cloche.image import inherit, layer
from cloche.image.layer import LayerLimits, LayerResult

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloche.image.compression import Source
    from cloche.spec.mount import Mount

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def apply_to(
    mounts: Sequence[Mount],
    stream: Source,
    *,
    name: str = "layer",
    sync: bool = False,
    diff_id: str | None = None,
    limits: LayerLimits | None = None,
) -> LayerResult:
    """Extract a layer where the mounts, given by a snapshotter, would show it; nothing is mounted to be seen.

    An overlay's upper directory is written to directly, with the whiteouts that overlays know;
    elsewhere deleted files are removed. sync: return when it is on disk. Raises as `layer.apply`.
    """
    if not mounts:
        raise InvalidArgument("there are no mounts to apply a layer to")
    upper, lowers = upper_of(mounts)
    root = os.open(upper, _DIRECTORY) if upper else _shown(mounts)
    try:
        overlay = bool(lowers)
        result = layer.apply(
            stream,
            root,
            whiteouts="overlay" if overlay else "remove",
            diff_id=diff_id,
            limits=limits,
            layer=name,
        )
        if overlay:
            inherit.complete(upper, lowers, result)
        if sync:
            from cloche.kernel.syscalls import syncfs

            syncfs(root)
    finally:
        os.close(root)
    return result


def upper_of(mounts: Sequence[Mount]) -> tuple[str, list[str]]:
    """The directory that writes go to, and those below it, the nearest first; "" where that is not plain."""
    mount = mounts[-1]
    if len(mounts) > 1:
        return "", []
    values = dict(option.partition("=")[::2] for option in mount.options)
    if mount.type == "overlay" and "upperdir" in values:
        return values["upperdir"], values.get("lowerdir", "").split(":")
    if mount.type == "bind" and "ro" not in mount.options:
        return mount.source, []
    return "", []


def _shown(mounts: Sequence[Mount]) -> int:
    from cloche.kernel.mounts import assemble

    return assemble(mounts)
