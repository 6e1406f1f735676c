"""The shape of config.json as one table: which members there are, of which type, and which must be there.

What depends on more than one member is in `cloche.spec.rules`.
"""

from __future__ import annotations

from cloche.spec.shape import absolute, choice, flag, listing, mapping, members, name, text, texts, whole

_INT64 = whole(-(1 << 63), (1 << 63) - 1)
_UINT64 = whole(0, (1 << 64) - 1)
_UINT32 = whole(0, (1 << 32) - 1)
_INT32 = whole(-(1 << 31), (1 << 31) - 1)
_UINT16 = whole(0, (1 << 16) - 1)
# The last id of all means "leave as it is" to the kernel: to ask for it would keep the host's.
_ID = whole(0, (1 << 32) - 2)
_SECCOMP_ERRNO = whole(0, (1 << 16) - 1)

_ARCHITECTURES = (
    "X86 X86_64 X32 ARM AARCH64 MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PPC PPC64 PPC64LE "
    "S390 S390X PARISC PARISC64 RISCV64 LOONGARCH64 M68K SH SHEB"
)
_RLIMITS = (
    "AS CORE CPU DATA FSIZE LOCKS MEMLOCK MSGQUEUE NICE NOFILE NPROC RSS RTPRIO RTTIME SIGPENDING STACK"
)


def _prefixed(prefix: str, words: str) -> list[str]:
    return [prefix + word for word in words.split()]


_ACTION = choice(
    *_prefixed("SCMP_ACT_", "ALLOW ERRNO KILL KILL_PROCESS KILL_THREAD LOG NOTIFY TRACE TRAP"),
)
_OPERATOR = choice(*_prefixed("SCMP_CMP_", "EQ GE GT LE LT MASKED_EQ NE"))

_ID_MAPPINGS = listing(
    members(
        {"containerID": _ID, "hostID": _ID, "size": whole(1, (1 << 32) - 1)},
        *("containerID", "hostID", "size"),
    ),
)

PROCESS = members(
    {
        "terminal": flag,
        "consoleSize": members({"height": _UINT16, "width": _UINT16}, "height", "width"),
        "user": members(
            {
                "uid": _ID,
                "gid": _ID,
                "umask": whole(0, 0o777),
                "additionalGids": listing(_ID),
                "username": text,
            },
        ),
        "args": texts,
        "env": texts,
        "cwd": text,
        "capabilities": members(
            dict.fromkeys(("bounding", "effective", "permitted", "inheritable", "ambient"), texts),
        ),
        "rlimits": listing(
            members(
                {"type": choice(*_prefixed("RLIMIT_", _RLIMITS)), "soft": _UINT64, "hard": _UINT64},
                *("type", "soft", "hard"),
            ),
        ),
        "noNewPrivileges": flag,
        "apparmorProfile": text,
        "oomScoreAdj": whole(-1000, 1000),
        "scheduler": members(
            {
                "policy": choice(*_prefixed("SCHED_", "OTHER FIFO RR BATCH ISO IDLE DEADLINE")),
                "nice": _INT32,
                "priority": _INT32,
                "flags": listing(
                    choice(
                        *_prefixed(
                            "SCHED_FLAG_",
                            "RESET_ON_FORK RECLAIM DL_OVERRUN KEEP_POLICY KEEP_PARAMS "
                            "UTIL_CLAMP_MIN UTIL_CLAMP_MAX",
                        ),
                    ),
                ),
                "runtime": _UINT64,
                "deadline": _UINT64,
                "period": _UINT64,
            },
            "policy",
        ),
        "selinuxLabel": text,
        "ioPriority": members(
            {"class": choice(*_prefixed("IOPRIO_CLASS_", "RT BE IDLE")), "priority": whole(0, 7)}, "class"
        ),
        "execCPUAffinity": members({"initial": text, "final": text}),
    },
    *("cwd", "args"),
)

_MOUNT = members(
    {
        "destination": name,
        "type": text,
        "source": text,
        "options": texts,
        "uidMappings": _ID_MAPPINGS,
        "gidMappings": _ID_MAPPINGS,
    },
    "destination",
)

_HOOKS = listing(
    members({"path": absolute, "args": texts, "env": texts, "timeout": whole(1, (1 << 31) - 1)}, "path")
)

_NUMBERED = {"major": _INT64, "minor": _INT64}
_WEIGHTS = listing(members({**_NUMBERED, "weight": _UINT16, "leafWeight": _UINT16}, *_NUMBERED))
_RATES = listing(members({**_NUMBERED, "rate": _UINT64}, *_NUMBERED, "rate"))

