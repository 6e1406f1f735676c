/* Hooks that run where the container is: createContainer before the pivot, startContainer inside. */
#ifndef CLOCHE_HOOKS_H
#define CLOCHE_HOOKS_H

#include "identity.h"

enum { POLLIN = 1, HOOK_FAILED = 125 /* ECANCELED, which no system call here gives */ };

/* Write all of a text; a reader that went away does not matter (SIGPIPE is ignored meanwhile). */
static int write_all(int fd, const char *text, u64 size)
{
    while (size) {
        long written = CALL(NR_write, (u64)fd, W(text), size);
        if (written < 0) return (int)written;
        text += written;
        size -= (u64)written;
    }
    return 0;
}

static int write_state(int fd, const struct run_hook *op)
{
    char buffer[24], *pid = decimal(buffer, sizeof buffer, raw(NR_getpid, 0, 0, 0, 0, 0, 0));
    TRY(write_all(fd, op->state, length(op->state)));
    TRY(write_all(fd, pid, (u64)(buffer + sizeof buffer - pid)));
    return write_all(fd, op->state_rest, length(op->state_rest));
}

__attribute__((noreturn)) static void become_hook(const struct run_hook *op, int input)
{
    raw(NR_dup3, (u64)input, 0, 0, 0, 0, 0);
    raw(NR_execve, W(op->path), W(op->arguments), W(op->environment), 0, 0, 0);
    for (;;) raw(NR_exit_group, 127, 0, 0, 0, 0, 0);
}

/* 1: it ended in time, 0: it did not. */
static int wait_for_end(int pidfd, i64 timeout_s)
{
    struct { i32 fd; u16 events, ready; } poll = { pidfd, POLLIN, 0 };
    i64 time[2] = { timeout_s, 0 };
    long ready;
    do ready = CALL(NR_ppoll, W(&poll), 1, timeout_s ? W(time) : 0, 0, 0);
    while (ready == -EINTR);
    return (int)ready;
}

static int do_run_hook(const struct run_hook *op)
{
    i32 ends[2], pidfd = -1, status = 0;
    u64 ignore[4] = { 1, 0, 0, 0 }, standard[4] = { 0, 0, 0, 0 };
    TRY(CALL(NR_pipe2, W(ends), O_CLOEXEC));
    OWNED int input = ends[0];
    OWNED int output = ends[1];
    struct clone_arguments arguments = { .flags = CLONE_PIDFD, .pidfd = W(&pidfd), .exit_signal = 17 /* SIGCHLD */ };
    long child = CALL(NR_clone3, W(&arguments), sizeof arguments);
    TRY(child);
    if (!child) become_hook(op, input);
    OWNED int handle = pidfd;
    close_fd(input);
    input = -1;
    raw(NR_rt_sigaction, 13 /* SIGPIPE */, W(ignore), 0, 8, 0, 0);
    int written = write_state(output, op);
    close_fd(output);
    output = -1;
    raw(NR_rt_sigaction, 13, W(standard), 0, 8, 0, 0);
    int ended = written < 0 && written != -32 /* EPIPE */ ? written : wait_for_end(handle, op->timeout_s);
    if (ended <= 0) raw(NR_kill, (u64)child, 9, 0, 0, 0, 0);
    TRY(CALL(NR_wait4, (u64)child, W(&status), 0, 0));
    if (ended < 0) return ended;
    return !ended ? -110 /* ETIMEDOUT */ : status ? -HOOK_FAILED : 0;
}

#endif
