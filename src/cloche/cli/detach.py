"""The keys that leave a container's terminal without ending what runs there."""

from __future__ import annotations

from cloche.errors import InvalidArgument

DEFAULT = "ctrl-p,ctrl-q"

_CONTROLS = "@abcdefghijklmnopqrstuvwxyz[\\]^_"  # in the order of the codes 0 to 31


def parse(text: str) -> bytes:
    """The bytes of a sequence such as "ctrl-p,ctrl-q" or "a,b"; empty text means no sequence.

    Raises InvalidArgument for a key that is none.
    """
    keys = bytearray()
    for word in text.split(",") if text else ():
        name = word.removeprefix("ctrl-")
        if word.startswith("ctrl-") and len(name) == 1 and name.lower() in _CONTROLS:
            keys.append(_CONTROLS.index(name.lower()))
        elif len(word) == 1 and word.isascii():
            keys.append(ord(word))
        else:
            raise InvalidArgument(
                f"invalid detach keys {text!r}: {word!r} is neither a letter nor ctrl-LETTER"
            )
    return bytes(keys)
