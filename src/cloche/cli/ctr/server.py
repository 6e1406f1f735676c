"""`ctr version`, `info`, `events` and `deprecations`: the daemon itself."""

from __future__ import annotations

from cloche import __version__
from cloche.cli.ctr import values
from cloche.cli.ctr.command import CtrCommand, Invocation
from cloche.cli.ctr.tabs import aligned
from cloche.cli.output import warn, write, write_bytes
from cloche.spec.document import dumps_indented
from cloche.wire.messages.google import Empty
from cloche.wire.messages.introspection import INTROSPECTION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cloche.wire.messages.types import Envelope


def _version(invocation: Invocation) -> None:
    import sys

    from cloche.wire.messages.version import VERSION as VERSION_SERVICE

    python = ".".join(str(part) for part in sys.version_info[:3])
    write(f"Client:\n  Version:  {__version__}\n  Revision: cloche\n  Python version: {python}\n\n")
    said = invocation.daemon.ask(VERSION_SERVICE, "Version", Empty())
    server = invocation.daemon.ask(INTROSPECTION, "Server", Empty())
    write(f"Server:\n  Version:  {said.version}\n  Revision: {said.revision}\n  UUID: {server.uuid}\n")
    if said.version != __version__:
        warn(f"the daemon is another version ({said.version}) than this client ({__version__})")


def _info(invocation: Invocation) -> None:
    server = values.document(invocation.daemon.ask(INTROSPECTION, "Server", Empty()))
    write_bytes(dumps_indented({"server": server}))


def _deprecations(invocation: Invocation) -> None:
    found = invocation.daemon.ask(INTROSPECTION, "Server", Empty()).deprecations
    if not found:
        return
    if invocation.text("format") == "json":
        rows: list[Any] = [
            {"id": each.id, "message": each.message, "lastOccurrence": values.moment(each.last_occurrence)}
            for each in found
        ]
        write_bytes(dumps_indented(rows))
        return
    lines = [f"{each.id}\t{values.moment(each.last_occurrence)}\t{each.message}" for each in found]
    write(aligned(["ID\tLAST OCCURRENCE\tMESSAGE\t", *lines], least=4, padding=4))


def _events(invocation: Invocation) -> None:
    from cloche.wire.messages.event_service import EVENTS as EVENTS_SERVICE
    from cloche.wire.messages.event_service import SubscribeRequest

    request = SubscribeRequest(filters=invocation.arguments)
    for envelope in invocation.daemon.stream(EVENTS_SERVICE, "Subscribe", request):
        write(_line_of(envelope))


def _line_of(envelope: Envelope) -> str:
    from cloche.spec.document import dumps

    told = ""
    if envelope.event is not None:
        kinds = _kinds()
        kind = kinds.get(envelope.event.type_name)
        if kind is None:
            warn(f"an event of type {envelope.event.type_name} is not known here")
            return ""
        told = dumps(values.document(kind.decode(envelope.event.value))).decode()
    return f"{values.go_time(envelope.timestamp)} {envelope.namespace} {envelope.topic} {told}\n"


def _kinds() -> dict[str, Any]:
    from cloche.wire.messages import events, metadata_events
    from cloche.wire.protobuf import Message

    found = {}
    for module in (events, metadata_events):
        for each in vars(module).values():
            if isinstance(each, type) and issubclass(each, Message) and each is not Message:
                found[each.FULL_NAME] = each
    return found


VERSION = CtrCommand("", _version)
INFO = CtrCommand("", _info)
EVENTS = CtrCommand("[FILTER...]", _events, maximum=None)
DEPRECATIONS = CtrCommand(
    "[OPTIONS]",
    _deprecations,
    groups=(("Options", (("format", "", "string", "How to print them: default or json"),)),),
)
