/* Operations that turn the process into the container's program: identity, filters, execve. */
#ifndef CLOCHE_IDENTITY_H
#define CLOCHE_IDENTITY_H

#include "process.h"

/* --- identity ------------------------------------------------------------------------------------- */

static int do_set_limit(const struct set_limit *op)
{
    u64 limit[2] = { (u64)op->soft, (u64)op->hard };
    return (int)CALL(NR_prlimit64, 0, (u64)op->resource, W(limit), 0);
}

static int do_drop_bounding(const struct drop_bounding *op)
{
    for (u64 capability = 0; capability < 64; capability++) {
        if ((u64)op->keep >> capability & 1) continue;
        int error = (int)CALL(NR_prctl, PR_CAPBSET_DROP, capability, 0, 0, 0);
        if (error == -EINVAL) return 0; /* past the kernel's last capability */
        TRY(error);
    }
    return 0;
}

static int do_set_groups(const struct set_groups *op)
{
    int error = (int)CALL(NR_setgroups, op->gids_size / 4, W(op->gids));
    return op->optional && error == -EPERM ? 0 : error;
}

static int do_set_user(const struct set_user *op)
{
    TRY(CALL(NR_prctl, PR_SET_KEEPCAPS, 1, 0, 0, 0));
    TRY(CALL(NR_setresgid, (u64)op->gid, (u64)op->gid, (u64)op->gid));
    TRY(CALL(NR_setresuid, (u64)op->uid, (u64)op->uid, (u64)op->uid));
    return (int)CALL(NR_prctl, PR_SET_KEEPCAPS, 0, 0, 0, 0);
}

