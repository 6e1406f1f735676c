"""`ctr content prune references`: layers that are unpacked need not stay packed as well."""

from __future__ import annotations

from cloche.cli.arguments import UsageError
from cloche.cli.ctr import leases
from cloche.cli.ctr.command import CtrCommand, Invocation
from cloche.cli.output import line
from cloche.wire.messages import content as messages
from cloche.wire.messages.content import CONTENT
from cloche.wire.messages.google import FieldMask
from cloche.wire.messages.leases import LEASES, DeleteRequest

_REFERS_TO = "containerd.io/gc.ref.content."
_HOUR_S = 3600.0


def _prune(invocation: Invocation) -> None:
    if invocation.arguments != ["references"]:
        raise UsageError("what to prune: references")
    daemon = invocation.daemon
    for answer in list(daemon.stream(CONTENT, "List", messages.ListContentRequest())):
        for each in answer.info:
            gone = [key for key in each.labels if _is_of_layer(key)]
            if invocation.on("dry"):
                for key in gone:
                    line(f"{each.digest} {key}={each.labels[key]}")
            elif gone:
                kept = {key: value for key, value in each.labels.items() if key not in gone}
                changed = messages.Info(digest=each.digest, labels=kept)
                mask = FieldMask(paths=[f"labels.{key}" for key in gone])
                daemon.ask(CONTENT, "Update", messages.UpdateRequest(info=changed, update_mask=mask))
    if not invocation.on("dry"):
        # The end of a lease is what has the daemon collect, and answer when it has.
        lease = leases.make(daemon, "", {}, _HOUR_S)
        daemon.ask(LEASES, "Delete", DeleteRequest(id=lease, sync=not invocation.on("async")))


def _is_of_layer(key: str) -> bool:
    """Whether a label holds a layer: `l.N`, or a bare number above the config's 0 as it once was."""
    if not key.startswith(_REFERS_TO):
        return False
    word = key.removeprefix(_REFERS_TO)
    return word.startswith("l.") or (word.isdigit() and word != "0")


_FLAGS = (
    ("async", "", "bool", "Do not wait for the collection"),
    ("dry", "", "bool", "Only show which labels would go"),
)

PRUNE = CtrCommand("references [OPTIONS]", _prune, groups=(("Options", _FLAGS),), minimum=1, maximum=1)
