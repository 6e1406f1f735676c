"""What to do about an operation that the kernel refused: loaded only when one was."""

from __future__ import annotations

from errno import (
    EACCES,
    EAGAIN,
    EBUSY,
    EINVAL,
    ELOOP,
    ENODEV,
    ENOENT,
    ENOSPC,
    ENOSYS,
    ENOTDIR,
    EPERM,
    ERANGE,
    EROFS,
)

_SOURCE = {
    ENOENT: "the source must exist on the host: make it, or correct the path",
    EACCES: "every directory on the way must be open to the caller",
    EPERM: "copying a mount tree needs CAP_SYS_ADMIN: run as root, or in a new user namespace",
    EINVAL: "a part of a tree with mounts on it can only be bound whole: use rbind",
}
_TARGET = {
    ENOTDIR: "source and destination must both be directories, or neither",
    EINVAL: "source and destination must both be directories, or neither",
    EROFS: "the destination is missing and the root below it is read-only: make it in the image",
    ELOOP: "the destination leads through links that turn in circles, or out of the container",
    EACCES: "the destination cannot be made: who runs this must own the directory above it",
}
_JOIN = {
    EPERM: "joining needs CAP_SYS_ADMIN there: run as root, or join the user namespace that owns it too",
    EINVAL: "the file must be a namespace of that type, and a user namespace other than the caller's own",
}
_IDS = {
    EINVAL: "the id must be one that linux.uidMappings and linux.gidMappings cover",
    EPERM: "the id is not allowed in this user namespace: map it, or take 0",
}

# Name of the operation -> errno -> what to do.
_ADVICE = {
    "clone tree": _SOURCE,
    "clone found": _SOURCE,
    "copy found": _SOURCE,
    "copy tree": _SOURCE,
    "find tree": _SOURCE,
    "open file": {
        ENOENT: "nothing is at that path on the host: correct it, or make what it names if that has ended",
        ENOTDIR: "it must be a directory, and all above it",
        EACCES: "the caller may not open it: run as root",
        EPERM: "the caller may not open it: run as root",
    },
    "attach mount": _TARGET,
    "new mount": _TARGET
    | {
        ENODEV: "this kernel has no such file system: load its module, or take another type",
        EPERM: "this file system cannot be mounted in a user namespace: bind the host's instead",
        EINVAL: "the file system does not know one of the options",
        EBUSY: "it is mounted there already",
        ENOENT: "the source of the file system does not exist",
    },
    "change mount": {EPERM: "a mount that came from outside the user namespace keeps its restrictions"},
    "make directory": _TARGET,
    "make device": {EPERM: "device nodes cannot be made in a user namespace: the host's are bound there"},
    "pivot root": {EINVAL: "the root may be on a ramdisk: use --no-pivot"},
    "join namespace": _JOIN,
    "retry joins": _JOIN,
    "join process": _JOIN,
    "clone process": {
        ENOSPC: "too many namespaces: raise user.max_*_namespaces (sysctl), or nest less deeply",
        EPERM: "new namespaces need CAP_SYS_ADMIN: run as root, or add a user namespace",
        EAGAIN: "too many processes: raise RLIMIT_NPROC, or pids.max of the cgroup above",
        EBUSY: "the cgroup has cgroups with controllers below it: choose one without",
        EINVAL: "this kernel lacks one of the namespaces",
    },
    "enter cgroup": {ENOSPC: "the cgroup has no CPUs or memory nodes: set linux.resources.cpu.cpus and mems"},
    "set time offsets": {EINVAL: "this kernel has no time namespaces", EACCES: "offsets need CAP_SYS_TIME"},
    "write sysctl": {
        ENOENT: "this kernel has no such parameter: load the module that has it, or leave it out",
        EINVAL: "the kernel does not take this value",
        EACCES: "the parameter belongs to a namespace that is not the container's own",
        EPERM: "the parameter belongs to a namespace that is not the container's own",
    },
    "write attribute": {
        ENOENT: "the security module has no such profile: load it first",
        EINVAL: "the security module is not in use on this machine: leave the label out",
    },
    "set oom score": {EACCES: "a score below the caller's needs CAP_SYS_RESOURCE", EINVAL: "-1000 to 1000"},
    "set limit": {
        EPERM: "a hard limit above the caller's own needs CAP_SYS_RESOURCE: lower it",
        EINVAL: "the soft limit must not be above the hard one",
    },
    "raise limit": {EPERM: "a hard limit above the caller's own needs CAP_SYS_RESOURCE: lower it"},
    "set scheduler": {
        EPERM: "this policy needs CAP_SYS_NICE",
        EINVAL: "the policy does not take these numbers",
        EBUSY: "the processors have no room for another deadline",
    },
    "set io priority": {EPERM: "this class needs CAP_SYS_ADMIN or CAP_SYS_NICE"},
    "set memory policy": {EINVAL: "the mode, its flags and the nodes do not go together on this machine"},
    "set affinity": {EINVAL: "none of these processors may be used here"},
    "set user": _IDS,
    "set groups": _IDS,
    "set capabilities": {EPERM: "effective ones must be permitted, and permitted ones in the bounding set"},
    "change directory": {
        ENOENT: "make it in the image, or choose another",
        ENOTDIR: "it is a file: choose a directory",
        EACCES: "the container's user may not enter it",
    },
    "load filter": {
        EINVAL: "this kernel does not know one of the filter's flags",
        EACCES: "set noNewPrivileges",
    },
    "open console": {ENOENT: "a terminal needs devpts at /dev/pts and a /dev: add both to mounts"},
    "run hook": {
        ENOENT: "the program of the hook must exist where it runs",
        EACCES: "the program of the hook must be executable",
    },
}
# The same for what is done about cgroups, which are not operations of the plan.
_CGROUPS = {
    "make cgroup": {
        EACCES: "the caller may not make cgroups there: have it delegated, or run as root",
        EPERM: "the caller may not make cgroups there: have it delegated, or run as root",
        EROFS: "cgroups are mounted read-only here: run where they are not",
        ENOSPC: "there are too many cgroups: remove some, or raise cgroup.max.descendants above",
    },
    "write limit": {
        EINVAL: "the kernel does not take this value: give another, or leave the limit out",
        ERANGE: "the machine does not have that: see the same file of the cgroup above",
        EBUSY: "more than that is in use already, or the cgroups above allow less",
        EACCES: "the cgroups above allow less, or the caller may not change it",
        EPERM: "the caller may not change it: have the cgroup delegated, or run as root",
        ENOENT: "this kernel has no such limit: leave it out",
    },
}
_ANY = {ENOSYS: "this kernel is too old for it: 5.12 is the least"}


def advice(operation: str, errno: int) -> str:
    """What to do when an operation got this answer; empty where that is not known.

    operation: as its description begins, or "make cgroup" and "write limit".
    """
    for name, answers in (_ADVICE | _CGROUPS).items():
        if operation.startswith(name) and errno in answers:
            return answers[errno]
    return _ANY.get(errno, "")
