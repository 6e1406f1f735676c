/* cloche-pause: process 1 of a pod, which holds the pod's namespaces while containers come and go.
 *
 * Waits, reaps what ends in a pid namespace that the pod shares, and leaves with 0 at SIGTERM or
 * SIGINT. Everything else is ignored: a process 1 has no default signal actions.
 */
#include "system.h"

#if defined(__x86_64__)
enum { NR_rt_sigtimedwait = 128 };
#else
enum { NR_rt_sigtimedwait = 137 };
#endif
enum { SIGINT = 2, SIGTERM = 15, SIGCHLD = 17, WNOHANG = 1, SIG_SETMASK = 2 };

static void reap(void)
{
    int status = 0;
    while ((long)raw(NR_wait4, (u64)-1, W(&status), WNOHANG, 0, 0, 0) > 0)
        ;
}

__attribute__((noreturn, used)) static void start(const u64 *stack)
{
    seed_guard((const unsigned long *)(const void *)stack);
    /* All blocked and fetched one by one, so that none is lost between a check and a wait. */
    u64 all = ~0ULL;
    raw(NR_rt_sigprocmask, SIG_SETMASK, W(&all), 0, 8, 0, 0);
    reap();
    for (;;) {
        int information[32];
        long signal = raw(NR_rt_sigtimedwait, W(&all), W(information), 0, 8, 0, 0);
        if (signal == SIGCHLD) reap();
        else if (signal == SIGTERM || signal == SIGINT) raw(NR_exit_group, 0, 0, 0, 0, 0, 0);
    }
}
ENTRY_POINT
