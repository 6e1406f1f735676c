"""The resources of setrlimit(2) by their names in the runtime specification."""

from __future__ import annotations

from cloche.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.spec.config import Rlimit

RESOURCES = {
    "RLIMIT_CPU": 0,
    "RLIMIT_FSIZE": 1,
    "RLIMIT_DATA": 2,
    "RLIMIT_STACK": 3,
    "RLIMIT_CORE": 4,
    "RLIMIT_RSS": 5,
    "RLIMIT_NPROC": 6,
    "RLIMIT_NOFILE": 7,
    "RLIMIT_MEMLOCK": 8,
    "RLIMIT_AS": 9,
    "RLIMIT_LOCKS": 10,
    "RLIMIT_SIGPENDING": 11,
    "RLIMIT_MSGQUEUE": 12,
    "RLIMIT_NICE": 13,
    "RLIMIT_RTPRIO": 14,
    "RLIMIT_RTTIME": 15,
}


def limit_of(rlimit: Rlimit, index: int) -> tuple[int, int, int]:
    """(resource number, soft, hard) of one member of process.rlimits, `index` being its place."""
    number = RESOURCES.get(rlimit["type"])
    if number is None:
        raise InvalidArgument(f"config.json: process.rlimits[{index}].type: unknown limit {rlimit['type']!r}")
    return number, rlimit["soft"], rlimit["hard"]
