"""The limits of a container: Docker's settings as the cgroup resources and rlimits of config.json."""

from __future__ import annotations

import os

from cloche.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.engine.options import Options
    from cloche.spec.config import CPU, DeviceRule, Memory, Resources, Rlimit

_MEMORY_LEAST = 6 << 20
_PERIOD_US = 100_000
_LEAST_US, _PERIOD_MOST_US = 1000, 1_000_000
_NO_LIMIT = 2**64 - 1


def resources(options: Options, devices: list[DeviceRule], *, swap: bool) -> Resources:
    """linux.resources. swap: whether this kernel accounts swap; without it the limit is left out.

    Raises InvalidArgument for limits that contradict each other or cannot hold.
    """
    result: Resources = {"devices": devices}
    memory, cpu = _memory(options, swap=swap), _cpu(options)
    if memory:
        result["memory"] = memory
    if cpu:
        result["cpu"] = cpu
    if options.pids_limit:
        result["pids"] = {"limit": options.pids_limit if options.pids_limit > 0 else -1}
    return result


def _memory(options: Options, *, swap: bool) -> Memory:
    limit, total, reservation = options.memory, options.memory_swap, options.memory_reservation
    memory: Memory = {}
    if limit:
        if limit < _MEMORY_LEAST:
            raise InvalidArgument(f"invalid memory {limit}: the least that a container can live in is 6m")
        memory["limit"] = limit
    if total and total != -1:
        if not limit:
            raise InvalidArgument("invalid memory-swap: it needs --memory, since it counts memory and swap")
        if total < limit:
            raise InvalidArgument(
                f"invalid memory-swap {total}: it counts memory too, and so cannot be below it"
            )
    if limit and swap:
        memory["swap"] = total or 2 * limit
    if reservation:
        if limit and reservation > limit:
            raise InvalidArgument(f"invalid memory-reservation {reservation}: above --memory")
        memory["reservation"] = reservation
    return memory


def _cpu(options: Options) -> CPU:
    cpu: CPU = {}
    if options.cpu_shares:
        if options.cpu_shares < 0:
            raise InvalidArgument(f"invalid cpu-shares {options.cpu_shares}: must be 2 to 262144")
        cpu["shares"] = min(max(options.cpu_shares, 2), 262144)
    if options.cpus:
        if options.cpu_quota_us or options.cpu_period_us:
            raise InvalidArgument("invalid cpus: cannot be given together with cpu-quota or cpu-period")
        online = os.cpu_count() or 1
        if options.cpus > online or options.cpus < 0.01:
            raise InvalidArgument(f"invalid cpus {options.cpus:g}: must be between 0.01 and {online}")
        cpu["period"], cpu["quota"] = _PERIOD_US, int(options.cpus * _PERIOD_US)
    if options.cpu_quota_us:
        if 0 < options.cpu_quota_us < _LEAST_US:
            raise InvalidArgument(f"invalid cpu-quota {options.cpu_quota_us}: the least is {_LEAST_US} us")
        cpu["quota"] = options.cpu_quota_us
    if options.cpu_period_us:
        if not _LEAST_US <= options.cpu_period_us <= _PERIOD_MOST_US:
            raise InvalidArgument(
                f"invalid cpu-period {options.cpu_period_us}: must be {_LEAST_US} to {_PERIOD_MOST_US} us"
            )
        cpu["period"] = options.cpu_period_us
    for name, numbers in (("cpuset-cpus", options.cpuset_cpus), ("cpuset-mems", options.cpuset_mems)):
        # Which of them this machine has the kernel says.
        if numbers and (numbers.strip("0123456789,-") or not numbers[0].isdigit()):
            raise InvalidArgument(f"invalid {name} {numbers!r}: must be numbers and ranges, as 0-3,5")
    if options.cpuset_cpus:
        cpu["cpus"] = options.cpuset_cpus
    if options.cpuset_mems:
        cpu["mems"] = options.cpuset_mems
    return cpu


def check_oom_score(options: Options) -> None:
    """Raises InvalidArgument for a score that the kernel does not know."""
    score = options.oom_score_adj
    if score is not None and not -1000 <= score <= 1000:
        raise InvalidArgument(f"invalid oom-score-adj {score}: must be -1000 to 1000")


def rlimits(options: Options) -> list[Rlimit]:
    """process.rlimits."""
    return [
        {
            "type": "RLIMIT_" + limit.name.upper(),
            "soft": limit.soft if limit.soft >= 0 else _NO_LIMIT,
            "hard": limit.hard if limit.hard >= 0 else _NO_LIMIT,
        }
        for limit in options.ulimits
    ]
