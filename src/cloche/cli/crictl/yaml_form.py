"""YAML read, and written as Go's tools for Kubernetes write it."""

from __future__ import annotations

import re

import yaml

from cloche.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LIMIT_BYTES = 4 << 20
_TEXT = "tag:yaml.org,2002:str"
# Truth values and numbers to the base 60 of YAML 1.1: what PyYAML takes for texts and others do not.
_OLDER = re.compile(r"[yYnN]|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")


class _Dumper(yaml.SafeDumper):
    """Texts that would be read as something else stand in double quotes, those of many lines as blocks."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def text(self, value: str) -> yaml.ScalarNode:
        style = None
        tag: str = self.resolve(yaml.ScalarNode, value, (True, False))  # type: ignore[no-untyped-call]  # stubs
        if "\n" in value:
            style = "|"
        elif _OLDER.fullmatch(value) or tag != _TEXT:
            style = '"'
        return self.represent_scalar(_TEXT, value, style=style)


_Dumper.add_representer(str, _Dumper.text)


def dump(document: Any) -> str:
    """A document as YAML, its keys in order."""
    text: str = yaml.dump(document, Dumper=_Dumper, allow_unicode=True, sort_keys=True)
    return text


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
