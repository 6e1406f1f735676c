"""`crictl ps` and `crictl pods`."""

from __future__ import annotations

from cloche.cli.crictl import filters, showing
from cloche.cli.crictl.command import OUTPUT, CrictlCommand
from cloche.cli.crictl.json_form import document
from cloche.cli.output import line, write
from cloche.wire.messages.cri import containers, images, pods

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.cli.arguments import Parsed, Row
    from cloche.cli.crictl.client import Client

_SHARED: tuple[Row, ...] = (
    ("id", "", "string", "The one with an id"),
    ("no-trunc", "", "bool", "Ids at full length"),
    ("quiet", "q", "bool", "Only ids"),
    ("verbose", "v", "bool", "All that a list knows"),
    OUTPUT,
)


def _ps(client: Client, flags: Parsed) -> None:
    form = showing.known_format(flags.text("output") or "table", "json", "yaml", "table")
    found = filters.some_containers(client, flags)
    if form != "table":
        showing.message_text(document(containers.ListContainersResponse(containers=found)), form)
    elif flags.on("quiet"):
        write("".join(f"{each.id}\n" for each in found))
    elif flags.on("verbose"):
        write("".join(_container(each) for each in found))
    else:
        headers = ["CONTAINER", "IMAGE", "CREATED", "STATE", "NAME", "ATTEMPT", "POD ID", "POD", "NAMESPACE"]
        showing.table([headers, *(_container_row(client, each, flags) for each in found)])


def _container_row(client: Client, container: containers.Container, flags: Parsed) -> list[str]:
    image = container.image.image if container.image else ""
    identity, pod = container.id, container.pod_sandbox_id
    if not flags.on("no-trunc"):
        identity, pod = showing.short(identity), showing.short(pod)
        # The kubelet asks for images by their ids.
        image = showing.short(image) if image.startswith("sha256:") else image
    if flags.on("resolve-image-path"):
        request = images.ImageStatusRequest(image=images.ImageSpec(image=image))
        known = client.images("ImageStatus", request).image
        image = known.repo_tags[0] if known and known.repo_tags else image
    metadata = container.metadata or containers.ContainerMetadata()
    return [
        *(identity, image, showing.ago(container.created_at), showing.STATES[container.state]),
        *(metadata.name, str(metadata.attempt), pod),
        container.labels.get(filters.NAME, "unknown"),
        container.labels.get(filters.NAMESPACE, "unknown"),
    ]


def _container(container: containers.Container) -> str:
    namespace = container.labels.get(filters.NAMESPACE, "unknown")
    lines = [f"ID: {container.id}", f"PodID: {container.pod_sandbox_id}", f"Namespace: {namespace}"]
    if container.metadata:
        lines += [f"Name: {container.metadata.name}", f"Attempt: {container.metadata.attempt}"]
    lines.append(f"State: {showing.STATES[container.state]}")
    if container.image:
        lines.append(f"Image: {container.image.image}")
    lines.append(f"Created: {showing.ago(container.created_at)}")
    tail = showing.labels("Labels", container.labels) + showing.labels("Annotations", container.annotations)
    return "\n".join(lines) + f"\n{tail}\n"


def _pods(client: Client, flags: Parsed) -> None:
    form = showing.known_format(flags.text("output") or "table", "json", "yaml", "table")
    found = filters.some_pods(client, flags)
    if form != "table":
        showing.message_text(document(pods.ListPodSandboxResponse(items=found)), form)
    elif flags.on("quiet"):
        write("".join(f"{each.id}\n" for each in found))
    elif flags.on("verbose"):
        for each in found:
            line(_pod(each))
    else:
        headers = ["POD ID", "CREATED", "STATE", "NAME", "NAMESPACE", "ATTEMPT", "RUNTIME"]
        showing.table([headers, *(_pod_row(each, flags) for each in found)])


def _pod_row(pod: pods.PodSandbox, flags: Parsed) -> list[str]:
    metadata = pod.metadata
    assert metadata is not None  # noqa: S101  # a list has no others: see filters
    return [
        pod.id if flags.on("no-trunc") else showing.short(pod.id),
        showing.ago(pod.created_at),
        showing.POD_STATES[pod.state],
        metadata.name,
        metadata.namespace,
        str(metadata.attempt),
        pod.runtime_handler or "(default)",
    ]


def _pod(pod: pods.PodSandbox) -> str:
    lines = [f"ID: {pod.id}"]
    if pod.metadata:
        lines += [f"Name: {pod.metadata.name}", f"UID: {pod.metadata.uid}"]
        lines.append(f"Namespace: {pod.metadata.namespace}")
        if pod.metadata.attempt:
            lines.append(f"Attempt: {pod.metadata.attempt}")
    lines.append(f"Status: {showing.POD_STATES[pod.state]}")
    lines.append(f"Created: {showing.go_moment(pod.created_at)}")
    tail = showing.labels("Labels", pod.labels) + showing.labels("Annotations", pod.annotations)
    return "\n".join(lines) + f"\n{tail}Runtime: {pod.runtime_handler or '(default)'}\n"


PS = CrictlCommand(
    "[OPTIONS]",
    _ps,
    groups=(
        ("Filters", filters.CONTAINERS),
        (
            "Options",
            (*_SHARED, ("resolve-image-path", "r", "bool", "The image's name in place of its id")),
        ),
    ),
)
PODS = CrictlCommand("[OPTIONS]", _pods, groups=(("Filters", filters.PODS), ("Options", _SHARED)))
