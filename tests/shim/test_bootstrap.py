"""Both of containerd's protocols for starting a shim, as values."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.errors import InvalidArgument
from cloche.shim.bootstrap import (
    ADDRESS,
    JSON,
    MESSAGE,
    encode_answer,
    parse_flags,
    parse_input,
)
from cloche.wire.messages.bootstrap import LOG_LEVEL_DEBUG, BootstrapParams, BootstrapResult, Extension
from cloche.wire.messages.google import Any
from cloche.wire.messages.runc_options import Options

OLD = ["-namespace", "ns", "-address", "/c.sock", "-publish-binary", "/bin/containerd", "-id", "web", "start"]
OPTIONS = Any.pack(Options(binary_name="crun", shim_cgroup="/shims"))


def test_flags_are_read_as_go_reads_them() -> None:
    flags = parse_flags(["--namespace=ns", "-id", "web", "-debug", "--bundle", "/b", "start", "-id", "no"])
    assert flags.texts == {"namespace": "ns", "id": "web", "bundle": "/b"}
    assert flags.switches == {"debug"}
    assert flags.action == "start"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-frobnicate", "start"], "flag provided but not defined: -frobnicate"),
        (["-id"], "flag needs an argument: -id"),
    ],
)
def test_an_unknown_or_unfinished_flag_is_named(words: list[str], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        parse_flags(words)


def test_the_old_protocol_is_flags_and_environment_and_options() -> None:
    environment = {"TTRPC_ADDRESS": "/c.sock.ttrpc"}
    params = parse_input(parse_flags(OLD), environment, OPTIONS.encode())
    assert (params.shim_id, params.namespace, params.address) == ("web", "ns", "/c.sock")
    assert (params.ttrpc_address, params.publish_binary) == ("/c.sock.ttrpc", "/bin/containerd")
    assert params.options is not None
    assert (params.options.binary_name, params.options.shim_cgroup) == ("crun", "/shims")
    assert params.answer == ADDRESS


def test_a_containerd_that_names_a_version_gets_json() -> None:
    params = parse_input(parse_flags(OLD), {"MAX_SHIM_VERSION": "2"}, b"")
    assert params.answer == JSON
    assert params.options is None
    answer = json.loads(encode_answer(JSON, "unix:///run/s/1"))
    assert answer == {"version": 2, "address": "unix:///run/s/1", "protocol": "ttrpc"}


def test_options_of_another_runtime_are_not_runcs() -> None:
    other = Any(type_url="runtimeoptions.v1.Options", value=b"\x0a\x01x").encode()
    assert parse_input(parse_flags(OLD), {}, other).options is None


def message(**changes: object) -> bytes:
    told = {
        "instance_id": "web",
        "namespace": "ns",
        "log_level": LOG_LEVEL_DEBUG,
        "containerd_version": "2.3.0",
        "containerd_ttrpc_address": "/new.ttrpc",
        "containerd_grpc_address": "/new.sock",
        "containerd_binary": "/bin/new",
        "extensions": [Extension(value=OPTIONS)],
        "socket_dir": "/run/short",
    }
    return BootstrapParams(**{**told, **changes}).encode()


@pytest.mark.parametrize("words", [OLD, ["start"]])
def test_the_new_protocol_is_one_message(words: list[str]) -> None:
    """Also once the flags are gone, which containerd has announced."""
    params = parse_input(parse_flags(words), {"MAX_SHIM_VERSION": "2", "TTRPC_ADDRESS": "/old"}, message())
    assert (params.shim_id, params.namespace, params.address) == ("web", "ns", "/new.sock")
    assert (params.ttrpc_address, params.publish_binary) == ("/new.ttrpc", "/bin/new")
    assert (params.debug, params.socket_dir, params.answer) == (True, "/run/short", MESSAGE)
    assert params.options is not None
    assert params.options.binary_name == "crun"


def test_a_message_about_another_container_is_not_believed() -> None:
    params = parse_input(parse_flags(OLD), {}, message(instance_id="other"))
    assert params.answer == ADDRESS


def test_an_answer_of_the_new_protocol_is_a_message() -> None:
    result = BootstrapResult.decode(encode_answer(MESSAGE, "unix:///run/s/1"))
    assert (result.version, result.address, result.protocol) == (3, "unix:///run/s/1", "ttrpc")


@pytest.mark.parametrize(
    "words", [["start"], ["-namespace", "ns", "start"], ["-namespace", "ns", "-id", "a/b", "start"]]
)
def test_a_start_without_namespace_or_id_is_refused(words: list[str]) -> None:
    with pytest.raises(InvalidArgument, match="say -"):
        parse_input(parse_flags(words), {}, b"")


@given(st.binary(max_size=200))
def test_any_input_is_understood_or_refused(data: bytes) -> None:
    try:
        params = parse_input(parse_flags(OLD), {}, data)
    except InvalidArgument:
        return
    assert params.shim_id == "web"


@given(st.lists(st.text(max_size=20), max_size=6))
def test_any_command_line_is_understood_or_refused(words: list[str]) -> None:
    try:
        parse_flags(words)
    except InvalidArgument:
        return
