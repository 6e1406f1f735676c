"""System calls that Python's os module does not have, one function a call, named as its man page.

Bound through `_ctypes` (the C core; the `ctypes` package costs milliseconds to import), and that at
the first call: many import this who then make none. Every function raises OSError with the kernel's
errno, borrows the descriptors it is given, and returns new ones close-on-exec.
"""

from __future__ import annotations

from cloche import os
from cloche.errors import Unimplemented

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
AT_SYMLINK_NOFOLLOW = 0x100

OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC

MOVE_MOUNT_F_EMPTY_PATH = 0x4
MOVE_MOUNT_T_EMPTY_PATH = 0x40

FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_SET_FD = 5
FSCONFIG_CMD_CREATE = 6

MNT_DETACH = 2

RESOLVE_NO_XDEV = 0x1
RESOLVE_NO_MAGICLINKS = 0x2
RESOLVE_NO_SYMLINKS = 0x4
RESOLVE_BENEATH = 0x8
RESOLVE_IN_ROOT = 0x10

_X86_64 = {
    "fchmodat": 268,
    "mount": 165,
    "umount2": 166,
    "syncfs": 306,
    "setns": 308,
    "unshare": 272,
    "prlimit64": 302,
    "prctl": 157,
    "inotify_add_watch": 254,
    "inotify_init1": 294,
    "bpf": 321,
    "tee": 276,
}
_AARCH64 = {
    "fchmodat": 53,
    "mount": 40,
    "umount2": 39,
    "syncfs": 267,
    "setns": 268,
    "unshare": 97,
    "prlimit64": 261,
    "prctl": 167,
    "inotify_add_watch": 27,
    "inotify_init1": 26,
    "bpf": 280,
    "tee": 77,
}
# Calls added since Linux 4.20 or so have one number on every architecture.
_UNIFORM = {
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "clone3": 435,
    "openat2": 437,
    "pidfd_getfd": 438,
    "mount_setattr": 442,
}


def _numbers() -> dict[str, int]:
    machine = os.uname().machine
    table = {"x86_64": _X86_64, "aarch64": _AARCH64}.get(machine)
    if table is None:
        raise Unimplemented(f"cloche runs on x86_64 and aarch64, not on {machine}")
    return table | _UNIFORM


_bound: list[Callable[..., int]] = []


def _bind() -> Callable[..., int]:
    """The function that makes a system call: its name, integers or bytes, and the path for the error."""
    from _ctypes import dlopen, dlsym, get_errno

    from cloche.kernel.foreign import Bytes, Long, ReturnsLongAndErrno, UnsignedLong

    numbers = _numbers()
    function = ReturnsLongAndErrno(dlsym(dlopen(None, 0), "syscall"))  # type: ignore[arg-type] # None: this program

    def bound(name: str, arguments: tuple[int | bytes | None, ...], path: str | bytes | None) -> int:
        words = [UnsignedLong(a & 0xFFFFFFFFFFFFFFFF) if isinstance(a, int) else Bytes(a) for a in arguments]
        result: int = function(Long(numbers[name]), *words)
        if result == -1:
            errno = get_errno()
            raise OSError(errno, f"{name}: {os.strerror(errno)}", path)
        return result

    _bound.append(bound)
    return bound


def call(name: str, *arguments: int | bytes | None, path: str | bytes | None = None) -> int:
    """Make one system call and return its result.

    arguments: integers, or bytes for a pointer to their first byte (NUL-terminated by Python).
    path: named in the OSError when the call fails.
    """
    return (_bound[0] if _bound else _bind())(name, arguments, path)


def _pack64(*words: int) -> bytes:
    return b"".join(word.to_bytes(8, "little") for word in words)


def open_tree(directory: int, path: str, flags: int = 0) -> int:
    """open_tree(2): a descriptor of a mount, or with OPEN_TREE_CLONE of a detached copy of it."""
    return call("open_tree", directory, os.fsencode(path), flags | OPEN_TREE_CLOEXEC, path=path)


