"""The validator of our own: what must not be adjusted, and who must have been asked, by the configuration."""

from __future__ import annotations

from cloche.errors import InvalidArgument
from cloche.wire.messages.nri import linux
from cloche.wire.messages.nri.adjustments import FIELDS, FieldOwners
from cloche.wire.messages.nri.containers import Container, LinuxContainer, PodSandbox
from cloche.wire.messages.nri.plugin import ValidateContainerAdjustmentResponse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from cloche.cri.nri.settings import ValidatorSettings
    from cloche.spec.config import Config
    from cloche.wire.messages.nri.plugin import (
        ContainerRequest,
        CreateContainerResponse,
        ValidateContainerAdjustmentRequest,
    )
    from cloche.wire.protobuf import Message

_REQUIRED = "required-plugins.noderesource.dev"
_FALSE, _TRUE = ("0", "f", "false"), ("1", "t", "true")


class DefaultValidator:
    """Asked as a plugin is."""

    index, base, name, alive = "00", "default-validator", "00-default-validator", True

    def __init__(self, settings: ValidatorSettings) -> None:
        self._settings = settings

    def hears(self, call: str) -> bool:
        """Only of what is to be validated."""
        return call == "ValidateContainerAdjustment"

    async def create(self, _request: ContainerRequest, _spec: Config) -> CreateContainerResponse | None:
        """It adjusts nothing."""
        return None

    async def ask(self, _call: str, request: Message) -> Any:
        """Whether a container may be made so."""
        reason = next(self._reasons(request), "")  # type: ignore[arg-type]  # it hears of no other
        return ValidateContainerAdjustmentResponse(reject=bool(reason), reason=reason)

    async def close(self) -> None:
        """There is nothing to close."""

    def _reasons(self, request: ValidateContainerAdjustmentRequest) -> Iterator[str]:
        settings, container = self._settings, request.container or Container()
        known = request.owners.owners if request.owners is not None else {}
        owners = known.get(container.id) or FieldOwners()
        if settings.reject_oci_hook_adjustment and (who := owners.simple.get(_number("OCI hooks"))):
            yield f"plugin {who} must not add OCI hooks"
        if who := owners.simple.get(_number("seccomp policy")):
            yield from self._seccomp(who, container.linux or LinuxContainer())
        if settings.reject_namespace_adjustment:
            yield from _compound(
                owners, "namespace", lambda key, who: f"plugin {who} must not set namespace {key}"
            )
        if settings.reject_sysctl_adjustment:
            yield from _compound(owners, "sysctl", lambda key, who: f"plugin {who} must not set sysctl {key}")
        yield from self._missing(request, container.name)

    def _seccomp(self, who: str, lower: LinuxContainer) -> Iterator[str]:
        settings, profile = self._settings, lower.seccomp_profile
        kind = profile.profile_type if profile is not None else linux.UNCONFINED
        rejected = {
            linux.UNCONFINED: settings.reject_unconfined_seccomp_adjustment,
            linux.RUNTIME_DEFAULT: settings.reject_runtime_default_seccomp_adjustment,
            linux.LOCALHOST: settings.reject_custom_seccomp_adjustment,
        }
        if rejected.get(kind):
            yield f"plugin {who} must not set the seccomp policy"

    def _missing(self, request: ValidateContainerAdjustmentRequest, container: str) -> Iterator[str]:
        pod, key = request.pod or PodSandbox(), self._settings.tolerate_missing_plugins_annotation
        if key and (tolerated := _annotation(pod, key, container)) is not None:
            if tolerated.lower() in _TRUE:
                return
            if tolerated.lower() not in _FALSE:
                yield f"annotation {key}: {tolerated!r} is neither true nor false"
        required = list(self._settings.required_plugins)
        if (text := _annotation(pod, _REQUIRED, container)) is not None:
            required += _names(text)
        present = {each.name for each in request.plugins}
        present |= {f"{each.index}-{each.name}" for each in request.plugins}
        if missing := [each for each in required if each not in present]:
            yield f"required plugins are not there: {', '.join(missing)}"


def _number(field: str) -> int:
    return FIELDS.index(field)


def _compound(owners: FieldOwners, field: str, say: Callable[[str, str], str]) -> Iterator[str]:
    found = owners.compound.get(_number(field))
    for key, who in found.owners.items() if found is not None else ():
        yield say(key, who)


def _annotation(pod: PodSandbox, key: str, container: str) -> str | None:
    """What a pod says of one of its containers, or of all of them; None where it says nothing."""
    for name in (f"{key}/container.{container}", f"{key}/pod", key):
        if name in pod.annotations:
            return pod.annotations[name]
    return None


def _names(text: str) -> list[str]:
    """A list of names in YAML; what is no list is a name that nobody has."""
    from cloche.spec.yaml_document import parse

    try:
        found = parse(text.encode(), _REQUIRED)
    except InvalidArgument:
        return [text]
    return [str(each) for each in found] if isinstance(found, list) else [text]
