"""Filters, profiles and hidden paths of a container."""

from __future__ import annotations

import os

from cloche.engine import apparmor as profiles
from cloche.engine import seccomp_profile, specification
from cloche.errors import InvalidArgument
from cloche.spec.document import loads
from cloche.wire.messages.cri.values import LOCALHOST, RUNTIME_DEFAULT, UNCONFINED, SecurityProfile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cloche.cri.settings import Settings
    from cloche.wire.messages.cri.containers import ContainerConfig, LinuxContainerSecurityContext

_PROFILE_LIMIT_BYTES = 4 << 20
_LOCALHOST = "localhost/"
_words = {"": UNCONFINED, "unconfined": UNCONFINED, "runtime/default": 0, "docker/default": 0}


def seccomp(security: LinuxContainerSecurityContext, settings: Settings, held: tuple[str, ...]) -> Any | None:
    """linux.seccomp; None for no filter. Raises InvalidArgument for a profile that cannot be read."""
    if security.privileged:
        return None
    profile = security.seccomp or _named(security.seccomp_profile_path or settings.unset_seccomp, "seccomp")
    if profile.profile_type == UNCONFINED:
        return None
    if profile.profile_type == RUNTIME_DEFAULT:
        return _default(held)
    if profile.profile_type == LOCALHOST:
        return seccomp_profile.resolve(loads(_read(profile.localhost_ref), profile.localhost_ref), held)
    raise InvalidArgument(f"seccomp: there is no profile of type {profile.profile_type}")


_defaults: dict[tuple[str, ...], Any] = {}


def _default(held: tuple[str, ...]) -> Any:
    """One object for one set of capabilities, so that what follows from it can be cached."""
    if held not in _defaults:
        _defaults[held] = seccomp_profile.default(held)
    return _defaults[held]


def _named(text: str, what: str) -> SecurityProfile:
    """A profile in the words that came before SecurityProfile."""
    if text in _words:
        return SecurityProfile(profile_type=_words[text])
    if text.startswith(_LOCALHOST):
        return SecurityProfile(profile_type=LOCALHOST, localhost_ref=text.removeprefix(_LOCALHOST))
    raise InvalidArgument(f"{what} profile {text[:200]!r}: use runtime/default, unconfined or localhost/PATH")


def _read(path: str) -> bytes:
    if not os.path.isabs(path):
        raise InvalidArgument(f"seccomp: localhost_ref {path[:200]!r}: must be an absolute path")
    try:
        with open(path, "rb") as file:
            return file.read(_PROFILE_LIMIT_BYTES)
    except OSError as error:
        raise InvalidArgument(f"seccomp: localhost_ref {path}: cannot be read: {error.strerror}") from None


def apparmor(security: LinuxContainerSecurityContext, settings: Settings) -> str:
    """process.apparmorProfile; "" for none. Who names none gets the default one where it can be had.

    Raises InvalidArgument, FailedPrecondition where one that is asked for cannot be had.
    """
    asked = security.apparmor
    if asked is None and security.apparmor_profile:
        asked = _named(security.apparmor_profile, "apparmor")
    if asked is not None and asked.profile_type == UNCONFINED:
        return ""
    if not settings.apparmor or not profiles.is_enabled():
        if asked is None:
            return ""
        why = "this machine has no AppArmor" if settings.apparmor else "disable_apparmor is configured"
        raise InvalidArgument(f"apparmor: a profile is asked for, and {why}")
    if asked is not None and asked.profile_type == LOCALHOST:
        name: str = asked.localhost_ref.removeprefix(_LOCALHOST)
        if not profiles.is_loaded(name):
            raise InvalidArgument(f"apparmor: profile {name[:200]!r} is not loaded: use apparmor_parser")
        return name
    if security.privileged or (asked is None and not profiles.parser()):
        return ""
    return profiles.load_default()


def masked(config: ContainerConfig, security: LinuxContainerSecurityContext) -> list[str]:
    """linux.maskedPaths: the kubelet's, which may be none; the usual ones where nobody says anything."""
    if security.privileged:
        return []
    return list(security.masked_paths) if _says(config) else specification.masked_paths()


def readonly(config: ContainerConfig, security: LinuxContainerSecurityContext) -> list[str]:
    """linux.readonlyPaths, likewise."""
    if security.privileged:
        return []
    return list(security.readonly_paths) if _says(config) else list(specification.READONLY)


def _says(config: ContainerConfig) -> bool:
    return config.linux is not None and config.linux.security_context is not None
