"""The daemon's sockets and the lock on its state directory."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from cloche.daemon import sockets
from cloche.errors import FailedPrecondition, InvalidArgument


def test_a_socket_can_be_connected_to_and_has_its_mode(tmp_path: Path) -> None:
    path = str(tmp_path / "deep" / "cloched.sock")
    listener = sockets.bind(path)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o660
    assert os.listdir(tmp_path / "deep") == ["cloched.sock"]
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    listener.socket.close()
    listener.remove()
    assert not os.path.exists(path)


def test_a_socket_has_its_owner(root: None, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    listener = sockets.bind(path, uid=12, gid=34)
    assert (os.stat(path).st_uid, os.stat(path).st_gid) == (12, 34)
    listener.socket.close()


def test_a_socket_that_nobody_answers_on_is_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    sockets.bind(path).socket.close()
    with socket.socket(socket.AF_UNIX) as client, pytest.raises(ConnectionRefusedError):
        client.connect(path)
    listener = sockets.bind(path)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    listener.socket.close()


def test_a_socket_that_somebody_answers_on_is_left_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    first = sockets.bind(path)
    with pytest.raises(FailedPrecondition, match="somebody answers"):
        sockets.bind(path)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    assert os.listdir(tmp_path) == ["s"]
    first.socket.close()


def test_a_file_in_the_way_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("mine")
    with pytest.raises(FailedPrecondition, match="no socket"):
        sockets.bind(str(path))
    assert path.read_text() == "mine"


def test_only_what_was_made_here_is_unlinked(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    first = sockets.bind(path)
    first.socket.close()
    second = sockets.bind(path)
    first.remove()
    assert os.path.exists(path)
    second.socket.close()
    second.remove()
    second.remove()
    assert os.listdir(tmp_path) == []


def test_a_path_that_is_too_long_or_relative_is_refused(tmp_path: Path) -> None:
    for path in ("cloched.sock", "/" + "x" * 107):
        with pytest.raises(InvalidArgument):
            sockets.bind(path)
    directory = tmp_path / ("d" * (107 - len(str(tmp_path)) - 3))
    listener = sockets.bind(str(directory / "s"))
    listener.socket.close()


def test_a_second_daemon_on_a_state_directory_is_refused(tmp_path: Path) -> None:
    first = sockets.StateLock(str(tmp_path / "state"))
    with pytest.raises(FailedPrecondition, match=f"process {os.getpid()}"):
        sockets.StateLock(str(tmp_path / "state"))
    first.release()
    sockets.StateLock(str(tmp_path / "state")).release()


def as_systemd_does(script: str, descriptor: int) -> subprocess.CompletedProcess[str]:
    """Run Python with a descriptor as number 3 and the variables that say so."""
    prologue = (
        "import os, sys\n"
        "os.dup2(int(sys.argv[1]), 3, inheritable=True)\n"
        "os.environ |= {'LISTEN_PID': str(os.getpid()), 'LISTEN_FDS': '1'}\n"
    )
    return subprocess.run(
        [sys.executable, "-c", prologue + script, str(descriptor)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        pass_fds=[descriptor],
        capture_output=True,
        text=True,
        check=True,
    )


def test_sockets_of_systemd_are_taken_over(tmp_path: Path) -> None:
    """As systemd hands them over: descriptors from 3, and variables that name this process."""
    script = (
        "from cloche.daemon import sockets\n"
        "[one] = sockets.inherited(os.environ)\n"
        "print(one.path, one.made, one.socket.get_inheritable(), 'LISTEN_FDS' in os.environ)\n"
        "one.remove()\n"
    )
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        result = as_systemd_does(script, listening.fileno())
    assert result.stdout == f"{path} None False False\n"
    assert os.path.exists(path)


def test_variables_for_another_process_mean_nothing() -> None:
    environment = {"LISTEN_PID": "1", "LISTEN_FDS": "3", "LISTEN_FDNAMES": "a:b:c", "HOME": "/"}
    assert sockets.inherited(environment) == []
    assert environment == {"HOME": "/"}


def test_a_descriptor_that_does_not_listen_is_refused(tmp_path: Path) -> None:
    script = (
        "from cloche.daemon import sockets\n"
        "try: sockets.inherited(os.environ)\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    with open("/dev/null") as file:
        result = as_systemd_does(script, file.fileno())
    assert result.stdout.startswith("InvalidArgument descriptor 3")
