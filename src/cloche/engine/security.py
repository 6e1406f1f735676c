"""What `--security-opt` says, and the filter and paths that follow from it."""

from __future__ import annotations

from cloche.errors import InvalidArgument, Unimplemented
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

UNCONFINED = "unconfined"
DEFAULT = "default"


class Security(Record):
    """seccomp: "default", "unconfined" or a profile's JSON text. apparmor: a profile or empty."""

    seccomp: str = DEFAULT
    no_new_privileges: bool = False
    apparmor: str = ""
    hide_paths: bool = True


def parse(texts: Iterable[str]) -> Security:
    """`seccomp=…`, `no-new-privileges[=true]`, `apparmor=…`, `label=disable`, `systempaths=unconfined`.

    The value of seccomp is "unconfined", "builtin", the profile's JSON, or its path (read here).
    Raises InvalidArgument for anything else.
    """
    settings: dict[str, Any] = {}
    for text in texts:
        name, separator, value = text.partition("=") if "=" in text else text.partition(":")
        if name == "no-new-privileges":
            settings["no_new_privileges"] = _boolean(value, text) if separator else True
        elif name == "seccomp" and value:
            settings["seccomp"] = _seccomp(value)
        elif name == "apparmor" and value:
            settings["apparmor"] = "" if value == UNCONFINED else value
        elif name == "systempaths" and value == UNCONFINED:
            settings["hide_paths"] = False
        elif name == "label" and value != "disable":
            raise Unimplemented(f"invalid security option {text!r}: SELinux labels are not supported yet")
        elif name != "label":
            raise InvalidArgument(
                f"invalid security option {text!r}: use seccomp=FILE|unconfined, no-new-privileges, "
                "apparmor=PROFILE, label=disable or systempaths=unconfined"
            )
    return Security(**settings)


def _boolean(value: str, text: str) -> bool:
    if value.lower() not in ("true", "false", "1", "0"):
        raise InvalidArgument(f"invalid security option {text!r}: must be true or false")
    return value.lower() in ("true", "1")


def _seccomp(value: str) -> str:
    if value in (UNCONFINED, DEFAULT) or value.lstrip().startswith("{"):
        return value
    if value == "builtin":
        return DEFAULT
    try:
        with open(value, encoding="utf-8") as file:
            return file.read(4 << 20)
    except (OSError, UnicodeDecodeError) as error:
        from cloche.engine.grammar import reason

        raise InvalidArgument(
            f"invalid security option seccomp={value}: cannot be read: {reason(error)}"
        ) from None
