"""Values that may be absent, and the package's name, for the messages of NRI (nri.pkg.api.v1alpha1)."""

from __future__ import annotations

from cloche.wire.protobuf import Message, boolean, int32, int64, repeated, string, uint32, uint64
from cloche.wire.protobuf_values import STRING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

PACKAGE = "nri.pkg.api.v1alpha1"

REMOVAL = "-"
"""Before a key, a path or a name: what it names is to be removed."""


class Empty(Message, package=PACKAGE):
    """Nothing."""


class KeyValue(Message, package=PACKAGE):
    """A variable of the environment."""

    key: str = string(1)
    value: str = string(2)


class OptionalString(Message, package=PACKAGE):
    """A text, which may be empty."""

    value: str = string(1)


class OptionalRepeatedString(Message, package=PACKAGE):
    """Texts, of which there may be none."""

    value: Sequence[str] = repeated(1, STRING)


class OptionalInt(Message, package=PACKAGE):
    """A number, which may be 0."""

    value: int = int64(1)


class OptionalInt32(Message, package=PACKAGE):
    """A number, which may be 0."""

    value: int = int32(1)


class OptionalUInt32(Message, package=PACKAGE):
    """A number, which may be 0."""

    value: int = uint32(1)


class OptionalInt64(Message, package=PACKAGE):
    """A number, which may be 0."""

    value: int = int64(1)


class OptionalUInt64(Message, package=PACKAGE):
    """A number, which may be 0."""

    value: int = uint64(1)


class OptionalBool(Message, package=PACKAGE):
    """Yes or no."""

    value: bool = boolean(1)


class OptionalFileMode(Message, package=PACKAGE):
    """Permissions of a file."""

    value: int = uint32(1)
