"""`crictl pull` and `rmi`, and pulls on the way to a container."""

from __future__ import annotations

import os

from cloche.cli.arguments import UsageError
from cloche.cli.crictl import configs, filters
from cloche.cli.crictl.command import CrictlCommand
from cloche.cli.crictl.settings import seconds
from cloche.cli.output import line, warn
from cloche.errors import ClocheError, NotFound
from cloche.wire.messages.cri import containers, images

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cloche.cli.arguments import Parsed, Row
    from cloche.cli.crictl.client import Client
    from cloche.wire.messages.cri.pod_config import PodSandboxConfig

LOGIN: tuple[Row, ...] = (
    ("auth", "", "string", "Whom to log in as, USERNAME[:PASSWORD] in base64 ($CRICTL_AUTH)"),
    ("creds", "", "string", "Whom to log in as, USERNAME[:PASSWORD] ($CRICTL_CREDS)"),
    ("pull-timeout", "", "duration", "How long a pull may take; 0 for any time ($CRICTL_PULL_TIMEOUT)"),
    ("username", "u", "string", "Whom to log in as; the password is asked for"),
)


def pull(
    client: Client,
    flags: Parsed,
    name: str,
    *,
    annotations: Mapping[str, str] | None = None,
    pod: PodSandboxConfig | None = None,
) -> str:
    """Have an image fetched; the reference that it has then."""
    request = images.PullImageRequest(
        image=images.ImageSpec(image=name, annotations=annotations or {}),
        auth=_login(flags),
        sandbox_config=pod,
    )
    text = flags.text("pull-timeout") or os.environ.get("CRICTL_PULL_TIMEOUT", "")
    timeout_s = seconds(flags, "pull-timeout") if flags.text("pull-timeout") else _of_environment(text)
    reference: str = client.images("PullImage", request, timeout_s=timeout_s).image_ref
    return reference


def _of_environment(text: str) -> float:
    from cloche.spec import duration

    return duration.seconds(text) if text else 0.0


def _login(flags: Parsed) -> images.AuthConfig | None:
    user = flags.text("username")
    if user:
        from getpass import getpass

        return images.AuthConfig(username=user, password=getpass("Enter Password:"))
    credentials = flags.text("creds") or os.environ.get("CRICTL_CREDS", "")
    encoded = flags.text("auth") or os.environ.get("CRICTL_AUTH", "")
    if credentials and encoded:
        raise UsageError("--creds and --auth are both given")
    if credentials:
        name, _, password = credentials.partition(":")
        if not name:
            raise UsageError("--creds: there is no user before the colon")
        return images.AuthConfig(username=name, password=password)
    return images.AuthConfig(auth=encoded) if encoded else None


def _pull(client: Client, flags: Parsed) -> None:
    path = flags.text("pod-config")
    pod = configs.pod(path) if path else None
    annotations = filters.pairs(flags, "annotation")
    reference = pull(client, flags, flags.arguments[0], annotations=annotations, pod=pod)
    line(f"Image is up to date for {reference}")


def _rmi(client: Client, flags: Parsed) -> int:
    prune = flags.on("prune")
    names = dict.fromkeys(flags.arguments)
    if flags.on("all") or prune:
        every = client.images("ListImages", images.ListImagesRequest()).images
        names |= dict.fromkeys(each.id for each in every if not (prune and each.pinned))
    elif not names:
        raise UsageError("no images are named, and neither --all nor --prune is given")
    used = _in_use(client) if prune else set()
    failed = 0
    for name in names:
        if name in used:
            continue
        try:
            _remove(client, name)
        except ClocheError as error:
            # With --prune somebody else may have been faster.
            if not prune:
                warn(f"removing image {name}: {error}")
                failed = 1
    return failed


def _in_use(client: Client) -> set[str]:
    found = client.runtime("ListContainers", containers.ListContainersRequest()).containers
    used = {filters.image_id(client, each.image.image) for each in found if each.image}
    return {each for each in used if each}


def _remove(client: Client, name: str) -> None:
    spec = images.ImageSpec(image=name)
    image = client.images("ImageStatus", images.ImageStatusRequest(image=spec)).image
    if image is None:
        raise NotFound(f"no such image {name}")
    if len(image.repo_tags) > 1 and name != image.id and (":" in name or "/" in name):
        warn(f"image {name!r} has several names, which are removed with it: {', '.join(image.repo_tags)}")
    client.images("RemoveImage", images.RemoveImageRequest(image=spec))
    for each in image.repo_tags or image.repo_digests:
        line(f"Deleted: {each}")


PULL = CrictlCommand(
    "[OPTIONS] NAME[:TAG|@DIGEST]",
    _pull,
    groups=(
        (
            "Options",
            (
                ("annotation", "a", "list", "Annotation of the pull, KEY=VALUE"),
                *LOGIN,
                ("pod-config", "", "string", "File with the pod for which it is pulled"),
            ),
        ),
    ),
    minimum=1,
    maximum=1,
)
RMI = CrictlCommand(
    "[OPTIONS] [IMAGE-ID...]",
    _rmi,
    groups=(
        (
            "Options",
            (
                ("all", "a", "bool", "All images"),
                ("prune", "q", "bool", "All images that no container uses"),
            ),
        ),
    ),
    maximum=None,
    description="Remove images, each with all its names: CRI knows no other way",
)
