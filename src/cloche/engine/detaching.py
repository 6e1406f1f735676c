"""The keys that leave a terminal, found in what is typed however it comes in pieces."""

from __future__ import annotations


class DetachKeys:
    """Sees what is typed. keys: the bytes of the sequence; none for no such keys."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._held = b""

    def take(self, data: bytes) -> tuple[bytes, bool]:
        """What is to be handed on, and whether the keys came behind it."""
        data, self._held = self._held + data, b""
        keys = self._keys
        at = data.find(keys) if keys else -1
        if at >= 0:
            return data[:at], True
        # The beginning of the keys is held back until it is known what follows.
        held = next((n for n in range(len(keys) - 1, 0, -1) if data.endswith(keys[:n])), 0)
        self._held = data[len(data) - held :]
        return data[: len(data) - held], False
