"""Messages as runc's callers expect them: lines of logrus, as text or as JSON.

containerd, podman and conmon read the last error out of the JSON log to tell their users.
"""

from __future__ import annotations

import time

from cloche import os
from cloche.errors import InvalidArgument

_STANDARD_ERROR = 2
_COLOURS = {"error": 31, "warning": 33, "info": 36, "debug": 37}
_UNQUOTED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._/@^+")


def timestamp(seconds: float) -> str:
    """Local time as RFC 3339, in whole seconds."""
    local = time.localtime(seconds)
    offset = time.strftime("%z", local)
    zone = "Z" if offset in ("+0000", "") else f"{offset[:3]}:{offset[3:]}"
    return time.strftime("%Y-%m-%dT%H:%M:%S", local) + zone


def _quoted(message: str) -> str:
    if message and _UNQUOTED.issuperset(message):
        return message
    escaped = message.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in escaped) + '"'


class Log:
    """Where messages go: to a file, or to standard error.

    path: the file of --log, made if missing and appended to; empty means standard error.
    json: one JSON object a line. debug: debug messages are written too.
    Raises OSError where the file cannot be opened.
    """

    def __init__(self, path: str, *, json: bool, debug: bool) -> None:
        flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_SYNC | os.O_CLOEXEC
        self._file = os.open(path, flags, 0o644) if path else _STANDARD_ERROR
        self._json = json
        self.debugging = debug
        self._start = time.time()

    def error(self, message: str) -> None:
        """The reason for which a command failed: to the log, and to standard error in any case."""
        self._write("error", message)
        if self._file != _STANDARD_ERROR:
            self._put(_STANDARD_ERROR, message + "\n")

    def warning(self, message: str) -> None:
        """Something that is ignored or will not work, while the command goes on."""
        self._write("warning", message)

    def debug(self, message: str) -> None:
        """A step on the way, with --debug only."""
        if self.debugging:
            self._write("debug", message)

    def _write(self, level: str, message: str) -> None:
        now = time.time()
        if self._json:
            from cloche.runtime.face.formats import json_text

            line = json_text({"level": level, "msg": message, "time": timestamp(now)})
        elif os.isatty(self._file):
            colour, word = _COLOURS[level], level[:4].upper()
            line = f"\x1b[{colour}m{word}\x1b[0m[{int(now - self._start):04}] {message}"
        else:
            line = f'time="{timestamp(now)}" level={level} msg={_quoted(message)}'
        self._put(self._file, line + "\n")

    @staticmethod
    def _put(file: int, line: str) -> None:
        try:
            os.write(file, line.encode(errors="surrogateescape"))
        except OSError:
            # There is nobody left to tell.
            return


def open_log(path: str, log_format: str, *, debug: bool) -> Log:
    """The log that --log, --log-format and --debug ask for."""
    if log_format not in ("", "text", "json"):
        raise InvalidArgument(f"invalid log-format: {log_format}")
    return Log(path, json=log_format == "json", debug=debug)
