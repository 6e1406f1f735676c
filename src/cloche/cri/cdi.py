"""Devices by the Container Device Interface: specifications on this machine say what they need.

VENDOR/CLASS=NAME is looked for in the JSON and YAML files of the configured directories; those of the
last directory win. Edits of a whole specification are applied once, before those of its devices.
"""

from __future__ import annotations

import os
import stat

from cloche.errors import ClocheError, InvalidArgument, NotFound
from cloche.spec.document import load_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from cloche.spec.config import Config

_TYPES = {stat.S_IFCHR: "c", stat.S_IFBLK: "b", stat.S_IFIFO: "p"}
_HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


def inject(config: Config, names: Sequence[str], directories: Sequence[str]) -> None:
    """Change a config.json so that its container has these devices.

    Raises NotFound for a device that no specification has, InvalidArgument for a name or a specification
    that makes no sense.
    """
    broken: list[str] = []
    known = _known(directories, broken)
    applied: set[int] = set()
    for name in names:
        kind, equals, _ = name.partition("=")
        if not equals or kind.count("/") != 1:
            raise InvalidArgument(f"CDI device {name[:200]!r}: must be VENDOR/CLASS=NAME")
        if name not in known:
            unread = "".join(f"; {each}" for each in broken)
            raise NotFound(
                f"CDI device {name!r}: no specification in {', '.join(directories)} has it{unread}"
            )
        specification, device = known[name]
        if id(specification) not in applied:
            applied.add(id(specification))
            _apply(config, specification.get("containerEdits") or {}, name)
        _apply(config, device.get("containerEdits") or {}, name)


def _known(
    directories: Sequence[str], broken: list[str]
) -> dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Devices by their names. broken: gets why a file cannot be read: the others' devices are there."""
    found = {}
    for path in _files(directories):
        try:
            specification = _load(path)
            kind = specification["kind"]
            for device in specification["devices"]:
                found[f"{kind}={device['name']}"] = (specification, device)
        except (ClocheError, OSError) as error:
            broken.append(str(error))
        except (KeyError, TypeError, AttributeError):
            broken.append(f"{path}: is no CDI specification")
    return found


def _load(path: str) -> Any:
    if not path.endswith(".yaml"):
        return load_file(path)
    from cloche.spec import yaml_document

    return yaml_document.load(path)


def _files(directories: Sequence[str]) -> Iterator[str]:
    for directory in directories:
        try:
            names = sorted(os.listdir(directory))
        except OSError:
            continue
        yield from (f"{directory}/{name}" for name in names if name.endswith((".json", ".yaml")))


def _apply(config: Config, edits: Mapping[str, Any], name: str) -> None:
    process, linux = config["process"], config["linux"]
    process["env"] = [*process.get("env", []), *edits.get("env", [])]
    for node in edits.get("deviceNodes", []):
        _add_device(linux, node, name)
    for each in edits.get("mounts", []):
        options = list(each.get("options") or ("ro", "nosuid", "nodev", "rbind", "rprivate"))
        config.setdefault("mounts", []).append(
            {
                "destination": each["containerPath"],
                "type": each.get("type") or "bind",
                "source": each["hostPath"],
                "options": options,
            }
        )
    hooks: dict[str, list[Any]] = dict(config.get("hooks") or {})  # type: ignore[arg-type]  # by their names
    for hook in edits.get("hooks", []):
        if hook.get("hookName") not in _HOOKS:
            raise InvalidArgument(f"CDI device {name!r}: there is no hook {hook.get('hookName')!r}")
        entry = {key: hook[key] for key in ("path", "args", "env", "timeout") if key in hook}
        hooks.setdefault(hook["hookName"], []).append(entry)
    if hooks:
        config["hooks"] = hooks  # type: ignore[typeddict-item]  # as above
    for gid in edits.get("additionalGids", []):
        groups = process.setdefault("user", {}).setdefault("additionalGids", [])
        if gid and gid not in groups:
            groups.append(gid)


def _add_device(linux: Any, node: Mapping[str, Any], name: str) -> None:
    path = node.get("hostPath") or node["path"]
    try:
        status = os.stat(path)
    except OSError as error:
        raise NotFound(f"CDI device {name!r}: {path}: {error.strerror}") from None
    kind = _TYPES.get(stat.S_IFMT(status.st_mode))
    if kind is None:
        raise InvalidArgument(f"CDI device {name!r}: {path} is no device")
    major, minor = os.major(status.st_rdev), os.minor(status.st_rdev)
    device = {"path": node["path"], "type": kind, "major": major, "minor": minor}
    device |= {key: node[key] for key in ("fileMode", "uid", "gid") if key in node}
    linux.setdefault("devices", []).append(device)
    rule = {"allow": True, "type": kind, "major": major, "minor": minor}
    linux["resources"]["devices"].append(rule | {"access": node.get("permissions") or "rwm"})
