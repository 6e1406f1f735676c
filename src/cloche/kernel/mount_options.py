"""The words of a mount's `options`, translated once into what the kernel's mount calls take.

The words are those of the runtime specification. mount(2) folded three different things into one
set of flags, and they are told apart here: attributes of one mount (fsmount, mount_setattr),
flags of the file system behind it (fsconfig), and propagation, which is a step of its own.
"""

from __future__ import annotations

from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR__ATIME = 0x70
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_STRICTATIME = 0x20
MOUNT_ATTR_NODIRATIME = 0x80
MOUNT_ATTR_IDMAP = 0x100000
MOUNT_ATTR_NOSYMFOLLOW = 0x200000

MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20

# word: (attribute to set, attributes to clear). With an `r` before it the word holds for every
# mount below as well. The access time is one field of which mount_setattr(2) wants all bits
# cleared before one is set; relatime is that field at zero, and the kernel's default.
_ATTRIBUTES: dict[str, tuple[int, int]] = {
    "ro": (MOUNT_ATTR_RDONLY, 0),
    "rw": (0, MOUNT_ATTR_RDONLY),
    "nosuid": (MOUNT_ATTR_NOSUID, 0),
    "suid": (0, MOUNT_ATTR_NOSUID),
    "nodev": (MOUNT_ATTR_NODEV, 0),
    "dev": (0, MOUNT_ATTR_NODEV),
    "noexec": (MOUNT_ATTR_NOEXEC, 0),
    "exec": (0, MOUNT_ATTR_NOEXEC),
    "nodiratime": (MOUNT_ATTR_NODIRATIME, 0),
    "diratime": (0, MOUNT_ATTR_NODIRATIME),
    "nosymfollow": (MOUNT_ATTR_NOSYMFOLLOW, 0),
    "symfollow": (0, MOUNT_ATTR_NOSYMFOLLOW),
    "noatime": (MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME),
    "atime": (0, MOUNT_ATTR__ATIME),
    "strictatime": (MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME),
    "nostrictatime": (0, MOUNT_ATTR__ATIME),
    "relatime": (0, MOUNT_ATTR__ATIME),
    "norelatime": (0, 0),
}

_PROPAGATION: dict[str, tuple[int, bool]] = {
    "private": (MS_PRIVATE, False),
    "rprivate": (MS_PRIVATE, True),
    "slave": (MS_SLAVE, False),
    "rslave": (MS_SLAVE, True),
    "shared": (MS_SHARED, False),
    "rshared": (MS_SHARED, True),
    "unbindable": (MS_UNBINDABLE, False),
    "runbindable": (MS_UNBINDABLE, True),
}

# The last word of each group wins, as the last flag would in mount(2).
_FILESYSTEM: dict[str, str] = {
    "sync": "async",
    "async": "sync",
    "mand": "nomand",
    "nomand": "mand",
    "lazytime": "nolazytime",
    "nolazytime": "lazytime",
    "dirsync": "",
}

# fsconfig(2) cannot express these: silent and loud are about the kernel's log, and file systems
# that count versions have done so without being asked since Linux 6.1.
_WITHOUT_EFFECT = frozenset(("defaults", "silent", "loud", "iversion", "noiversion"))

_SWITCHES: dict[str, tuple[str, ...]] = {
    "bind": ("bind",),
    "rbind": ("bind", "recursive"),
    "remount": ("remount",),
    "tmpcopyup": ("copy_up",),
    "idmap": ("idmap",),
    "ridmap": ("idmap", "recursive_idmap"),
}


class MountOptions(Record):
    """A mount's options, told apart by the call that takes them.

    set_attributes, clear_attributes: MOUNT_ATTR_* of this mount alone; recursive_set and
        recursive_clear: of it and every mount below (words like `rro`).
    propagation: (MS_PRIVATE, MS_SLAVE, MS_SHARED or MS_UNBINDABLE, recursive) in the order given.
    flags: the file system's own switches, for fsconfig(2) SET_FLAG.
    data: what is left, `key=value` or `key`, for the file system to judge.
    bind, recursive: a bind mount, of everything below its source too.
    remount, copy_up, idmap, recursive_idmap: the words remount, tmpcopyup, idmap, ridmap.
    """

    set_attributes: int = 0
    clear_attributes: int = 0
    recursive_set: int = 0
    recursive_clear: int = 0
    propagation: tuple[tuple[int, bool], ...] = ()
    flags: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    bind: bool = False
    recursive: bool = False
    remount: bool = False
    copy_up: bool = False
    idmap: bool = False
    recursive_idmap: bool = False

    @property
    def read_only(self) -> bool:
        """Whether the mount itself is to be read-only."""
        return bool((self.set_attributes | self.recursive_set) & MOUNT_ATTR_RDONLY)


def known_options() -> list[str]:
    """Every word that is understood here, sorted (what `features` lists)."""
    recursive = (f"r{word}" for word in _ATTRIBUTES)
    return sorted({*_ATTRIBUTES, *recursive, *_PROPAGATION, *_FILESYSTEM, *_WITHOUT_EFFECT, *_SWITCHES})


def parse_options(options: Iterable[str]) -> MountOptions:
    """Translate a mount's option words; of contradicting words the last one holds.

    Nothing is refused: an unknown word is the file system's business and ends up in `data`.
    """
    here = recursive = (0, 0)
    propagation: list[tuple[int, bool]] = []
    flags: dict[str, None] = {}
    data: list[str] = []
    switches: dict[str, bool] = {}
    for word in options:
        if word in _ATTRIBUTES:
            here = _combine(here, _ATTRIBUTES[word])
        elif word in _PROPAGATION:
            propagation.append(_PROPAGATION[word])
        elif word in _SWITCHES:
            switches.update(dict.fromkeys(_SWITCHES[word], True))
        elif word[:1] == "r" and word[1:] in _ATTRIBUTES:
            recursive = _combine(recursive, _ATTRIBUTES[word[1:]])
        elif word in _FILESYSTEM:
            flags.pop(_FILESYSTEM[word], None)
            flags[word] = None
        elif word and word not in _WITHOUT_EFFECT:
            data.append(word)
    return MountOptions(*here, *recursive, tuple(propagation), tuple(flags), tuple(data), **switches)


def _combine(so_far: tuple[int, int], word: tuple[int, int]) -> tuple[int, int]:
    """Add one word's (set, clear) to those before it, which it overrules."""
    (set_before, clear_before), (add, remove) = so_far, word
    clear = (clear_before & ~(add & ~MOUNT_ATTR__ATIME)) | remove
    return (set_before & ~remove) | add, clear
