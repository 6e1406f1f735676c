/* Operations on the process itself: kernel namespaces, cgroups, identity, terminal, program. */
#ifndef CLOCHE_PROCESS_H
#define CLOCHE_PROCESS_H

#include "report.h"

/* --- stage one ---------------------------------------------------------------------------------- */

static int write_file(int directory, const char *path, const char *text, u64 size)
{
    OWNED int file = (int)CALL(NR_openat, (u64)directory, W(path), O_WRONLY | O_CLOEXEC, 0);
    TRY(file);
    long written = CALL(NR_write, (u64)file, W(text), size);
    return written < 0 ? (int)written : 0;
}

/* Decimal digits of `value` at the end of `buffer`; returns where they begin. */
static char *decimal(char *buffer, u64 size, i64 value)
{
    char *at = buffer + size;
    u64 rest = value < 0 ? 0 - (u64)value : (u64)value;
    do *--at = (char)('0' + rest % 10);
    while (rest /= 10);
    if (value < 0) *--at = '-';
    return at;
}

static int do_set_oom_score(const struct set_oom_score *op)
{
    char buffer[24], *text = decimal(buffer, sizeof buffer, op->score);
    int error = write_file(AT_FDCWD, "/proc/self/oom_score_adj", text, (u64)(buffer + sizeof buffer - text));
    return op->optional && (error == -EACCES || error == -EPERM) ? 0 : error;
}

static int do_set_time_offsets(const struct set_time_offsets *op)
{
    TRY(CALL(NR_unshare, 0x80 /* CLONE_NEWTIME */));
    /* Nothing to write is an error to the kernel. */
    return *op->offsets ? write_file(AT_FDCWD, "/proc/self/timens_offsets", op->offsets, length(op->offsets)) : 0;
}

static int do_forbid_dumps(const struct forbid_dumps *op)
{
    (void)op;
    return (int)CALL(NR_prctl, PR_SET_DUMPABLE, 0);
}

static struct { i64 fd, kind; } deferred[8];
static unsigned deferred_count;

static int do_join_namespace(const struct join_namespace *op)
{
    int error = (int)CALL(NR_setns, (u64)op->namespace, (u64)op->kind);
    if (error != -EPERM || !op->deferrable || deferred_count == 8) return error;
    deferred[deferred_count].fd = op->namespace;
    deferred[deferred_count++].kind = op->kind;
    return 0;
}

static int do_retry_joins(const struct retry_joins *op)
{
    (void)op;
    for (unsigned i = 0; i < deferred_count; i++)
        TRY(CALL(NR_setns, (u64)deferred[i].fd, (u64)deferred[i].kind));
    return 0;
}

static int do_join_process(const struct join_process *op)
{
    return (int)CALL(NR_setns, (u64)op->process, (u64)op->kinds);
}

static int do_become_root(const struct become_root *op)
{
    (void)op;
    TRY(CALL(NR_setresgid, 0, 0, 0));
    return (int)CALL(NR_setresuid, 0, 0, 0);
}

/* Returns twice: 1 in the container's process, 0 in stage one, whose work is then done. */
static int do_clone_process(const struct clone_process *op)
{
    int pidfd = -1;
    struct clone_arguments arguments = {
        .flags = (u64)op->namespaces | CLONE_PIDFD | CLONE_PARENT, .pidfd = W(&pidfd), .exit_signal = 0 };
    if (op->cgroup >= 0) {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = (u64)op->cgroup;
    }
    long pid = CALL(NR_clone3, W(&arguments), sizeof arguments);
    TRY(pid);
    if (!pid) {
        close_fd(op->cgroup); /* a directory of the host: not for a moment longer than the clone needs it */
        return 1;
    }
    TRY(tell(CLONED, op->head.index, (i32)pid, pidfd));
    return 0;
}

/* Our own number below /proc, as `self` is a link and links are not followed there. */
static int do_write_attribute(const struct write_attribute *op)
{
    char path[64], buffer[24], *digits = decimal(buffer, sizeof buffer, raw(NR_getpid, 0, 0, 0, 0, 0, 0));
    u64 count = (u64)(buffer + sizeof buffer - digits), tail = length(op->path);
    if (count + tail + 2 > sizeof path) return -ENAMETOOLONG;
    memcpy(path, digits, count);
    path[count] = '/';
    memcpy(path + count + 1, op->path, tail + 1);
    return write_proc(path, op->value);
}

/* --- stage two: where the process lives ----------------------------------------------------------- */

static int do_enter_cgroup(const struct enter_cgroup *op)
{
    long written = CALL(NR_write, (u64)op->tasks, W("0"), 1);
    close_fd(op->tasks);
    return written < 0 ? (int)written : 0;
}

static int do_unshare_namespaces(const struct unshare_namespaces *op)
{
    return (int)CALL(NR_unshare, (u64)op->namespaces);
}

static int do_await_caller(const struct await_caller *op)
{
    TRY(tell(WAITING, op->head.index, 0, -1));
    return await_word();
}

static int do_lend_netlink(const struct lend_netlink *op)
{
    OWNED int socket = (int)CALL(NR_socket, 16 /* AF_NETLINK */, 3 /* SOCK_RAW */ | O_CLOEXEC, 0 /* NETLINK_ROUTE */);
    TRY(socket);
    TRY(tell(WAITING, op->head.index, 0, socket));
    return await_word();
}

