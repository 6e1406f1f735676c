"""The conversation with criu, and what it is held in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.errors import FailedPrecondition, InvalidArgument
from cloche.runtime.criu.messages import Features, InheritedDescriptor, Options, Request, Response
from cloche.runtime.criu.rpc import Criu, CriuFailed
from cloche.runtime.face.checkpointing import page_server
from cloche.wire.protobuf import DecodeError
from tests.peers import peer


def test_zeros_that_are_given_are_written() -> None:
    """criu takes a required field that is left out for a broken message."""
    request = Request(type=2, opts=Options(inherit_fd=[InheritedDescriptor(key="pipe:[1]", fd=0)]))
    assert request.encode() == bytes.fromhex("0802120fda010c0a08706970653a5b315d1000")
    assert Request.decode(request.encode()) == request


@given(st.binary(max_size=64))
def test_any_bytes_are_a_response_or_refused(data: bytes) -> None:
    try:
        Response.decode(data)
    except DecodeError:
        pass


def test_criu_tells_its_version_and_what_it_can_do(criu: str) -> None:
    program = Criu()
    assert program.version >= 31500
    assert program.name.startswith(str(program.version // 10000))
    program.require(Features(mem_track=False), "--pre-dump")


def test_where_criu_is_missing_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FailedPrecondition, match=r"criu is not there.*install it \(package criu\)"):
        Criu()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("exit 3", "criu ended without an answer"),
        ("printf nonsense >&3; sleep 0", "criu sent what is no response"),
    ],
)
def test_a_program_that_is_no_criu_is_told_from_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    program = tmp_path / "criu"
    program.write_text(f"#!{peer('busybox')} sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FailedPrecondition, match=said):
        Criu()


def test_criu_is_given_no_descriptor_that_is_not_meant_for_it(criu: str, tmp_path: Path) -> None:
    """A name that cannot be executed leaves nothing open either."""
    before = os.listdir("/proc/self/fd")
    Criu()
    broken = Criu()
    broken.program = str(tmp_path / "none")
    with pytest.raises(CriuFailed):
        broken.ask(Request(type=10))
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_a_page_servers_address_is_taken_as_runc_takes_it() -> None:
    assert page_server("") is None
    assert page_server("10.0.0.1:27") == ("10.0.0.1", 27)
    assert page_server("[::1]:65535") == ("::1", 65535)


@given(st.text(max_size=20) | st.from_regex(r"[a-z:\[\]]{0,5}:[0-9]{0,6}", fullmatch=True))
def test_any_other_address_is_refused(word: str) -> None:
    try:
        server = page_server(word)
    except InvalidArgument:
        return
    assert server is None or (server[0] and 0 < server[1] < 65536)