static int do_set_capabilities(const struct set_capabilities *op)
{
    u32 header[2] = { 0x20080522, 0 }, current[6];
    TRY(CALL(NR_capget, W(header), W(current)));
    /* What we lack ourselves cannot be given: it is left out, as the originals do. */
    u64 have = current[1] | (u64)current[4] << 32;
    u64 p = (u64)op->permitted & have, e = (u64)op->effective & p, i = (u64)op->inheritable & have;
    u32 sets[6] = { (u32)e, (u32)p, (u32)i, (u32)(e >> 32), (u32)(p >> 32), (u32)(i >> 32) };
    TRY(CALL(NR_capset, W(header), W(sets)));
    TRY(CALL(NR_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
    for (u64 capability = 0; capability < 64; capability++)
        if (((u64)op->ambient & p & i) >> capability & 1)
            TRY(CALL(NR_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0));
    return 0;
}

static int do_set_umask(const struct set_umask *op)
{
    CALL(NR_umask, (u64)op->mask);
    return 0;
}

static int do_change_directory(const struct change_directory *op)
{
    static int arrived;
    char where[PATH_SIZE];
    if (arrived) return 0;
    int refused = (int)CALL(NR_chdir, W(op->path));
    if (op->deferrable && (refused == -EACCES || refused == -EPERM)) return 0;
    TRY(refused);
    arrived = 1;
    long size = CALL(NR_getcwd, W(where), sizeof where);
    TRY(size);
    /* "(unreachable)/…": the directory is outside the root, by a leaked descriptor (CVE-2024-21626). */
    return where[0] == '/' ? 0 : -ENOENT;
}

static int do_forbid_privileges(const struct forbid_privileges *op)
{
    (void)op;
    return (int)CALL(NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

static int do_load_filter(const struct load_filter *op)
{
    struct { u16 count; const void *program; } filter = { (u16)(op->program_size / 8), op->program };
    if (op->program_size % 8 || op->program_size / 8 > 4096) return -EINVAL;
    timings = 0; /* looking at the clock may be what the filter forbids */
    return (int)CALL(NR_seccomp, 1 /* SECCOMP_SET_MODE_FILTER */, (u64)op->flags, W(&filter));
}

#if defined(__x86_64__)
#define WAIT_A_MOMENT __asm__ volatile("pause" ::: "memory")
#else
#define WAIT_A_MOMENT __asm__ volatile("isb" ::: "memory")
#endif
/* Between some seconds and two minutes, as the processor has it. */
enum { HANDOVER_TURNS = 1 << 30 };

/* A page shared with the caller: [0] the listener's number and 1 (0: not loaded yet), [1] the caller's word.
 *
 * The caller is told just before, while that is still an ordinary call. From then on there is none
 * that could not be the one that waits for the listener, not even to sleep or to exit: so turns are
 * counted, and a caller that died meanwhile is followed by an illegal instruction, which kills the
 * first process of a pid namespace too. */
static int do_load_notifying_filter(const struct load_notifying_filter *op)
{
    struct { u16 count; const void *program; } filter = { (u16)(op->program_size / 8), op->program };
    if (op->program_size % 8 || op->program_size / 8 > 4096) return -EINVAL;
    long page = CALL(NR_mmap, 0, 4096, 3 /* READ|WRITE */, 1 /* SHARED */, (u64)op->handover, 0);
    TRY(page);
    volatile u32 *words = (volatile u32 *)(uptr)page;
    close_fd(op->handover);
    TRY(tell(WAITING, op->head.index, 0, -1));
    timings = 0;
    long listener = CALL(NR_seccomp, 1, (u64)op->flags | 8 /* NEW_LISTENER */, W(&filter));
    TRY(listener);
    __atomic_store_n(&words[0], (u32)listener + 1, __ATOMIC_RELEASE);
    for (u32 turn = 0; !__atomic_load_n(&words[1], __ATOMIC_ACQUIRE); turn++) {
        if (turn == HANDOVER_TURNS) __builtin_trap();
        WAIT_A_MOMENT;
    }
    /* The agent's copy is the one that counts: when it goes away, calls are to fail and not to wait. */
    close_fd(listener);
    return 0;
}

/* --- the program ---------------------------------------------------------------------------------- */

static const char *program;

static int do_find_program(const struct find_program *op)
{
    int best = -ENOENT;
    for (char *const *candidate = op->candidates; *candidate; candidate++) {
        OWNED int file = (int)CALL(NR_openat, AT_FDCWD, W(*candidate), O_PATH | O_CLOEXEC, 0);
        if (file < 0) {
            if (file != -ENOENT && file != -ENOTDIR) best = file;
            continue;
        }
        int mode = mode_of(file);
        if (mode < 0 || (mode & S_IFMT) == S_IFDIR) {
            best = -EACCES;
            continue;
        }
        int allowed = (int)CALL(NR_faccessat2, AT_FDCWD, W(*candidate), 1 /* X_OK */, AT_EACCESS);
        /* A filter that was loaded already may be older than the call: execve will have the word. */
        if ((allowed == -EPERM || allowed == -ENOSYS) && (mode & 0111)) allowed = 0;
        if (!allowed) {
            program = *candidate;
            return 0;
        }
        best = -EACCES;
    }
    return best;
}

/* Whoever waits at the gate may do so for days: it keeps the gate and the standard streams only. */
static void close_all_but(i64 gate, i64 result)
{
    for (u32 slot = 0; slot < slot_count; slot++)
        if (slot_descriptors[slot] != gate && slot_descriptors[slot] != result) close_fd(slot_descriptors[slot]);
    close_fd(root_fd);
    close_fd(proc_fd);
    close_fd(masked_directory);
    root_fd = proc_fd = masked_file = masked_directory = -1;
}

static int do_await_start(const struct await_start *op)
{
    char word;
    long size;
    close_all_but(op->gate, op->result);
    TRY(tell(CREATED, op->head.index, 0, -1));
    /* Until our pid is written down nobody could find us here but by a cgroup, which not all have. */
    TRY(await_word());
    close_fd(control_fd);
    control_fd = -1;
    result_fd = (int)op->result;
    do size = CALL(NR_read, (u64)op->gate, W(&word), 1);
    while (size == -EINTR);
    return size < 0 ? (int)size : 0;
}

static int do_execute(const struct execute *op)
{
    if (result_fd < 0) TRY(tell(EXECUTING, op->head.index, 0, -1));
    return (int)CALL(NR_execve, W(program), W(op->arguments), W(op->environment));
}

#endif
