"""The words of CRI's enumerations, for those who show and read its messages as text."""

from __future__ import annotations

from cloche.wire.messages.cri import containers, events, metrics, pod_config, pods, status, values, version

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.wire.protobuf import Message

_CONTAINER = ("CONTAINER_CREATED", "CONTAINER_RUNNING", "CONTAINER_EXITED", "CONTAINER_UNKNOWN")
_POD = ("SANDBOX_READY", "SANDBOX_NOTREADY")
_NAMESPACE = ("POD", "CONTAINER", "NODE", "TARGET")
_GROUPS = ("Merge", "Strict")
_SIGNALS = (
    *("RUNTIME_DEFAULT", "SIGABRT", "SIGALRM", "SIGBUS", "SIGCHLD", "SIGCLD", "SIGCONT", "SIGFPE", "SIGHUP"),
    *("SIGILL", "SIGINT", "SIGIO", "SIGIOT", "SIGKILL", "SIGPIPE", "SIGPOLL", "SIGPROF", "SIGPWR", "SIGQUIT"),
    *("SIGSEGV", "SIGSTKFLT", "SIGSTOP", "SIGSYS", "SIGTERM", "SIGTRAP", "SIGTSTP", "SIGTTIN", "SIGTTOU"),
    *("SIGURG", "SIGUSR1", "SIGUSR2", "SIGVTALRM", "SIGWINCH", "SIGXCPU", "SIGXFSZ", "SIGRTMIN"),
    *(f"SIGRTMINPLUS{number}" for number in range(1, 16)),
    *(f"SIGRTMAXMINUS{number}" for number in range(14, 0, -1)),
    "SIGRTMAX",
)

_WORDS: dict[tuple[type[Message], str], tuple[str, ...]] = {
    (containers.Container, "state"): _CONTAINER,
    (containers.ContainerStateValue, "state"): _CONTAINER,
    (status.ContainerStatus, "state"): _CONTAINER,
    (pods.PodSandbox, "state"): _POD,
    (pods.PodSandboxStateValue, "state"): _POD,
    (pods.PodSandboxStatus, "state"): _POD,
    (containers.ContainerConfig, "stop_signal"): _SIGNALS,
    (status.ContainerStatus, "stop_signal"): _SIGNALS,
    (containers.Mount, "propagation"): (
        "PROPAGATION_PRIVATE",
        "PROPAGATION_HOST_TO_CONTAINER",
        "PROPAGATION_BIDIRECTIONAL",
    ),
    (containers.LinuxContainerSecurityContext, "supplemental_groups_policy"): _GROUPS,
    (pod_config.LinuxSandboxSecurityContext, "supplemental_groups_policy"): _GROUPS,
    (events.ContainerEventResponse, "container_event_type"): (
        "CONTAINER_CREATED_EVENT",
        "CONTAINER_STARTED_EVENT",
        "CONTAINER_STOPPED_EVENT",
        "CONTAINER_DELETED_EVENT",
    ),
    (metrics.Metric, "metric_type"): ("COUNTER", "GAUGE"),
    (values.PortMapping, "protocol"): ("TCP", "UDP", "SCTP"),
    (values.NamespaceOption, "network"): _NAMESPACE,
    (values.NamespaceOption, "pid"): _NAMESPACE,
    (values.NamespaceOption, "ipc"): _NAMESPACE,
    (values.UserNamespace, "mode"): _NAMESPACE,
    (values.SecurityProfile, "profile_type"): ("RuntimeDefault", "Unconfined", "Localhost"),
    (version.LinuxRuntimeConfiguration, "cgroup_driver"): ("SYSTEMD", "CGROUPFS"),
}


def word(kind: type[Message], field: str, number: int) -> str | int:
    """The word of a field's value; the number itself where it has none."""
    words = _WORDS.get((kind, field), ())
    return words[number] if 0 <= number < len(words) else number


def number(kind: type[Message], field: str, text: str) -> int | None:
    """The value of a word, whatever its case; None for no word of that field."""
    words = [each.upper() for each in _WORDS.get((kind, field), ())]
    return words.index(text.upper()) if text.upper() in words else None
