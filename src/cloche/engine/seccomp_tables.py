"""Docker's default system call policy as data: which calls a container may make, and when.

Everything that is not listed is refused with EPERM. The lists are grouped by what the calls are
for, so that a reader can judge them; the kernel and libseccomp decide by name alone. Names that
this kernel or architecture does not have are harmless.
"""

from __future__ import annotations

from cloche.spec.record import Record


class Condition(Record):
    """When a rule counts: all that is given must hold.

    capabilities: the container has every one; without: it has none of these.
    machines, not_machines: names as `uname -m` gives them.
    """

    capabilities: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    machines: tuple[str, ...] = ()
    not_machines: tuple[str, ...] = ()


class Argument(Record):
    """A comparison of one argument of a call: `operator` is one of libseccomp's SCMP_CMP_ names.

    For SCMP_CMP_MASKED_EQ, `value` is the mask and `second` what the masked bits must be.
    """

    index: int
    operator: str
    value: int
    second: int = 0


class Rule(Record):
    """Calls that are allowed under a condition; with `errno` they are refused with that number."""

    names: str
    condition: Condition = Condition()
    arguments: tuple[Argument, ...] = ()
    errno: int | None = None


ALWAYS = (
    # identity
    """
    capget capset getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getresgid
    getresgid32 getresuid getresuid32 getuid getuid32 setfsgid setfsgid32 setfsuid setfsuid32 setgid
    setgid32 setgroups setgroups32 setregid setregid32 setresgid setresgid32 setresuid setresuid32
    setreuid setreuid32 setuid setuid32
    """,
    # signals
    """
    alarm eventfd eventfd2 kill pause pidfd_open pidfd_send_signal rt_sigaction rt_sigpending
    rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64
    rt_tgsigqueueinfo sigaltstack signalfd signalfd4 sigprocmask sigreturn tgkill tkill
    """,
    # sockets and messages
    """
    accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg
    recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair
    """,
    # time
    """
    adjtimex clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
    clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep setitimer time timer_create
    timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64
    timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times utime
    """,
    # waiting for descriptors
    """
    _newselect epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait
    epoll_wait_old poll ppoll ppoll_time64 pselect6 pselect6_time64 select
    """,
    # System V and POSIX queues
    """
    ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend
    mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop
    semtimedop_time64 shmat shmctl shmdt shmget
    """,
    # memory
    """
    brk cachestat madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2
    mlockall mmap mmap2 mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free
    pkey_mprotect process_mrelease process_vm_readv process_vm_writev remap_file_pages
    """,
    # scheduling and limits
    """
    getcpu getpriority getrlimit getrusage ioprio_get ioprio_set prlimit64 sched_get_priority_max
    sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler
    sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam
    sched_setscheduler sched_yield setpriority setrlimit sysinfo ugetrlimit
    """,
    # asynchronous input and output
    """
    io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit
    """,
    # extended attributes
    """
    fgetxattr flistxattr fremovexattr fsetxattr getxattr getxattrat lgetxattr listxattr listxattrat
    llistxattr lremovexattr lsetxattr removexattr removexattrat setxattr setxattrat
    """,
    # processes and threads
    """
    execve execveat exit exit_group fork futex futex_requeue futex_time64 futex_wait futex_waitv
    futex_wake get_robust_list get_thread_area getpgid getpgrp getpid getppid getrandom getsid gettid
    landlock_add_rule landlock_create_ruleset landlock_restrict_self prctl ptrace restart_syscall
    riscv_hwprobe rseq seccomp set_robust_list set_thread_area set_tid_address setpgid setsid umask uname
    uretprobe vfork wait4 waitid waitpid
    """,
    # files
    """
    _llseek access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3
    faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2
    fchown fchown32 fchownat fcntl fcntl64 fdatasync flock fstat fstat64 fstatat64 fstatfs fstatfs64 fsync
    ftruncate ftruncate64 futimesat getcwd getdents getdents64 inotify_add_watch inotify_init
    inotify_init1 inotify_rm_watch ioctl lchown lchown32 link linkat listmount lseek lstat lstat64 mkdir
    mkdirat mknod mknodat name_to_handle_at newfstatat open openat openat2 pipe pipe2 pread64 preadv
    preadv2 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv rename renameat renameat2
    rmdir sendfile sendfile64 splice stat stat64 statfs statfs64 statmount statx symlink symlinkat sync
    sync_file_range syncfs tee truncate truncate64 unlink unlinkat utimensat utimensat_time64 utimes
    vmsplice write writev
    """,
)

