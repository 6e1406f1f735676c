"""A config.json of the administrator's below every container's of a handler (base_runtime_spec)."""

from __future__ import annotations

from cloche.errors import InvalidArgument
from cloche.spec.document import load_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from cloche.spec.config import Config

_SECURITY = {
    "process": ("apparmorProfile", "selinuxLabel", "capabilities"),
    "linux": ("seccomp", "namespaces"),
}
"""What the pod alone decides: its silence means none."""


def load(path: str) -> Mapping[str, Any] | None:
    """Read one; None without a path. Raises InvalidArgument naming the file."""
    if not path:
        return None
    try:
        found: Any = load_file(path)
    except OSError as error:
        raise InvalidArgument(f"base_runtime_spec {path}: cannot be read: {error.strerror}") from None
    parts = [found, *(found.get(name, {}) for name in _SECURITY)] if isinstance(found, dict) else [found]
    if not all(isinstance(part, dict) for part in parts):
        raise InvalidArgument(f"base_runtime_spec {path}: is no config.json")
    return dict(found)


def lay_over(base: Mapping[str, Any], config: Config) -> Config:
    """The base with everything that a container's own config.json says over it.

    Hooks, limits of processes, sysctls, further mounts, variables and annotations of the base stay.
    """
    own: dict[str, Any] = dict(config)
    merged = dict(base) | own
    for name, theirs in _SECURITY.items():
        kept = {key: value for key, value in base.get(name, {}).items() if key not in theirs}
        merged[name] = kept | own[name]
    merged["process"]["env"] = _variables([*base.get("process", {}).get("env", ()), *own["process"]["env"]])
    merged["linux"]["resources"] = base.get("linux", {}).get("resources", {}) | own["linux"]["resources"]
    merged["annotations"] = base.get("annotations", {}) | own.get("annotations", {})
    places = {mount["destination"] for mount in own["mounts"]}
    merged["mounts"] = [
        *own["mounts"],
        *(mount for mount in base.get("mounts", ()) if mount["destination"] not in places),
    ]
    merged.pop("hostname", None)
    return merged  # type: ignore[return-value]  # as above


def _variables(entries: Iterable[str]) -> list[str]:
    """The last of a name wins, where the first stood."""
    return list({entry.partition("=")[0]: entry for entry in entries}.values())
