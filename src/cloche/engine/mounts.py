"""The mounts of a container: Docker's default ones, its network files, and what the user asked for."""

from __future__ import annotations

import os

from cloche.engine.options import DEFAULT_SHM_BYTES
from cloche.errors import InvalidArgument, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cloche.engine.options import MountOption, Options
    from cloche.spec.config import Mount

_NO_SETUID_EXEC_DEV = ("nosuid", "noexec", "nodev")

# (destination, type, source, options): the order matters where one lies inside another.
DEFAULT = (
    ("/proc", "proc", "proc", _NO_SETUID_EXEC_DEV),
    ("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
    (
        "/dev/pts",
        "devpts",
        "devpts",
        ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
    ),
    ("/sys", "sysfs", "sysfs", (*_NO_SETUID_EXEC_DEV, "ro")),
    ("/sys/fs/cgroup", "cgroup", "cgroup", ("ro", *_NO_SETUID_EXEC_DEV)),
    ("/dev/mqueue", "mqueue", "mqueue", _NO_SETUID_EXEC_DEV),
    ("/dev/shm", "tmpfs", "shm", (*_NO_SETUID_EXEC_DEV, "mode=1777")),
)
_WRITABLE_WHEN_PRIVILEGED = ("/sys", "/sys/fs/cgroup")
_TMPFS_OPTIONS = ("noexec", "nosuid", "nodev", "rprivate")
_OPPOSITES = {"exec": "noexec", "suid": "nosuid", "dev": "nodev", "rw": "ro"}

REAPER = "/sbin/docker-init"
"""Where process 1 of a container with `--init` is found inside; Docker's place for it."""
FILES = {"resolv.conf": "/etc/resolv.conf", "hostname": "/etc/hostname", "hosts": "/etc/hosts"}


class Place:
    """A user's mount whose source on this machine is settled: `source` is a host path or empty."""

    __slots__ = ("option", "source")

    def __init__(self, option: MountOption, source: str) -> None:
        self.option = option
        self.source = source


def build(
    options: Options,
    places: Sequence[Place],
    files: Mapping[str, str],
    *,
    shm_source: str = "",
    reaper: str = "",
) -> list[Mount]:
    """All mounts in the order in which they are made: parents before what lies in them.

    files: host path of each of `FILES` that the container gets. shm_source: the
    host's /dev/shm where the IPC namespace is shared with it. reaper: the host's program for
    `REAPER`.
    """
    taken = {place.option.target for place in places}
    mounts = [mount for mount in _defaults(options, shm_source) if not _replaced(mount["destination"], taken)]
    mounts += [
        {"destination": target, "type": "bind", "source": files[name], "options": ["rbind", "rprivate"]}
        for name, target in FILES.items()
        if name in files and target not in taken
    ]
    if options.init and reaper:
        words = ["bind", "ro", "nosuid", "nodev", "rprivate"]
        mounts.append({"destination": REAPER, "type": "bind", "source": reaper, "options": words})
    # Sorting by depth keeps the user's order among equals and puts parents before children.
    mounts += [_user_mount(place) for place in sorted(places, key=lambda p: p.option.target.count("/"))]
    return mounts


def _replaced(target: str, taken: Iterable[str]) -> bool:
    return target in taken or ("/dev" in taken and target.startswith("/dev/"))


def _defaults(options: Options, shm_source: str) -> Iterable[Mount]:
    for target, kind, source, words in DEFAULT:
        flags = list(words)
        if options.privileged and target in _WRITABLE_WHEN_PRIVILEGED:
            flags = [word if word != "ro" else "rw" for word in flags]
        if target == "/sys" and options.network == "host" and options.userns == "private":
            # sysfs shows the network namespace's devices, and a user namespace cannot mount it for
            # one that it does not own.
            yield {
                "destination": target,
                "type": "bind",
                "source": "/sys",
                "options": ["rbind", "nosuid", "noexec", "nodev", "ro"],
            }
            continue
        if source == "shm":
            if options.ipc == "none":
                continue
            if shm_source:
                yield {
                    "destination": target,
                    "type": "bind",
                    "source": shm_source,
                    "options": ["rbind", "rprivate"],
                }
                continue
            # A tmpfs would take 0 for no limit.
            flags.append(f"size={options.shm_size or DEFAULT_SHM_BYTES}")
        if source == "mqueue" and options.ipc == "host" and options.userns == "private":
            continue
        yield {"destination": target, "type": kind, "source": source, "options": flags}


def _user_mount(place: Place) -> Mount:
    option = place.option
    if option.kind == "tmpfs":
        words = _tmpfs_words(option)
        return {"destination": option.target, "type": "tmpfs", "source": "tmpfs", "options": words}
    words = ["rbind" if option.recursive else "bind"]
    if option.read_only:
        words.append("rro" if option.recursive else "ro")
    words.append(option.propagation or "rprivate")
    return {"destination": option.target, "type": "bind", "source": place.source, "options": words}


def _tmpfs_words(option: MountOption) -> list[str]:
    """Docker's defaults, without those that the user's own words contradict."""
    given = [*option.tmpfs_options, *(["ro"] if option.read_only else [])]
    overruled = {_OPPOSITES.get(word) for word in given}
    return [word for word in _TMPFS_OPTIONS if word not in overruled] + given


def root_propagation(places: Iterable[Place]) -> str:
    """linux.rootfsPropagation: what the user's binds need of the mount namespace; empty for the default.

    Without it the whole namespace is a slave of the host's, and a shared bind shares with nobody.
    """
    asked = {place.option.propagation for place in places}
    return "shared" if asked & {"shared", "rshared"} else "rslave" if asked & {"slave", "rslave"} else ""


def bind_source(option: MountOption) -> str:
    """The host path of a bind; for `-v` a missing directory is made, as Docker does.

    Raises NotFound where it is missing and must not be made, InvalidArgument where its mount does not
    allow the propagation.
    """
    path = option.source
    if os.path.lexists(path):
        if option.propagation not in ("", "private", "rprivate"):
            from cloche.engine.propagation import require

            require(path, option.propagation)
        return path
    if not option.create_source:
        raise NotFound(f"invalid mount of {option.target}: bind source path does not exist: {path}")
    try:
        os.makedirs(path, 0o755, exist_ok=True)
    except OSError as error:
        raise InvalidArgument(
            f"invalid mount of {option.target}: cannot make {path}: {error.strerror}"
        ) from None
    return path
