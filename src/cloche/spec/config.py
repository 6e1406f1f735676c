"""The OCI runtime configuration for Linux (config.json, runtime-spec 1.0 to 1.3) as typed dicts.

The documents themselves stay plain dicts from the JSON they came in to the JSON they are stored
in; these types say what may be in them, and are imported by type checkers only. What checks a
document at run time is `cloche.spec.validate`.

Every member is optional here unless the validation guarantees it. A member that is null in the
JSON is removed by the validation, so it is never None later.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

NamespaceType = Literal["pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"]


class ConsoleSize(TypedDict):
    """Size of the console in characters."""

    height: int
    width: int


class User(TypedDict, total=False):
    """Who the process runs as, in ids of the container."""

    uid: int
    gid: int
    umask: int
    additionalGids: list[int]
    username: str


class Capabilities(TypedDict, total=False):
    """The five sets, as lists of CAP_ names."""

    bounding: list[str]
    effective: list[str]
    permitted: list[str]
    inheritable: list[str]
    ambient: list[str]


class Rlimit(TypedDict):
    """One limit; the units are the resource's own."""

    type: str
    soft: int
    hard: int


class Scheduler(TypedDict, total=False):
    """sched_setattr(2); runtime, deadline and period in nanoseconds."""

    policy: str
    nice: int
    priority: int
    flags: list[str]
    runtime: int
    deadline: int
    period: int


IOPriority = TypedDict("IOPriority", {"class": str, "priority": NotRequired[int]})


class CPUAffinity(TypedDict, total=False):
    """Lists of processors such as `0-3,7`, before and after joining the cgroup."""

    initial: str
    final: str


class Process(TypedDict):
    """What is executed, and with which rights."""

    args: list[str]
    cwd: str
    terminal: NotRequired[bool]
    consoleSize: NotRequired[ConsoleSize]
    user: NotRequired[User]
    env: NotRequired[list[str]]
    capabilities: NotRequired[Capabilities]
    rlimits: NotRequired[list[Rlimit]]
    noNewPrivileges: NotRequired[bool]
    apparmorProfile: NotRequired[str]
    oomScoreAdj: NotRequired[int]
    scheduler: NotRequired[Scheduler]
    selinuxLabel: NotRequired[str]
    ioPriority: NotRequired[IOPriority]
    execCPUAffinity: NotRequired[CPUAffinity]


class Root(TypedDict):
    """Where the root file system is, absolute or relative to the bundle."""

    path: str
    readonly: NotRequired[bool]


class IDMapping(TypedDict):
    """`size` ids from `containerID` on are those from `hostID` on outside."""

    containerID: int
    hostID: int
    size: int


class Mount(TypedDict):
    """One mount; options are words of mount(8) and of the file system."""

    destination: str
    type: NotRequired[str]
    source: NotRequired[str]
    options: NotRequired[list[str]]
    uidMappings: NotRequired[list[IDMapping]]
    gidMappings: NotRequired[list[IDMapping]]


class Hook(TypedDict):
    """A program run at a point of the life cycle; timeout in seconds."""

    path: str
    args: NotRequired[list[str]]
    env: NotRequired[list[str]]
    timeout: NotRequired[int]


class Hooks(TypedDict, total=False):
    """All hooks by their point of the life cycle, each list in order."""

    prestart: list[Hook]
    createRuntime: list[Hook]
    createContainer: list[Hook]
    startContainer: list[Hook]
    poststart: list[Hook]
    poststop: list[Hook]


class Namespace(TypedDict):
    """A kernel namespace: a new one, or with `path` the one to join."""

    type: NamespaceType
    path: NotRequired[str]


class TimeOffset(TypedDict, total=False):
    """Offset of one clock in a time namespace."""

    secs: int
    nanosecs: int


class Device(TypedDict):
    """A device node to make; type is c, b, u or p."""

    path: str
    type: str
    major: NotRequired[int]
    minor: NotRequired[int]
    fileMode: NotRequired[int]
    uid: NotRequired[int]
    gid: NotRequired[int]


class NetDevice(TypedDict, total=False):
    """A network device of the host that moves in; `name` is its name inside."""

    name: str


class DeviceRule(TypedDict):
    """One rule of the device controller; what is absent matches everything."""

    allow: bool
    type: NotRequired[str]
    major: NotRequired[int]
    minor: NotRequired[int]
    access: NotRequired[str]


