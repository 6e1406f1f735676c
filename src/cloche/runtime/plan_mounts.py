"""The part of a plan that makes the container's view of files: root, mounts, devices, masks."""

from __future__ import annotations

import os

from cloche.errors import InvalidArgument
from cloche.kernel.mount_options import parse_options
from cloche.kernel.syscalls import (
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    MS_PRIVATE,
    MS_SHARED,
    MS_SLAVE,
    MS_UNBINDABLE,
)
from cloche.runtime import operations as op
from cloche.runtime.caller import CloneTree
from cloche.runtime.plan import CALLER, STAGE_TWO, Step
from cloche.runtime.plan_namespaces import is_new, wanted
from cloche.runtime.plan_process import is_labelled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloche.runtime.facts import Facts
    from cloche.spec.config import Config, Mount

# Their files have labels of the policy's.
_UNLABELLED = ("proc", "sysfs", "mqueue", "cgroup", "cgroup2")
_PROPAGATION = {
    "private": (MS_PRIVATE, 0),
    "rprivate": (MS_PRIVATE, 1),
    "slave": (MS_SLAVE, 0),
    "rslave": (MS_SLAVE, 1),
    "shared": (MS_SHARED, 0),
    "rshared": (MS_SHARED, 1),
    "unbindable": (MS_UNBINDABLE, 0),
    "runbindable": (MS_UNBINDABLE, 1),
}


def propagation(config: Config) -> Iterator[Step]:
    """First of all: nothing below may reach the host's mounts, while theirs may still come in."""
    if not is_new(config, "mount"):
        return  # nothing will be attached where others are, and theirs is theirs
    place = "linux.rootfsPropagation"
    kind, recursive = _PROPAGATION[config.get("linux", {}).get("rootfsPropagation") or "rslave"]
    yield Step(place, STAGE_TWO, op.SetPropagation(kind, recursive))


def own_proc(config: Config) -> Iterator[Step]:
    """A procfs of our own where something will be written through it."""
    process = config["process"]
    if config.get("linux", {}).get("sysctl") or is_labelled(process):
        yield Step("linux.sysctl", STAGE_TWO, op.OpenProc())


def opened_root(config: Config, facts: Facts) -> Iterator[Step]:
    """The rootfs as a detached mount, which never appears among the host's mounts."""
    if not facts.rootfs_given:
        path = os.path.join(facts.bundle, config["root"]["path"])
        yield Step("root.path", CALLER, CloneTree("rootfs", path, True))


def attached_root(config: Config, facts: Facts) -> Iterator[Step]:
    """The rootfs in the new mount namespace, where paths are resolved from now on."""
    if not is_new(config, "mount"):
        if facts.rootfs_given:
            raise InvalidArgument("config.json: linux.namespaces: a new mount namespace is needed")
        path = os.path.join(facts.bundle, config["root"]["path"])
        yield Step("root.path", STAGE_TWO, op.CloneRoot(path))
        return
    yield Step("root.path", STAGE_TWO, op.AttachRoot("rootfs", MS_SLAVE))


def entered_root(config: Config, facts: Facts) -> Iterator[Step]:
    """The rootfs becomes /; pivot_root(2) would change the root of all that share the namespace."""
    pivot = facts.pivot and is_new(config, "mount")
    yield Step("root.path", STAGE_TWO, op.PivotRoot() if pivot else op.EnterRoot())


def _inherited_propagation(config: Config) -> int:
    """What a copied tree becomes: a slave, unless the container was asked to be the host's peer.

    A detached copy is still in the peer group of its source; left so, a mount made below it inside
    the container would appear on the host.
    """
    shared = config.get("linux", {}).get("rootfsPropagation") in ("shared", "rshared")
    return 0 if shared else MS_SLAVE


