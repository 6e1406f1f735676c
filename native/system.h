/* System calls without libc: the stubs, and the kernel's structures and numbers that init uses.
 *
 * Freestanding, because starting static glibc (locale, TLS, IRELATIVE relocations) costs more than
 * half of what creating a container costs. A build with CLOCHE_HOSTED takes syscall(2) from libc
 * instead, which is what the sanitizers and the fuzzer need.
 */
#ifndef CLOCHE_SYSTEM_H
#define CLOCHE_SYSTEM_H

#include "guard.h"

typedef long long i64;
typedef unsigned long long u64;
typedef int i32;
typedef unsigned int u32;
typedef unsigned short u16;
typedef unsigned long uptr;

#if defined(__x86_64__)
enum {
    NR_read = 0, NR_write = 1, NR_close = 3, NR_fstat = 5, NR_ppoll = 271, NR_mmap = 9, NR_rt_sigaction = 13,
    NR_rt_sigprocmask = 14, NR_ioctl = 16, NR_getpid = 39, NR_sendmsg = 46, NR_recvmsg = 47,
    NR_socket = 41, NR_execve = 59, NR_exit_group = 231, NR_fcntl = 72, NR_getcwd = 79, NR_chdir = 80, NR_fchdir = 81,
    NR_fchmod = 91, NR_fchown = 93, NR_umask = 95, NR_setgroups = 116, NR_setresuid = 117,
    NR_setresgid = 119, NR_setsid = 112, NR_capset = 126, NR_capget = 125, NR_fstatfs = 138, NR_pivot_root = 155,
    NR_prctl = 157, NR_umount2 = 166, NR_sethostname = 170, NR_setdomainname = 171, NR_openat = 257,
    NR_mkdirat = 258, NR_mknodat = 259, NR_fchownat = 260, NR_unlinkat = 263, NR_symlinkat = 266,
    NR_readlinkat = 267, NR_fchmodat = 268, NR_faccessat2 = 439, NR_unshare = 272, NR_dup3 = 292,
    NR_prlimit64 = 302, NR_setns = 308, NR_seccomp = 317, NR_execveat = 322,
    NR_chroot = 161, NR_keyctl = 250, NR_personality = 135, NR_ioprio_set = 251, NR_sched_setattr = 314,
    NR_set_mempolicy = 238, NR_sched_setaffinity = 203, NR_wait4 = 61, NR_clock_gettime = 228, NR_kill = 62, NR_pipe2 = 293
};
#elif defined(__aarch64__)
enum {
    NR_read = 63, NR_write = 64, NR_close = 57, NR_fstat = 80, NR_ppoll = 73, NR_mmap = 222,
    NR_rt_sigaction = 134, NR_rt_sigprocmask = 135, NR_ioctl = 29, NR_getpid = 172, NR_sendmsg = 211,
    NR_recvmsg = 212, NR_socket = 198, NR_execve = 221, NR_exit_group = 94, NR_fcntl = 25, NR_getcwd = 17,
    NR_chdir = 49, NR_fchdir = 50, NR_fchmod = 52, NR_fchown = 55, NR_umask = 166,
    NR_setgroups = 159, NR_setresuid = 147, NR_setresgid = 149, NR_setsid = 157, NR_capset = 91, NR_capget = 90,
    NR_fstatfs = 44, NR_pivot_root = 41, NR_prctl = 167, NR_umount2 = 39, NR_sethostname = 161,
    NR_setdomainname = 162, NR_openat = 56, NR_mkdirat = 34, NR_mknodat = 33, NR_fchownat = 54,
    NR_unlinkat = 35, NR_symlinkat = 36, NR_readlinkat = 78, NR_fchmodat = 53, NR_faccessat2 = 439,
    NR_unshare = 97, NR_dup3 = 24, NR_prlimit64 = 261, NR_setns = 268, NR_seccomp = 277,
    NR_execveat = 281, NR_chroot = 51, NR_keyctl = 219, NR_personality = 92, NR_ioprio_set = 30,
    NR_sched_setattr = 274, NR_set_mempolicy = 237, NR_sched_setaffinity = 122, NR_wait4 = 260, NR_clock_gettime = 113,
    NR_kill = 129, NR_pipe2 = 59
};
#else
#error "cloche-init knows x86_64 and aarch64"
#endif
enum {
    NR_open_tree = 428, NR_move_mount = 429, NR_fsopen = 430, NR_fsconfig = 431, NR_fsmount = 432,
    NR_clone3 = 435, NR_close_range = 436, NR_openat2 = 437, NR_mount_setattr = 442
};

enum { EPERM = 1, ENOENT = 2, EINTR = 4, ENOEXEC = 8, EACCES = 13, EEXIST = 17, ENOTDIR = 20, EINVAL = 22,
       ENAMETOOLONG = 36, ENOSYS = 38, ELOOP = 40, EPROTO = 71, EOVERFLOW = 75, EROFS = 30, EBADF = 9 };
enum { AT_FDCWD = -100, AT_EMPTY_PATH = 0x1000, AT_RECURSIVE = 0x8000, AT_SYMLINK_NOFOLLOW = 0x100,
       AT_EACCESS = 0x200, AT_REMOVEDIR = 0x200 };
#if defined(__aarch64__)
enum { O_DIRECTORY = 040000, O_NOFOLLOW = 0100000 };
#else
enum { O_DIRECTORY = 0200000, O_NOFOLLOW = 0400000 };
#endif
enum { O_RDONLY = 0, O_WRONLY = 1, O_RDWR = 2, O_CREAT = 0100, O_EXCL = 0200, O_NOCTTY = 0400,
       O_CLOEXEC = 02000000, O_PATH = 010000000 };
