"""What /proc tells about processes: for `ps` and `top` of containers."""

from __future__ import annotations

import os

from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class ProcessInfo(Record):
    """One process as ps(1) shows it.

    started: seconds since the epoch; cpu_s: processor seconds used; tty: its device number or 0;
    resident_bytes and virtual_bytes: memory; command: its arguments, or `[name]` without any.
    """

    pid: int
    parent: int
    uid: int
    gid: int
    name: str
    state: str
    tty: int
    threads: int
    nice: int
    started: float
    cpu_s: float
    resident_bytes: int
    virtual_bytes: int
    arguments: tuple[str, ...]

    @property
    def command(self) -> str:
        """The command line on one line."""
        return " ".join(self.arguments) if any(self.arguments) else f"[{self.name}]"


def describe(pids: Iterable[int]) -> list[ProcessInfo]:
    """The processes of these that still exist, in the same order."""
    boot = boot_time()
    found = []
    for pid in pids:
        info = _describe(pid, boot)
        if info is not None:
            found.append(info)
    return found


def boot_time() -> int:
    """When this machine booted, in seconds since the epoch."""
    for line in _read("/proc/stat").splitlines():
        if line.startswith(b"btime "):
            return int(line.split()[1])
    return 0


def _describe(pid: int, boot: int) -> ProcessInfo | None:
    try:
        stat = _read(f"/proc/{pid}/stat")
        status = os.stat(f"/proc/{pid}")
        arguments = _read(f"/proc/{pid}/cmdline")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return parse(pid, stat, arguments, boot, (status.st_uid, status.st_gid))


def parse(pid: int, stat: bytes, arguments: bytes, boot: int, owner: tuple[int, int]) -> ProcessInfo:
    """One process from its stat and cmdline files.

    boot: when the machine booted; owner: uid and gid. Raises ValueError for what is no stat file.
    """
    before, _, after = stat.rpartition(b")")
    fields = after.split()
    if len(fields) < 22:
        raise ValueError(f"not a /proc/PID/stat: {stat!r}")
    name = before.partition(b"(")[2].decode(errors="replace")
    words = arguments.rstrip(b"\0").split(b"\0") if arguments else []
    return ProcessInfo(
        pid,
        int(fields[1]),
        *owner,
        name,
        fields[0].decode(),
        int(fields[4]),
        int(fields[17]),
        int(fields[16]),
        boot + int(fields[19]) / _TICKS,
        (int(fields[11]) + int(fields[12])) / _TICKS,
        int(fields[21]) * _PAGE_BYTES,
        int(fields[20]),
        tuple(word.decode(errors="replace") for word in words),
    )


def tty_name(device: int) -> str:
    """A terminal's name as ps shows it: `pts/0`, `tty1`, or `?` for none."""
    major, minor = os.major(device), os.minor(device)
    if 136 <= major <= 143:
        return f"pts/{(major - 136) * 256 + minor}"
    if major == 4:
        return f"tty{minor}" if minor < 64 else f"ttyS{minor - 64}"
    return "console" if (major, minor) == (5, 1) else "?"


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(descriptor, 65536):
            parts.append(part)
    finally:
        os.close(descriptor)
    return b"".join(parts)