def opened_sources(config: Config, facts: Facts) -> Iterator[Step]:
    """The sources of bind mounts, with the host's credentials and in the host's paths."""
    for index, mount in enumerate(config.get("mounts", ())):
        place = f"mounts[{index}]"
        options = parse_options(mount.get("options", ()))
        if _is_bind(mount):
            source = os.path.join(facts.bundle, mount.get("source", ""))
            yield Step(place, CALLER, CloneTree(place, source, options.recursive))
            yield from _mapped_tree(place, mount, source, config)
        elif _is_unified(mount, facts):
            if _shows_the_hosts(config, facts):
                yield Step(place, CALLER, CloneTree(place, facts.cgroups.tree, False))
        elif mount.get("type") == "cgroup" and not is_new(config, "cgroup"):
            for hierarchy in facts.cgroups.hierarchies:
                tree = CloneTree(f"{place}:{hierarchy.name}", hierarchy.path, True)
                yield Step(place, CALLER, tree)
        elif options.copy_up:
            from cloche.runtime.copyup import CopyUp

            base, path = _beneath(config, index)
            words, attributes = _words(mount, config, facts), _attributes(mount)
            yield Step(place, CALLER, CopyUp(place, base, path, words, attributes))


def _beneath(config: Config, index: int) -> tuple[str, str]:
    """Where what a mount will cover can be read before anything is mounted: slot and path in it.

    In the rootfs, unless an earlier bind mount has put something else there. The slot is empty
    where a new file system is there, in which nothing can be yet.
    """
    mounts = config.get("mounts", [])
    path = target(mounts[index])
    for earlier in range(index - 1, -1, -1):
        above = target(mounts[earlier])
        if path == above or path.startswith(f"{above}/"):
            slot = f"mounts[{earlier}]" if _is_bind(mounts[earlier]) else ""
            return slot, path[len(above) :] or "/"
    return "rootfs", path


def _mapped_tree(place: str, mount: Mount, source: str, config: Config) -> Iterator[Step]:
    """The idmapping of a bind mount: its own mappings, or those of the container's user namespace."""
    if not _is_mapped(mount):
        return
    from cloche.runtime.idmap import MakeUserNamespace, MapTree, ranges

    options = parse_options(mount.get("options", ()))
    linux = config.get("linux", {})

    own = bool(mount.get("uidMappings"))
    uids, gids = ranges(mount.get("uidMappings", [])), ranges(mount.get("gidMappings", []))
    if bool(uids) != bool(gids):
        raise InvalidArgument(f"config.json: {place}: uidMappings and gidMappings are needed both")
    namespace = "namespace:user"
    if own or not wanted(config).get("user"):
        if not own:
            uids, gids = ranges(linux.get("uidMappings", [])), ranges(linux.get("gidMappings", []))
        if not uids:
            raise InvalidArgument(
                f"config.json: {place}.options: idmap needs uidMappings and gidMappings: "
                "neither the mount nor the container's user namespace has any"
            )
        namespace = f"idmap:{uids}:{gids}"
        yield Step(place, CALLER, MakeUserNamespace(namespace, uids, gids))
    yield Step(place, CALLER, MapTree(place, namespace, options.recursive_idmap, source))


def _is_mapped(mount: Mount) -> bool:
    options = parse_options(mount.get("options", ()))
    return options.idmap or bool(mount.get("uidMappings") or mount.get("gidMappings"))


def _is_bind(mount: Mount) -> bool:
    return mount.get("type") == "bind" or parse_options(mount.get("options", ())).bind


def mounts(config: Config, facts: Facts) -> Iterator[Step]:
    """Every mount in the order of the configuration; read-only last where more is to be made in it."""
    for index, mount in enumerate(config.get("mounts", ())):
        place = f"mounts[{index}]"
        _refuse_senseless(place, mount)
        if _is_bind(mount):
            steps = _bind(place, mount, config)
        elif mount.get("type") in ("cgroup", "cgroup2"):
            steps = _cgroup(place, mount, config, facts)
        else:
            steps = _filesystem(place, mount, config, facts)
        yield from steps


