"""YAML as Go's tools for Kubernetes write it."""

from __future__ import annotations

import re

import yaml

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

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