enum { S_IFMT = 0170000, S_IFDIR = 0040000, S_IFCHR = 0020000, S_IFLNK = 0120000 };
enum { RESOLVE_NO_XDEV = 1, RESOLVE_NO_MAGICLINKS = 2, RESOLVE_NO_SYMLINKS = 4, RESOLVE_BENEATH = 8,
       RESOLVE_IN_ROOT = 16 };
enum { OPEN_TREE_CLONE = 1, MOVE_MOUNT_F_EMPTY_PATH = 4, MOVE_MOUNT_T_EMPTY_PATH = 0x40 };
enum { FSCONFIG_SET_FLAG = 0, FSCONFIG_SET_STRING = 1, FSCONFIG_CMD_CREATE = 6 };
enum { MOUNT_ATTR_RDONLY = 1, MOUNT_ATTR_NOSUID = 2, MOUNT_ATTR_NODEV = 4, MOUNT_ATTR_NOEXEC = 8,
       MOUNT_ATTR_ATIME = 0x70 };
enum { PROC_SUPER_MAGIC = 0x9fa0, DEVPTS_SUPER_MAGIC = 0x1cd1 };
enum { CLONE_PIDFD = 0x1000, CLONE_PARENT = 0x8000 };
#define CLONE_INTO_CGROUP 0x200000000ULL
enum { PR_SET_DUMPABLE = 4, PR_SET_KEEPCAPS = 8, PR_CAPBSET_DROP = 24, PR_SET_NO_NEW_PRIVS = 38,
       PR_CAP_AMBIENT = 47, PR_CAP_AMBIENT_RAISE = 2, PR_CAP_AMBIENT_CLEAR_ALL = 4 };
enum { SIOCGIFFLAGS = 0x8913, SIOCSIFFLAGS = 0x8914, IFF_UP = 1 };
enum { TIOCSCTTY = 0x540e, TIOCSWINSZ = 0x5414, TIOCSPTLCK = 0x40045431, TIOCGPTPEER = 0x5441 };
enum { F_GETFD = 1 };

struct stat_buffer {
#if defined(__x86_64__)
    u64 dev, ino, nlink;
    u32 mode, uid, gid, pad;
    u64 rdev;
    u64 rest[12];
#else
    u64 dev, ino;
    u32 mode, nlink, uid, gid;
    u64 rdev;
    u64 rest[11];
#endif
};
struct statfs_buffer { i64 type; u64 rest[14]; };
struct open_how { u64 flags, mode, resolve; };
struct mount_attributes { u64 set, clear, propagation, user_namespace; };
struct clone_arguments {
    u64 flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};
struct vector { void *base; u64 size; };
struct message {
    void *name; u32 name_size; struct vector *vectors; u64 vector_count;
    void *control; u64 control_size; u32 flags;
};
struct control_header { u64 size; i32 level, type; };

/* The number of the last call made and what it gave: a failure report names them. */
static int last_call;

#ifdef CLOCHE_HOSTED
#include <errno.h>
long syscall(long number, ...);
static long raw(long n, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
    long result = syscall(n, a, b, c, d, e, f);
    return result == -1 ? -errno : result;
}
#elif defined(__x86_64__)
static inline long raw(long n, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
    long result;
    register u64 r10 __asm__("r10") = d;
    register u64 r8 __asm__("r8") = e;
    register u64 r9 __asm__("r9") = f;
    __asm__ volatile("syscall" : "=a"(result) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}
#else
static inline long raw(long n, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
    register long x8 __asm__("x8") = n;
    register u64 x0 __asm__("x0") = a;
    register u64 x1 __asm__("x1") = b;
    register u64 x2 __asm__("x2") = c;
    register u64 x3 __asm__("x3") = d;
    register u64 x4 __asm__("x4") = e;
    register u64 x5 __asm__("x5") = f;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return (long)x0;
}
#endif

__attribute__((unused)) static long call6(int n, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
    last_call = n;
    return raw(n, a, b, c, d, e, f);
}
#define W(x) ((u64)(uptr)(x))
#define CALL_(n, a, b, c, d, e, f, ...) call6(n, a, b, c, d, e, f)
#define CALL(n, ...) CALL_(n, __VA_ARGS__, 0, 0, 0, 0, 0, 0)

/* Try once: return the error from the calling function. */
#define TRY(expression) do { long try_ = (expression); if (try_ < 0) return (int)try_; } while (0)

/* Where the kernel begins: `start(stack)` is called with argc, argv, environment on the stack. */
#if defined(__x86_64__)
#define ENTRY_POINT \
    __asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall start\n");
#else
#define ENTRY_POINT __asm__(".globl _start\n_start:\n\tmov x29, #0\n\tmov x0, sp\n\tbl start\n");
#endif

#ifndef CLOCHE_HOSTED
/* The compiler may call these for copies and clearings of its own. */
void *memcpy(void *to, const void *from, uptr size);
void *memset(void *to, int value, uptr size);
void *memcpy(void *to, const void *from, uptr size)
{
    unsigned char *t = to;
    const unsigned char *f = from;
    while (size--) *t++ = *f++;
    return to;
}
void *memset(void *to, int value, uptr size)
{
    unsigned char *t = to;
    while (size--) *t++ = (unsigned char)value;
    return to;
}
#else
#include <string.h>
#endif

__attribute__((unused)) static u64 length(const char *text)
{
    u64 n = 0;
    while (text[n]) n++;
    return n;
}

__attribute__((unused)) static void close_fd(i64 fd)
{
    if (fd >= 0) raw(NR_close, (u64)fd, 0, 0, 0, 0, 0);
}

/* Close on the way out of a scope: `OWNED int fd = ...;` */
__attribute__((unused)) static void close_owned(int *fd) { close_fd(*fd); }
#define OWNED __attribute__((cleanup(close_owned)))

#endif
