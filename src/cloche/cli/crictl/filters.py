"""Which pods and containers are meant: the flags that narrow a list, and the list."""

from __future__ import annotations

from cloche.cli.arguments import UsageError
from cloche.wire.messages.cri import containers, images, pods

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    from cloche.cli.arguments import Parsed, Row
    from cloche.cli.crictl.client import Client

    _T = TypeVar("_T", containers.Container, pods.PodSandbox)

NAME = "io.kubernetes.pod.name"
NAMESPACE = "io.kubernetes.pod.namespace"

CONTAINERS: tuple[Row, ...] = (
    ("all", "a", "bool", "All containers, not only running ones"),
    ("image", "", "string", "Those of an image"),
    ("label", "", "list", "Those with a label, KEY=VALUE"),
    ("last", "n", "int", "The last N that were made, in any state"),
    ("latest", "l", "bool", "The one that was made last, in any state"),
    ("name", "", "string", "Those whose name a regular expression matches"),
    ("namespace", "", "string", "Those whose pod's namespace a regular expression matches"),
    ("pod", "p", "string", "Those of a pod, by id"),
    ("state", "s", "string", "Those in a state: created, running, exited or unknown"),
)
PODS: tuple[Row, ...] = (
    ("label", "", "list", "Those with a label, KEY=VALUE"),
    ("last", "n", "int", "The last N that were made"),
    ("latest", "l", "bool", "The one that was made last"),
    ("name", "", "string", "Those whose name a regular expression matches"),
    ("namespace", "", "string", "Those whose namespace a regular expression matches"),
    ("state", "s", "string", "Those in a state: ready or notready"),
)
_CONTAINER_STATES = ("created", "running", "exited", "unknown")
_POD_STATES = ("ready", "notready")


def some_containers(client: Client, flags: Parsed) -> list[containers.Container]:
    """The containers that the flags mean, the newest first."""
    wanted = flags.text("state") or ""
    value = _state(wanted, _CONTAINER_STATES)
    if value is None and not flags.on("all"):
        value = containers.RUNNING
    if flags.on("latest") or flags.number("last"):
        value = None
    request = containers.ListContainersRequest(
        filter=containers.ContainerFilter(
            id=flags.text("id") or "",
            state=None if value is None else containers.ContainerStateValue(state=value),
            pod_sandbox_id=flags.text("pod") or "",
            label_selector=pairs(flags, "label"),
        )
    )
    found = client.runtime("ListContainers", request).containers
    name, namespace = _expression(flags, "name"), _expression(flags, "namespace")
    image = flags.text("image")
    wanted_id = image_id(client, image) if image else None

    def fits(container: containers.Container) -> bool:
        if container.metadata is None or not name(container.metadata.name):
            return False
        if not namespace(container.labels.get(NAMESPACE, "unknown")):
            return False
        if not image:
            return True
        used = image_id(client, container.image.image if container.image else "")
        return used is not None and used == wanted_id

    return _newest([each for each in found if fits(each)], flags)


def some_pods(client: Client, flags: Parsed) -> list[pods.PodSandbox]:
    """The pods that the flags mean, the newest first."""
    value = _state(flags.text("state") or "", _POD_STATES)
    request = pods.ListPodSandboxRequest(
        filter=pods.PodSandboxFilter(
            id=flags.text("id") or "",
            state=None if value is None else pods.PodSandboxStateValue(state=value),
            label_selector=pairs(flags, "label"),
        )
    )
    found = client.runtime("ListPodSandbox", request).items
    name, namespace = _expression(flags, "name"), _expression(flags, "namespace")
    return _newest(
        [
            each
            for each in found
            if each.metadata and name(each.metadata.name) and namespace(each.metadata.namespace)
        ],
        flags,
    )


def pairs(flags: Parsed, name: str) -> dict[str, str]:
    """The KEY=VALUE words of a flag. Raises UsageError."""
    found = {}
    for word in flags.all(name):
        key, equals, value = word.partition("=")
        if not equals or "=" in value:
            raise UsageError(f"--{name}: {word!r} must be KEY=VALUE")
        found[key] = value
    return found


def image_id(client: Client, name: str) -> str | None:
    """The id of an image by any of its names; None where there is none."""
    request = images.ImageStatusRequest(image=images.ImageSpec(image=name))
    image = client.images("ImageStatus", request).image
    return image.id if image else None


def _state(word: str, known: tuple[str, ...]) -> int | None:
    if not word:
        return None
    if word.lower() not in known:
        raise UsageError(f"--state: {word!r} must be one of {', '.join(known)}")
    return known.index(word.lower())


def _expression(flags: Parsed, name: str) -> Callable[[str], bool]:
    import re

    text = flags.text(name)
    if not text:
        return lambda _: True
    try:
        expression: re.Pattern[str] = re.compile(text)
    except re.error as error:
        raise UsageError(f"--{name}: {text!r} is no regular expression: {error}") from None
    return lambda candidate: expression.search(candidate) is not None


def _newest(found: Sequence[_T], flags: Parsed) -> list[_T]:
    ordered = sorted(found, key=lambda each: -each.created_at)
    most = flags.number("last") or (1 if flags.on("latest") else 0)
    return ordered[:most] if most > 0 else ordered
