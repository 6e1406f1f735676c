"""`cloched` as a process: its flags, its configuration, its sockets."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

from cloche import __version__
from tests.daemons import WITHOUT_NRI, Daemon
from tests.peers import peer

START = "import sys; from cloche.daemon.command import main; sys.exit(main())"


def words(*arguments: str) -> list[str]:
    """The words that start our sources' cloched."""
    return [sys.executable, "-c", START, *arguments]


def environment() -> dict[str, str]:
    """Where the sources are."""
    return {"PYTHONPATH": os.pathsep.join(sys.path)}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words(*arguments),
        env=os.environ | environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def configured(tmp_path: Path, extra: str = "") -> str:
    path = tmp_path / "config.toml"
    path.write_text(
        f"version = 2\nroot = '{tmp_path}/root'\nstate = '{tmp_path}/state'\n"
        f"[grpc]\naddress = '{tmp_path}/a'\ngid = 12\n[ttrpc]\naddress = '{tmp_path}/b'\n{WITHOUT_NRI}{extra}"
    )
    return str(path)


def test_the_file_says_where_the_daemon_is(root: None, tmp_path: Path) -> None:
    command = words("--config", configured(tmp_path, "[debug]\nlevel = 'warn'\nlog_trace_id = true\n"))
    with Daemon(command, tmp_path / "log", environment()) as daemon:
        daemon.wait_for(socket.AF_UNIX, f"{tmp_path}/b")
        assert os.stat(tmp_path / "a").st_gid == 12
        ctr = [peer("ctr"), "--address", f"{tmp_path}/a", "version"]
        said = subprocess.run(ctr, capture_output=True, text=True, check=True, timeout=60).stdout
        assert f"Version:  {__version__}" in said.partition("Server:")[2]
        second = run("--config", configured(tmp_path))
        assert second.returncode == 1
        assert f"process {daemon.process.pid}" in second.stderr
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.wait(20) == 0
    assert not os.path.exists(tmp_path / "a")
    assert not os.path.exists(tmp_path / "b")
    log = (tmp_path / "log").read_text()
    assert "config migrate" in log
    assert "debug.log_trace_id has no effect yet" in log


def test_a_flag_goes_before_the_file(root: None, tmp_path: Path) -> None:
    command = words("--config", configured(tmp_path), "--address", f"{tmp_path}/c")
    with Daemon(command, tmp_path / "log", environment()) as daemon:
        daemon.wait_for(socket.AF_UNIX, f"{tmp_path}/c.ttrpc")
        assert not os.path.exists(tmp_path / "a")


def test_a_file_that_cannot_be_used_is_an_error_with_its_place(tmp_path: Path) -> None:
    result = run("--config", configured(tmp_path, "[plugins]\n'io.containerd.gc.v1.scheduler' = 3\n"))
    assert result.returncode == 1
    place = f"{tmp_path}/config.toml: plugins.'io.containerd.gc.v1.scheduler'"
    assert result.stderr == f"cloched: {place}: a table is needed, not 3\n"
    assert not os.path.exists(tmp_path / "state")
    assert "No such file" in run("--config", str(tmp_path / "none")).stderr


def test_configurations_are_printed(tmp_path: Path) -> None:
    assert tomllib.loads(run("config", "default").stdout)["version"] == 4
    dumped = run("--config", configured(tmp_path), "config", "dump")
    assert tomllib.loads(dumped.stdout)["root"] == f"{tmp_path}/root"
    assert "config migrate" in dumped.stderr
    migrated = tomllib.loads(run("--config", configured(tmp_path), "config", "migrate").stdout)
    assert migrated["plugins"]["io.containerd.server.v1.ttrpc"] == {"address": f"{tmp_path}/b"}
