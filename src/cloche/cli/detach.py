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


class Watch:
    """Looks for the sequence in what is typed, holding back only what may be its beginning."""

    __slots__ = ("_held", "_keys")

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._held = b""

    def feed(self, typed: bytes) -> tuple[bytes, bool]:
        """(what to pass on, whether the sequence was typed); what follows the sequence is dropped."""
        if not self._keys:
            return typed, False
        data = self._held + typed
        position = data.find(self._keys)
        if position >= 0:
            self._held = b""
            return data[:position], True
        held = next((n for n in range(len(self._keys) - 1, 0, -1) if data.endswith(self._keys[:n])), 0)
        self._held = data[len(data) - held :]
        return data[: len(data) - held], False
