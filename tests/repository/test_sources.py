"""Rules about the sources themselves that no linter knows."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FUNCTION_LINES = 60
MODULE_LINES = {"src": 400, "bench": 400, "native": 400}
TEST_MODULE_LINES = 600
# A table with one source is read as a table.
TABLES = {Path("src/cloche/runtime/operations.py"): 600}

# Names that say nothing about what is inside.
EMPTY_NAMES = {"util", "utils", "helper", "helpers", "common", "misc", "manager", "managers", "base", "core"}

# Written so that this file does not contain what it looks for.
MACHINE_PATHS = re.compile("|".join(["/work" + "/(main|shared)", r"/\." + "library", r"\.py" + "env/"]))


def tracked(*patterns: str) -> list[Path]:
    """Files of the tree as git sees them, new ones included, ignored ones not."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    return [ROOT / name for name in sorted(set(names)) if name and (ROOT / name).is_file()]


def python_files() -> list[Path]:
    """Every Python file of the tree."""
    return tracked("*.py")


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Each function of a file: where it is, and how many lines it has."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", lines


def test_no_function_is_longer_than_a_screen() -> None:
    found = [f"{place}: {lines}" for path in python_files() for place, lines in functions(path)]
    assert found
    long = [f for f in found if int(f.rsplit(" ", 1)[1]) > FUNCTION_LINES]
    assert not long, "\n".join(long)


def test_no_module_grows_beyond_reading() -> None:
    sizes = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in python_files()}
    limits = {path: TABLES.get(path) or MODULE_LINES.get(path.parts[0], TEST_MODULE_LINES) for path in sizes}
    long = {str(path): size for path, size in sizes.items() if size > limits[path]}
    assert not long


def test_modules_are_named_after_what_they_hold() -> None:
    empty = [
        str(path.relative_to(ROOT)) for path in tracked("src", "tests", "bench") if path.stem in EMPTY_NAMES
    ]
    assert not empty


def test_package_files_are_empty() -> None:
    """What is in an __init__.py is paid by everyone who imports anything below it."""
    full = [path for path in tracked("src/cloche/*/__init__.py") if path.read_text().strip()]
    assert not full


@pytest.mark.parametrize("marker", ["type: ignore", "noqa"])
def test_an_ignored_finding_has_its_rule_and_its_reason(marker: str) -> None:
    """In tests, which hand over wrong types on purpose, the rule is enough."""
    reasoned = re.compile(rf"# {marker}(\[[a-z, -]+\]|: [A-Z0-9, ]+)\s+[-#] \S+")
    bare = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in tracked("src/*.py", "bench/*.py", "native/*.py", "hatch_build.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if f"# {marker}" in line and not reasoned.search(line)
    ]
    assert not bare, "\n".join(bare)


def test_no_file_names_a_machine_of_a_developer() -> None:
    found = []
    for path in tracked():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        lines = enumerate(text.splitlines(), 1)
        found += [f"{path.relative_to(ROOT)}:{n}" for n, line in lines if MACHINE_PATHS.search(line)]
    assert not found, "\n".join(found)


def test_docstrings_are_on_all_that_is_public() -> None:
    bare = []
    for path in tracked("src/*.py"):
        tree = ast.parse(path.read_text())
        if tree.body and not ast.get_docstring(tree):
            bare.append(f"{path.relative_to(ROOT)}: module")
        for node in tree.body:
            if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
                continue
            if not ast.get_docstring(node):
                bare.append(f"{path.relative_to(ROOT)}:{node.lineno}: {node.name}")
    assert not bare, "\n".join(bare)
