/*
 * `cloche-runc state` and `start` of a container that `create` has left a summary of: answered here, as
 * starting Python takes several times as long as what is to be done. Whatever is not as usual
 * (another flag, a file that is missing, a status that forbids it, a program that cannot be executed) is
 * left to Python, which does the same and has the words. src/cloche/runtime/face/summary.py writes the
 * file; container.py has the same steps, with their reasons.
 */

enum { LOCK_EX = 2, F_SETFL = 4, O_WRONLY = 1, O_CREAT = 0100, O_EXCL = 0200, O_NONBLOCK = 04000 };
enum { SUMMARY_SIZE = 1 << 16, RECORD_SIZE = 128, SUMMARY_FIELDS = 9, EINTR = 4 };

enum summary_field { FORMAT, PID, START_TIME, BOOT_ID, FREEZER, STARTS, BEFORE, BETWEEN, AFTER };

/* One of our global flags that have a value, given as `--flag value` or `--flag=value`: the value. Steps on. */
static const char *flag_value(char **argv, long *at, const char *flag)
{
    const char *word = argv[*at];
    if (!begins_with(word, flag))
        return 0;
    word += length_of(flag);
    if (*word == '=')
        return word + 1;
    return *word ? 0 : argv[++*at];
}

/* The word of the command in argv, where it is followed by one plain id and preceded by plain flags. */
static long find_command(long argc, char **argv, const char **root)
{
    long at = 1;
    for (; at < argc - 2; at++) {
        const char *value;
        if ((value = flag_value(argv, &at, "--root")))
            *root = value;
        else if ((value = flag_value(argv, &at, "--log-format"))) {
            if (!equal(value, "json") && !equal(value, "text"))
                return 0;
        } else if (!flag_value(argv, &at, "--log") && !equal(argv[at], "--systemd-cgroup"))
            return 0;
    }
    if (at != argc - 2 || !(equal(argv[at], "state") || equal(argv[at], "start")))
        return 0;
    for (const char *id = argv[at + 1]; *id; id++)
        if (!((*id >= 'a' && *id <= 'z') || (*id >= 'A' && *id <= 'Z') || (*id >= '0' && *id <= '9') || *id == '_' ||
              (id > argv[at + 1] && (*id == '-' || *id == '.' || *id == '+'))))
            return 0;
    return argv[at + 1][0] ? at : 0;
}

/* A whole file, ended by NUL; its size, or -1 where it does not fit. */
static long read_whole(long directory, const char *path, char *content, long room)
{
    long file = system_call(SYS_openat, directory, (long)path, O_RDONLY | O_CLOEXEC, 0), size = -1;
    if (file < 0)
        return -1;
    size = system_call(SYS_read, file, (long)content, room, 0);
    system_call(SYS_close, file, 0, 0, 0);
    if (size < 0 || size == room)
        return -1;
    content[size] = 0;
    return size;
}

static int read_summary(long directory, char *content, char *fields[SUMMARY_FIELDS])
{
    long size = read_whole(directory, "summary", content, SUMMARY_SIZE);
    char *at = content;
    for (int field = 0; field < SUMMARY_FIELDS; field++) {
        if (size < 0 || at >= content + size)
            return 0;
        fields[field] = at;
        at += length_of(at) + 1;
    }
    return at == content + size && equal(fields[FORMAT], "cloche summary 1") && !equal(fields[PID], "0");
}

/* Whether the process of the summary runs: of this boot, with that start time, and not a zombie. */
static int runs(char *const fields[SUMMARY_FIELDS])
{
    static char text[PATH_SIZE], path[PATH_SIZE];
    long size = read_whole(AT_FDCWD, "/proc/sys/kernel/random/boot_id", text, PATH_SIZE);
    if (size < 1)
        return 0;
    text[size - 1] = 0; /* its newline */
    if (!equal(text, fields[BOOT_ID]))
        return 0;
    if (read_whole(AT_FDCWD, JOIN(path, "/proc/", fields[PID], "/stat"), text, PATH_SIZE) < 0)
        return 0;
    /* The name may hold anything: fields are counted from its last bracket. */
    char *at = 0;
    for (char *look = text; *look; look++)
        if (*look == ')')
            at = look + 1;
    for (int field = 2; at && *at; field++) {
        while (*at == ' ')
            at++;
        if (field == 2 && (*at == 'Z' || *at == 'X'))
            return 0;
        char *end = at;
        while (*end && *end != ' ')
            end++;
        if (field == 21) {
            *end = 0;
            return equal(at, fields[START_TIME]);
        }
        at = end;
    }
    return 0;
}

static int is_there(long directory, const char *name)
{
    struct status status;
    return status_of(directory, name, 0, &status) == 0;
}

static int print_all(const char *text)
{
    for (size_type left = length_of(text); left;) {
        long written = system_call(SYS_write, STDOUT, (long)text, (long)left, 0);
        if (written <= 0)
            return 0;
        text += written;
        left -= (size_type)written;
    }
    return 1;
}

__attribute__((noreturn)) static void end(int status)
{
    for (;;)
        system_call(SYS_exit_group, status, 0, 0, 0);
}

__attribute__((noreturn)) static void tell_state(long directory, char *const fields[SUMMARY_FIELDS])
{
    static char frozen[NAME_SIZE];
    const char *status = "running";
    if (!runs(fields))
        status = "stopped";
    else if (is_there(directory, "start.fifo"))
        status = "created";
    else if (*fields[FREEZER] && read_whole(AT_FDCWD, fields[FREEZER], frozen, NAME_SIZE) > 0 && frozen[0] == '1')
        status = "paused";
    int told = print_all(fields[BEFORE]) && print_all(equal(status, "stopped") ? "0" : fields[PID]) &&
               print_all(fields[BETWEEN]) && print_all(status) && print_all(fields[AFTER]);
    end(told ? 0 : 1);
}

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
    struct status locked, current;
    struct held held;
    char record[RECORD_SIZE];
    long size;
    long directory = open_file(path, O_RDONLY | O_DIRECTORY);
    if (directory < 0)
        return;
    /* Deleted while we waited for the lock, it is not there any more, or another one of that name is. */
    if (system_call(SYS_flock, directory, LOCK_EX, 0, 0) == 0 && status_of(directory, "", AT_EMPTY_PATH, &locked) == 0 &&
        status_of(AT_FDCWD, path, 0, &current) == 0 && locked.inode == current.inode && runs(fields)) {
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

/* Answer a command where the container's summary suffices for it. */
static void answer_from_summary(long argc, char **argv, char **envp)
{
    static char path[PATH_SIZE], content[SUMMARY_SIZE + 1];
    static char *fields[SUMMARY_FIELDS];
    const char *root = system_call(SYS_geteuid, 0, 0, 0, 0) ? "" : "/run/cloche/runc";
    long at = find_command(argc, argv, &root);
    if (!at || root[0] != '/' || !root[1] || length_of(root) + length_of(argv[at + 1]) > PATH_SIZE - 2)
        return;
    JOIN(path, root, "/", argv[at + 1]);
    long directory = open_file(path, O_PATH | O_DIRECTORY);
    if (directory < 0)
        return;
    if (read_summary(directory, content, fields)) {
        if (equal(argv[at], "state"))
            tell_state(directory, fields);
        int notifies = 0;
        for (; *envp; envp++)
            notifies |= begins_with(*envp, "NOTIFY_SOCKET=");
        if (*fields[STARTS] && !notifies)
            start_container(path, fields);
    }
    system_call(SYS_close, directory, 0, 0, 0);
}
