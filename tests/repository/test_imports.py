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
    "_blake2",
    "_bz2",
    "_hashlib",
    "_lzma",
    "argparse",
    "asyncio",
    "binascii",
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
    "struct",
    "subprocess",
    "tarfile",
    "tempfile",
    "termios",
    "threading",
    "typing",
    "urllib",
    "urllib3",
    "zipfile",
    "zlib",
    "zstandard",
}
"""Modules that cost a command tenths of milliseconds at least: long ones, and libraries that are loaded."""

OURS = {
    "cloche --version": 12,
    "cloche ps": 62,
    "cloche run": 125,
    "cloche-runc state": 29,
    "cloche-runc exec": 56,
    "cloche-runc run": 60,
    # Once for the warm parent; whoever is forked from it loads nothing.
    "containerd-shim-cloche-v1 start": 128,
    "containerd-shim-cloche-v1 -v": 18,
}
"""How many of Cloche's own modules a command may load, at some 0.1 ms each. What is to be loaded on
one of these paths should be used on it: import the rest where it is used."""

CLOCHE = "from cloche.cli.main import main\nmain()"
RUNC = "from cloche.runtime.command import main\nmain()"
SHIM = "from cloche.shim.command import main\nmain()"
SHIMS_OWN = "import cloche.shim.command\nfrom cloche.shim import warm\nwarm.import_all()"

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
    """The ones among them that cost too much."""
    return sorted(HEAVY & {name.partition(".")[0] for name in modules})


WITHOUT_OS = ("cloche-runc state", "cloche-runc exec", "cloche-runc run")
"""Their modules have `from cloche import os`."""


def hold_budget(command: str, modules: set[str]) -> None:
    """Fail where the modules that a command has loaded are too many, or too heavy."""
    assert not heavy(modules)
    assert not (command in WITHOUT_OS and modules & {"os", "posixpath", "_struct", "_collections_abc"})
    ours = sorted(name for name in modules if name.partition(".")[0] == "cloche")
    assert len(ours) <= OURS[command], " ".join(ours)


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


def test_cloche_says_its_version_within_its_budget() -> None:
    hold_budget("cloche --version", loaded(CLOCHE, ["cloche", "--version"]))


@pytest.mark.parametrize("arguments", [["--version"], ["state", "no-such-container"], ["list"]])
def test_cloche_runc_answers_without_heavy_modules(tmp_path: Path, arguments: list[str]) -> None:
    argv = ["cloche-runc", "--root", str(tmp_path / "state"), *arguments]
    assert not heavy(loaded(RUNC, argv))


def test_a_shim_holds_its_budgets() -> None:
    hold_budget("containerd-shim-cloche-v1 start", loaded(SHIMS_OWN))
    hold_budget("containerd-shim-cloche-v1 -v", loaded(SHIM, ["containerd-shim-cloche-v1", "-v"]))


def test_cloche_runc_holds_its_budgets(root: None, tmp_path: Path, bundle: Bundle, cloche_runc: str) -> None:
    general = ["cloche-runc", "--root", str(tmp_path / "state")]
    bundle.command("/bin/true")
    run = [*general, "run", "--bundle", str(bundle.path), "budget"]
    hold_budget("cloche-runc run", loaded(RUNC, run))
    bundle.command("/bin/sleep", "1000")
    subprocess.run(
        [cloche_runc, *run[1:4], "--detach", *run[4:]],
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        hold_budget("cloche-runc state", loaded(RUNC, [*general, "state", "budget"]))
        hold_budget("cloche-runc exec", loaded(RUNC, [*general, "exec", "budget", "/bin/true"]))
    finally:
        subprocess.run([cloche_runc, *general[1:], "delete", "--force", "budget"], check=True)


def test_cloche_holds_its_budgets(root: None, tmp_path: Path, cloche: str, busybox_rootfs: Path) -> None:
    general = ["cloche", "--root", str(tmp_path / "root"), "--state", str(tmp_path / "state")]

    def carry_out(*words: str) -> None:
        subprocess.run([cloche, *general[1:], *words], check=True, capture_output=True)

    program = str(busybox_rootfs / "bin" / "busybox")
    carry_out("image", "from-host", "budget", program)
    # The first run may unpack and compile the filter; what counts is every other one.
    carry_out("run", "budget", program, "true")
    modules = loaded(CLOCHE, [*general, "run", "--rm", "budget", program, "true"])
    hold_budget("cloche run", modules)
    # Compiling a filter takes longer than all the rest: the second time it comes from the cache.
    assert not [name for name in modules if name.startswith("libseccomp.so")]
    hold_budget("cloche ps", loaded(CLOCHE, [*general, "ps", "--all"]))
