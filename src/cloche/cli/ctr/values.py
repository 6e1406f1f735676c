"""Labels, sizes, moments and documents in the words that ctr uses for them."""

from __future__ import annotations

import base64

from cloche.engine.durations import in_words
from cloche.shim.timestamps import rfc3339
from cloche.wire.protobuf import Message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from cloche.wire.messages.google import Timestamp

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_NS = 1_000_000_000


def labels(words: Iterable[str]) -> dict[str, str]:
    """KEY=VALUE words as labels; a bare KEY is true."""
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        found[key] = value if equals else "true"
    return found


def shown(of: Mapping[str, str], *, empty: str = "") -> str:
    """Labels on one line, in order."""
    return ",".join(sorted(f"{key}={value}" for key, value in of.items())) or empty


def size(size_bytes: float) -> str:
    """A size in binary units with one decimal: "1.9 MiB"."""
    index = 0
    while size_bytes >= 1024 and index < len(_UNITS) - 1:
        size_bytes /= 1024
        index += 1
    return f"{size_bytes:.1f} {_UNITS[index]}"


def age(moment: Timestamp | None) -> str:
    """How long ago a moment was: "58 seconds"."""
    import time

    return in_words((time.time_ns() - moment.ns()) / _NS) if moment else "-"


def moment(stamp: Timestamp | None) -> str:
    """A moment as Go's JSON has it: RFC 3339 with no zeros behind the point's last digit."""
    if stamp is None:
        return "0001-01-01T00:00:00Z"
    whole, _, fraction = rfc3339(stamp.ns())[:-1].partition(".")
    fraction = fraction.rstrip("0")
    return f"{whole}.{fraction}Z" if fraction else f"{whole}Z"


def go_time(stamp: Timestamp | None) -> str:
    """A moment as Go prints it: "2026-11-23 19:11:29.421569792 +0000 UTC"."""
    return moment(stamp).replace("T", " ").removesuffix("Z") + " +0000 UTC"


def document(message: Message) -> dict[str, Any]:
    """A message as Go's JSON encoder writes the generated structs: names of the protocol, no zeros."""
    found: dict[str, Any] = {}
    for field in message.FIELDS:
        value = getattr(message, field.name)
        if value:
            found[field.name] = _plain(value)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Message):
        return document(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if hasattr(value, "items"):
        return {key: _plain(each) for key, each in sorted(value.items())}
    return value
