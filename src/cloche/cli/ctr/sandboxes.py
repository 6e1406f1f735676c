"""`ctr sandboxes`: pods, by runtimes that know of them."""

from __future__ import annotations

from cloche.cli.ctr import values
from cloche.cli.ctr.command import CtrCommand, Invocation
from cloche.cli.ctr.flags import RUNC
from cloche.cli.ctr.tabs import aligned
from cloche.cli.output import line, warn, write, write_bytes
from cloche.errors import ClocheError, NotFound
from cloche.spec.document import dumps, dumps_indented, load_file, loads
from cloche.wire.messages import sandboxes as messages
from cloche.wire.messages import types
from cloche.wire.messages.google import Any
from cloche.wire.messages.sandboxes import CONTROLLER, STORE

_SPEC_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/Spec"


def _run(invocation: Invocation) -> None:
    path, name = invocation.arguments
    spec = Any(type_url=_SPEC_TYPE, value=dumps(load_file(path)))
    runtime = types.SandboxRuntime(name=invocation.text("runtime") or RUNC)
    sandbox = types.Sandbox(sandbox_id=name, runtime=runtime, spec=spec)
    daemon = invocation.daemon
    made = daemon.ask(STORE, "Create", messages.StoreCreateRequest(sandbox=sandbox)).sandbox
    try:
        daemon.ask(CONTROLLER, "Create", messages.ControllerCreateRequest(sandbox_id=name, sandbox=made))
        daemon.ask(CONTROLLER, "Start", messages.ControllerStartRequest(sandbox_id=name))
    except BaseException:
        daemon.find(STORE, "Delete", messages.StoreDeleteRequest(sandbox_id=name))
        raise
    line(name)


def _list(invocation: Invocation) -> None:
    request = messages.StoreListRequest(filters=invocation.all("filters"))
    found = invocation.daemon.ask(STORE, "List", request).list
    rows = [
        f"{each.sandbox_id}\t{values.go_time(each.created_at)}\t{each.runtime.name if each.runtime else ''}\t"
        for each in found
    ]
    write(aligned(["ID\tCREATED\tRUNTIME\t", *rows]))


def _remove(invocation: Invocation) -> None:
    daemon = invocation.daemon
    for name in invocation.arguments:
        try:
            daemon.ask(STORE, "Get", messages.StoreGetRequest(sandbox_id=name))
            try:
                daemon.ask(CONTROLLER, "Stop", messages.ControllerStopRequest(sandbox_id=name))
            except NotFound:
                pass
            except ClocheError as error:
                warn(f"failed to stop sandbox {name}: {error}")
                if not invocation.on("force"):
                    continue
            daemon.find(CONTROLLER, "Shutdown", messages.ControllerShutdownRequest(sandbox_id=name))
            daemon.find(STORE, "Delete", messages.StoreDeleteRequest(sandbox_id=name))
        except ClocheError as error:
            warn(f"failed to remove sandbox {name}: {error}")
        else:
            warn(f"deleted: {name}")


def _info(invocation: Invocation) -> None:
    request = messages.StoreGetRequest(sandbox_id=invocation.argument(0))
    found: types.Sandbox = invocation.daemon.ask(STORE, "Get", request).sandbox
    runtime = found.runtime or types.SandboxRuntime()
    shown = {
        "ID": found.sandbox_id,
        "Labels": dict(sorted(found.labels.items())),
        "Runtime": {
            "Name": runtime.name,
            "Options": values.document(runtime.options) if runtime.options else None,
        },
        "Spec": loads(found.spec.value, "spec") if found.spec else None,
        "Sandboxer": found.sandboxer,
        "CreatedAt": values.moment(found.created_at),
        "UpdatedAt": values.moment(found.updated_at),
        "Extensions": {key: values.document(each) for key, each in sorted(found.extensions.items())},
    }
    write_bytes(dumps_indented(shown))


RUN = CtrCommand(
    "[OPTIONS] CONFIG ID",
    _run,
    groups=(("Options", (("runtime", "", "string", f"Runtime (default {RUNC})"),)),),
    minimum=2,
    maximum=2,
)
LIST = CtrCommand(
    "[OPTIONS]", _list, groups=(("Options", (("filters", "", "list", "Only what this matches"),)),)
)
REMOVE = CtrCommand(
    "[OPTIONS] ID [ID...]",
    _remove,
    groups=(("Options", (("force", "f", "bool", "Also where it cannot be stopped"),)),),
    maximum=None,
)
INFO = CtrCommand("ID", _info, minimum=1, maximum=1)
