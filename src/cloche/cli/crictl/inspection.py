"""`crictl inspect`, `inspectp`, `inspecti`, `imagefsinfo` and `info`: all that is known of one thing."""

from __future__ import annotations

from cloche.cli import human
from cloche.cli.arguments import UsageError
from cloche.cli.crictl import filters, showing
from cloche.cli.crictl.command import STATUS_OUTPUT, CrictlCommand
from cloche.cli.crictl.image_lists import FILTER, some_images
from cloche.cli.crictl.json_form import complete, document, plain
from cloche.cli.output import write
from cloche.cli.template_functions import text_of
from cloche.errors import NotFound
from cloche.wire.messages.cri import containers, images, pods, status, version

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from cloche.cli.arguments import Parsed, Row
    from cloche.cli.crictl.client import Client
    from cloche.wire.messages.cri.values import FilesystemUsage

_QUIET: Row = ("quiet", "q", "bool", "Without what the daemon adds of its own")
_FORMATS = ("json", "yaml", "go-template", "table")


def _inspect(client: Client, flags: Parsed) -> None:
    form = _format(flags)
    ids = flags.arguments or [each.id for each in filters.some_containers(client, flags)]
    found = []
    for identity in _some(ids):
        request = status.ContainerStatusRequest(container_id=identity, verbose=not flags.on("quiet"))
        answer = client.runtime("ContainerStatus", request)
        if form == "table":
            write(_container_text(answer, verbose=request.verbose))
        else:
            found.append({"status": _container(answer.status)} | showing.information(answer.info))
    showing.statuses(found, form, flags.text("template") or "")


def _container(state: status.ContainerStatus) -> dict[str, Any]:
    started = state.started_at if state.state != containers.CREATED else None
    over = state.state == containers.EXITED or (state.state == containers.UNKNOWN and state.finished_at > 0)
    return complete(state) | {
        "createdAt": showing.moment(state.created_at),
        "startedAt": showing.moment(started),
        "finishedAt": showing.moment(state.finished_at if over else None),
    }


def _container_text(answer: status.ContainerStatusResponse, *, verbose: bool) -> str:
    state = answer.status or status.ContainerStatus()
    lines = [f"ID: {state.id}"]
    if state.metadata and state.metadata.name:
        lines.append(f"Name: {state.metadata.name}")
    if state.metadata and state.metadata.attempt:
        lines.append(f"Attempt: {state.metadata.attempt}")
    lines += [f"State: {document(state)['state']}", f"Created: {showing.ago(state.created_at)}"]
    if state.state != containers.CREATED:
        lines.append(f"Started: {showing.ago(state.started_at)}")
    if state.state == containers.EXITED:
        if state.finished_at > 0:
            lines.append(f"Finished: {showing.ago(state.finished_at)}")
        lines.append(f"Exit Code: {state.exit_code}")
    tail = showing.labels("Labels", state.labels) + showing.labels("Annotations", state.annotations)
    return "\n".join(lines) + "\n" + tail + _verbose(answer.info, verbose=verbose)


def _inspectp(client: Client, flags: Parsed) -> None:
    form = _format(flags)
    ids = flags.arguments or [each.id for each in filters.some_pods(client, flags)]
    found = []
    for identity in _some(ids):
        request = pods.PodSandboxStatusRequest(pod_sandbox_id=identity, verbose=not flags.on("quiet"))
        answer = client.runtime("PodSandboxStatus", request)
        if form == "table":
            write(_pod_text(answer, verbose=request.verbose))
        else:
            state = complete(answer.status) | {"createdAt": showing.moment(answer.status.created_at)}
            found.append({"status": state} | showing.information(answer.info))
    showing.statuses(found, form, flags.text("template") or "")


def _pod_text(answer: pods.PodSandboxStatusResponse, *, verbose: bool) -> str:
    state = answer.status or pods.PodSandboxStatus()
    lines = [f"ID: {state.id}"]
    if state.metadata:
        told = {"Name": state.metadata.name, "UID": state.metadata.uid, "Namespace": state.metadata.namespace}
        lines += [f"{name}: {value}" for name, value in told.items() if value]
        lines.append(f"Attempt: {state.metadata.attempt}")
    lines += [f"Status: {document(state)['state']}", f"Created: {showing.go_moment(state.created_at)}"]
    if state.network:
        lines.append(f"IP Addresses: {state.network.ip}")
        lines += [f"Additional IP: {each.ip}" for each in state.network.additional_ips]
    tail = showing.labels("Labels", state.labels) + showing.labels("Annotations", state.annotations)
    return "\n".join(lines) + "\n" + tail + _verbose(answer.info, verbose=verbose)