RESOURCES = members(
    {
        "devices": listing(
            members({**_NUMBERED, "allow": flag, "type": choice("", "a", "b", "c"), "access": text}),
        ),
        "memory": members(
            {
                **dict.fromkeys(("limit", "reservation", "swap", "kernel", "kernelTCP"), _INT64),
                "swappiness": _UINT64,
                **dict.fromkeys(("disableOOMKiller", "useHierarchy", "checkBeforeUpdate"), flag),
            },
        ),
        "cpu": members(
            {
                **dict.fromkeys(("shares", "burst", "period", "realtimePeriod"), _UINT64),
                **dict.fromkeys(("quota", "realtimeRuntime", "idle"), _INT64),
                **dict.fromkeys(("cpus", "mems"), text),
            },
        ),
        "pids": members({"limit": _INT64}),
        "blockIO": members(
            {
                "weight": _UINT16,
                "leafWeight": _UINT16,
                "weightDevice": _WEIGHTS,
                "throttleReadBpsDevice": _RATES,
                "throttleWriteBpsDevice": _RATES,
                "throttleReadIOPSDevice": _RATES,
                "throttleWriteIOPSDevice": _RATES,
            },
        ),
        "hugepageLimits": listing(members({"pageSize": name, "limit": _UINT64}, "pageSize", "limit")),
        "network": members(
            {
                "classID": _UINT32,
                "priorities": listing(members({"name": name, "priority": _UINT32}, "name", "priority")),
            },
        ),
        "rdma": mapping(members({"hcaHandles": _UINT32, "hcaObjects": _UINT32})),
        "unified": mapping(text),
    },
)

_SECCOMP = members(
    {
        "defaultAction": _ACTION,
        "defaultErrnoRet": _SECCOMP_ERRNO,
        "architectures": listing(choice(*_prefixed("SCMP_ARCH_", _ARCHITECTURES))),
        "flags": listing(
            choice(*_prefixed("SECCOMP_FILTER_FLAG_", "LOG SPEC_ALLOW TSYNC WAIT_KILLABLE_RECV")),
        ),
        "listenerPath": text,
        "listenerMetadata": text,
        "syscalls": listing(
            members(
                {
                    "names": texts,
                    "action": _ACTION,
                    "errnoRet": _SECCOMP_ERRNO,
                    "args": listing(
                        members(
                            {"index": whole(0, 5), "value": _UINT64, "valueTwo": _UINT64, "op": _OPERATOR},
                            *("index", "value", "op"),
                        ),
                    ),
                },
                *("names", "action"),
            ),
        ),
    },
    "defaultAction",
)

_LINUX = members(
    {
        "uidMappings": _ID_MAPPINGS,
        "gidMappings": _ID_MAPPINGS,
        "sysctl": mapping(text),
        "resources": RESOURCES,
        "cgroupsPath": text,
        "namespaces": listing(
            members(
                {
                    "type": choice("cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"),
                    "path": text,
                },
                "type",
            ),
        ),
        "devices": listing(
            members(
                {
                    **_NUMBERED,
                    "path": absolute,
                    "type": choice("c", "b", "u", "p"),
                    "fileMode": _UINT32,
                    "uid": _ID,
                    "gid": _ID,
                },
                *("path", "type"),
            ),
        ),
        "netDevices": mapping(members({"name": text})),
        "seccomp": _SECCOMP,
        "rootfsPropagation": choice(
            *("", "private", "rprivate", "rshared", "rslave", "runbindable", "shared", "slave", "unbindable"),
        ),
        "maskedPaths": listing(absolute),
        "readonlyPaths": listing(absolute),
        "mountLabel": text,
        "intelRdt": members(
            {
                "closID": text,
                "schemata": texts,
                "l3CacheSchema": text,
                "memBwSchema": text,
                **dict.fromkeys(("enableMonitoring", "enableCMT", "enableMBM"), flag),
            },
        ),
        "memoryPolicy": members(
            {
                "mode": choice(
                    *_prefixed(
                        "MPOL_",
                        "DEFAULT BIND INTERLEAVE WEIGHTED_INTERLEAVE PREFERRED PREFERRED_MANY LOCAL",
                    )
                ),
                "nodes": text,
                "flags": listing(
                    choice(*_prefixed("MPOL_F_", "NUMA_BALANCING RELATIVE_NODES STATIC_NODES")),
                ),
            },
            "mode",
        ),
        "personality": members({"domain": choice("LINUX", "LINUX32"), "flags": texts}, "domain"),
        "timeOffsets": mapping(members({"secs": _INT64, "nanosecs": _UINT32})),
    },
)

CONFIG = members(
    {
        "ociVersion": text,
        "process": PROCESS,
        "root": members({"path": name, "readonly": flag}, "path"),
        "hostname": text,
        "domainname": text,
        "mounts": listing(_MOUNT),
        "hooks": members(
            dict.fromkeys(
                ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"),
                _HOOKS,
            ),
        ),
        "annotations": mapping(text),
        "linux": _LINUX,
        "vm": members({}),
    },
    *("ociVersion", "process", "root"),
)
