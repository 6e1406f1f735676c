"""What the daemon writes to its log: lines of text, or JSON objects with the keys that containerd's have."""

from __future__ import annotations

import json
import logging
import time

from cloche.errors import InvalidArgument

TEXT, JSON = "text", "json"
_LEVELS = {"WARNING": "warning", "CRITICAL": "fatal"}


def begin(level: str, kind: str) -> None:
    """Log from now on. level: of the module logging. Raises InvalidArgument for another kind."""
    if kind not in (TEXT, JSON):
        raise InvalidArgument(f"debug.format: {TEXT} or {JSON} is needed, not {kind!r}")
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if kind == JSON:
        for handler in logging.getLogger().handlers:
            handler.setFormatter(JsonFormatter())


class JsonFormatter(logging.Formatter):
    """One object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        told = {
            "level": _LEVELS.get(record.levelname, record.levelname.lower()),
            "msg": record.getMessage(),
            "name": record.name,
            "time": f"{moment}.{int(record.msecs):03d}Z",
        }
        if record.exc_info:
            told["error"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False)
