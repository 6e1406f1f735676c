"""Reading YAML, which takes long to import: by whoever has a file of it, when there is one."""

from __future__ import annotations

import yaml

from cloche.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LIMIT_BYTES = 4 << 20


def load(path: str) -> Any:
    """The one document of a file of YAML or JSON. Raises InvalidArgument with line and column, OSError."""
    with open(path, "rb") as file:
        data = file.read(_LIMIT_BYTES + 1)
    if len(data) > _LIMIT_BYTES:
        raise InvalidArgument(f"{path}: larger than {_LIMIT_BYTES} bytes")
    return parse(data, path)


def parse(data: bytes, name: str) -> Any:
    """The same of bytes. name: for the message."""
    try:
        return yaml.safe_load(data)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise InvalidArgument(f"{name}: not YAML: {error.problem}{place}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"{name}: not YAML: {error}") from None
