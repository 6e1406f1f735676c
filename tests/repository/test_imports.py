"""Import budgets: what a command loads decides how fast it starts.

Measured where CPython itself starts in 8 ms: typing costs 7 more, json and pathlib 8, re 7,
socket 6, dataclasses 16, asyncio 45.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.bundles import Bundle

SOURCE = Path(__file__).parents[2] / "src"

HEAVY = {
    "argparse",
    "asyncio",
    "collections",
    "contextlib",
    "ctypes",
    "dataclasses",
    "datetime",
    "enum",
    "functools",
    "hashlib",
    "http",
    "inspect",
    "isal",
    "json",
    "logging",
    "pathlib",
    "random",
    "re",
    "rich",
    "shutil",
    "site",
    "socket",
    "sqlite3",
    "ssl",
    "string",
    "subprocess",
    "tarfile",
    "tempfile",
    "threading",
    "typing",
    "urllib",
    "urllib3",
    "zipfile",
    "zstandard",
}

PROLOGUE = "import sys; sys.path[:0] = {paths!r}; sys.argv = {argv!r}\n"


def loaded(code: str, argv: list[str] | None = None) -> set[str]:
    """The modules and libraries that code loads in an interpreter started as the commands are.

    What the code raises with SystemExit or ends with os._exit is its own affair.
    """
    package_paths = [path for path in sys.path if path.endswith("site-packages")]
    prologue = PROLOGUE.format(paths=[str(SOURCE), *package_paths], argv=argv or ["cloche"])
    script = f"""
{prologue}
import posix
def report(status=0, leave=posix._exit):
    libraries = [line.split('/')[-1].strip() for line in open('/proc/self/maps') if '.so' in line]
    posix.write(2, ('\\nMODULES ' + ' '.join([*sys.modules, *libraries])).encode())
    leave(status)
posix._exit = report
if 'os' in sys.modules: sys.modules['os']._exit = report
try:
{chr(10).join("    " + line for line in code.splitlines())}
except SystemExit:
    pass
report()
"""
    command = [getattr(sys, "_base_executable", sys.executable), "-I", "-S", "-X", "utf8", "-c", script]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    said, found, modules = result.stderr.rpartition("\nMODULES ")
    assert found, result.stderr
    assert "Traceback" not in said, said
    return set(modules.split())


def heavy(modules: set[str]) -> list[str]:
    """The ones among them that cost milliseconds."""
    return sorted(HEAVY & {name.partition(".")[0] for name in modules})


@pytest.mark.parametrize(
    ("module", "budget"),
    [
        ("cloche", 35),
        ("cloche.runtime.command", 70),
        ("cloche.runtime.container", 70),
        ("cloche.cli.main", 45),
        ("cloche.engine.engine", 90),
    ],
)
def test_importing_a_module_stays_within_its_budget(module: str, budget: int) -> None:
    modules = {name for name in loaded(f"import {module}") if ".so" not in name}
    assert not heavy(modules)
    assert len(modules) <= budget, sorted(modules)


def test_the_library_is_loaded_only_when_it_is_used() -> None:
    assert not any(name.startswith("cloche.engine") for name in loaded("import cloche"))


@pytest.mark.parametrize("arguments", [["--version"], ["state", "no-such-container"], ["list"]])
def test_cloche_runc_answers_without_heavy_modules(tmp_path: Path, arguments: list[str]) -> None:
    argv = ["cloche-runc", "--root", str(tmp_path / "state"), *arguments]
    assert not heavy(loaded("from cloche.runtime.command import main\nmain()", argv))


def test_cloche_runc_runs_a_container_without_heavy_modules(
    root: None, tmp_path: Path, bundle: Bundle
) -> None:
    bundle.command("/bin/true")
    argv = ["cloche-runc", "--root", str(tmp_path / "state"), "run", "--bundle", str(bundle.path), "budget"]
    modules = loaded("from cloche.runtime.command import main\nmain()", argv)
    assert not heavy(modules)


def test_cloche_runs_a_container_without_heavy_modules(
    root: None, tmp_path: Path, cloche: str, busybox_rootfs: Path
) -> None:
    places = ["--root", str(tmp_path / "root"), "--state", str(tmp_path / "state")]
    program = str(busybox_rootfs / "bin" / "busybox")
    subprocess.run(
        [cloche, *places, "image", "from-host", "budget", program], check=True, capture_output=True
    )
    argv = ["cloche", *places, "run", "--rm", "budget", program, "true"]
    # The first run may unpack and compile the filter; what counts is every other one.
    subprocess.run([cloche, *argv[1:]], check=True, capture_output=True)
    modules = loaded("from cloche.cli.main import main\nmain()", argv)
    assert not heavy(modules)
    # Compiling a filter takes longer than all the rest: the second time it comes from the cache.
    assert not [name for name in modules if name.startswith("libseccomp.so")]
