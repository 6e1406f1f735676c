"""`ctr content`: blobs of a namespace."""

from __future__ import annotations

import os

from cloche.cli.ctr import blobs, values
from cloche.cli.ctr.command import CtrCommand, Invocation
from cloche.cli.ctr.tabs import aligned
from cloche.cli.human import size
from cloche.cli.output import line, warn, write, write_bytes
from cloche.errors import ClocheError, NotFound
from cloche.spec import digest as digests
from cloche.wire.messages import content as messages
from cloche.wire.messages.content import CONTENT
from cloche.wire.messages.google import FieldMask


def _list(invocation: Invocation) -> None:
    request = messages.ListContentRequest(filters=invocation.arguments)
    lines = ["DIGEST\tSIZE\tAGE\tLABELS"]
    for answer in invocation.daemon.stream(CONTENT, "List", request):
        for each in answer.info:
            if invocation.on("quiet"):
                line(each.digest)
                continue
            labels = values.shown(each.labels, empty="-")
            lines.append(f"{each.digest}\t{size(each.size)}\t{values.age(each.created_at)}\t{labels}")
    if not invocation.on("quiet"):
        write(aligned(lines, filler="\t"))


def _active(invocation: Invocation) -> None:
    filters = [f"ref~={invocation.argument(0)}"] if invocation.argument(0) else []
    found = invocation.daemon.ask(CONTENT, "ListStatuses", messages.ListStatusesRequest(filters=filters))
    lines = [f"{each.ref}\t{size(each.offset)}\t{values.age(each.started_at)}\t" for each in found.statuses]
    write(aligned(["REF\tSIZE\tAGE\t", *lines], filler="\t"))


def _get(invocation: Invocation) -> None:
    for data in blobs.pieces(invocation.daemon, digests.validate(invocation.argument(0))):
        write_bytes(data)


def _ingest(invocation: Invocation) -> None:
    expected = invocation.text("expected-digest")
    if expected:
        digests.validate(expected)
    blobs.store(
        invocation.daemon,
        invocation.argument(0),
        lambda count: os.read(0, count),
        digest=expected,
        size=invocation.number("expected-size"),
    )


def _delete(invocation: Invocation) -> int:
    failed = 0
    for digest in invocation.arguments:
        try:
            request = messages.DeleteContentRequest(digest=digests.validate(digest))
            invocation.daemon.ask(CONTENT, "Delete", request)
        except NotFound:
            continue
        except ClocheError as error:
            warn(f"could not delete {digest}: {error}")
            failed = 1
            continue
        line(digest)
    return failed


def _label(invocation: Invocation) -> None:
    digest, *words = invocation.arguments
    changes = values.labels(words)
    if changes:
        changed = messages.Info(
            digest=digests.validate(digest), labels={key: value for key, value in changes.items() if value}
        )
        mask = FieldMask(paths=[f"labels.{key}" for key in changes])
        request = messages.UpdateRequest(info=changed, update_mask=mask)
        found = invocation.daemon.ask(CONTENT, "Update", request).info
    else:
        found = invocation.daemon.ask(CONTENT, "Info", messages.InfoRequest(digest=digest)).info
    line(values.shown(found.labels))


_EXPECTED = (
    ("expected-digest", "", "string", "What its digest must be"),
    ("expected-size", "", "int", "How many bytes it must have"),
)

LIST = CtrCommand(
    "[OPTIONS] [FILTER...]",
    _list,
    groups=(("Options", (("quiet", "q", "bool", "Only the digests"),)),),
    maximum=None,
)
ACTIVE = CtrCommand(
    "[REGEXP]",
    _active,
    groups=(("Options", (("root", "", "string", ""), ("timeout", "t", "duration", ""))),),
    maximum=1,
)
GET = CtrCommand("DIGEST", _get, minimum=1, maximum=1)
INGEST = CtrCommand("[OPTIONS] REF", _ingest, groups=(("Options", _EXPECTED),), minimum=1, maximum=1)
DELETE = CtrCommand("DIGEST [DIGEST...]", _delete, maximum=None)
LABEL = CtrCommand("DIGEST [KEY=VALUE...]", _label, minimum=1, maximum=None)
