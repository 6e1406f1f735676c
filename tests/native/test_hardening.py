"""What the installed programs of native/ are protected with, seen in their files and in a test program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hatch_build import compile_program

from cloche.runtime.sealed import PROGRAM

PROGRAMS = {
    "cloche-init": Path(PROGRAM),
    "cloche-reaper": Path(PROGRAM).with_name("cloche-reaper"),
    "launcher": Path(sys.prefix, "bin", "cloche-runc"),
}

OVERFLOWING = """
#include "system.h"
__attribute__((noinline)) static void fill(char *to, const char *from) { while ((*to++ = *from++)) { } }
__attribute__((noinline)) static int copy(const char *text)
{
    char small[16];
    fill(small, text);
    return small[0];
}
__attribute__((noreturn, used)) static void start(const u64 *stack)
{
    seed_guard((const unsigned long *)(const void *)stack);
    const char *const *argv = (const char *const *)(const void *)(stack + 1);
    if (*stack == 1) for (;;) raw(NR_exit_group, __stack_chk_guard >> 8 & 0xff, 0, 0, 0, 0, 0);
    for (;;) raw(NR_exit_group, copy(argv[1]) == 'x' ? 0 : 1, 0, 0, 0, 0, 0);
}
ENTRY_POINT
"""


@pytest.fixture
def readelf(peer: Callable[[str], str]) -> Callable[..., str]:
    """readelf's answer about a program."""
    program = peer("readelf")

    def ask(path: Path, *options: str) -> str:
        return subprocess.run(
            [program, "-W", *options, path], check=True, capture_output=True, text=True
        ).stdout

    return ask


@pytest.mark.parametrize("name", PROGRAMS)
def test_no_memory_is_writable_and_executable(readelf: Callable[..., str], name: str) -> None:
    lines = [line.split() for line in readelf(PROGRAMS[name], "-l").splitlines()]
    flags: dict[str, list[str]] = {}
    for line in lines:
        if line[:1] in (["LOAD"], ["GNU_STACK"]):
            flags.setdefault(line[0], []).append("".join(line[6:-1]))
    assert flags["GNU_STACK"] == ["RW"]
    assert not any("W" in segment and "E" in segment for segment in flags["LOAD"])
    # Constants are not executable: nothing but code is.
    assert sorted(flags["LOAD"]).count("RE") == 1
    assert "R" in flags["LOAD"]


@pytest.mark.parametrize("name", PROGRAMS)
def test_nothing_is_loaded_beside_them(readelf: Callable[..., str], name: str) -> None:
    headers = readelf(PROGRAMS[name], "-l")
    assert "INTERP" not in headers
    assert "DYNAMIC" not in headers
    assert "no dynamic section" in readelf(PROGRAMS[name], "-d")


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the marks of another processor")
@pytest.mark.parametrize("name", PROGRAMS)
def test_targets_of_indirect_jumps_are_marked(readelf: Callable[..., str], name: str) -> None:
    assert "IBT, SHSTK" in readelf(PROGRAMS[name], "-n")


@pytest.fixture(scope="module")
def overflowing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that copies its argument into 16 bytes, built as those of native/ are."""
    directory = tmp_path_factory.mktemp("overflow")
    native = Path(__file__).resolve().parents[2] / "native"
    source = directory / "overflow.c"
    source.write_text(OVERFLOWING)
    for header in ("system.h", "guard.h"):
        (directory / header).symlink_to(native / header)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CFLAGS", "-Wno-unused-function -Wno-stringop-overflow")
        return compile_program(source, directory / "overflow")


def test_an_overflow_on_the_stack_ends_the_program(overflowing: Path) -> None:
    assert subprocess.run([overflowing, "xyz"], check=False).returncode == 0
    assert subprocess.run([overflowing, "x" * 100], check=False).returncode == -signal.SIGILL


def test_the_guard_is_another_one_each_time(overflowing: Path) -> None:
    seen = {subprocess.run([overflowing], check=False).returncode for _ in range(12)}
    assert len(seen) > 3
