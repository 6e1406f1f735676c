"""Every command and flag of runc, and what its callers read from the log."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.bundles import Bundle
from tests.peers import command, peer
from tests.runtime.face.runtimes import Runtime, unique

# Of versions after Debian's; what they hide, as we do.
HIDDEN = {"all", "criu"}
LATER = {
    "create": {"pidfd-socket"},
    "run": {"pidfd-socket"},
    "exec": {"pidfd-socket"},
    "update": {"cpu-idle", "cpu-burst"},
}
MISSING = [
    ("run", "--bundle", "/no/such/directory", "c1"),
    ("create", "not/an/id"),
    ("start", "no-such"),
    ("state", "no-such"),
    ("kill", "no-such", "TERM"),
    ("exec", "no-such", "true"),
    ("update", "--memory", "64m", "no-such"),
    ("pause", "no-such"),
    ("resume", "no-such"),
    ("ps", "no-such"),
    ("events", "--stats", "no-such"),
    ("delete", "no-such"),
    ("delete", "--force", "no-such"),
    ("kill", "no-such", "NOSUCH"),
    ("list", "--format", "xml"),
    ("run",),
    ("exec", "no-such"),
    ("run", "--no-such-flag", "c1"),
]


def flags_of(program: str, *words: str) -> set[str]:
    """Long names in the help of a command."""
    text = subprocess.run([program, *words, "--help"], capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"^ +--([a-z0-9-]+)", text, re.MULTILINE))


def test_every_command_of_runc_has_every_flag(root: None) -> None:
    theirs, ours = peer("runc"), command("cloche-runc")
    pages = {
        name: subprocess.run([name, "--help"], capture_output=True, text=True, check=True).stdout
        for name in (theirs, ours)
    }
    names = {
        program: set(
            re.findall(r"^ +([a-z]+)(?:,| )", text.partition("COMMANDS")[2].partition("GLOBAL")[0], re.M)
        )
        for program, text in pages.items()
    }
    assert names[theirs] <= names[ours]
    assert flags_of(theirs) - HIDDEN <= flags_of(ours)
    for name in names[theirs] - {"help", "h"}:
        wanted = flags_of(theirs, name) - HIDDEN | LATER.get(name, set())
        assert wanted <= flags_of(ours, name), name


@pytest.fixture
def both(tmp_path: Path, root: None) -> tuple[Runtime, Runtime]:
    """cloche-runc and runc, with nothing in their states."""
    return Runtime(command("cloche-runc"), tmp_path / "o"), Runtime(peer("runc"), tmp_path / "t")


@pytest.mark.parametrize("words", MISSING, ids=" ".join)
def test_what_is_refused_has_runcs_exit_code_and_an_error_as_the_logs_last_line(
    both: tuple[Runtime, Runtime], tmp_path: Path, words: tuple[str, ...]
) -> None:
    found = []
    for runtime in both:
        log = tmp_path / f"log-{runtime.name}"
        result = runtime("--log", str(log), "--log-format", "json", *words)
        lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        found.append((result.returncode, bool(lines)))
        if result.returncode:
            last = lines[-1]
            assert sorted(last) == ["level", "msg", "time"]
            assert last["level"] == "error"
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)", last["time"])
            assert last["msg"] in result.stderr
    assert found[0] == found[1]


def test_debugging_tells_every_operation_and_ends_with_the_error(
    both: tuple[Runtime, Runtime], bundle: Bundle, tmp_path: Path
) -> None:
    bundle.command("/no/such/program")
    log = tmp_path / "log"
    words = ["--debug", "--log", str(log), "--log-format", "json", "run", "--bundle", str(bundle.path)]
    assert both[0](*words, unique("debug")).returncode == 1
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert any("pivot root" in line["msg"] for line in lines if line["level"] == "debug")
    assert lines[-1]["level"] == "error"
    assert "/no/such/program" in lines[-1]["msg"]


def test_criu_is_accepted_as_older_callers_give_it(both: tuple[Runtime, Runtime]) -> None:
    result = both[0]("--criu", "/usr/sbin/criu", "list")
    assert result.returncode == 0
    assert "--criu is ignored" in result.stderr


@pytest.mark.parametrize("word", ["maybe", "yes", "TRUe"])
def test_rootless_is_true_false_or_auto(both: tuple[Runtime, Runtime], bundle: Bundle, word: str) -> None:
    bundle.command("true")
    for runtime in both:
        result = runtime("--rootless", word, "run", "--bundle", str(bundle.path), unique("rootless"))
        assert result.returncode == 1
        assert word in result.stderr


@pytest.mark.parametrize("word", ["true", "false", "auto", "AUTO", "1", "F"])
def test_root_may_say_what_he_likes_of_rootless(
    both: tuple[Runtime, Runtime], bundle: Bundle, word: str
) -> None:
    bundle.command("true")
    for runtime in both:
        result = runtime("--rootless", word, "run", "--bundle", str(bundle.path), unique("rootless"))
        assert result.returncode == 0, result.stderr


def test_systemd_is_refused_where_it_does_not_run(both: tuple[Runtime, Runtime], bundle: Bundle) -> None:
    if Path("/run/systemd/system").is_dir():
        pytest.skip("systemd runs here: see tests/vm")
    bundle.linux["cgroupsPath"] = "system.slice:cloche:1"
    bundle.command("true")
    for runtime in both:
        result = runtime("--systemd-cgroup", "run", "--bundle", str(bundle.path), unique("systemd"))
        assert result.returncode == 1
        assert "systemd" in result.stderr
    assert (
        "leave the flag out"
        in both[0]("--systemd-cgroup", "create", "--bundle", str(bundle.path), unique("systemd")).stderr
    )
