"""What only Linux has, in the messages of NRI: devices, namespaces, filters, priorities."""

from __future__ import annotations

from cloche.wire.messages.nri import values
from cloche.wire.messages.nri.values import PACKAGE
from cloche.wire.protobuf import (
    Message,
    boolean,
    enumeration,
    int32,
    int64,
    message,
    repeated,
    string,
    uint32,
    uint64,
)
from cloche.wire.protobuf_values import ENUM, STRING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

RUNTIME_DEFAULT, UNCONFINED, LOCALHOST = range(3)
"""Kinds of SecurityProfile."""

IO_CLASSES = ("IOPRIO_CLASS_NONE", "IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE")
POLICIES = (
    *("SCHED_NONE", "SCHED_OTHER", "SCHED_FIFO", "SCHED_RR"),
    *("SCHED_BATCH", "SCHED_ISO", "SCHED_IDLE", "SCHED_DEADLINE"),
)
SCHEDULER_FLAGS = (
    *("SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_RECLAIM", "SCHED_FLAG_DL_OVERRUN"),
    *("SCHED_FLAG_KEEP_POLICY", "SCHED_FLAG_KEEP_PARAMS"),
    *("SCHED_FLAG_UTIL_CLAMP_MIN", "SCHED_FLAG_UTIL_CLAMP_MAX"),
)
MEMORY_MODES = (
    *("MPOL_DEFAULT", "MPOL_PREFERRED", "MPOL_BIND", "MPOL_INTERLEAVE"),
    *("MPOL_LOCAL", "MPOL_PREFERRED_MANY", "MPOL_WEIGHTED_INTERLEAVE"),
)
MEMORY_FLAGS = ("MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES", "MPOL_F_NUMA_BALANCING")
"""Words of config.json, each at its number in the protocol."""


class LinuxNamespace(Message, package=PACKAGE):
    """A namespace. type: as in config.json; path: the one to join, "" for a new one."""

    type: str = string(1)
    path: str = string(2)


class LinuxDevice(Message, package=PACKAGE):
    """A device node."""

    path: str = string(1)
    type: str = string(2)
    major: int = int64(3)
    minor: int = int64(4)
    file_mode: values.OptionalFileMode | None = message(5, values.OptionalFileMode)
    uid: values.OptionalUInt32 | None = message(6, values.OptionalUInt32)
    gid: values.OptionalUInt32 | None = message(7, values.OptionalUInt32)


class LinuxNetDevice(Message, package=PACKAGE):
    """A network device of the host that moves in. name: inside, "" for the same."""

    name: str = string(1)


class SecurityProfile(Message, package=PACKAGE):
    """The filter that the client asked for."""

    profile_type: int = enumeration(1)
    localhost_ref: str = string(2)


class LinuxSeccompArg(Message, package=PACKAGE):
    """A comparison of one argument of a system call."""

    index: int = uint32(1)
    value: int = uint64(2)
    value_two: int = uint64(3)
    op: str = string(4)


class LinuxSyscall(Message, package=PACKAGE):
    """What happens at some system calls."""

    names: Sequence[str] = repeated(1, STRING)
    action: str = string(2)
    errno_ret: values.OptionalUInt32 | None = message(3, values.OptionalUInt32)
    args: Sequence[LinuxSeccompArg] = repeated(4, LinuxSeccompArg)


class LinuxSeccomp(Message, package=PACKAGE):
    """The system call filter."""

    default_action: str = string(1)
    default_errno: values.OptionalUInt32 | None = message(2, values.OptionalUInt32)
    architectures: Sequence[str] = repeated(3, STRING)
    flags: Sequence[str] = repeated(4, STRING)
    listener_path: str = string(5)
    listener_metadata: str = string(6)
    syscalls: Sequence[LinuxSyscall] = repeated(7, LinuxSyscall)


class LinuxIOPriority(Message, package=PACKAGE):
    """ioprio_set(2). io_class: an index of IO_CLASSES."""

    io_class: int = enumeration(1)
    priority: int = int32(2)


class LinuxScheduler(Message, package=PACKAGE):
    """sched_setattr(2). policy: an index of POLICIES; flags: of SCHEDULER_FLAGS. Times in nanoseconds."""

    policy: int = enumeration(1)
    nice: int = int32(2)
    priority: int = int32(3)
    flags: Sequence[int] = repeated(4, ENUM)
    runtime: int = uint64(5)
    deadline: int = uint64(6)
    period: int = uint64(7)


class LinuxRdt(Message, package=PACKAGE):
    """Cache and memory bandwidth of resctrl. remove: whether what was there goes first."""

    clos_id: values.OptionalString | None = message(1, values.OptionalString)
    schemata: values.OptionalRepeatedString | None = message(2, values.OptionalRepeatedString)
    enable_monitoring: values.OptionalBool | None = message(3, values.OptionalBool)
    remove: bool = boolean(4)


class LinuxMemoryPolicy(Message, package=PACKAGE):
    """set_mempolicy(2). mode: an index of MEMORY_MODES; flags: of MEMORY_FLAGS."""

    mode: int = enumeration(1)
    nodes: str = string(2)
    flags: Sequence[int] = repeated(3, ENUM)
