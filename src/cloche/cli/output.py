"""Text to the standard descriptors, as UTF-8 whatever the locale, without the io layers."""

from __future__ import annotations

import os


def write(text: str, descriptor: int = 1) -> None:
    """Write all of `text`. Raises BrokenPipeError where nobody reads any more."""
    write_bytes(text.encode("utf-8", "surrogateescape"), descriptor)


def write_bytes(data: bytes, descriptor: int = 1) -> None:
    """Write all of `data`, also to a descriptor that another process made non-blocking."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            _wait_until_writable(descriptor)


def line(text: str) -> None:
    """Write one line to the standard output."""
    write(text + "\n")


def warn(text: str) -> None:
    """Write one line of the program's own to the standard error output."""
    write(f"cloche: {one_line(text)}\n", 2)


def one_line(text: str) -> str:
    """Text from anywhere made safe to show: no line breaks, no terminal control sequences."""
    if text.isprintable():
        return text
    return "".join(_visible(character) for character in text.strip())


def _visible(character: str) -> str:
    if character.isprintable():
        return character
    if character in "\n\r\t":
        return " "
    if 0xDC80 <= ord(character) <= 0xDCFF:  # a byte that is not UTF-8, as os.fsdecode keeps it
        return f"\\x{ord(character) - 0xDC00:02x}"
    return ascii(character)[1:-1]


def _wait_until_writable(descriptor: int) -> None:
    import select

    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    poll.poll()
