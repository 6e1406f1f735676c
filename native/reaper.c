/* cloche-reaper: process 1 of a container that was asked to have one (`--init`).
 *
 *   cloche-reaper -- PROGRAM ARGUMENT...
 *
 * Runs PROGRAM as its child, hands every signal on to it, reaps whatever else ends in the
 * container, and leaves with the child's status (128 and the signal where it was killed; 127 and 126
 * where it cannot be executed). A process 1 has no default signal actions, and programs that were
 * not written to be one ignore SIGTERM there and leave zombies.
 */
#include "system.h"

#if defined(__x86_64__)
enum { NR_fork = 57, NR_rt_sigtimedwait = 128, NR_setpgid = 109 };
#else
enum { NR_clone = 220, NR_rt_sigtimedwait = 137, NR_setpgid = 154 };
#endif
enum { SIGTTIN = 21, SIGTTOU = 22, SIGCHLD = 17, WNOHANG = 1, SIG_SETMASK = 2, TIOCSPGRP = 0x5410 };

__attribute__((noreturn)) static void leave(int status)
{
    for (;;) raw(NR_exit_group, (u64)status, 0, 0, 0, 0, 0);
}

static long duplicate(void)
{
#if defined(__x86_64__)
    return raw(NR_fork, 0, 0, 0, 0, 0, 0);
#else
    return raw(NR_clone, SIGCHLD, 0, 0, 0, 0, 0);
#endif
}

/* The value of PATH in an environment, or an empty string. */
static const char *search_path(char *const *environment)
{
    for (; *environment; environment++) {
        const char *entry = *environment;
        if (entry[0] == 'P' && entry[1] == 'A' && entry[2] == 'T' && entry[3] == 'H' && entry[4] == '=')
            return entry + 5;
    }
    return "";
}

/* execve(2) of every directory's program in turn; returns the error that says most. */
static long execute(char *const *arguments, char *const *environment)
{
    const char *name = arguments[0];
    for (u64 i = 0; name[i]; i++)
        if (name[i] == '/') return raw(NR_execve, W(name), W(arguments), W(environment), 0, 0, 0);
    long best = -ENOENT;
    const char *at = search_path(environment);
    while (*at) {
        char path[4096];
        u64 size = 0, rest = length(name);
        while (at[size] && at[size] != ':') size++;
        if (size + rest + 2 <= sizeof path) {
            memcpy(path, at, size);
            path[size] = '/';
            memcpy(path + size + 1, name, rest + 1);
            long error = raw(NR_execve, W(path), W(arguments), W(environment), 0, 0, 0);
            if (error != -ENOENT && error != -ENOTDIR) best = error;
        }
        at += size + (at[size] == ':');
    }
    return best;
}

static void complain(const char *name)
{
    static const char start[] = "cloche-reaper: cannot execute ";
    raw(NR_write, 2, W(start), sizeof start - 1, 0, 0, 0);
    raw(NR_write, 2, W(name), length(name), 0, 0, 0);
    raw(NR_write, 2, W("\n"), 1, 0, 0, 0);
}

/* A process group of its own in the foreground of the terminal, if there is one: as a shell's job. */
__attribute__((noreturn)) static void become_program(char *const *arguments, char *const *environment)
{
    u64 nothing = 0;
    u32 group;
    raw(NR_setpgid, 0, 0, 0, 0, 0, 0);
    group = (u32)raw(NR_getpid, 0, 0, 0, 0, 0, 0);
    raw(NR_ioctl, 0, TIOCSPGRP, W(&group), 0, 0, 0); /* signals are still blocked: no SIGTTOU stops us */
    raw(NR_rt_sigprocmask, SIG_SETMASK, W(&nothing), 0, 8, 0, 0);
    long error = execute(arguments, environment);
    complain(arguments[0]);
    leave(error == -ENOENT ? 127 : 126);
}

/* Reap everything that has ended; leaves with the program's status when that is among it. */
static void reap(long program)
{
    for (;;) {
        int status = 0;
        long pid = raw(NR_wait4, (u64)-1, W(&status), WNOHANG, 0, 0, 0);
        if (pid <= 0) return;
        if (pid == program) leave(status & 0x7f ? 128 + (status & 0x7f) : status >> 8 & 0xff);
    }
}

__attribute__((noreturn)) static void run(char *const *arguments, char *const *environment)
{
    /* All blocked and fetched one by one, so that none is lost between a check and a wait. */
    u64 all = ~0ULL;
    raw(NR_rt_sigprocmask, SIG_SETMASK, W(&all), 0, 8, 0, 0);
    long program = duplicate();
    if (program < 0) leave(125);
    if (!program) become_program(arguments, environment);
    for (;;) {
        int information[32];
        long signal = raw(NR_rt_sigtimedwait, W(&all), W(information), 0, 8, 0, 0);
        if (signal == SIGCHLD) reap(program);
        else if (signal > 0 && signal != SIGTTIN && signal != SIGTTOU)
            raw(NR_kill, (u64)program, (u64)signal, 0, 0, 0, 0);
    }
}

__attribute__((noreturn, used)) static void start(const u64 *stack)
{
    seed_guard((const unsigned long *)(const void *)stack);
    u64 count = stack[0];
    char *const *argv = (char *const *)(const void *)(stack + 1);
    if (count < 3 || argv[1][0] != '-' || argv[1][1] != '-' || argv[1][2]) leave(125);
    run(argv + 2, argv + count + 1);
}
ENTRY_POINT
