"""Pods and containers made, started, changed, stopped and removed."""

from __future__ import annotations

from glob import escape, glob
from os import unlink

from cloche.cli.arguments import UsageError
from cloche.cli.crictl import configs
from cloche.cli.crictl.command import CrictlCommand
from cloche.cli.crictl.pulling import LOGIN, pull
from cloche.cli.crictl.settings import seconds
from cloche.cli.output import line, warn
from cloche.errors import ClocheError, FailedPrecondition
from cloche.wire.messages.cri import checkpoint, containers, pods, resources, status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cloche.cli.arguments import Group, Parsed, Row
    from cloche.cli.crictl.client import Client
    from cloche.wire.messages.cri.pod_config import PodSandboxConfig

_RUNTIME: Row = ("runtime", "r", "string", "Runtime handler; the daemon's configuration has them")
_CANCEL: Row = ("cancel-timeout", "T", "duration", "How long making it may take")
_PULL: tuple[Row, ...] = (
    ("no-pull", "", "bool", "Do not pull the image, whatever the configuration says"),
    ("with-pull", "", "bool", "Pull the image, whatever the configuration says"),
    *LOGIN,
)


def _runp(client: Client, flags: Parsed) -> None:
    line(_run_pod(client, configs.pod(flags.arguments[0]), flags))


def _run_pod(client: Client, config: PodSandboxConfig, flags: Parsed) -> str:
    request = pods.RunPodSandboxRequest(config=config, runtime_handler=flags.text("runtime") or "")
    pod: str = client.runtime(
        "RunPodSandbox", request, timeout_s=seconds(flags, "cancel-timeout")
    ).pod_sandbox_id
    return pod


def _create(client: Client, flags: Parsed) -> None:
    pod, container, config = flags.arguments
    pulls = _pulls(flags, default=client.settings.pull_on_create)
    line(
        _create_container(client, pod, configs.container(container), configs.pod(config), flags, pulls=pulls)
    )


def _create_container(
    client: Client,
    pod: str,
    config: containers.ContainerConfig,
    pod_config: PodSandboxConfig,
    flags: Parsed,
    *,
    pulls: bool,
) -> str:
    if pulls and config.image:
        names = [config.image.image, *(each.image.image for each in config.mounts if each.image)]
        for name in names:
            pull(client, flags, name, annotations=config.image.annotations, pod=pod_config)
    request = containers.CreateContainerRequest(pod_sandbox_id=pod, config=config, sandbox_config=pod_config)
    timeout_s = seconds(flags, "cancel-timeout")
    container: str = client.runtime("CreateContainer", request, timeout_s=timeout_s).container_id
    return container


def _run(client: Client, flags: Parsed) -> None:
    container, pod = configs.container(flags.arguments[0]), configs.pod(flags.arguments[1])
    pulls = _pulls(flags, default=client.settings.pull_on_run)
    made = _create_container(client, _run_pod(client, pod, flags), container, pod, flags, pulls=pulls)
    _start_one(client, made)


def _pulls(flags: Parsed, *, default: bool) -> bool:
    if flags.on("no-pull") and flags.on("with-pull"):
        raise UsageError("--no-pull and --with-pull are both given")
    return flags.on("with-pull") or (default and not flags.on("no-pull"))


def _start(client: Client, flags: Parsed) -> None:
    for identity in flags.arguments:
        _start_one(client, identity)


def _start_one(client: Client, identity: str) -> None:
    client.runtime("StartContainer", containers.StartContainerRequest(container_id=identity))
    line(identity)


def _stop(client: Client, flags: Parsed) -> None:
    ids = flags.arguments
    if flags.on("all"):
        if ids:
            raise UsageError("ids are given, and --all")
        running = containers.ContainerStateValue(state=containers.RUNNING)
        request = containers.ListContainersRequest(filter=containers.ContainerFilter(state=running))
        ids = [each.id for each in client.runtime("ListContainers", request).containers]
        if not ids:
            line("No running containers found.")
    elif not ids:
        raise UsageError("no ids are given, nor --all")
    for identity in ids:
        _stop_one(client, identity, flags.number("timeout") or 0)


def _stop_one(client: Client, identity: str, timeout: int) -> None:
    client.runtime("StopContainer", containers.StopContainerRequest(container_id=identity, timeout=timeout))
    line(identity)


def _rm(client: Client, flags: Parsed) -> int:
    ids = flags.arguments
    if flags.on("all"):
        found = client.runtime("ListContainers", containers.ListContainersRequest()).containers
        ids = [each.id for each in found]
    elif not ids:
        raise UsageError("no ids are given, nor --all")
    return _each(ids, "removing container", lambda identity: _remove_container(client, identity, flags))


def _remove_container(client: Client, identity: str, flags: Parsed) -> None:
    request = status.ContainerStatusRequest(container_id=identity)
    state = client.runtime("ContainerStatus", request).status
    if state.state == containers.RUNNING:
        if not flags.on("force"):
            raise FailedPrecondition("it is running: stop it first, or use --force")
        _stop_one(client, identity, 0)
    client.runtime("RemoveContainer", containers.RemoveContainerRequest(container_id=identity))
    line(identity)
    if state.log_path and not flags.on("keep-logs"):
        for path in (state.log_path, *glob(escape(state.log_path) + ".*")):
            try:
                unlink(path)
            except FileNotFoundError:
                continue
            except OSError as error:
                warn(f"the log {path} stays: {error.strerror}")


