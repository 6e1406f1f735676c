"""What may be called what: identifiers and names, by containerd's rules."""

from __future__ import annotations

from cloche.errors import InvalidArgument

MAX_IDENTIFIER = 76
MAX_NAME_BYTES = 4096

_SEPARATORS = str.maketrans("_-", "..")


def validate_identifier(text: str, what: str) -> str:
    """Give back `text` when it may name a namespace, a container or a lease.

    Letters and digits, with single dots, underscores and hyphens between them, at most 76: safe
    as a path component and on every protocol. what: for the message, such as "container id".
    Raises InvalidArgument.
    """
    if not text:
        raise InvalidArgument(f"{what}: must not be empty")
    if len(text) > MAX_IDENTIFIER:
        raise InvalidArgument(
            f"{what} {text[:20]!r}…: has {len(text)} characters, and {MAX_IDENTIFIER} are allowed"
        )
    if not text.isascii() or not all(map(str.isalnum, text.translate(_SEPARATORS).split("."))):
        raise InvalidArgument(
            f"{what} {text!r}: may have letters and digits, and single '.', '_' or '-' between them"
        )
    return text


def validate_name(text: str, what: str) -> str:
    """Give back `text` when it may be a key: an image's name, a snapshot's key, an ingest's ref.

    Any text will do, as those are never paths; but not an empty one, nor one of more than 4096
    bytes, nor one with a NUL or what is not Unicode. Raises InvalidArgument.
    """
    if not text:
        raise InvalidArgument(f"{what}: must not be empty")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidArgument(f"{what} {text[:40]!r}: is not text that can be written as UTF-8") from None
    if size > MAX_NAME_BYTES:
        raise InvalidArgument(f"{what} {text[:40]!r}…: has {size} bytes, and {MAX_NAME_BYTES} are allowed")
    if "\0" in text:
        raise InvalidArgument(f"{what} {text[:40]!r}: must not have a NUL in it")
    return text
