"""Which capabilities a container holds: Docker's default set, and what the user adds and drops."""

from __future__ import annotations

from cloche.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

DEFAULT = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
)

# In the order of their bits, as capabilities(7) numbers them.
_BY_BIT = """
CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT
SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE
AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ
PERFMON BPF CHECKPOINT_RESTORE
"""
ALL = tuple("CAP_" + name for name in _BY_BIT.split())


def held_here() -> tuple[str, ...]:
    """The capabilities in this process's own bounding set: nobody can be given more than these."""
    with open("/proc/self/status", encoding="ascii") as file:
        for line in file:
            if line.startswith("CapBnd:"):
                bits = int(line.split()[1], 16)
                return tuple(name for bit, name in enumerate(ALL) if bits >> bit & 1)
    return ALL


def choose(add: Iterable[str], drop: Iterable[str], *, privileged: bool) -> tuple[str, ...]:
    """The capabilities of a container started with `--cap-add` and `--cap-drop`.

    Names may lack CAP_ and be in lower case; ALL stands for every one. Dropping wins, except that
    `--cap-drop ALL` keeps what is added by name. Raises InvalidArgument for an unknown name.
    """
    if privileged:
        return held_here()
    added, dropped = [_name(each) for each in add], [_name(each) for each in drop]
    if "ALL" in dropped:
        return held_here() if "ALL" in added else tuple(dict.fromkeys(added))
    kept = held_here() if "ALL" in added else (*DEFAULT, *(name for name in added if name not in DEFAULT))
    return tuple(name for name in dict.fromkeys(kept) if name not in dropped)


def _name(text: str) -> str:
    word = text.upper()
    if word == "ALL":
        return word
    name = word if word.startswith("CAP_") else "CAP_" + word
    if name not in ALL:
        raise InvalidArgument(f"invalid capability {text!r}: there is no {name}")
    return name
