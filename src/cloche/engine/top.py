"""The processes of a container as the host sees them, in the columns of `ps -ef`."""

from __future__ import annotations

import os
import time

from cloche.engine import lifecycle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.engine.context import Context
    from cloche.store.containers import Container

TITLES = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
_TICKS = os.sysconf("SC_CLK_TCK")


def processes(context: Context, row: Container) -> tuple[list[str], list[list[str]]]:
    """See `Container.top`."""
    container = lifecycle.runtime_of(context, row)
    rows = []
    for pid in container.processes():
        try:
            rows.append(_row(pid))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return TITLES, rows


def _row(pid: int) -> list[str]:
    with open(f"/proc/{pid}/stat", "rb") as file:
        text = file.read()
    # The name in brackets may hold anything, brackets and spaces too.
    name = text[text.index(b"(") + 1 : text.rindex(b")")].decode(errors="replace")
    fields = text[text.rindex(b")") + 2 :].split()
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        words = file.read().rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
    used_s = (int(fields[11]) + int(fields[12])) / _TICKS
    with open("/proc/uptime", encoding="ascii") as file:
        running_s = max(0.01, float(file.read().split()[0]) - int(fields[19]) / _TICKS)
    started = time.localtime(time.time() - running_s)
    return [
        _user(os.stat(f"/proc/{pid}").st_uid),
        str(pid),
        fields[1].decode(),
        str(min(99, int(used_s * 100 / running_s))),
        time.strftime("%H:%M" if running_s < 86400 else "%b%d", started),
        _terminal(int(fields[4])),
        time.strftime("%H:%M:%S", time.gmtime(used_s)),
        words or f"[{name}]",
    ]


def _user(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _terminal(number: int) -> str:
    """pts are majors 136 to 143."""
    major, minor = os.major(number), os.minor(number)
    return f"pts/{(major - 136) * 256 + minor}" if 136 <= major <= 143 else "?"
