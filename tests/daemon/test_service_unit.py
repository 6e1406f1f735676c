"""The systemd unit and its sockets, and what the daemon tells systemd."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import leftovers, peers
from tests.daemons import WITHOUT_NRI

_HANDED_OVER = """import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.argv[2], sys.argv[2:])"""

UNITS = Path(__file__).parents[2] / "packaging" / "systemd"


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory with a short name, for sockets."""
    directory = tempfile.mkdtemp(prefix="u-")
    yield Path(directory)
    leftovers.remove_tree(directory)


def settings(unit: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (UNITS / unit).read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    analyze = peers.peer("systemd-analyze")
    program = tmp_path / "cloched"
    program.symlink_to(peers.command("cloched"))
    for unit in ("cloched.service", "cloched.socket"):
        text = (UNITS / unit).read_text().replace("/usr/bin/cloched", str(program))
        (tmp_path / unit).write_text(text)
    units = [str(tmp_path / "cloched.service"), str(tmp_path / "cloched.socket")]
    done = subprocess.run([analyze, "verify", *units], capture_output=True, text=True, check=False)
    said = [line for line in (done.stdout + done.stderr).splitlines() if "cloched" in line]
    assert (done.returncode, said) == (0, [])


def test_the_unit_leaves_containers_alone() -> None:
    said = settings("cloched.service")
    assert said["Type"] == ["notify"]
    assert said["KillMode"] == ["process"]
    assert said["Delegate"] == ["yes"]
    assert int(said["OOMScoreAdjust"][0]) < 0
    assert said["LimitNOFILE"] == ["infinity"]


def test_the_sockets_are_those_that_the_daemon_would_make() -> None:
    from cloche.daemon.config_tables import STATE

    address = f"{STATE}/cloched.sock"
    assert settings("cloched.socket")["ListenStream"] == [address, f"{address}.ttrpc"]


def test_systemd_is_told_when_it_serves_and_when_it_stops(place: Path) -> None:
    peers.require_root()
    state = place / "state"
    state.mkdir()
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening,
    ):
        ear.bind(str(place / "notify"))
        ear.settimeout(20)
        address = str(state / "cloched.sock")
        listening.bind(address)
        listening.listen()
        # As systemd does it: the socket is descriptor 3, and LISTEN_PID is the daemon's own pid.
        command = [sys.executable, "-c", _HANDED_OVER, str(listening.fileno()), peers.command("cloched")]
        config = place / "config.toml"
        config.write_text(f"version = 4\n{WITHOUT_NRI}")
        places = ["--root", str(place / "root"), "--state", str(state), "--address", address]
        places += ["--config", str(config)]
        daemon = subprocess.Popen(
            [*command, *places],
            env=os.environ | {"NOTIFY_SOCKET": str(place / "notify")},
            pass_fds=(listening.fileno(),),
            stderr=subprocess.DEVNULL,
        )
        try:
            assert ear.recv(100) == b"READY=1"
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
                client.connect(address)
            daemon.send_signal(signal.SIGTERM)
            assert ear.recv(100) == b"STOPPING=1"
            assert daemon.wait(20) == 0
            assert os.path.exists(address), "a socket of systemd's is not for the daemon to remove"
        finally:
            daemon.kill()
            daemon.wait()
