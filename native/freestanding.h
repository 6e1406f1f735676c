/*
 * What the launcher has in place of a C library: system calls and text. A C library's own start would
 * cost more than all the rest. With CLOCHE_HOSTED it is built beside one, for the sanitizers and the fuzzer.
 */
#ifndef CLOCHE_FREESTANDING_H
#define CLOCHE_FREESTANDING_H

#include "guard.h"

typedef unsigned long size_type;

enum { PATH_SIZE = 4096, FILE_SIZE = 8192, LIST_SIZE = 16384, NAME_SIZE = 32 };
enum { AT_FDCWD = -100, AT_REMOVEDIR = 0x200, AT_EMPTY_PATH = 0x1000, STATX_BASIC_STATS = 0x7ff };
enum { O_RDONLY = 0, O_WRONLY = 1, O_CREAT = 0100, O_EXCL = 0200, O_NONBLOCK = 04000, O_CLOEXEC = 02000000,
       O_PATH = 010000000 };
enum { F_OK = 0, X_OK = 1, STDOUT = 1, STDERR = 2 };
enum { ENOENT = 2, EINTR = 4, EBUSY = 16 };

/* ---- system calls ---- */

#if defined(__x86_64__)
enum { O_DIRECTORY = 0200000 };
enum { SYS_read = 0, SYS_write = 1, SYS_close = 3, SYS_mmap = 9, SYS_rt_sigprocmask = 14, SYS_getpid = 39, SYS_socket = 41,
       SYS_connect = 42, SYS_sendmsg = 46, SYS_recvmsg = 47, SYS_socketpair = 53, SYS_setsockopt = 54, SYS_fork = 57,
       SYS_execve = 59, SYS_fcntl = 72, SYS_flock = 73, SYS_geteuid = 107, SYS_setpgid = 109, SYS_setsid = 112,
       SYS_prctl = 157, SYS_getdents64 = 217, SYS_exit_group = 231, SYS_waitid = 247, SYS_openat = 257,
       SYS_unlinkat = 263, SYS_readlinkat = 267, SYS_faccessat = 269, SYS_ppoll = 271, SYS_signalfd4 = 289,
       SYS_dup3 = 292, SYS_pipe2 = 293, SYS_renameat2 = 316, SYS_execveat = 322, SYS_statx = 332 };

static long system_call6(long number, long a, long b, long c, long d, long e, long f)
{
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}
#elif defined(__aarch64__)
enum { O_DIRECTORY = 040000 };
enum { SYS_dup3 = 24, SYS_fcntl = 25, SYS_flock = 32, SYS_unlinkat = 35, SYS_faccessat = 48, SYS_openat = 56, SYS_close = 57,
       SYS_pipe2 = 59, SYS_getdents64 = 61, SYS_read = 63, SYS_write = 64, SYS_ppoll = 73, SYS_signalfd4 = 74,
       SYS_readlinkat = 78, SYS_exit_group = 94, SYS_waitid = 95, SYS_rt_sigprocmask = 135, SYS_setpgid = 154,
       SYS_setsid = 157, SYS_prctl = 167, SYS_getpid = 172, SYS_geteuid = 175, SYS_socket = 198, SYS_socketpair = 199,
       SYS_connect = 203, SYS_setsockopt = 208, SYS_sendmsg = 211, SYS_recvmsg = 212, SYS_clone = 220, SYS_execve = 221,
       SYS_mmap = 222, SYS_renameat2 = 276, SYS_execveat = 281, SYS_statx = 291 };

static long system_call6(long number, long a, long b, long c, long d, long e, long f)
{
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0;
}
#else
#error "cloche runs on x86_64 and aarch64"
#endif
enum { SYS_pidfd_send_signal = 424, SYS_pidfd_open = 434, SYS_close_range = 436 };

static long system_call5(long number, long a, long b, long c, long d, long e)
{
    return system_call6(number, a, b, c, d, e, 0);
}

static long system_call(long number, long a, long b, long c, long d)
{
    return system_call6(number, a, b, c, d, 0, 0);
}

static long open_file(const char *path, int flags)
{
    return system_call(SYS_openat, AT_FDCWD, (long)path, flags | O_CLOEXEC, 0);
}

