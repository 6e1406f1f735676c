"""Programs of the suite that cloche-runc fails, and why."""

from __future__ import annotations

_POINTERS = "compares the addresses of two numbers, not the numbers: fails whatever the limit is"
_LEAF_WEIGHT = "asks for blkio.leaf_weight, which went away with the CFQ scheduler in Linux 5.0"
_LOOKS_AT_V1 = "looks for a v1 hierarchy only, be the limit refused or set on v2"
_KERNEL_MEMORY = "asks for a limit of kernel memory, which Linux ignores since 5.16"

# Not held against cloche-runc, even where another runtime passes. Debian's runc and crun fail these.
EXCUSED: dict[str, str] = {
    "start": "asserts that `start` without a process gives no error, under a message that says, as the "
    "specification does, that it must give one; Debian's runc and crun fail it too, newer crun passes",
    "linux_process_apparmor_profile": "asks for a profile of a security module that a kernel may lack: we "
    "and runc refuse rather than run the program without it, newer crun leaves it out",
}

# Wrong in themselves, or asking for what a machine lacks: runc and crun fail them too.
EXPLAINED: dict[str, str] = {
    "delete": "wants a created container kept from `delete`; callers count on that it is deleted",
    "delete_resources": _POINTERS,
    "linux_cgroups_blkio": _LEAF_WEIGHT,
    "linux_cgroups_hugetlb": _LOOKS_AT_V1,
    "linux_cgroups_memory": _KERNEL_MEMORY,
    "linux_cgroups_network": _LOOKS_AT_V1,
    "linux_cgroups_pids": _POINTERS,
    "linux_cgroups_relative_blkio": _LEAF_WEIGHT,
    "linux_cgroups_relative_hugetlb": _LOOKS_AT_V1,
    "linux_cgroups_relative_memory": _KERNEL_MEMORY,
    "linux_cgroups_relative_network": _LOOKS_AT_V1,
    "linux_cgroups_relative_pids": _POINTERS,
    "misc_props": "does not put its program into the bundle of its first container",
    "pidfile": "kills a process that has ended by then, and takes the error for a failure",
    "process_capabilities": "wants every capability, and the caller may have fewer itself",
    "process_capabilities_fail": "wants an error for an unknown capability, for which runc and crun warn",
    "process_rlimits": "its own process is a Go program, which raises its soft limit of open files",
}

# Tried again where they fail, with every runtime.
RACING: dict[str, str] = {
    "killsig": "sends the signal as soon as the container runs, be its shell's trap set or not",
}
ATTEMPTS = 4
