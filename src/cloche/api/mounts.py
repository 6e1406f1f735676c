"""Mounts as the protocol has them and as the stores have them."""

from __future__ import annotations

from cloche.spec.mount import Mount
from cloche.wire.messages import types

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def to_messages(mounts: Iterable[Mount]) -> list[types.Mount]:
    """What a client is to mount."""
    return [types.Mount(type=each.type, source=each.source, options=list(each.options)) for each in mounts]


def from_messages(mounts: Iterable[types.Mount]) -> tuple[Mount, ...]:
    """What a client says is mounted."""
    return tuple(Mount(each.type, each.source, tuple(each.options)) for each in mounts)
