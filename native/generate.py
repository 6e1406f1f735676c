"""Write native/operations.h, the C view of cloche.runtime.operations.

Usage: generate.py OUTPUT. Run when the wheel is built; the header is never edited or committed.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from cloche.runtime.operations import Operation, fingerprint

# Argument type in Python -> (letter that plan.h checks by, declaration in C).
KINDS = {
    "int": ("i", "i64 {0};"),
    "str": ("s", "const char *{0};"),
    "bytes": ("b", "const unsigned char *{0}; u64 {0}_size;"),
    "tuple[str, ...]": ("l", "char **{0};"),
    "Slot": ("d", "i64 {0};"),
}


def snake(name: str) -> str:
    """OpenTree -> open_tree."""
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


def header() -> str:
    """The whole header as text."""
    lines = [
        "/* Generated from cloche/runtime/operations.py. */",
        f"#define PLAN_FINGERPRINT {fingerprint():#x}u",
        f"#define OPERATION_COUNT {len(Operation.table)}",
        "",
    ]
    for kind in Operation.table:
        name = snake(kind.__name__)
        lines.append(f"struct {name} {{ struct operation head;")
        lines += [f"    {KINDS[t][1].format(field)}" for field, t in kind._field_types.items()]
        lines.append("};")
        lines.append(f"static int do_{name}(const struct {name} *op);")
    lines += ["", "/* The kinds of each operation's arguments, by its code. */"]
    lines.append("static const char *const argument_kinds[OPERATION_COUNT + 1] = { 0,")
    lines += [f'    "{"".join(KINDS[t][0] for t in k._field_types.values())}",' for k in Operation.table]
    lines += [
        "};",
        "",
        "__attribute__((unused)) static int perform(const struct operation *op)",
        "{",
        "    switch (op->code) {",
    ]
    for kind in Operation.table:
        name = snake(kind.__name__)
        lines.append(f"    case {kind.code}: return do_{name}((const struct {name} *)op);")
    lines += ["    default: return -38;", "    }", "}", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(header())