_ARM = ("arm", "armv7l", "armv6l", "aarch64")
_INTEL_64 = ("x86_64",)
_S390 = ("s390", "s390x")

# The address families that reach past the network namespace or into kernel code with a record of
# holes: AF_ALG is 38, AF_VSOCK is 40.
_SOCKETS = (
    Rule("socket", arguments=(Argument(0, "SCMP_CMP_LT", 38),)),
    Rule("socket", arguments=(Argument(0, "SCMP_CMP_EQ", 39),)),
    Rule("socket", arguments=(Argument(0, "SCMP_CMP_GT", 40),)),
)

# personality(2) can switch protections off (READ_IMPLIES_EXEC, no address randomisation), so only
# PER_LINUX, PER_LINUX32, UNAME26 with either, and the query are allowed.
_PERSONALITIES = tuple(
    Rule("personality", arguments=(Argument(0, "SCMP_CMP_EQ", value),))
    for value in (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
)

_MACHINES = (
    Rule("sync_file_range2 swapcontext", Condition(machines=("ppc64le",))),
    Rule(
        "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
        Condition(machines=_ARM),
    ),
    Rule("arch_prctl", Condition(machines=_INTEL_64)),
    Rule("modify_ldt", Condition(machines=(*_INTEL_64, "i686"))),
    Rule("s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr", Condition(machines=_S390)),
    Rule("riscv_flush_icache", Condition(machines=("riscv64",))),
)

# Every namespace flag of clone(2) but CLONE_NEWTIME, which shares its bit with the exit signal:
# a container without CAP_SYS_ADMIN makes threads and processes, not namespaces.
NAMESPACE_FLAGS = 0x7E020000

_NO_ADMIN = ("CAP_SYS_ADMIN",)
_ENOSYS = 38

_CAPABILITIES = (
    Rule("open_by_handle_at", Condition(capabilities=("CAP_DAC_READ_SEARCH",))),
    Rule(
        """
        bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie
        lsm_get_self_attr lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount
        open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog
        umount umount2 unshare
        """,
        Condition(capabilities=("CAP_SYS_ADMIN",)),
    ),
    Rule(
        "clone",
        Condition(without=_NO_ADMIN, not_machines=_S390),
        (Argument(0, "SCMP_CMP_MASKED_EQ", NAMESPACE_FLAGS),),
    ),
    Rule(
        "clone",
        Condition(without=_NO_ADMIN, machines=_S390),
        (Argument(1, "SCMP_CMP_MASKED_EQ", NAMESPACE_FLAGS),),
    ),
    # clone3's flags are behind a pointer that a filter cannot follow: ENOSYS makes libraries fall
    # back to clone, where EPERM would make them give up.
    Rule("clone3", Condition(without=_NO_ADMIN), errno=_ENOSYS),
    Rule("reboot", Condition(capabilities=("CAP_SYS_BOOT",))),
    Rule("chroot", Condition(capabilities=("CAP_SYS_CHROOT",))),
    Rule("delete_module init_module finit_module", Condition(capabilities=("CAP_SYS_MODULE",))),
    Rule("acct", Condition(capabilities=("CAP_SYS_PACCT",))),
    Rule("kcmp pidfd_getfd process_madvise", Condition(capabilities=("CAP_SYS_PTRACE",))),
    Rule("iopl ioperm", Condition(capabilities=("CAP_SYS_RAWIO",))),
    Rule("settimeofday stime clock_settime clock_settime64", Condition(capabilities=("CAP_SYS_TIME",))),
    Rule("vhangup", Condition(capabilities=("CAP_SYS_TTY_CONFIG",))),
    Rule(
        "get_mempolicy mbind set_mempolicy set_mempolicy_home_node", Condition(capabilities=("CAP_SYS_NICE",))
    ),
    Rule("syslog", Condition(capabilities=("CAP_SYSLOG",))),
    Rule("bpf", Condition(capabilities=("CAP_BPF",))),
    Rule("perf_event_open", Condition(capabilities=("CAP_PERFMON",))),
)

CONDITIONAL = (*_SOCKETS, *_PERSONALITIES, *_MACHINES, *_CAPABILITIES)
