/*
 * `cloche-runc start`: src/cloche/runtime/starting.py has the same steps, with their reasons.
 */
#ifndef CLOCHE_STARTING_H
#define CLOCHE_STARTING_H

#include "summary.h"

enum { F_SETFL = 4, RECORD_SIZE = 128 };

/* The process's root and mount namespace, which Python looks into for the reason of a failure. */
struct held { int root, mounts; };

static struct held hold_root(const char *pid)
{
    static char path[PATH_SIZE];
    struct held held;
    held.root = (int)system_call(SYS_openat, AT_FDCWD, (long)JOIN(path, "/proc/", pid, "/root"), O_RDONLY, 0);
    held.mounts = (int)system_call(SYS_openat, AT_FDCWD, (long)JOIN(path, "/proc/", pid, "/ns/mnt"), O_RDONLY, 0);
    return held;
}

/* Keep what the process said of its failure for Python, which knows what it means. What is held, it inherits. */
static void keep_failure(long directory, const char *record, const struct held *held)
{
    long file = system_call(SYS_openat, directory, (long)"failure", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file >= 0) {
        system_call(SYS_write, file, (long)record, RECORD_SIZE, 0);
        system_call(SYS_write, file, (long)held, sizeof *held, 0);
    }
    system_call(SYS_close, file, 0, 0, 0);
}

/* Returns where Python has to go on: nothing was done then, or the failure is kept for it. */
static void start_container(const char *path, char *const fields[SUMMARY_FIELDS])
{
    struct held held;
    char record[RECORD_SIZE];
    long size;
    long directory = lock_folder(path);
    if (directory < 0)
        return;
    if (runs(fields)) {
        long result = system_call(SYS_openat, directory, (long)"result.fifo", O_RDONLY | O_NONBLOCK | O_CLOEXEC, 0);
        long gate = system_call(SYS_openat, directory, (long)"start.fifo", O_WRONLY | O_NONBLOCK | O_CLOEXEC, 0);
        held = hold_root(fields[PID]);
        if (result >= 0 && gate >= 0 && system_call(SYS_write, gate, (long)"s", 1, 0) == 1) {
            system_call(SYS_close, gate, 0, 0, 0);
            system_call(SYS_fcntl, result, F_SETFL, 0, 0);
            /* The container's process alone holds the other end; execve closes it. */
            do
                size = system_call(SYS_read, result, (long)record, RECORD_SIZE, 0);
            while (size == -EINTR);
            if (size == RECORD_SIZE)
                keep_failure(directory, record, &held);
            system_call(SYS_unlinkat, directory, (long)"start.fifo", 0, 0);
            system_call(SYS_unlinkat, directory, (long)"result.fifo", 0, 0);
            if (size == 0)
                end(0);
        } else {
            system_call(SYS_close, gate, 0, 0, 0);
            system_call(SYS_close, held.root, 0, 0, 0);
            system_call(SYS_close, held.mounts, 0, 0, 0);
        }
        system_call(SYS_close, result, 0, 0, 0);
    }
    system_call(SYS_close, directory, 0, 0, 0);
}

#endif
