"""Labels: short texts by key, that clients keep on anything stored."""

from __future__ import annotations

from cloche.errors import InvalidArgument
from cloche.spec import document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_LABEL_BYTES = 4096


def validate(labels: Mapping[str, str]) -> None:
    """Check that no label's key and value are together longer than 4096 bytes.

    Raises InvalidArgument that names the label.
    """
    for key, value in labels.items():
        try:
            size = len(key.encode()) + len(value.encode())
        except UnicodeEncodeError:
            raise InvalidArgument(f"label {key[:40]!r}: is not text that can be written as UTF-8") from None
        if not key:
            raise InvalidArgument("label: its key must not be empty")
        if size > MAX_LABEL_BYTES:
            raise InvalidArgument(
                f"label {key[:40]!r}: key and value have {size} bytes, and {MAX_LABEL_BYTES} are allowed"
            )


def encode(labels: Mapping[str, str] | None, *, limited: bool = True) -> str:
    """Labels as a column holds them; none are the empty text.

    limited: labels are; annotations, which are kept the same way, have no limit of their own.
    Raises InvalidArgument (`validate`).
    """
    if not labels:
        return ""
    if limited:
        validate(labels)
    return document.dumps(dict(labels)).decode("ascii")


def decode(text: str) -> dict[str, str]:
    """The labels of a column."""
    if not text:
        return {}
    labels: dict[str, str] = document.loads(text, "labels")
    return labels


def merged(old: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    """The labels after some were set, and those with None or an empty value removed."""
    labels = dict(old)
    for key, value in changes.items():
        if value:
            labels[key] = value
        else:
            labels.pop(key, None)
    return labels
