"""JSON documents read and written without importing `json` on the way.

The standard module costs several milliseconds to import (it pulls in re for its error messages),
so the scanner and encoder in its C core are used directly. On any trouble the standard module is
imported after all and words the error.
"""

from __future__ import annotations

import _json

from cloche.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_WHITESPACE = " \t\n\r"


class _ScannerOptions:
    """What `_json.make_scanner` wants to know: the defaults of json.JSONDecoder."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = staticmethod(lambda name: float(name.replace("Infinity", "inf")))
    memo: dict[str, str] = {}


_scan = _json.make_scanner(_ScannerOptions())  # type: ignore[arg-type]  # any object with these attributes


def _refuse_unknown(value: object) -> Any:
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


_encode = _json.make_encoder(
    None, _refuse_unknown, _json.encode_basestring_ascii, None, ":", ",", False, False, True
)


def loads(data: bytes | str, name: str) -> Any:
    """Parse one JSON text.

    data: UTF-8 bytes (a byte order mark is allowed) or text.
    name: what is being read, for the message: a path or a digest.
    Raises InvalidArgument with line and column when it is not JSON.
    """
    try:
        text = data if isinstance(data, str) else data.removeprefix(_BYTE_ORDER_MARK).decode()
        start = len(text) - len(text.lstrip(_WHITESPACE))
        value, end = _scan(text, start)
        if text[end:].strip(_WHITESPACE):
            raise ValueError("trailing data")
    except (ValueError, StopIteration, RecursionError, SystemError):
        # SystemError is what the scanner leaves where json.decoder, which has its own error, is not loaded.
        raise InvalidArgument(_explain(data, name)) from None
    return value


def _explain(data: bytes | str, name: str) -> str:
    import json

    try:
        json.loads(data)
    except UnicodeDecodeError as error:
        return f"{name}: not JSON: byte {error.start} is not UTF-8"
    except json.JSONDecodeError as error:
        return f"{name}: not JSON: {error.msg} (line {error.lineno}, column {error.colno})"
    except RecursionError:
        return f"{name}: not JSON that can be read: nested too deep"
    except ValueError as error:
        return f"{name}: not JSON that can be read: {error}"
    return f"{name}: not JSON"


def dumps(value: object) -> bytes:
    """One compact line of JSON, ASCII only, without a newline at its end.

    Raises TypeError for what JSON cannot hold.
    """
    return "".join(_encode(value, 0)).encode("ascii")


def dumps_indented(value: object, indent: str = "    ") -> bytes:
    """JSON for people (and for tools whose originals print it so), with a newline at its end."""
    import json

    return json.dumps(value, indent=indent, ensure_ascii=False).encode() + b"\n"


def load_file(path: str, *, limit_bytes: int = 16 << 20) -> Any:
    """Parse the JSON file at `path`; refuses more than `limit_bytes`.

    Raises InvalidArgument when it is not JSON or too large, OSError when it cannot be read.
    """
    with open(path, "rb") as file:
        data = file.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        raise InvalidArgument(f"{path}: larger than {limit_bytes} bytes")
    return loads(data, path)
