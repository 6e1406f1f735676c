"""Limits, as the kubelet gives them."""

from __future__ import annotations

from cloche.wire.protobuf import Message, int64, mapping, message, repeated, string, uint64
from cloche.wire.protobuf_values import STRING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PACKAGE = "runtime.v1"


class HugepageLimit(Message, package=_PACKAGE):
    """The most bytes in pages of one size, such as 2MB."""

    page_size: str = string(1)
    limit: int = uint64(2)


class LinuxContainerResources(Message, package=_PACKAGE):
    """Limits; 0 is not specified.

    Times in microseconds, sizes in bytes. unified: files of cgroup v2 and what is written to them.
    """

    cpu_period: int = int64(1)
    cpu_quota: int = int64(2)
    cpu_shares: int = int64(3)
    memory_limit_in_bytes: int = int64(4)
    oom_score_adj: int = int64(5)
    cpuset_cpus: str = string(6)
    cpuset_mems: str = string(7)
    hugepage_limits: Sequence[HugepageLimit] = repeated(8, HugepageLimit)
    unified: Mapping[str, str] = mapping(9, STRING, STRING)
    memory_swap_limit_in_bytes: int = int64(10)


class ContainerResources(Message, package=_PACKAGE):
    """The limits in force."""

    linux: LinuxContainerResources | None = message(1, LinuxContainerResources)
