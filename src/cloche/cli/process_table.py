"""Processes as `ps -ef` lists them, read from /proc, for `cloche top`."""

from __future__ import annotations

import os
import time

from cloche.errors import FailedPrecondition, InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

TITLES = ("UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD")

_DAY_S = 86400
_USER_LENGTH = 8
# Positions in /proc/PID/stat after the name in parentheses.
_PPID, _TTY, _UTIME, _STIME, _START = 1, 4, 11, 12, 19


def rows(pids: Iterable[int], *, now: float | None = None) -> list[list[str]]:
    """One row of TITLES for each process that is still there."""
    moment = time.time() if now is None else now
    uptime = _uptime()
    result = []
    for pid in sorted(pids):
        try:
            result.append(_row(pid, moment, uptime))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return result


def _row(pid: int, now: float, uptime: float) -> list[str]:
    with open(f"/proc/{pid}/stat", "rb") as file:
        before, _, after = file.read().rpartition(b")")
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        words = file.read().rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
    name = before.partition(b"(")[2].decode(errors="replace")
    fields = after.split()
    ticks = os.sysconf("SC_CLK_TCK")
    used_s = (int(fields[_UTIME]) + int(fields[_STIME])) / ticks
    age_s = max(uptime - int(fields[_START]) / ticks, 0.0)
    return [
        _user(os.stat(f"/proc/{pid}").st_uid),
        str(pid),
        fields[_PPID].decode(),
        str(min(int(used_s * 100 / age_s), 99) if age_s > 0 else 0),
        _started(now - age_s, now),
        _terminal(int(fields[_TTY])),
        _clock(used_s),
        words or f"[{name}]",
    ]


def _uptime() -> float:
    with open("/proc/uptime") as file:
        return float(file.read().split()[0])


def _user(uid: int) -> str:
    import pwd

    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
    return name if len(name) <= _USER_LENGTH else str(uid)


def _started(moment: float, now: float) -> str:
    then, today = time.localtime(moment), time.localtime(now)
    if then[:3] == today[:3] or now - moment < _DAY_S:
        return time.strftime("%H:%M", then)
    return time.strftime("%b%d" if then.tm_year == today.tm_year else "%Y", then)


def _terminal(number: int) -> str:
    major, minor = os.major(number), os.minor(number)
    if 136 <= major <= 143:
        return f"pts/{minor + (major - 136) * 256}"
    return f"tty{minor}" if major == 4 and minor < 64 else "?"


def _clock(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours:02}:{minute:02}:{second:02}"


def by_ps(pids: Iterable[int], options: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """(titles, rows) of the host's own `ps` with the user's options, for these processes alone.

    Raises InvalidArgument where ps refuses the options or they hide the PID column.
    """
    import subprocess

    try:
        result = subprocess.run(["ps", *options], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise FailedPrecondition("options for ps need the host's ps program, which is missing") from None
    if result.returncode:
        said = result.stderr.strip().splitlines() or [f"exit code {result.returncode}"]
        raise InvalidArgument(f"ps: {said[0]}")
    lines = result.stdout.splitlines()
    titles = lines[0].split() if lines else []
    if "PID" not in titles:
        raise InvalidArgument("ps: the options must leave the PID column in the output")
    column, wanted = titles.index("PID"), {str(pid) for pid in pids}
    cells = [line.split(None, len(titles) - 1) for line in lines[1:]]
    return titles, [row for row in cells if len(row) > column and row[column] in wanted]