def _inspecti(client: Client, flags: Parsed) -> None:
    form = _format(flags)
    ids = flags.arguments or [each.id for each in some_images(client, flags.text("name") or "", flags)]
    found = []
    for identity in _some(ids):
        request = images.ImageStatusRequest(
            image=images.ImageSpec(image=identity), verbose=not flags.on("quiet")
        )
        answer = client.images("ImageStatus", request)
        if answer.image is None:
            raise NotFound(f"no such image {identity!r}")
        if form == "table":
            write(_image_text(answer, verbose=request.verbose))
        else:
            found.append({"status": document(answer.image)} | showing.information(answer.info))
    showing.statuses(found, form, flags.text("template") or "")


def _image_text(answer: images.ImageStatusResponse, *, verbose: bool) -> str:
    image = answer.image or images.Image()
    lines = [f"ID: {image.id}", *(f"Tag: {tag}" for tag in image.repo_tags)]
    lines += [f"Digest: {digest}" for digest in image.repo_digests]
    lines.append(f"Size: {showing.size(image.size)}")
    return "\n".join(lines) + "\n" + _verbose(answer.info, verbose=verbose)


def _imagefsinfo(client: Client, flags: Parsed) -> None:
    form = _format(flags)
    answer = client.images("ImageFsInfo", images.ImageFsInfoRequest())
    if form == "table":
        write(_usages("Container", answer.container_filesystems))
        write(_usages("Image", answer.image_filesystems))
        return
    showing.statuses([{"status": document(answer)}], form, flags.text("template") or "")


def _usages(title: str, found: Sequence[FilesystemUsage]) -> str:
    lines = [f"{title} Filesystem "]
    for at, usage in enumerate(found):
        used = usage.used_bytes.value if usage.used_bytes else 0
        inodes = usage.inodes_used.value if usage.inodes_used else 0
        mountpoint = usage.fs_id.mountpoint if usage.fs_id else ""
        lines += [f"TimeStamp[{at}]: {usage.timestamp}", f"Disk[{at}]: {human.size(used)}"]
        lines += [f"Inodes[{at}]: {inodes}", f"Mountpoint[{at}]: {mountpoint}"]
    return "\n".join(lines) + "\n"


def _info(client: Client, flags: Parsed) -> None:
    form = showing.known_format(flags.text("output") or "json", *_FORMATS[:3])
    answer = client.runtime("Status", version.StatusRequest(verbose=not flags.on("quiet")))
    found: dict[str, Any] = {"status": document(answer.status)}
    if answer.runtime_handlers:
        found["runtimeHandlers"] = [plain(each) for each in answer.runtime_handlers]
    if answer.features is not None:
        found["features"] = plain(answer.features)
    found |= showing.information(answer.info)
    showing.statuses([found], form, flags.text("template") or "")


def _format(flags: Parsed) -> str:
    form = showing.known_format(flags.text("output") or "json", *_FORMATS)
    if form == "go-template" and not flags.text("template"):
        raise UsageError("-o go-template needs --template")
    return form


def _some(ids: list[str]) -> list[str]:
    if not ids:
        raise UsageError("no ids, and nothing that the flags mean")
    return ids


def _verbose(info: Any, *, verbose: bool) -> str:
    return f"Info: {text_of(dict(info))}\n" if verbose else ""


_OPTIONS = ("Options", (*STATUS_OUTPUT, _QUIET))
INSPECT = CrictlCommand(
    "[OPTIONS] [CONTAINER-ID...]", _inspect, groups=(_OPTIONS, ("Filters", filters.CONTAINERS)), maximum=None
)
INSPECTP = CrictlCommand(
    "[OPTIONS] [POD-ID...]", _inspectp, groups=(_OPTIONS, ("Filters", filters.PODS)), maximum=None
)
INSPECTI = CrictlCommand(
    "[OPTIONS] [IMAGE-ID...]",
    _inspecti,
    groups=(_OPTIONS, ("Filters", (("name", "", "string", "Those of a name"), FILTER))),
    maximum=None,
)
IMAGEFSINFO = CrictlCommand("[OPTIONS]", _imagefsinfo, groups=(("Options", STATUS_OUTPUT),))
INFO = CrictlCommand("[OPTIONS]", _info, groups=(_OPTIONS,))
