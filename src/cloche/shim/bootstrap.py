"""What `start` is told and how it answers: containerd's protocols, old and new, as values.

Up to containerd 2.2 facts come as flags and environment, with the runtime's options alone on
standard input, and the answer is an address (1.6) or a JSON object (from 1.7). From 2.3 on one
message holds it all and one message answers; flags and environment are still there beside it.
"""

from __future__ import annotations

from cloche.errors import InvalidArgument
from cloche.spec.document import dumps
from cloche.spec.record import Record
from cloche.wire.messages.bootstrap import LOG_LEVEL_DEBUG, BootstrapParams, BootstrapResult
from cloche.wire.messages.google import Any
from cloche.wire.messages.runc_options import Options
from cloche.wire.protobuf import DecodeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

REST = "CLOCHE_SHIM_REST"
"""In the environment of `start`: how many seconds a worker waits for something to do, at least."""
GUARDED = "CLOCHE_SHIM_GUARDED"
"""Likewise: not empty where a shim that is killed shall go on, since it is looked for again."""

ADDRESS, JSON, MESSAGE = "address", "json", "message"
"""The forms of an answer."""

_TEXT_FLAGS = ("namespace", "id", "address", "publish-binary", "bundle", "socket", "debug-socket")
_SWITCHES = ("debug", "v", "version", "info")


class Flags(Record):
    """A command line of containerd's. action: "start", "delete" or ""."""

    texts: Mapping[str, str]
    switches: frozenset[str]
    action: str


class Params(Record):
    """What a shim is to be, whichever protocol said it.

    answer: the form of the answer. options: the runtime's, None where none were given.
    socket_dir: "" for containerd's usual one.
    """

    shim_id: str
    namespace: str
    address: str
    ttrpc_address: str
    publish_binary: str
    debug: bool
    socket_dir: str
    options: Options | None
    answer: str


def parse_flags(words: Sequence[str]) -> Flags:
    """Read a command line as Go's flag package does: one dash or two, `-name value` or `-name=value`.

    words: without the program. Raises InvalidArgument for a flag that shims do not have.
    """
    texts: dict[str, str] = {}
    switches = set()
    position = 0
    while position < len(words) and words[position][:1] == "-" and words[position] != "-":
        word = words[position]
        position += 1
        if word == "--":
            break
        name, equals, value = word.lstrip("-").partition("=")
        if name in _SWITCHES:
            if value.lower() not in ("false", "f", "0"):
                switches.add(name)
            continue
        if name not in _TEXT_FLAGS:
            raise InvalidArgument(f"flag provided but not defined: {word.partition('=')[0]}")
        if not equals:
            if position == len(words):
                raise InvalidArgument(f"flag needs an argument: {word}")
            value = words[position]
            position += 1
        texts[name] = value
    return Flags(texts, frozenset(switches), words[position] if position < len(words) else "")


def parse_input(flags: Flags, environment: Mapping[str, str], data: bytes) -> Params:
    """What `start` was told. data: the whole standard input.

    Raises InvalidArgument where the namespace or the id is missing, or the input is of neither protocol.
    """
    params = _new_protocol(flags, data) or _old_protocol(flags, environment, data)
    if not params.namespace:
        raise InvalidArgument("shim namespace cannot be empty: say -namespace")
    if not params.shim_id or "/" in params.shim_id:
        raise InvalidArgument(f"{params.shim_id!r} is no id of a task: say -id")
    return params


def _new_protocol(flags: Flags, data: bytes) -> Params | None:
    """None where the input is not of the new protocol.

    Options alone would read as a message, too, with other meanings: so the id must be the flag's
    (whose absence means that the old protocol is gone for good).
    """
    if not data:
        return None
    try:
        told = BootstrapParams.decode(data)
    except DecodeError:
        return None
    if told.instance_id != flags.texts.get("id", told.instance_id):
        return None
    if told.namespace != flags.texts.get("namespace", told.namespace):
        return None
    return Params(
        told.instance_id,
        told.namespace,
        told.containerd_grpc_address,
        told.containerd_ttrpc_address,
        told.containerd_binary,
        told.log_level <= LOG_LEVEL_DEBUG,
        told.socket_dir or "",
        find_options([extension.value for extension in told.extensions if extension.value]),
        MESSAGE,
    )


def _old_protocol(flags: Flags, environment: Mapping[str, str], data: bytes) -> Params:
    return Params(
        flags.texts.get("id", ""),
        flags.texts.get("namespace") or environment.get("NAMESPACE", ""),
        flags.texts.get("address") or environment.get("GRPC_ADDRESS", ""),
        environment.get("TTRPC_ADDRESS", ""),
        flags.texts.get("publish-binary", ""),
        "debug" in flags.switches,
        "",
        find_options([packed_options(data)] if data else []),
        JSON if "MAX_SHIM_VERSION" in environment else ADDRESS,
    )


def packed_options(data: bytes) -> Any:
    """Options of some kind of runtime, as they come on standard input. Raises InvalidArgument."""
    try:
        return Any.decode(data)
    except DecodeError as error:
        raise InvalidArgument(f"the options on standard input are no protobuf message: {error}") from None


def find_options(packed: Sequence[Any]) -> Options | None:
    """runc's options among those of other kinds. Raises InvalidArgument where they cannot be read."""
    for each in packed:
        if each.type_name == Options.FULL_NAME:
            try:
                return Options.decode(each.value)
            except DecodeError as error:
                raise InvalidArgument(f"{each.type_name} on standard input: {error}") from None
    return None


def encode_answer(form: str, address: str) -> bytes:
    """What `start` prints. address: "unix://PATH".

    1.7 refuses a version above 2, and whoever takes a message knows version 3.
    """
    if form == MESSAGE:
        return BootstrapResult(version=3, address=address, protocol="ttrpc").encode()
    if form == JSON:
        return dumps({"version": 2, "address": address, "protocol": "ttrpc"})
    return address.encode()
