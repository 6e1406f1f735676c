"""The part of a plan that makes the container's view of files: root, mounts, devices, masks."""

from __future__ import annotations

from cloche import os
from cloche.errors import InvalidArgument
from cloche.kernel.mount_options import (
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
from cloche.runtime.caller import OpenFile
from cloche.runtime.plan import CALLER, STAGE_ONE, STAGE_TWO, Step
from cloche.runtime.plan_namespaces import borrows_proc, is_new, opened_proc
from cloche.runtime.plan_process import is_labelled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cloche.runtime.configured_mounts import ConfiguredMount
    from cloche.runtime.facts import Facts
    from cloche.runtime.plan_sources import Sources
    from cloche.spec.config import Config

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


def writes_proc(config: Config) -> bool:
    """Whether something will be written through a procfs."""
    return bool(config.get("linux", {}).get("sysctl")) or is_labelled(config["process"])


def lent_proc(config: Config) -> Iterator[Step]:
    """The caller's procfs, where there cannot be one of our own."""
    if writes_proc(config) and borrows_proc(config, labelled=is_labelled(config["process"])):
        yield from opened_proc()


def own_proc(config: Config) -> Iterator[Step]:
    """A procfs of our own where something will be written through it."""
    if writes_proc(config):
        borrowed = borrows_proc(config, labelled=is_labelled(config["process"]))
        yield Step("linux.sysctl", STAGE_TWO, op.UseProc("proc") if borrowed else op.OpenProc())


def opened_root(config: Config, facts: Facts) -> Iterator[Step]:
    """The place of the rootfs, which never appears among the host's mounts."""
    if not facts.rootfs_given:
        path = os.path.join(facts.bundle, config["root"]["path"])
        yield Step("root.path", CALLER, OpenFile("rootfs", path, os.O_PATH | os.O_DIRECTORY))


def copied(config: Config, facts: Facts) -> Iterator[Step]:
    """Detached mounts of what the caller has opened: here the first mount namespace is the caller's."""
    if not facts.rootfs_given and is_new(config, "mount"):
        yield Step("root.path", STAGE_ONE, op.CopyFound("rootfs", 1))
    if config.get("linux", {}).get("maskedPaths"):
        yield Step("linux.maskedPaths", STAGE_ONE, op.CopyFound("null", 0))


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


def mounts(
    configured: Iterable[ConfiguredMount], sources: Sources, config: Config, facts: Facts
) -> Iterator[Step]:
    """Every mount in the order of the configuration; read-only last where more is to be made in it."""
    for mount in configured:
        _refuse_senseless(mount)
        if mount.type in ("cgroup", "cgroup2") and not mount.is_bind:
            yield from _cgroup(mount, sources, config, facts)
            continue
        yield from sources.requests.get(mount.place, ())
        yield from (
            _bind(mount, sources, config) if mount.is_bind else _filesystem(mount, sources, config, facts)
        )
        for kind, recursive in mount.options.propagation:
            yield Step(mount.place, STAGE_TWO, op.ChangeMount(mount.target, 0, 0, kind, int(recursive)))


def _refuse_senseless(mount: ConfiguredMount) -> None:
    if mount.is_mapped and not mount.is_bind:
        raise InvalidArgument(f"config.json: {mount.place}: only a bind mount can be idmapped")
    if mount.options.copy_up and (mount.is_bind or mount.type != "tmpfs"):
        raise InvalidArgument(f"config.json: {mount.place}.options: tmpcopyup is for mounts of type tmpfs")
    if mount.target == "/":
        raise InvalidArgument(f"config.json: {mount.place}.destination: / is the rootfs, mount below it")


def _bind(mount: ConfiguredMount, sources: Sources, config: Config) -> Iterator[Step]:
    options = mount.options
    attach = op.AttachMount(
        sources.slot(mount.place),
        mount.target,
        _inherited_propagation(config),
        options.set_attributes,
        options.clear_attributes,
        options.recursive_set,
        options.recursive_clear,
    )
    yield Step(mount.place, STAGE_TWO, attach)


def _filesystem(mount: ConfiguredMount, sources: Sources, config: Config, facts: Facts) -> Iterator[Step]:
    kind = mount.type
    if not kind or kind == "none":
        raise InvalidArgument(f"config.json: {mount.place}.type: is needed unless the mount is a bind mount")
    if mount.options.copy_up:
        attach = op.AttachMount(sources.slot(mount.place), mount.target, 0, 0, 0, 0, 0)
        yield Step(mount.place, STAGE_TWO, attach)
        return
    source = mount.entry.get("source") or kind
    words = mount.words(config, facts)
    # As runc has it: a tmpfs over a directory of root's is not everybody's to write.
    kept = kind == "tmpfs" and not any(word.startswith("mode=") for word in words)
    new = op.NewMount(kind, source, mount.target, words, mount.attributes, int(kept))
    yield Step(mount.place, STAGE_TWO, new)


def _cgroup(mount: ConfiguredMount, sources: Sources, config: Config, facts: Facts) -> Iterator[Step]:
    """cgroup2 as it is; on v1 a tmpfs with one mount a hierarchy, as init systems arrange them."""
    place, base, attributes = mount.place, mount.target, mount.attributes
    if mount.shows_the_hosts(config, facts):
        yield from sources.requests.get(place, ())
        attach = op.AttachMount(sources.slot(place), base, MS_SLAVE, attributes, 0, 0, 0)
        yield Step(place, STAGE_TWO, attach)
        return
    if mount.is_unified(facts):
        yield Step(place, STAGE_TWO, op.NewMount("cgroup2", "cgroup", base, (), attributes))
        return
    safe = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC
    yield Step(place, STAGE_TWO, op.NewMount("tmpfs", "tmpfs", base, ("mode=755",), safe))
    for hierarchy in facts.cgroups.hierarchies:
        where = f"{base}/{hierarchy.name}"
        if is_new(config, "cgroup"):
            new = op.NewMount("cgroup", "cgroup", where, hierarchy.options, attributes)
            yield Step(place, STAGE_TWO, new)
        else:
            slot = f"{place}:{hierarchy.name}"
            yield Step(place, STAGE_TWO, op.AttachMount(slot, where, MS_SLAVE, attributes, 0, 0, 0))
        for alias in _aliases(hierarchy.name):
            yield Step(place, STAGE_TWO, op.MakeSymlink(hierarchy.name, f"{base}/{alias}"))


def _aliases(name: str) -> tuple[str, ...]:
    """`cpu` and `cpuacct` of `cpu,cpuacct`, which programs look for by their own names."""
    controllers = tuple(name.split(","))
    return controllers if len(controllers) > 1 else ()


def settled(configured: Iterable[ConfiguredMount], config: Config) -> Iterator[Step]:
    """After the pivot: what had to stay writable until everything was made in it."""
    for mount in configured:
        if mount.options.read_only and (mount.is_filled_later or mount.type == "cgroup"):
            change = op.ChangeMount(mount.target, MOUNT_ATTR_RDONLY, 0, 0, 0)
            # Below the root of a tree that is attached nowhere a mount cannot be changed, but covered.
            protect = change if is_new(config, "mount") else op.ProtectPath(mount.target)
            yield Step(mount.place, STAGE_TWO, protect)
    if config["root"].get("readonly"):
        change = op.ChangeMount("/", MOUNT_ATTR_RDONLY, 0, 0, 0)
        yield Step("root.readonly", STAGE_TWO, change)


def root_propagation(config: Config) -> Iterator[Step]:
    """What the container's root is to be in the end; of one that is unbindable no copies can be made."""
    if asked := config.get("linux", {}).get("rootfsPropagation"):
        kind, recursive = _PROPAGATION[asked]
        yield Step("linux.rootfsPropagation", STAGE_TWO, op.ChangeMount("/", 0, 0, kind, recursive))


def opened_null(config: Config) -> Iterator[Step]:
    """The host's null device for masks, so that nothing in the image is taken for it."""
    if config.get("linux", {}).get("maskedPaths"):
        yield Step("linux.maskedPaths", CALLER, OpenFile("null", "/dev/null", os.O_PATH))


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
