"""The numbers of system calls that can wait, for reading /proc/PID/syscall."""

from __future__ import annotations

import os

_X86_64 = """
    0 read  1 write  2 open  3 close  4 stat  6 lstat  7 poll  9 mmap  16 ioctl  17 pread64
    18 pwrite64  19 readv  20 writev  21 access  23 select  34 pause  35 nanosleep  40 sendfile
    42 connect  43 accept  44 sendto  45 recvfrom  46 sendmsg  47 recvmsg  56 clone  57 fork
    58 vfork  59 execve  60 exit  61 wait4  72 fcntl  73 flock  74 fsync  75 fdatasync  76 truncate
    77 ftruncate  80 chdir  82 rename  83 mkdir  84 rmdir  85 creat  87 unlink  89 readlink
    90 chmod  92 chown  128 rt_sigtimedwait  130 rt_sigsuspend  137 statfs  162 sync  165 mount
    166 umount2  202 futex  217 getdents64  230 clock_nanosleep  231 exit_group  232 epoll_wait
    247 waitid  257 openat  258 mkdirat  262 newfstatat  263 unlinkat  267 readlinkat  269 faccessat
    270 pselect6  271 ppoll  275 splice  276 tee  281 epoll_pwait  285 fallocate  288 accept4
    306 syncfs  316 renameat2  322 execveat  332 statx
"""
_AARCH64 = """
    22 epoll_pwait  25 fcntl  29 ioctl  32 flock  34 mkdirat  35 unlinkat  39 umount2  40 mount
    43 statfs  45 truncate  46 ftruncate  47 fallocate  48 faccessat  49 chdir  56 openat  57 close
    61 getdents64  63 read  64 write  65 readv  66 writev  67 pread64  68 pwrite64  71 sendfile
    72 pselect6  73 ppoll  76 splice  77 tee  78 readlinkat  79 newfstatat  81 sync  82 fsync
    83 fdatasync  93 exit  94 exit_group  95 waitid  98 futex  101 nanosleep  115 clock_nanosleep
    133 rt_sigsuspend  137 rt_sigtimedwait  202 accept  203 connect  206 sendto  207 recvfrom
    211 sendmsg  212 recvmsg  220 clone  221 execve  222 mmap  242 accept4  260 wait4  267 syncfs
    276 renameat2  281 execveat  291 statx
"""
# Calls added since Linux 4.20 or so have one number on every architecture.
_UNIFORM = """
    435 clone3  437 openat2  439 faccessat2  441 epoll_pwait2  449 futex_waitv
    424 pidfd_send_signal  426 io_uring_enter  455 futex_wait
"""


def _numbered(text: str) -> dict[int, str]:
    words = text.split()
    return {int(number): name for number, name in zip(words[::2], words[1::2], strict=True)}


_OWN = {"x86_64": _X86_64, "aarch64": _AARCH64}.get(os.uname().machine, "")
NAMES: dict[int, str] = _numbered(_OWN + _UNIFORM)
"""Number to name on this machine."""

_BY_DESCRIPTOR = (
    *("read", "write", "readv", "writev", "pread64", "pwrite64", "ioctl", "fcntl", "flock", "fsync"),
    *("fdatasync", "ftruncate", "getdents64", "connect", "accept", "accept4", "sendto", "recvfrom"),
    *("sendmsg", "recvmsg", "close", "syncfs", "fallocate", "splice", "tee"),
)
_BY_PATH = {
    **dict.fromkeys(("open", "stat", "lstat", "access", "truncate", "chdir", "rename", "mkdir", "rmdir"), 0),
    **dict.fromkeys(("creat", "unlink", "readlink", "chmod", "chown", "statfs", "execve"), 0),
    **dict.fromkeys(("openat", "openat2", "mkdirat", "newfstatat", "unlinkat", "readlinkat", "faccessat"), 1),
    **dict.fromkeys(("faccessat2", "renameat2", "execveat", "statx", "mount"), 1),
    "umount2": 0,
}


def descriptor_place(call: str) -> int | None:
    """Which argument of a call is the descriptor it waits on; None where it has none."""
    return 0 if call in _BY_DESCRIPTOR else None


def path_place(call: str) -> int | None:
    """Which argument of a call is the path it waits for; None where it has none."""
    return _BY_PATH.get(call)
