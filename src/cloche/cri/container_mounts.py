"""What is mounted into a container: what every one has, the pod's files, and what was asked for."""

from __future__ import annotations

import os

from cloche.cri import pod_spec
from cloche.engine import mounts as engine_mounts
from cloche.engine.propagation import require
from cloche.errors import InvalidArgument
from cloche.wire.messages.cri.containers import BIDIRECTIONAL, HOST_TO_CONTAINER, PRIVATE
from cloche.wire.messages.cri.values import NODE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloche.cri.container_spec import Facts
    from cloche.spec.config import Mount as SpecMount
    from cloche.wire.messages.cri.containers import ContainerConfig, LinuxContainerSecurityContext, Mount

_PROPAGATION = {PRIVATE: "rprivate", HOST_TO_CONTAINER: "rslave", BIDIRECTIONAL: "rshared"}
OPTIONS = ("noexec", "exec", "nosuid", "suid", "nodev", "dev", "noatime", "relatime", "nosymfollow")


def build(config: ContainerConfig, facts: Facts, security: LinuxContainerSecurityContext) -> list[SpecMount]:
    """All mounts in the order in which they are made: parents before what lies in them.

    Raises InvalidArgument for a mount that cannot be.
    """
    asked = {os.path.normpath(mount.container_path) for mount in config.mounts}
    found = list(_defaults(facts, security, asked))
    found += _files(facts, security, asked)
    wanted: list[SpecMount] = [
        {"destination": target, "type": "bind", "source": source, "options": ["rbind", "rprivate", "rw"]}
        for target, source in facts.volumes.items()
    ]
    wanted += [_mount(mount, facts) for mount in config.mounts if mount.image is None]
    wanted += facts.image_mounts
    # Sorting by depth keeps the order among equals and puts parents before children.
    return found + sorted(wanted, key=lambda mount: mount["destination"].rstrip("/").count("/"))


def _defaults(facts: Facts, security: LinuxContainerSecurityContext, asked: set[str]) -> Iterator[SpecMount]:
    namespaces = facts.pod.namespaces
    own_users = pod_spec.user_namespace(facts.pod) is not None
    for target, kind, source, words in engine_mounts.DEFAULT:
        if target in asked or ("/dev" in asked and target.startswith("/dev/")):
            continue
        flags = list(words)
        writable = security.privileged or (target == "/sys/fs/cgroup" and facts.handler.cgroup_writable)
        if writable and target in ("/sys", "/sys/fs/cgroup"):
            flags = [word if word != "ro" else "rw" for word in flags]
        if target == "/dev/shm":
            shm = "/dev/shm" if namespaces.ipc == NODE else facts.shared_memory
            yield {
                "destination": target,
                "type": "bind",
                "source": shm,
                "options": ["rbind", "rprivate", "rw"],
            }
        elif target == "/dev/mqueue" and own_users and namespaces.ipc == NODE:
            continue
        elif target == "/sys" and own_users and namespaces.network == NODE:
            options = ["rbind", "nosuid", "noexec", "nodev", "ro"]
            yield {"destination": target, "type": "bind", "source": "/sys", "options": options}
        else:
            yield {"destination": target, "type": kind, "source": source, "options": flags}


def _files(facts: Facts, security: LinuxContainerSecurityContext, asked: set[str]) -> Iterator[SpecMount]:
    access = "ro" if security.readonly_rootfs else "rw"
    users = pod_spec.user_namespace(facts.pod)
    for name, target in engine_mounts.FILES.items():
        if target in asked:
            continue
        found: SpecMount = {
            "destination": target,
            "type": "bind",
            "source": f"{facts.files}/{name}",
            "options": ["rbind", "rprivate", access],
        }
        if users is not None:
            found["uidMappings"] = pod_spec.mappings(users.uids)
            found["gidMappings"] = pod_spec.mappings(users.gids)
        yield found


def _mount(mount: Mount, facts: Facts) -> SpecMount:
    target, source = mount.container_path, mount.host_path
    if not target.startswith("/"):
        raise InvalidArgument(f"mounts: container_path {target[:200]!r}: must be absolute")
    if not source.startswith("/"):
        raise InvalidArgument(f"mounts: host_path {source[:200]!r}: must be absolute")
    if mount.propagation not in _PROPAGATION:
        raise InvalidArgument(f"mounts: {target}: there is no propagation {mount.propagation}")
    path = _source(source)
    propagation = _PROPAGATION[mount.propagation]
    if mount.propagation != PRIVATE:
        require(path, propagation)
    words = ["rbind", propagation, _access(mount)]
    for word in mount.mount_options:
        if word not in OPTIONS:
            raise InvalidArgument(f"mounts: {target}: unknown option {word[:80]!r}")
        words.append(word)
    found: SpecMount = {"destination": target, "type": "bind", "source": path, "options": words}
    if mount.uid_mappings or mount.gid_mappings:
        found["uidMappings"] = pod_spec.mappings(mount.uid_mappings)
        found["gidMappings"] = pod_spec.mappings(mount.gid_mappings)
    return found


def _access(mount: Mount) -> str:
    if not mount.recursive_read_only:
        return "ro" if mount.readonly else "rw"
    if not mount.readonly:
        raise InvalidArgument(f"mounts: {mount.container_path}: recursive_read_only needs readonly")
    if mount.propagation != PRIVATE:
        raise InvalidArgument(
            f"mounts: {mount.container_path}: recursive_read_only needs private propagation"
        )
    return "rro"


def _source(path: str) -> str:
    """Where a path of the host leads; a directory is made where nothing is, as every CRI does."""
    if not os.path.exists(path):
        try:
            os.makedirs(path, 0o755, exist_ok=True)
        except OSError as error:
            raise InvalidArgument(f"mounts: host_path {path}: cannot be made: {error.strerror}") from None
    return os.path.realpath(path)


def root_propagation(config: ContainerConfig) -> str:
    """linux.rootfsPropagation: what the binds need of the mount namespace; "" for the default."""
    asked = {mount.propagation for mount in config.mounts}
    return "rshared" if BIDIRECTIONAL in asked else "rslave" if HOST_TO_CONTAINER in asked else ""
