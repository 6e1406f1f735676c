"""Capability names and the bits that stand for them; see capabilities(7)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# In the order of their numbers, which are part of the kernel's ABI.
NAMES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)
BITS = {name: number for number, name in enumerate(NAMES)}


def mask(names: Iterable[str]) -> tuple[int, list[str]]:
    """The bits of these capabilities, and the names that are no capability, in their order.

    Names are CAP_… in capitals, as config.json has them. One that this kernel is too old for is
    still a bit: leave those out with `& supported()`.
    """
    bits = 0
    unknown = []
    for name in names:
        number = BITS.get(name)
        if number is None:
            unknown.append(name)
        else:
            bits |= 1 << number
    return bits, unknown


def names(bits: int) -> list[str]:
    """The names of the bits set; bits this version has no name for are left out."""
    return [name for number, name in enumerate(NAMES) if bits >> number & 1]


def last_cap() -> int:
    """The number of the last capability this kernel knows."""
    with open("/proc/sys/kernel/cap_last_cap", "rb", buffering=0) as file:
        return int(file.read(16))


def supported() -> int:
    """The bits of all capabilities this kernel knows."""
    return (2 << last_cap()) - 1


def current(kind: str = "CapEff") -> int:
    """One of this thread's own sets: CapInh, CapPrm, CapEff, CapBnd or CapAmb."""
    with open("/proc/thread-self/status", "rb", buffering=0) as file:
        for line in file.readall().splitlines():
            if line.startswith(kind.encode() + b":"):
                return int(line.split()[1], 16)
    raise ValueError(f"no capability set is called {kind!r}")
