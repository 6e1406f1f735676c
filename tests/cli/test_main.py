"""Dispatch, help pages, usage errors, and how the process ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cloche as package
from cloche.cli import main
from cloche.cli.arguments import Command
from cloche.cli.commands import ALIASES, COMMANDS, GROUPS
from cloche.errors import NotFound
from cloche.runtime.container import ExecFailed

SOURCE = str(Path(main.__file__).parents[2])


def cloche(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the command as the launcher does: -I -S and the package's path."""
    code = f"import sys; sys.path.insert(0, {SOURCE!r}); from cloche.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, *words],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=os.environ | more,
    )


@pytest.mark.parametrize("key", COMMANDS)
def test_every_command_is_there_and_has_a_help_page(key: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main.run([*key.split(), "--help"]) == 0
    page, errors = capfd.readouterr()
    assert not errors
    assert page.startswith(f"Usage:  cloche {key}")
    assert COMMANDS[key][2] in page
    assert all(len(line) <= 80 for line in page.splitlines()), max(page.splitlines(), key=len)


def test_every_command_of_a_group_is_in_the_table() -> None:
    for name, (_, members) in GROUPS.items():
        assert set(members.values()) <= set(COMMANDS)
        assert set(ALIASES.get(name, {}).values()) <= set(members)


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_the_page_of_all_commands_names_each(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert main.run(words) == 0
    page = capfd.readouterr().out
    assert all(f"\n  {name} " in page for name in COMMANDS if " " not in name)


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("more", [[], ["--help"]])
def test_a_group_alone_shows_its_commands(
    group: str, more: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main.run([group, *more]) == 0
    assert "Commands:\n" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("words", "status", "message", "hint"),
    [
        (["run", "--bogus", "x"], 125, "unknown flag: --bogus", "run"),
        (["ps", "--bogus"], 125, "unknown flag: --bogus", "ps"),
        (["container", "ls", "-Z"], 125, "unknown shorthand flag: 'Z' in -Z", "container ls"),
        (["run"], 1, "'cloche run' requires at least 1 argument", "run"),
        (["exec", "x"], 1, "'cloche exec' requires at least 2 arguments", "exec"),
        (["image", "tag", "x"], 1, "'cloche image tag' requires 2 arguments", "image tag"),
        (["--bogus"], 125, "unknown flag: --bogus", ""),
        (["--root"], 125, "flag needs an argument: --root", ""),
        (["bogus"], 1, "unknown command: cloche bogus", ""),
        (["image", "bogus"], 1, "unknown command: cloche image bogus", "image"),
    ],
)
def test_a_usage_error_is_one_line_and_where_to_look(
    words: list[str], status: int, message: str, hint: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main.run(words) == status
    out, errors = capfd.readouterr()
    assert out == ""
    assert errors == f"cloche: {message}\nSee 'cloche {hint + ' ' if hint else ''}--help'.\n"


def test_dash_h_is_the_hostname_of_a_run_and_help_elsewhere(capfd: pytest.CaptureFixture[str]) -> None:
    assert main.run(["ps", "-h"]) == 0
    assert main.run(["run", "-h"]) == 125
    assert "needs an argument: 'h'" in capfd.readouterr().err


@pytest.mark.parametrize("flag", ["--version", "-v"])
def test_the_version_is_that_of_the_package(flag: str) -> None:
    result = cloche(flag)
    assert (result.returncode, result.stdout) == (0, f"Cloche version {package.__version__}\n")


def test_version_can_be_asked_for_by_template(capfd: pytest.CaptureFixture[str]) -> None:
    assert main.run(["version", "--format", "{{.Client.Version}} {{.Server.Os}}"]) == 0
    version, system = capfd.readouterr().out.split()
    assert version[0].isdigit()
    assert system == "linux"


def obeying(failure: int, *, invokes: bool) -> Command:
    return Command("", lambda session, parsed: 0, failure=failure, invokes=invokes)


@pytest.mark.parametrize("error", [NotFound("x"), FileNotFoundError(2, "x"), KeyError("x")])
def test_an_error_has_the_exit_code_of_its_command(error: Exception) -> None:
    assert main.exit_code(error, obeying(125, invokes=True)) == 125
    assert main.exit_code(error, obeying(1, invokes=True)) == 1


@pytest.mark.parametrize(("errno", "code"), [(2, 127), (13, 126), (8, 126), (20, 126)])
def test_a_program_that_cannot_be_executed_has_its_own_exit_codes(errno: int, code: int) -> None:
    error = ExecFailed("x", errno)
    assert main.exit_code(error, obeying(125, invokes=True)) == code
    assert main.exit_code(error, obeying(1, invokes=False)) == 1


def test_a_reader_that_went_away_ends_the_command_by_sigpipe() -> None:
    code = f"import sys; sys.path.insert(0, {SOURCE!r}); from cloche.cli.main import main; main()"
    read, write = os.pipe()
    os.close(read)
    process = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, "--help"],
        stdout=write,
        stderr=subprocess.PIPE,
        timeout=30,
        check=False,
    )
    os.close(write)
    assert process.returncode == -13
    assert process.stderr == b""


@given(
    st.lists(st.one_of(st.sampled_from(["--help", "-h", "run", "ps", "--", "-", "image", "--rm"]), st.text()))
)
def test_any_command_line_that_cannot_be_meant_ends_with_a_known_code(words: list[str]) -> None:
    # A first word that is no command, so that nothing is ever started.
    assert main.run(["no-such-command", *words]) == 1
    assert main.run(["run", "--no-such-flag", *words]) == 125


LEAST_MODULES = {"cloche", "cloche.cli", "cloche.errors", "cloche.spec", "cloche.spec.record"}


def test_the_version_loads_almost_nothing() -> None:
    code = (
        f"import sys; sys.path.insert(0, {SOURCE!r}); before = set(sys.modules)\n"
        "from cloche.cli import main; main.run(['--version'])\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    loaded = result.stdout.splitlines()[-1].split()
    light = {f"cloche.cli.{name}" for name in ("main", "arguments", "output", "session", "system")}
    assert set(loaded) <= LEAST_MODULES | light | {"os", "stat", "_stat", "posixpath"} | {
        *("__future__", "abc", "_abc", "_collections_abc", "genericpath", "io", "os.path"),
    }


def test_closed_standard_streams_do_not_matter(tmp_path: Path) -> None:
    """A database opened as descriptor 1 would be written over."""
    code = f"import sys; sys.path.insert(0, {SOURCE!r}); from cloche.cli.main import main; main()"
    places = {"CLOCHE_ROOT": str(tmp_path / "root"), "CLOCHE_STATE": str(tmp_path / "state")}
    for _ in range(2):
        result = subprocess.run(
            ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-I", "-S", "-c", code, "ps"],
            env=os.environ | places,
            timeout=30,
            check=False,
        )
        assert result.returncode == 0
