"""Labels of SELinux: of a container's processes, and of its files.

    process   USER:ROLE:TYPE:LEVEL    file   the same user and level, with the role and type of files

What a pod or container says takes the place of the policy's defaults (`lxc_contexts`). Who is given no level
has its pod's two categories, so that containers of different pods cannot reach each other's files.
"""

from __future__ import annotations

import os
import secrets

from cloche.errors import InvalidArgument
from cloche.spec.record import Record
from cloche.wire.messages.cri.values import SELinuxOption

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cloche.cri.inventory import Pod
    from cloche.wire.messages.cri.containers import ContainerConfig

_ENFORCE = "/sys/fs/selinux/enforce"
_CONFIG = "/etc/selinux/config"
_ATTRIBUTE = "security.selinux"
_LEVEL = 3
"""Where it stands in a label, behind the user, the role and the type."""
_MACHINES = "/bin /boot /dev /etc /home /lib /lib64 /mnt /opt /proc /root /run /sbin /srv /sys /tmp /usr /var"
_PROCESS, _FILE = "system_u:system_r:container_t:s0", "system_u:object_r:container_file_t:s0"


class Labels(Record):
    """Both; "" for none."""

    process: str = ""
    mount: str = ""


def is_enabled() -> bool:
    """Whether the kernel enforces labels, or would."""
    return os.path.exists(_ENFORCE)


def of_pod(pod: Pod) -> Labels:
    """The labels of a pod's holder."""
    security = pod.linux.security_context
    return _of(pod, security.selinux_options if security else None)


def of_container(pod: Pod, config: ContainerConfig) -> Labels:
    """The labels of a container, by its own options or else its pod's: privileged processes have none."""
    security = config.linux.security_context if config.linux else None
    asked = security.selinux_options if security else None
    if asked is None and pod.linux.security_context is not None:
        asked = pod.linux.security_context.selinux_options
    found = _of(pod, asked)
    return found.replace(process="") if security and security.privileged else found


def _of(pod: Pod, asked: SELinuxOption | None) -> Labels:
    """Without categories, which it got when it was made, a pod has no labels."""
    if not pod.kept.categories:
        return Labels()
    return labels(asked, contexts(), categories=pod.kept.categories)


def contexts() -> tuple[str, str]:
    """What the policy says containers' processes and files are."""
    policy = _assignments(_CONFIG).get("SELINUXTYPE", "targeted")
    said = _assignments(f"/etc/selinux/{policy}/contexts/lxc_contexts")
    return said.get("process", _PROCESS), said.get("file", _FILE)


def labels(asked: SELinuxOption | None, defaults: tuple[str, str], *, categories: str) -> Labels:
    """The labels of what a pod or container asks for. categories: for whom no level is given ("c1,c2").

    Raises InvalidArgument for options that are no parts of a label.
    """
    process, file = (text.split(":", _LEVEL) for text in defaults)
    if len(process) < _LEVEL or len(file) < _LEVEL:
        raise InvalidArgument(f"the policy's contexts {' and '.join(defaults)}: are no labels of SELinux")
    sensitivity = (process[_LEVEL:] or ["s0"])[0].partition(":")[0]
    level = f"{sensitivity}:{categories}" if categories else sensitivity
    if asked is not None:
        given = [_word(asked, name, "_.-") for name in ("user", "role", "type")]
        process = [mine or usual for mine, usual in zip(given, process, strict=False)]
        level = _word(asked, "level", ",.:-") or level
    return Labels(":".join((*process[:_LEVEL], level)), ":".join((process[0], *file[1:_LEVEL], level)))


def new_categories(limit: int) -> str:
    """Two different categories below a limit: hardly another pod's."""
    if limit < 2:
        raise InvalidArgument(f"selinux_category_range: {limit}: there must be two categories or more")
    first, second = sorted(secrets.SystemRandom().sample(range(limit), 2))
    return f"c{first},c{second}"


def relabel(path: str, label: str) -> None:
    """Give a tree, which is mounted into a container, the label of its files.

    Raises InvalidArgument for what is not only the container's, and where it cannot be done.
    """
    if path in ("/", *_MACHINES.split()) or path.startswith(("/proc/", "/sys/", "/dev/")):
        raise InvalidArgument(f"mounts: {path}: selinux_relabel would take it away from the machine")
    try:
        _label(path, label)
        for directory, names, files in os.walk(path, onerror=_raise):
            for name in (*names, *files):
                _label(f"{directory}/{name}", label)
    except OSError as error:
        raise InvalidArgument(f"mounts: {path}: cannot be relabelled: {error.strerror}") from None


def _label(path: str, label: str) -> None:
    os.setxattr(path, _ATTRIBUTE, label.encode(), follow_symlinks=False)


def _raise(error: OSError) -> None:
    raise error


def _word(asked: SELinuxOption, name: str, further: str) -> str:
    value: str = getattr(asked, name)
    if any(not (char.isascii() and char.isalnum()) and char not in further for char in value):
        raise InvalidArgument(f"selinux_options.{name}: {value[:80]!r} is no part of a label")
    return value


def _assignments(path: str) -> Mapping[str, str]:
    """NAME = "value" lines; none where there is no such file."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read(1 << 16).splitlines()
    except OSError:
        return {}
    found = {}
    for line in lines:
        name, equals, value = line.partition("=")
        if equals and not name.lstrip().startswith("#"):
            found[name.strip()] = value.strip().strip('"')
    return found
