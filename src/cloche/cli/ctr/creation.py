"""Making a container: its snapshot, its config.json, and the row that holds both together."""

from __future__ import annotations

import os

from cloche.api.mounts import from_messages
from cloche.cli.arguments import UsageError
from cloche.cli.ctr import specification, values
from cloche.cli.ctr.flags import runtime_options
from cloche.cli.ctr.image_content import Documents, get, platform_of
from cloche.cli.ctr.leases import Leased
from cloche.cli.ctr.snapshots import used
from cloche.cli.ctr.specification_limits import mappings
from cloche.cli.ctr.unpack import unpack
from cloche.kernel import passwd
from cloche.spec.document import dumps, load_file
from cloche.wire.messages import containers as messages
from cloche.wire.messages import snapshots
from cloche.wire.messages.containers import CONTAINERS
from cloche.wire.messages.google import Any
from cloche.wire.messages.snapshots import SNAPSHOTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any as Anything

    from cloche.cli.ctr.command import Invocation
    from cloche.kernel.passwd import Identity
    from cloche.spec.image_config import ImageConfig
    from cloche.wire.messages.types import Mount

SPEC_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/Spec"
STOP_SIGNAL = "io.containerd.image.config.stop-signal"
_LABEL_BYTES = 4096


class Files:
    """A container's root file system, opened when somebody has to be looked up in it."""

    def __init__(self, mounts: Sequence[Mount], path: str = "") -> None:
        """path: where it is, instead of the mounts."""
        self._mounts = mounts
        self._path = path

    def find(self, user: str) -> Identity:
        """Who a user is. Raises NotFound, InvalidArgument."""
        if self._path:
            root = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        else:
            from cloche.kernel.mounts import assemble

            root = assemble(from_messages(self._mounts))
        try:
            return passwd.lookup(root, user)
        finally:
            os.close(root)


def name_of(invocation: Invocation) -> str:
    """The container's id on a command line. Raises UsageError where there is none."""
    if invocation.given("config"):
        if len(invocation.arguments) > 1:
            raise UsageError("with --config, the container's id is the only argument")
        name = invocation.argument(0)
    else:
        if not invocation.argument(0):
            raise UsageError("an image is needed, by its name")
        name = invocation.argument(1)
    if not name:
        raise UsageError("a container id is needed")
    return name


def create(invocation: Invocation, *, shares: int = 0) -> messages.Container:
    """Make the container that a command line describes; nothing runs yet."""
    name = name_of(invocation)
    runtime, options = runtime_options(invocation)
    labels, annotations = values.labels(invocation.all("label")), _annotations(invocation)
    made = messages.Container(
        id=name,
        labels=labels,
        runtime=messages.ContainerRuntime(name=runtime, options=options),
        sandbox=invocation.text("sandbox"),
    )
    with Leased(invocation.daemon):
        if invocation.given("config"):
            config = load_file(invocation.text("config"))
        elif invocation.on("rootfs"):
            files = Files((), os.path.abspath(invocation.argument(0)))
            config = specification.build(invocation, name, invocation.arguments[2:], None, shares=shares)
            specification.identify(invocation, config, None, files.find)
        else:
            config = _of_image(invocation, made, shares)
        specification.annotated(config, annotations | labels)
        made.spec = Any(type_url=SPEC_TYPE, value=dumps(config))
        request = messages.CreateContainerRequest(container=made)
        container: messages.Container = invocation.daemon.ask(CONTAINERS, "Create", request).container
    return container


def _of_image(invocation: Invocation, made: messages.Container, shares: int) -> dict[str, Anything]:
    """Prepare the snapshot, complete the row, and return the configuration."""
    daemon, snapshotter = invocation.daemon, used(invocation)
    image = get(daemon, invocation.argument(0))
    chosen = Documents(daemon).choose(image, platform_of(invocation.text("platform")))
    # Before anything is made: what the flags say may make no sense.
    config = specification.build(invocation, made.id, invocation.arguments[2:], chosen.config, shares=shares)
    unpack(daemon, snapshotter, chosen, sync_fs=invocation.on("sync-fs"))
    made.image, made.snapshotter, made.snapshot_key = image.name, snapshotter, made.id
    made.labels = {**_labels(chosen.config, image.labels), **made.labels}
    request = snapshots.PrepareSnapshotRequest(
        snapshotter=snapshotter,
        key=made.id,
        parent=chosen.chain_id,
        labels=values.labels(invocation.all("snapshotter-label")) | _remapping(invocation),
    )
    files = Files(daemon.ask(SNAPSHOTS, "Prepare", request).mounts)
    try:
        specification.identify(invocation, config, chosen.config, files.find)
    except BaseException:
        remove = snapshots.RemoveSnapshotRequest(snapshotter=snapshotter, key=made.id)
        daemon.find(SNAPSHOTS, "Remove", remove)
        raise
    return config


def _labels(config: ImageConfig, of_image: Mapping[str, str]) -> dict[str, str]:
    found = {**config.labels, **of_image}
    fitting = {key: value for key, value in found.items() if len(key) + len(value) <= _LABEL_BYTES}
    return fitting | {STOP_SIGNAL: config.stop_signal or "SIGTERM"}


def _remapping(invocation: Invocation) -> dict[str, str]:
    """Labels that have the snapshotter shift the ids of the files, as the user namespace does."""
    found = {}
    for flag in ("uidmap", "gidmap"):
        ranges = mappings(invocation, flag)
        if ranges:
            texts = (f"{each['containerID']}:{each['hostID']}:{each['size']}" for each in ranges)
            found[f"containerd.io/snapshot/{flag}ping"] = ",".join(texts)
    return found if len(found) == 2 else {}


def _annotations(invocation: Invocation) -> dict[str, str]:
    found = {}
    for text in invocation.all("annotation"):
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--annotation {text}: is not KEY=VALUE")
        found[key] = value
    return found