def _refuse_senseless(place: str, mount: Mount) -> None:
    options = parse_options(mount.get("options", ()))
    if _is_mapped(mount) and not _is_bind(mount):
        raise InvalidArgument(f"config.json: {place}: only a bind mount can be idmapped")
    if options.copy_up and (_is_bind(mount) or mount.get("type") != "tmpfs"):
        raise InvalidArgument(f"config.json: {place}.options: tmpcopyup is for mounts of type tmpfs")
    if target(mount) == "/":
        raise InvalidArgument(f"config.json: {place}.destination: / is the rootfs, mount below it")


def target(mount: Mount) -> str:
    """The destination as an absolute, normalised path (a relative one counts from /)."""
    return os.path.normpath("/" + mount["destination"]).replace("//", "/")


def _bind(place: str, mount: Mount, config: Config) -> Iterator[Step]:
    options = parse_options(mount.get("options", ()))
    attach = op.AttachMount(
        place,
        target(mount),
        _inherited_propagation(config),
        options.set_attributes,
        options.clear_attributes,
        options.recursive_set,
        options.recursive_clear,
    )
    yield Step(place, STAGE_TWO, attach)
    yield from _propagated(place, mount)


def _propagated(place: str, mount: Mount) -> Iterator[Step]:
    for kind, recursive in parse_options(mount.get("options", ())).propagation:
        yield Step(place, STAGE_TWO, op.ChangeMount(target(mount), 0, 0, kind, int(recursive)))


def _filesystem(place: str, mount: Mount, config: Config, facts: Facts) -> Iterator[Step]:
    kind = mount.get("type") or ""
    if not kind or kind == "none":
        raise InvalidArgument(f"config.json: {place}.type: is needed unless the mount is a bind mount")
    if parse_options(mount.get("options", ())).copy_up:
        yield Step(place, STAGE_TWO, op.AttachMount(place, target(mount), 0, 0, 0, 0, 0))
    else:
        source = mount.get("source") or kind
        words = _words(mount, config, facts)
        # As runc has it: a tmpfs over a directory of root's is not everybody's to write.
        kept = kind == "tmpfs" and not any(word.startswith("mode=") for word in words)
        new = op.NewMount(kind, source, target(mount), words, _attributes(mount), int(kept))
        yield Step(place, STAGE_TWO, new)
    yield from _propagated(place, mount)


def _attributes(mount: Mount) -> int:
    options = parse_options(mount.get("options", ()))
    attributes = options.set_attributes | options.recursive_set
    return attributes & ~MOUNT_ATTR_RDONLY if _is_filled_later(mount) else attributes


def _words(mount: Mount, config: Config, facts: Facts) -> tuple[str, ...]:
    """The file system's own options, with the label of its files where SELinux decides about them."""
    options = parse_options(mount.get("options", ()))
    label = config.get("linux", {}).get("mountLabel")
    labelled = any(word.startswith("context=") for word in options.data)
    if not (label and facts.selinux) or labelled or mount.get("type") in _UNLABELLED:
        return (*options.flags, *options.data)
    return (*options.flags, *options.data, f"context={label}")


def _is_filled_later(mount: Mount) -> bool:
    return mount.get("type") == "tmpfs" and not _is_bind(mount)


def _is_unified(mount: Mount, facts: Facts) -> bool:
    kind = mount.get("type")
    return kind == "cgroup2" or (kind == "cgroup" and not facts.cgroups.hierarchies)


def _shows_the_hosts(config: Config, facts: Facts) -> bool:
    """Whether a container's cgroup2 is the host's own mount, since it has no cgroup namespace.

    There is one cgroup2, and whoever mounts it anew in the first cgroup namespace sets its options
    for everyone: the host's nsdelegate and memory_recursiveprot would be gone.
    """
    return "cgroup" not in wanted(config) and bool(facts.cgroups.tree)


