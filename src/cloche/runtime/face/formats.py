"""Output in the shapes that Go's standard library gives it, since runc's callers compare and parse it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_COLUMN_LEAST = 12
_COLUMN_GAP = 3
_ESCAPES = {
    **{code: f"\\u{code:04x}" for code in (*range(0x20), ord("<"), ord(">"), ord("&"), 0x2028, 0x2029)},
    ord("\n"): "\\n",
    ord("\r"): "\\r",
    ord("\t"): "\\t",
    ord('"'): '\\"',
    ord("\\"): "\\\\",
}


def _string(value: str) -> str:
    # Half a surrogate pair cannot be UTF-8: Go writes the replacement character too.
    text = value.encode(errors="replace").decode() if not value.isascii() else value
    return f'"{text.translate(_ESCAPES)}"'


def _block(brackets: str, items: list[str], indent: str, level: str) -> str:
    if not items:
        return brackets
    if not indent:
        return brackets[0] + ",".join(items) + brackets[1]
    inner = f",\n{level}{indent}".join(items)
    return f"{brackets[0]}\n{level}{indent}{inner}\n{level}{brackets[1]}"


def json_text(value: object, indent: str = "", *, _level: str = "") -> str:
    """JSON as Go's encoding/json writes it, members in the order of the dict.

    indent: what each level is indented by; empty for one line without spaces.
    """
    if isinstance(value, str):
        return _string(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        colon = ": " if indent else ":"
        inner = [
            _string(str(key)) + colon + json_text(each, indent, _level=_level + indent)
            for key, each in value.items()
        ]
        return _block("{}", inner, indent, _level)
    if isinstance(value, (list, tuple)):
        return _block("[]", [json_text(e, indent, _level=_level + indent) for e in value], indent, _level)
    return str(value)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as Go's text/tabwriter aligns them with the settings of `runc list`.

    All rows have the same number of cells; the last one is not padded.
    """
    widths = [
        max(_COLUMN_LEAST, *(len(cell) + _COLUMN_GAP for cell in column))
        for column in zip(*rows, strict=True)
    ]
    lines = []
    for row in rows:
        padded = [cell.ljust(width) for cell, width in zip(row[:-1], widths[:-1], strict=True)]
        lines.append("".join((*padded, row[-1])) + "\n")
    return "".join(lines)
