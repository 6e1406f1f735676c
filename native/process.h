/* Operations on where the process lives: kernel namespaces, cgroups, terminal, scheduling. */
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

/* The answers are taken by the operations that attach them. */
static int do_request_mounts(const struct request_mounts *op)
{
    return tell(WAITING, op->head.index, 0, -1);
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

#endif