def _cgroup(place: str, mount: Mount, config: Config, facts: Facts) -> Iterator[Step]:
    """cgroup2 as it is; on v1 a tmpfs with one mount a hierarchy, as init systems arrange them."""
    options = parse_options(mount.get("options", ()))
    attributes = options.set_attributes | options.recursive_set
    if _is_unified(mount, facts):
        if _shows_the_hosts(config, facts):
            yield Step(place, STAGE_TWO, op.AttachMount(place, target(mount), MS_SLAVE, attributes, 0, 0, 0))
        else:
            yield Step(place, STAGE_TWO, op.NewMount("cgroup2", "cgroup", target(mount), (), attributes))
        return
    base = target(mount)
    safe = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC
    yield Step(place, STAGE_TWO, op.NewMount("tmpfs", "tmpfs", base, ("mode=755",), safe))
    for hierarchy in facts.cgroups.hierarchies:
        where = f"{base}/{hierarchy.name}"
        if is_new(config, "cgroup"):
            new = op.NewMount("cgroup", "cgroup", where, hierarchy.options, attributes)
            yield Step(place, STAGE_TWO, new)
        else:
            attach = op.AttachMount(f"{place}:{hierarchy.name}", where, MS_SLAVE, attributes, 0, 0, 0)
            yield Step(place, STAGE_TWO, attach)
        for alias in _aliases(hierarchy.name):
            yield Step(place, STAGE_TWO, op.MakeSymlink(hierarchy.name, f"{base}/{alias}"))


def _aliases(name: str) -> tuple[str, ...]:
    """`cpu` and `cpuacct` of `cpu,cpuacct`, which programs look for by their own names."""
    controllers = tuple(name.split(","))
    return controllers if len(controllers) > 1 else ()


def settled(config: Config) -> Iterator[Step]:
    """After the pivot: what had to stay writable until everything was made in it."""
    linux = config.get("linux", {})
    if asked := linux.get("rootfsPropagation"):
        kind, recursive = _PROPAGATION[asked]
        yield Step("linux.rootfsPropagation", STAGE_TWO, op.ChangeMount("/", 0, 0, kind, recursive))
    for index, mount in enumerate(config.get("mounts", ())):
        read_only = parse_options(mount.get("options", ())).read_only
        if read_only and (_is_filled_later(mount) or mount.get("type") == "cgroup"):
            change = op.ChangeMount(target(mount), MOUNT_ATTR_RDONLY, 0, 0, 0)
            # Below the root of a tree that is attached nowhere a mount cannot be changed, but covered.
            protect = change if is_new(config, "mount") else op.ProtectPath(target(mount))
            yield Step(f"mounts[{index}]", STAGE_TWO, protect)
    if config["root"].get("readonly"):
        change = op.ChangeMount("/", MOUNT_ATTR_RDONLY, 0, 0, 0)
        yield Step("root.readonly", STAGE_TWO, change)


def opened_null(config: Config) -> Iterator[Step]:
    """The host's null device for masks, so that nothing in the image is taken for it."""
    if config.get("linux", {}).get("maskedPaths"):
        yield Step("linux.maskedPaths", CALLER, CloneTree("null", "/dev/null", False))


def protected_paths(config: Config) -> Iterator[Step]:
    """Read-only paths, then masks."""
    linux = config.get("linux", {})
    for index, path in enumerate(linux.get("readonlyPaths", ())):
        yield Step(f"linux.readonlyPaths[{index}]", STAGE_TWO, op.ProtectPath(path))
    for index, path in enumerate(linux.get("maskedPaths", ())):
        yield Step(f"linux.maskedPaths[{index}]", STAGE_TWO, op.MaskPath(path, "null"))


def sysctls(config: Config) -> Iterator[Step]:
    """Kernel parameters of the container's namespaces. Dots separate, as in sysctl(8); so may slashes."""
    for name, value in config.get("linux", {}).get("sysctl", {}).items():
        path = name if "/" in name else name.replace(".", "/")
        yield Step(f"linux.sysctl[{name!r}]", STAGE_TWO, op.WriteSysctl(f"sys/{path}", value))
