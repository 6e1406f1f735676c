"""Sockets where containerd looks for them."""

from __future__ import annotations

import hashlib
import os
import socket
import stat
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from cloche.errors import InvalidArgument
from cloche.shim import sockets


def test_a_socket_is_named_by_containerds_rule() -> None:
    """The digest of the address, the namespace and the id, joined as Go joins paths."""
    digest = hashlib.sha256(b"/run/containerd/containerd.sock/k8s.io/web").hexdigest()
    path = sockets.path_of("", "/run/containerd/containerd.sock", "k8s.io", "web")
    assert path == f"/run/containerd/s/{digest}"
    assert sockets.path_of("", "//run/./containerd/x/../containerd.sock", "k8s.io", "web") == path
    assert sockets.path_of("/short", "/a", "n", "web").startswith("/short/")


def test_a_claimed_socket_is_private_and_listens(tmp_path: Path) -> None:
    path = str(tmp_path / "s" / "one")
    listener = sockets.claim(path)
    assert listener is not None
    with closing(listener):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert sockets.is_served(path)
        assert sockets.claim(path) is None
    assert not sockets.is_served(path)


def test_what_a_dead_shim_left_is_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "one")
    left = socket.socket(socket.AF_UNIX)
    left.bind(path)
    left.close()
    listener = sockets.claim(path)
    assert listener is not None
    listener.close()


def test_only_what_is_a_socket_and_nobody_serves_is_removed(tmp_path: Path) -> None:
    served, left, text = (tmp_path / name for name in ("served", "left", "text"))
    listener = sockets.claim(str(served))
    assert listener is not None
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(left))
    text.touch()
    for path in (served, left, text, tmp_path / "none", Path("/no/such/folder/at/all")):
        sockets.remove_unserved(str(path))
    assert {path.name for path in tmp_path.iterdir()} == {"served", "text"}
    listener.close()


def test_of_many_who_claim_a_socket_at_once_one_gets_it(tmp_path: Path) -> None:
    path = str(tmp_path / "one")
    with ThreadPoolExecutor(16) as pool:
        claimed = [listener for listener in pool.map(lambda _: sockets.claim(path), range(64)) if listener]
    assert len(claimed) == 1
    claimed[0].close()


def test_a_socket_whose_queue_is_full_is_served(tmp_path: Path) -> None:
    path = str(tmp_path / "one")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        waiting = []
        while True:
            client = socket.socket(socket.AF_UNIX)
            client.setblocking(False)
            waiting.append(client)
            try:
                client.connect(path)
            except BlockingIOError:
                break
        assert sockets.is_served(path)
        for client in waiting:
            client.close()


def test_a_path_that_no_socket_can_have_is_refused_with_advice(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="choose a shorter socket_dir"):
        sockets.claim(str(tmp_path / ("x" * 107)))
    assert not list(tmp_path.iterdir())