def move_mount(mount: int, directory: int, path: str) -> None:
    """move_mount(2): attach the mount behind a descriptor at a path."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | (0 if path else MOVE_MOUNT_T_EMPTY_PATH)
    call("move_mount", mount, b"", directory, os.fsencode(path), flags, path=path)


def fsopen(filesystem: str) -> int:
    """fsopen(2): a descriptor of a filesystem being configured."""
    return call("fsopen", filesystem.encode(), 1, path=filesystem)


def fsconfig_string(context: int, key: str, value: str) -> None:
    """fsconfig(2) with FSCONFIG_SET_STRING."""
    call("fsconfig", context, FSCONFIG_SET_STRING, key.encode(), os.fsencode(value), 0, path=key)


def fsconfig_flag(context: int, key: str) -> None:
    """fsconfig(2) with FSCONFIG_SET_FLAG."""
    call("fsconfig", context, FSCONFIG_SET_FLAG, key.encode(), None, 0, path=key)


def fsconfig_create(context: int) -> None:
    """fsconfig(2) with FSCONFIG_CMD_CREATE: make the superblock."""
    call("fsconfig", context, FSCONFIG_CMD_CREATE, None, None, 0)


def fsmount(context: int, attributes: int = 0) -> int:
    """fsmount(2): a detached mount of a configured filesystem. attributes: MOUNT_ATTR_*."""
    return call("fsmount", context, 1, attributes)


def filesystem_messages(context: int) -> str:
    """What the kernel has to say about a failed fsconfig or fsmount: one line, may be empty."""
    lines = []
    while True:
        try:
            # Each message begins with its severity: "e ", "w " or "i ".
            lines.append(os.read(context, 1024).decode(errors="replace").strip()[2:])
        except OSError:
            return "; ".join(lines)


def mount_setattr(
    directory: int,
    path: str,
    *,
    add: int = 0,
    clear: int = 0,
    propagation: int = 0,
    user_namespace: int = 0,
    recursive: bool = False,
) -> None:
    """mount_setattr(2): change the attributes of a mount, with `recursive` of all below it too.

    add, clear: MOUNT_ATTR_*; propagation: MS_PRIVATE, MS_SLAVE, MS_SHARED, MS_UNBINDABLE or 0;
    user_namespace: its descriptor where MOUNT_ATTR_IDMAP is added. An empty path means the mount
    behind `directory` itself.
    """
    flags = (0 if path else AT_EMPTY_PATH) | (AT_RECURSIVE if recursive else 0)
    attributes = _pack64(add, clear, propagation, user_namespace)
    call("mount_setattr", directory, os.fsencode(path), flags, attributes, len(attributes), path=path)


def openat2(directory: int, path: str | bytes, flags: int, *, mode: int = 0, resolve: int = 0) -> int:
    """openat2(2): open a path with limits on how it may be resolved (RESOLVE_*)."""
    how = _pack64(flags | os.O_CLOEXEC, mode, resolve)
    return call("openat2", directory, os.fsencode(path), how, len(how), path=path)


def mount(source: str, target: str, filesystem: str, flags: int, data: str) -> None:
    """mount(2), for what the newer calls cannot express. flags: MS_*; data: at most a page."""
    call(
        "mount",
        os.fsencode(source),
        os.fsencode(target),
        filesystem.encode(),
        flags,
        os.fsencode(data),
        path=target,
    )


def umount2(path: str, flags: int = 0) -> None:
    """umount2(2)."""
    call("umount2", os.fsencode(path), flags, path=path)


def setns(namespace: int, kinds: int = 0) -> None:
    """setns(2): enter a kernel namespace (the calling thread only)."""
    call("setns", namespace, kinds)


def unshare(kinds: int) -> None:
    """unshare(2): give the calling thread its own copy of what it shares with its process."""
    call("unshare", kinds)


def pidfd_getfd(pidfd: int, descriptor: int) -> int:
    """pidfd_getfd(2): a copy of another process's descriptor."""
    return call("pidfd_getfd", pidfd, descriptor, 0)


def prlimit(pid: int, resource: int, soft: int, hard: int) -> None:
    """prlimit64(2): set both limits of a process; units are the resource's own."""
    call("prlimit64", pid, resource, _pack64(soft & (2**64 - 1), hard & (2**64 - 1)), None)


def syncfs(descriptor: int) -> None:
    """syncfs(2): wait until everything written to the filesystem of a descriptor is on disk."""
    call("syncfs", descriptor)


def tee(source: int, sink: int, count: int) -> int:
    """tee(2): copy what a pipe holds into another one and leave it where it is; never waits.

    Returns how many bytes, 0 at the end of file. Raises BlockingIOError when there is nothing, or no
    room.
    """
    return call("tee", source, sink, count, 2)


def bpf(command: int, attributes: bytes | bytearray) -> int:
    """bpf(2). attributes: the union's bytes, in a bytearray where the kernel is to write into it.

    Pointers in it come from `address_of`.
    """
    return call("bpf", command, address_of(attributes), len(attributes))


def address_of(data: bytes | bytearray) -> int:
    """Where the bytes are in memory, for as long as the caller keeps them and their length."""
    from _ctypes import addressof

    from cloche.kernel.foreign import Byte, Bytes, Pointer

    if isinstance(data, bytearray):
        return addressof(Byte.from_buffer(data))
    holder = Bytes(data)
    return Pointer.from_address(addressof(holder)).value or 0