static int do_new_session(const struct new_session *op)
{
    (void)op;
    long session = CALL(NR_setsid, 0);
    return session < 0 ? (int)session : 0;
}

static int do_bring_up_loopback(const struct bring_up_loopback *op)
{
    (void)op;
    struct { char name[16]; u16 flags; char rest[22]; } request = { .name = "lo" };
    OWNED int socket = (int)CALL(NR_socket, 1 /* AF_UNIX: any socket carries the ioctl */, 2 | O_CLOEXEC, 0);
    TRY(socket);
    TRY(CALL(NR_ioctl, (u64)socket, SIOCGIFFLAGS, W(&request)));
    request.flags |= IFF_UP;
    return (int)CALL(NR_ioctl, (u64)socket, SIOCSIFFLAGS, W(&request));
}

static int do_join_keyring(const struct join_keyring *op)
{
    long keyring = CALL(NR_keyctl, 1 /* KEYCTL_JOIN_SESSION_KEYRING */, W(op->name));
    return keyring < 0 && keyring != -ENOSYS && keyring != -EPERM ? (int)keyring : 0;
}

static int do_set_hostname(const struct set_hostname *op)
{
    return (int)CALL(NR_sethostname, W(op->name), length(op->name));
}

static int do_set_domainname(const struct set_domainname *op)
{
    return (int)CALL(NR_setdomainname, W(op->name), length(op->name));
}

/* --- terminal and standard streams ---------------------------------------------------------------- */

static int bind_console(int peer)
{
    OWNED int target = make_below_root("/dev/console", 0, 0600);
    TRY(target);
    OWNED int mount = clone_mount(peer, 0);
    TRY(mount);
    return attach(mount, target);
}

static int do_open_console(const struct open_console *op)
{
    OWNED int master = open_below_root("/dev/pts/ptmx", O_RDWR | O_NOCTTY);
    TRY(master);
    struct statfs_buffer filesystem;
    TRY(CALL(NR_fstatfs, (u64)master, W(&filesystem)));
    if (filesystem.type != DEVPTS_SUPER_MAGIC) return -EINVAL;
    int unlocked = 0;
    TRY(CALL(NR_ioctl, (u64)master, TIOCSPTLCK, W(&unlocked)));
    OWNED int peer = (int)CALL(NR_ioctl, (u64)master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    TRY(peer);
    if (op->columns || op->rows) {
        u16 size[4] = { (u16)op->rows, (u16)op->columns, 0, 0 };
        TRY(CALL(NR_ioctl, (u64)master, TIOCSWINSZ, W(size)));
    }
    if (op->uid) TRY(CALL(NR_fchown, (u64)peer, (u64)op->uid, (u64)-1));
    if (op->bind) TRY(bind_console(peer));
    TRY(tell(CONSOLE, op->head.index, 0, master));
    for (u64 fd = 0; fd < 3; fd++) TRY(CALL(NR_dup3, (u64)peer, fd, 0));
    return (int)CALL(NR_ioctl, 0, TIOCSCTTY, 0);
}

static int do_reopen_null(const struct reopen_null *op)
{
    (void)op;
    OWNED int null = -1;
    for (u64 fd = 0; fd < 3; fd++) {
        if (is_null_device((int)fd) != 1) continue;
        if (null < 0) {
            null = open_below_root("/dev/null", O_RDWR);
            if (null == -ENOENT) return 0;
            TRY(null);
            if (is_null_device(null) != 1) return -EINVAL;
        }
        TRY(CALL(NR_dup3, (u64)null, fd, 0));
    }
    return 0;
}

static int do_own_stdio(const struct own_stdio *op)
{
    for (u64 fd = 0; fd < 3; fd++) {
        struct stat_buffer stat;
        if (CALL(NR_fstat, fd, W(&stat)) < 0 || is_null_device((int)fd) == 1) continue;
        if ((i64)stat.uid == op->uid) continue;
        long error = CALL(NR_fchown, fd, (u64)op->uid, (u64)-1);
        /* An unmapped owner or a read-only filesystem: the descriptor itself still works. */
        if (error < 0 && error != -EINVAL && error != -EPERM && error != -EROFS) return (int)error;
    }
    return 0;
}

/* --- scheduling and memory ------------------------------------------------------------------------ */

static int do_set_personality(const struct set_personality *op)
{
    long before = CALL(NR_personality, (u64)op->persona);
    return before < 0 ? (int)before : 0;
}

static int do_set_io_priority(const struct set_io_priority *op)
{
    return (int)CALL(NR_ioprio_set, 1 /* IOPRIO_WHO_PROCESS */, 0, (u64)op->priority);
}

static int do_set_scheduler(const struct set_scheduler *op)
{
    return (int)CALL(NR_sched_setattr, 0, W(op->attributes), 0);
}

static int do_set_memory_policy(const struct set_memory_policy *op)
{
    /* The kernel takes the number of bits, and looks at one less. */
    return (int)CALL(NR_set_mempolicy, (u64)op->mode, op->nodes_size ? W(op->nodes) : 0,
                     op->nodes_size ? op->nodes_size * 8 + 1 : 0);
}

static int do_set_affinity(const struct set_affinity *op)
{
    return (int)CALL(NR_sched_setaffinity, 0, op->processors_size, W(op->processors));
}

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