struct status { /* statx */
    unsigned mask, block_size;
    unsigned long attributes;
    unsigned links, uid, gid;
    unsigned short mode, unused;
    unsigned long inode, size, blocks, attributes_mask;
    struct {
        long seconds;
        unsigned nanoseconds;
        int unused;
    } accessed, born, changed, modified;
    unsigned long rest[16];
};

static long status_of(long directory, const char *path, int flags, struct status *status)
{
    return system_call5(SYS_statx, directory, (long)path, flags, STATX_BASIC_STATS, (long)status);
}

static int accessible(const char *path, int mode)
{
    return system_call(SYS_faccessat, AT_FDCWD, (long)path, mode, 0) == 0;
}

/* ---- text ---- */

static size_type length_of(const char *text)
{
    size_type length = 0;
    while (text[length])
        length++;
    return length;
}

static int begins_with(const char *text, const char *prefix)
{
    while (*prefix)
        if (*text++ != *prefix++)
            return 0;
    return 1;
}

static int equal(const char *a, const char *b)
{
    return begins_with(a, b) && length_of(a) == length_of(b);
}

__attribute__((noreturn)) static void end(int status)
{
    for (;;)
        system_call(SYS_exit_group, status, 0, 0, 0);
}

__attribute__((noreturn)) static void fail(const char *what, const char *name, const char *advice)
{
    const char *parts[] = {"cloche: ", what, name, advice, "\n"};
    for (size_type i = 0; i < sizeof parts / sizeof *parts; i++)
        system_call(SYS_write, STDERR, (long)parts[i], (long)length_of(parts[i]), 0);
    end(127);
}

/* Write the parts (ended by a null pointer) one after another into a buffer of PATH_SIZE. */
static const char *join(char *buffer, const char *const *parts)
{
    size_type used = 0;
    for (; *parts; parts++)
        for (const char *from = *parts; *from; from++) {
            if (used + 1 >= PATH_SIZE)
                fail("a path is too long: ", buffer, "");
            buffer[used++] = *from;
            buffer[used] = 0;
        }
    return buffer;
}

#define JOIN(buffer, ...) join(buffer, (const char *const[]){__VA_ARGS__, 0})

/* Cut the last component off a path; returns it. */
static char *cut_last(char *path)
{
    char *slash = 0;
    for (char *at = path; *at; at++)
        if (*at == '/')
            slash = at;
    if (!slash)
        fail("/proc/self/exe is no absolute path: ", path, "");
    *slash = 0;
    return slash + 1;
}

/* The number that is all of a text; -1 where it is none. */
static long number_of(const char *text)
{
    long number = 0;
    for (int digits = 0; *text; text++)
        if (*text < '0' || *text > '9' || ++digits > 18)
            return -1;
        else
            number = number * 10 + (*text - '0');
    return number;
}

/* Append a number and what comes before it to a text that has the room. */
static char *append(char *at, const char *before, unsigned long number)
{
    char digits[24];
    int count = 0;
    while (*before)
        *at++ = *before++;
    do
        digits[count++] = (char)('0' + number % 10);
    while (number /= 10);
    while (count)
        *at++ = digits[--count];
    *at = 0;
    return at;
}

/* ---- directories ---- */

struct listing {
    long directory, size, at;
    char entries[LIST_SIZE] __attribute__((aligned(8)));
};

struct entry { /* linux_dirent64 */
    unsigned long inode;
    long offset;
    unsigned short size;
    unsigned char type;
    char name[];
};

/* The next name in a directory, which ends with null. Begins with a listing that is all zero but for the first. */
static const char *next_name(struct listing *listing)
{
    for (;;) {
        if (listing->at >= listing->size) {
            listing->at = 0;
            listing->size =
                system_call(SYS_getdents64, listing->directory, (long)listing->entries, sizeof listing->entries, 0);
            if (listing->size <= 0)
                return 0;
        }
        struct entry *entry = (struct entry *)(void *)(listing->entries + listing->at);
        listing->at += entry->size;
        if (!equal(entry->name, ".") && !equal(entry->name, ".."))
            return entry->name;
    }
}

#endif
