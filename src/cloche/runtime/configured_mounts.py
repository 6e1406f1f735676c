"""The mounts of a configuration, each read once, and what they mean."""

from __future__ import annotations

from cloche import os
from cloche.kernel.mount_options import MOUNT_ATTR_RDONLY, MountOptions, parse_options
from cloche.runtime.plan_namespaces import wanted
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.runtime.facts import Facts
    from cloche.spec.config import Config, Mount

# Their files have labels of the policy's.
_UNLABELLED = ("proc", "sysfs", "mqueue", "cgroup", "cgroup2")


class ConfiguredMount(Record):
    """One entry of `mounts`.

    place: where it stands. type: empty where none is given. target: absolute and normalised.
    is_bind, is_mapped: whether it binds, and whether its files appear with other owners.
    entry: the whole of it.
    """

    place: str
    type: str
    target: str
    options: MountOptions
    is_bind: bool
    is_mapped: bool
    entry: Mount

    @property
    def is_filled_later(self) -> bool:
        """Whether more is made in it before it may be read-only."""
        return self.type == "tmpfs" and not self.is_bind

    @property
    def attributes(self) -> int:
        """MOUNT_ATTR_* of a new file system from its first moment on."""
        attributes = self.options.set_attributes | self.options.recursive_set
        return attributes & ~MOUNT_ATTR_RDONLY if self.is_filled_later else attributes

    def words(self, config: Config, facts: Facts) -> tuple[str, ...]:
        """The file system's own options, with the label of its files where SELinux decides about them."""
        options = self.options
        label = config.get("linux", {}).get("mountLabel")
        labelled = any(word.startswith("context=") for word in options.data)
        if not (label and facts.selinux) or labelled or self.type in _UNLABELLED:
            return (*options.flags, *options.data)
        return (*options.flags, *options.data, f"context={label}")

    def is_unified(self, facts: Facts) -> bool:
        """Whether it shows cgroup2."""
        return self.type == "cgroup2" or (self.type == "cgroup" and not facts.cgroups.hierarchies)

    def shows_the_hosts(self, config: Config, facts: Facts) -> bool:
        """Whether a container's cgroup2 is the host's own mount, since it has no cgroup namespace.

        There is one cgroup2, and whoever mounts it anew in the first cgroup namespace sets its options
        for everyone: the host's nsdelegate and memory_recursiveprot would be gone.
        """
        unified = not self.is_bind and self.is_unified(facts)
        return unified and "cgroup" not in wanted(config) and bool(facts.cgroups.tree)


def configured_mounts(config: Config) -> tuple[ConfiguredMount, ...]:
    """All of them, in order."""
    return tuple(_read(index, entry) for index, entry in enumerate(config.get("mounts", ())))


def _read(index: int, entry: Mount) -> ConfiguredMount:
    options = parse_options(entry.get("options", ()))
    kind = entry.get("type") or ""
    return ConfiguredMount(
        f"mounts[{index}]",
        kind,
        _target(entry),
        options,
        kind == "bind" or options.bind,
        options.idmap or bool(entry.get("uidMappings") or entry.get("gidMappings")),
        entry,
    )


def _target(entry: Mount) -> str:
    """The destination as an absolute, normalised path (a relative one counts from /)."""
    return os.path.normpath("/" + entry["destination"]).replace("//", "/")
