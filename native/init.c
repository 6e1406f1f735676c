/* cloche-init: executes a plan, then is gone.
 *
 *   cloche-init CONTROL
 *
 * CONTROL is the number of a SOCK_SEQPACKET socket; descriptors 0, 1, 2 and those between 2 and
 * CONTROL belong to the container. The first message on it carries the plan (a sealed memfd) and
 * the descriptors that the plan's slots name; the last operation is execve(2).
 *
 *   caller                  stage one                    stage two (the container's process)
 *   posix_spawn ----------> receive, check, join
 *                           clone3(CLONE_PARENT) ------> enter cgroups
 *   <-------- CLONED, pidfd exit                         ...
 *   <-------------------------------------- WAITING      (id maps and the like are the caller's)
 *   a byte ---------------------------------------->     mounts, pivot, identity
 *   or mounts, by descriptor ---------------------->
 *   <-------------------------------------- CREATED      the pid is written down
 *   a byte ---------------------------------------->     waits at the gate; failures go to `start`
 *   <-------------------------------------- EXECUTING    or, without a gate, executes at once
 *   end of file: executed                                execve
 *
 * FAILED (operation, errno, system call, the filesystem's words) may come at any point instead.
 * There are no decisions here: whatever depends on the configuration was decided by the compiler
 * of the plan, cloche/runtime/compile.py.
 */
#include "hooks.h"

/* Receive the plan and its descriptors: the plan's own comes first, then every slot in order. */
static int receive_plan(struct plan **plan)
{
    i64 received[253];
    int count = receive_descriptors(received, 253);
    if (count < 1) return count < 0 ? count : -EPROTO;
    struct plan header;
    /* The size must be read before mapping: seals guarantee that it stays. */
    long size = CALL(NR_read, (u64)received[0], W(&header), sizeof header);
    if (size != sizeof header || header.size < sizeof header || header.size > PLAN_MAXIMUM) return -EPROTO;
    if (header.slots > MAXIMUM_SLOTS) return -EPROTO;
    long base = CALL(NR_mmap, 0, header.size, 3 /* READ|WRITE */, 2 /* PRIVATE */, (u64)received[0], 0);
    TRY(base);
    u32 have = 0;
    for (int i = 1; i < count; i++)
        if (have < header.slots) slot_descriptors[have++] = received[i];
    while (have < header.slots) {
        int more = receive_descriptors(slot_descriptors + have, (int)(header.slots - have));
        if (more < 1) return more < 0 ? more : -EPROTO;
        have += (u32)more;
    }
    close_fd(received[0]);
    slot_count = header.slots;
    *plan = (struct plan *)(uptr)base;
    TRY(check_plan((char *)(uptr)base, header.size));
    if (!header.times || !header.count) return 0;
    i64 memory = slot_descriptors[header.times - 1];
    long times = CALL(NR_mmap, 0, header.count * sizeof *timings, 3 /* READ|WRITE */, 1 /* SHARED */, (u64)memory, 0);
    TRY(times);
    timings = (struct timing *)(uptr)times;
    return 0;
}

/* Every disposition back to default and nothing blocked: Python ignores SIGPIPE and SIGXFSZ, and
 * what is ignored stays so through execve. */
static void reset_signals(void)
{
    u64 nothing = 0, action[4] = { 0, 0, 0, 0 };
    for (u64 signal = 1; signal <= 64; signal++) raw(NR_rt_sigaction, signal, W(action), 0, 8, 0, 0);
    raw(NR_rt_sigprocmask, 2 /* SIG_SETMASK */, W(&nothing), 0, 8, 0, 0);
}

/* Perform the operations of one stage in order. Returns the index of the one that failed, or -1. */
static int perform_stage(const struct plan *plan, u32 stage, int *result)
{
    const char *at = (const char *)(plan + 1);
    for (u32 index = 0; index < plan->count; index++) {
        const struct operation *op = (const struct operation *)(const void *)at;
        at += op->size;
        if (op->stage != stage) continue;
        if (timings) timings[index].start = clock_now();
        *result = perform(op);
        if (timings) timings[index].end = clock_now();
        if (*result < 0) return (int)op->index;
        if (*result > 0) return -1; /* only the clone: this is the container's process now */
    }
    return -1;
}

__attribute__((noreturn)) static void leave(int status)
{
    for (;;) raw(NR_exit_group, (u64)status, 0, 0, 0, 0, 0);
}

/* A failure may be written after the reader is gone; that must not kill us with SIGPIPE. */
__attribute__((noreturn)) static void fail(u32 index, int error, int stays)
{
    u64 ignore[4] = { 1, 0, 0, 0 };
    int call = last_call;
    raw(NR_rt_sigaction, 13, W(ignore), 0, 8, 0, 0);
    last_call = call;
    tell_failure(index, error);
    /* Who hears of it wants to look around in here for the reason; it kills us then, or hangs up. */
    if (stays && result_fd < 0) await_word();
    leave(1);
}

__attribute__((noreturn)) static void run(int control)
{
    struct plan *plan = 0;
    int result = 0;
    control_fd = control;
    /* Whatever the caller's program forgot to mark must not reach the container (CVE-2024-21626). */
    raw(NR_close_range, (u64)control + 1, ~0u, 0, 0, 0, 0);
    raw(NR_fcntl, (u64)control, 2 /* F_SETFD */, 1, 0, 0, 0);
    reset_signals();
    result = receive_plan(&plan);
    if (result < 0) fail(~0u, result, 0);
    int failed = perform_stage(plan, 1, &result);
    if (failed >= 0) fail((u32)failed, result, 0);
    if (!result) leave(0);
    /* Modes of what is made for the container are exact; SetUmask comes before the program. */
    raw(NR_umask, 0, 0, 0, 0, 0, 0);
    failed = perform_stage(plan, 2, &result);
    fail(failed < 0 ? ~0u : (u32)failed, failed < 0 ? -EPROTO : result, 1);
}

static int parse_number(const char *text)
{
    int value = 0;
    for (; *text >= '0' && *text <= '9' && value < 1 << 20; text++) value = value * 10 + *text - '0';
    return *text ? -1 : value;
}

#ifndef CLOCHE_HOSTED
__attribute__((noreturn, used)) static void start(const u64 *stack)
{
    seed_guard((const unsigned long *)(const void *)stack);
    const char *const *argv = (const char *const *)(const void *)(stack + 1);
    int control = *stack == 2 ? parse_number(argv[1]) : -1;
    if (control < 3) leave(125);
    run(control);
}
ENTRY_POINT
#else
int main(int argc, char **argv)
{
    int control = argc == 2 ? parse_number(argv[1]) : -1;
    if (control < 3) leave(125);
    run(control);
}
#endif
