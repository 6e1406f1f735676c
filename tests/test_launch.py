"""The finder of Cloche's own modules: as Python's, only sooner."""

from __future__ import annotations

import os
import py_compile
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "cloche"

SHOW = """
import sys
sys.path.append({place!r})
from cloche.launch import Finder, quicken
quicken({place!r})
import cloche.things.word as word
things = sys.modules["cloche.things"]
quick = isinstance(word.__spec__.loader, Finder)
print(word.TEXT, quick, word.__file__, word.__cached__, word.__package__, things.__path__)
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package of the same name with a package and a module in it, compiled."""
    package = tmp_path / "cloche"
    (package / "things").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "launch.py").write_bytes((SOURCE / "launch.py").read_bytes())
    (package / "things" / "__init__.py").touch()
    (package / "things" / "word.py").write_text("TEXT = 'first'\n")
    for source in package.rglob("*.py"):
        py_compile.compile(str(source), doraise=True)
    return package


def show(package: Path) -> list[str]:
    """What an interpreter of its own says about the module."""
    command = [sys.executable, "-I", "-S", "-B", "-c", SHOW.format(place=str(package.parent))]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.stderr == ""
    return result.stdout.split()


def test_a_module_is_found_as_python_would_have_found_it(package: Path) -> None:
    things = package / "things"
    cached = things / "__pycache__" / f"word.{sys.implementation.cache_tag}.pyc"
    expected = ["first", "True", str(things / "word.py"), str(cached), "cloche.things", f"['{things}']"]
    assert show(package) == expected


def test_what_is_compiled_without_docstrings_is_preferred(package: Path) -> None:
    source = package / "things" / "word.py"
    cached = py_compile.compile(str(source), doraise=True, optimize=2)
    assert show(package)[:4] == ["first", "True", str(source), cached]
    source.write_text("TEXT = 'newer'\n")
    os.utime(source, (1, 1))
    plain = py_compile.compile(str(source), doraise=True)
    assert show(package)[:4] == ["newer", "True", str(source), plain]


def test_a_source_that_changed_is_left_to_python(package: Path) -> None:
    (package / "things" / "word.py").write_text("TEXT = 'other'\n")
    os.utime(package / "things" / "word.py", (1, 1))
    assert show(package)[:2] == ["other", "False"]


def test_a_module_that_is_not_compiled_is_left_to_python(package: Path) -> None:
    (package / "things" / "__pycache__" / f"word.{sys.implementation.cache_tag}.pyc").unlink()
    assert show(package)[:2] == ["first", "False"]


def test_byte_code_of_another_python_is_left_alone(package: Path) -> None:
    compiled = package / "things" / "__pycache__" / f"word.{sys.implementation.cache_tag}.pyc"
    compiled.write_bytes(b"\0\0\r\n" + compiled.read_bytes()[4:])
    assert show(package)[:2] == ["first", "False"]


def test_byte_code_that_is_checked_by_hash_is_left_to_python(package: Path) -> None:
    source = str(package / "things" / "word.py")
    py_compile.compile(source, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH, doraise=True)
    assert show(package)[:2] == ["first", "False"]


def test_what_does_not_exist_is_said_as_ever(package: Path) -> None:
    (package / "things" / "word.py").unlink()
    script = SHOW.format(place=str(package.parent))
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", script], capture_output=True, text=True, check=False
    )
    assert "ModuleNotFoundError: No module named 'cloche.things.word'" in result.stderr


def test_a_module_that_is_too_large_for_the_buffer_is_left_to_python(package: Path) -> None:
    source = package / "things" / "word.py"
    source.write_text(f"TEXT = 'long'\nMORE = {'x' * (1 << 16)!r}\n")
    py_compile.compile(str(source), doraise=True)
    assert show(package)[:2] == ["long", "False"]
