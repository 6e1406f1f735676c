"""What a cgroup limits, in the messages of NRI: as config.json has it, with absence told from 0."""

from __future__ import annotations

from cloche.wire.messages.nri import values
from cloche.wire.messages.nri.values import PACKAGE
from cloche.wire.protobuf import Message, boolean, int64, mapping, message, repeated, string, uint64
from cloche.wire.protobuf_values import STRING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class LinuxMemory(Message, package=PACKAGE):
    """Limits in bytes; swap counts memory and swap together."""

    limit: values.OptionalInt64 | None = message(1, values.OptionalInt64)
    reservation: values.OptionalInt64 | None = message(2, values.OptionalInt64)
    swap: values.OptionalInt64 | None = message(3, values.OptionalInt64)
    kernel: values.OptionalInt64 | None = message(4, values.OptionalInt64)
    kernel_tcp: values.OptionalInt64 | None = message(5, values.OptionalInt64)
    swappiness: values.OptionalUInt64 | None = message(6, values.OptionalUInt64)
    disable_oom_killer: values.OptionalBool | None = message(7, values.OptionalBool)
    use_hierarchy: values.OptionalBool | None = message(8, values.OptionalBool)


class LinuxCPU(Message, package=PACKAGE):
    """Times in microseconds; cpus and mems: lists such as 0-3,7, "" for no word about them."""

    shares: values.OptionalUInt64 | None = message(1, values.OptionalUInt64)
    quota: values.OptionalInt64 | None = message(2, values.OptionalInt64)
    period: values.OptionalUInt64 | None = message(3, values.OptionalUInt64)
    realtime_runtime: values.OptionalInt64 | None = message(4, values.OptionalInt64)
    realtime_period: values.OptionalUInt64 | None = message(5, values.OptionalUInt64)
    cpus: str = string(6)
    mems: str = string(7)


class HugepageLimit(Message, package=PACKAGE):
    """The most bytes in pages of one size, such as 2MB."""

    page_size: str = string(1)
    limit: int = uint64(2)


class LinuxDeviceCgroup(Message, package=PACKAGE):
    """One rule of the device controller."""

    allow: bool = boolean(1)
    type: str = string(2)
    major: values.OptionalInt64 | None = message(3, values.OptionalInt64)
    minor: values.OptionalInt64 | None = message(4, values.OptionalInt64)
    access: str = string(5)


class LinuxPids(Message, package=PACKAGE):
    """The most processes and threads."""

    limit: int = int64(1)


class LinuxResources(Message, package=PACKAGE):
    """All limits. blockio_class, rdt_class: names of what the machine has set up."""

    memory: LinuxMemory | None = message(1, LinuxMemory)
    cpu: LinuxCPU | None = message(2, LinuxCPU)
    hugepage_limits: Sequence[HugepageLimit] = repeated(3, HugepageLimit)
    blockio_class: values.OptionalString | None = message(4, values.OptionalString)
    rdt_class: values.OptionalString | None = message(5, values.OptionalString)
    unified: Mapping[str, str] = mapping(6, STRING, STRING)
    devices: Sequence[LinuxDeviceCgroup] = repeated(7, LinuxDeviceCgroup)
    pids: LinuxPids | None = message(8, LinuxPids)