class Memory(TypedDict, total=False):
    """Limits in bytes; -1 is no limit; swap counts memory and swap together."""

    limit: int
    reservation: int
    swap: int
    kernel: int
    kernelTCP: int
    swappiness: int
    disableOOMKiller: bool
    useHierarchy: bool
    checkBeforeUpdate: bool


class CPU(TypedDict, total=False):
    """Times in microseconds; shares are a weight in 2 to 262144."""

    shares: int
    quota: int
    burst: int
    period: int
    realtimeRuntime: int
    realtimePeriod: int
    cpus: str
    mems: str
    idle: int


class Pids(TypedDict, total=False):
    """The most processes and threads; below zero is no limit."""

    limit: int


class WeightDevice(TypedDict):
    """A weight of one block device."""

    major: int
    minor: int
    weight: NotRequired[int]
    leafWeight: NotRequired[int]


class ThrottleDevice(TypedDict):
    """A rate of one block device, in bytes or operations a second."""

    major: int
    minor: int
    rate: int


class BlockIO(TypedDict, total=False):
    """Weights are 10 to 1000."""

    weight: int
    leafWeight: int
    weightDevice: list[WeightDevice]
    throttleReadBpsDevice: list[ThrottleDevice]
    throttleWriteBpsDevice: list[ThrottleDevice]
    throttleReadIOPSDevice: list[ThrottleDevice]
    throttleWriteIOPSDevice: list[ThrottleDevice]


class HugepageLimit(TypedDict):
    """The most bytes in pages of one size, such as `2MB`."""

    pageSize: str
    limit: int


class InterfacePriority(TypedDict):
    """Priority of one interface's traffic."""

    name: str
    priority: int


class Network(TypedDict, total=False):
    """cgroup v1's net_cls and net_prio."""

    classID: int
    priorities: list[InterfacePriority]


class Rdma(TypedDict, total=False):
    """Limits of one RDMA device."""

    hcaHandles: int
    hcaObjects: int


class Resources(TypedDict, total=False):
    """What the container's cgroup limits."""

    devices: list[DeviceRule]
    memory: Memory
    cpu: CPU
    pids: Pids
    blockIO: BlockIO
    hugepageLimits: list[HugepageLimit]
    network: Network
    rdma: dict[str, Rdma]
    unified: dict[str, str]


class SeccompArgument(TypedDict):
    """A comparison of one argument (0 to 5) of a system call."""

    index: int
    value: int
    op: str
    valueTwo: NotRequired[int]


class SeccompSyscall(TypedDict):
    """What happens at some system calls, where all comparisons hold."""

    names: list[str]
    action: str
    errnoRet: NotRequired[int]
    args: NotRequired[list[SeccompArgument]]


class Seccomp(TypedDict):
    """The system call filter."""

    defaultAction: str
    defaultErrnoRet: NotRequired[int]
    architectures: NotRequired[list[str]]
    flags: NotRequired[list[str]]
    listenerPath: NotRequired[str]
    listenerMetadata: NotRequired[str]
    syscalls: NotRequired[list[SeccompSyscall]]


class IntelRdt(TypedDict, total=False):
    """Cache and memory bandwidth of resctrl."""

    closID: str
    schemata: list[str]
    l3CacheSchema: str
    memBwSchema: str
    enableMonitoring: bool
    enableCMT: bool
    enableMBM: bool


class MemoryPolicy(TypedDict, total=False):
    """set_mempolicy(2)."""

    mode: str
    nodes: str
    flags: list[str]


class Personality(TypedDict, total=False):
    """personality(2): LINUX or LINUX32."""

    domain: str
    flags: list[str]


class Linux(TypedDict, total=False):
    """What only Linux has."""

    uidMappings: list[IDMapping]
    gidMappings: list[IDMapping]
    sysctl: dict[str, str]
    resources: Resources
    cgroupsPath: str
    namespaces: list[Namespace]
    devices: list[Device]
    netDevices: dict[str, NetDevice]
    seccomp: Seccomp
    rootfsPropagation: str
    maskedPaths: list[str]
    readonlyPaths: list[str]
    mountLabel: str
    intelRdt: IntelRdt
    memoryPolicy: MemoryPolicy
    personality: Personality
    timeOffsets: dict[str, TimeOffset]


class Config(TypedDict):
    """A whole config.json."""

    ociVersion: str
    process: Process
    root: Root
    hostname: NotRequired[str]
    domainname: NotRequired[str]
    mounts: NotRequired[list[Mount]]
    hooks: NotRequired[Hooks]
    annotations: NotRequired[dict[str, str]]
    linux: NotRequired[Linux]
    vm: NotRequired[dict[str, Any]]
