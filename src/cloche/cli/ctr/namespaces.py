"""`ctr namespaces`: what separates the daemon's users from each other."""

from __future__ import annotations

from cloche.cli.ctr import values
from cloche.cli.ctr.command import CtrCommand, Invocation
from cloche.cli.ctr.tabs import aligned
from cloche.cli.output import line, warn, write
from cloche.errors import ClocheError, NotFound
from cloche.wire.messages import namespaces as messages
from cloche.wire.messages.google import FieldMask
from cloche.wire.messages.namespaces import NAMESPACES


def _create(invocation: Invocation) -> None:
    name, *words = invocation.arguments
    made = messages.Namespace(name=name, labels=values.labels(words))
    invocation.daemon.ask(NAMESPACES, "Create", messages.CreateNamespaceRequest(namespace=made))


def _label(invocation: Invocation) -> None:
    name, *words = invocation.arguments
    for key, value in values.labels(words).items():
        changed = messages.Namespace(name=name, labels={key: value})
        mask = FieldMask(paths=[f"labels.{key}"])
        invocation.daemon.ask(
            NAMESPACES, "Update", messages.UpdateNamespaceRequest(namespace=changed, update_mask=mask)
        )


def _list(invocation: Invocation) -> None:
    found = invocation.daemon.ask(NAMESPACES, "List", messages.ListNamespacesRequest()).namespaces
    if invocation.on("quiet"):
        write("".join(f"{each.name}\n" for each in found))
        return
    rows = [f"{each.name}\t{values.shown(each.labels)}\t" for each in found]
    write(aligned(["NAME\tLABELS\t", *rows]))


def _remove(invocation: Invocation) -> int:
    failed = 0
    for name in invocation.arguments:
        try:
            invocation.daemon.ask(NAMESPACES, "Delete", messages.DeleteNamespaceRequest(name=name))
        except NotFound:
            pass
        except ClocheError as error:
            warn(f"unable to delete {name}: {error}")
            failed = 1
            continue
        line(name)
    return failed


_QUIET = (("Options", (("quiet", "q", "bool", "Only the names"),)),)

CREATE = CtrCommand("NAME [KEY=VALUE...]", _create, minimum=1, maximum=None)
LABEL = CtrCommand("NAME [KEY=VALUE...]", _label, minimum=1, maximum=None)
LIST = CtrCommand("[OPTIONS]", _list, groups=_QUIET)
REMOVE = CtrCommand(
    "NAME [NAME...]",
    _remove,
    groups=(("Options", (("cgroup", "c", "bool", "Of its cgroup too, which is not made here"),)),),
    maximum=None,
)