def _stopp(client: Client, flags: Parsed) -> None:
    for identity in flags.arguments:
        _stop_pod(client, identity)


def _stop_pod(client: Client, identity: str) -> None:
    client.runtime("StopPodSandbox", pods.StopPodSandboxRequest(pod_sandbox_id=identity))
    line(f"Stopped sandbox {identity}")


def _rmp(client: Client, flags: Parsed) -> int:
    ids = flags.arguments
    if flags.on("all"):
        ids = [each.id for each in client.runtime("ListPodSandbox", pods.ListPodSandboxRequest()).items]
    elif not ids:
        raise UsageError("no ids are given, nor --all")
    return _each(ids, "removing pod", lambda identity: _remove_pod(client, identity, flags))


def _remove_pod(client: Client, identity: str, flags: Parsed) -> None:
    request = pods.PodSandboxStatusRequest(pod_sandbox_id=identity)
    if client.runtime("PodSandboxStatus", request).status.state == pods.READY:
        if not flags.on("force"):
            raise FailedPrecondition("it is running: stop it first, or use --force")
        _stop_pod(client, identity)
    client.runtime("RemovePodSandbox", pods.RemovePodSandboxRequest(pod_sandbox_id=identity))
    line(f"Removed sandbox {identity}")


def _each(ids: Iterable[str], what: str, act: Callable[[str], None]) -> int:
    """Do something with every one, and say which of them failed; 1 where one did."""
    failed = 0
    for identity in ids:
        try:
            act(identity)
        except ClocheError as error:
            warn(f"{what} {identity}: {error}")
            failed = 1
    return failed


def _update(client: Client, flags: Parsed) -> None:
    limits = resources.LinuxContainerResources(
        cpu_period=flags.number("cpu-period") or 0,
        cpu_quota=flags.number("cpu-quota") or 0,
        cpu_shares=flags.number("cpu-share") or 0,
        memory_limit_in_bytes=flags.number("memory") or 0,
        oom_score_adj=flags.number("oom-score-adj") or 0,
        cpuset_cpus=flags.text("cpuset-cpus") or "",
        cpuset_mems=flags.text("cpuset-mems") or "",
    )
    for identity in flags.arguments:
        request = containers.UpdateContainerResourcesRequest(container_id=identity, linux=limits)
        client.runtime("UpdateContainerResources", request)
        line(identity)


def _checkpoint(client: Client, flags: Parsed) -> None:
    location = flags.text("export")
    if not location:
        raise UsageError("--export=/path/to/checkpoint.tar says where the checkpoint is to be written")
    for identity in flags.arguments:
        request = checkpoint.CheckpointContainerRequest(container_id=identity, location=location)
        client.runtime("CheckpointContainer", request)
        line(identity)


def _options(*rows: Row) -> tuple[Group, ...]:
    return (("Options", rows),)


_CONTAINERS, _PODS = "[OPTIONS] CONTAINER-ID [CONTAINER-ID...]", "[OPTIONS] POD-ID [POD-ID...]"
_ALL: Row = ("all", "a", "bool", "All of them")
_FORCE: Row = ("force", "f", "bool", "Also where it is running")
RUNP = CrictlCommand("[OPTIONS] POD-CONFIG", _runp, groups=_options(_CANCEL, _RUNTIME), minimum=1, maximum=1)
CREATE = CrictlCommand(
    "[OPTIONS] POD-ID CONTAINER-CONFIG POD-CONFIG",
    _create,
    groups=_options(_CANCEL, *_PULL),
    minimum=3,
    maximum=3,
)
RUN = CrictlCommand(
    "[OPTIONS] CONTAINER-CONFIG POD-CONFIG",
    _run,
    groups=_options(_CANCEL, _RUNTIME, *_PULL),
    minimum=2,
    maximum=2,
)
START = CrictlCommand(_CONTAINERS, _start, minimum=1, maximum=None)
STOP = CrictlCommand(
    _CONTAINERS,
    _stop,
    groups=_options(_ALL, ("timeout", "t", "int", "Seconds until it is killed")),
    maximum=None,
)
RM = CrictlCommand(
    _CONTAINERS,
    _rm,
    groups=_options(_ALL, _FORCE, ("keep-logs", "k", "bool", "Without its log")),
    maximum=None,
)
STOPP = CrictlCommand(_PODS, _stopp, minimum=1, maximum=None)
RMP = CrictlCommand(_PODS, _rmp, groups=_options(_ALL, _FORCE), maximum=None)
UPDATE = CrictlCommand(
    _CONTAINERS,
    _update,
    groups=_options(
        ("cpu-period", "", "int", "Length of a CFS period in microseconds"),
        ("cpu-quota", "", "int", "Processor time in a period, in microseconds"),
        ("cpu-share", "", "int", "Weight beside other containers"),
        ("cpuset-cpus", "", "string", "Processors it may use"),
        ("cpuset-mems", "", "string", "Memory nodes it may use"),
        ("memory", "", "int", "Limit of memory in bytes"),
        ("oom-score-adj", "", "int", "How likely it is killed when memory runs out"),
    ),
    minimum=1,
    maximum=None,
)
CHECKPOINT = CrictlCommand(
    _CONTAINERS,
    _checkpoint,
    groups=_options(("export", "e", "string", "Archive that is written")),
    minimum=1,
    maximum=None,
)
