"""CRI's numbers for signals, and where a container's output goes."""

from __future__ import annotations

from urllib.parse import quote

from cloche.engine.signals import number_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_PLAIN = """
ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV STKFLT STOP SYS
TERM TRAP TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ
RTMIN
"""
_NAMES = [
    "",
    *(f"SIG{name}" for name in _PLAIN.split()),
    *(f"SIGRTMIN+{number}" for number in range(1, 16)),
    *(f"SIGRTMAX-{number}" for number in range(14, 0, -1)),
    "SIGRTMAX",
]


def name_of(number: int) -> str:
    """The signal's name; "" for the runtime's default, and for numbers of newer versions."""
    return _NAMES[number] if 0 <= number < len(_NAMES) else ""


def number_for(name: str) -> int:
    """CRI's number of a signal; SIGTERM for ""."""
    return _numbers().get(number_of(name or "SIGTERM"), 0)


_by_number: dict[int, int] = {}


def _numbers() -> Mapping[int, int]:
    if not _by_number:
        for number, name in enumerate(_NAMES):
            if name:
                _by_number.setdefault(number_of(name), number)
    return _by_number


def log_uri(path: str) -> str:
    """Where output goes: a log of CRI's format, else to those alone who attach."""
    return f"cri://{quote(path)}" if path else "attach://"
