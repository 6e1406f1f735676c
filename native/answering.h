/*
 * `cloche-runc state`, `start` and `delete` of a container that `create` has left a summary of: answered here,
 * as starting Python takes several times as long as what is to be done. Whatever is not as usual (another
 * flag, a file that is missing, a status that forbids it, a program that cannot be executed) is left to
 * Python, which does the same and has the words.
 */
#ifndef CLOCHE_ANSWERING_H
#define CLOCHE_ANSWERING_H

#include "deleting.h"
#include "starting.h"
#include "summary.h"

struct request {
    const char *root, *command, *id;
    int forced;
};

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

static int is_id(const char *id)
{
    for (const char *at = id; *at; at++)
        if (!((*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') || (*at >= '0' && *at <= '9') || *at == '_' ||
              (at > id && (*at == '-' || *at == '.' || *at == '+'))))
            return 0;
    return *id != 0;
}

/* What the words ask for, where it is one of our commands with plain flags and one plain id. */
static int read_request(long argc, char **argv, struct request *request)
{
    const char *value;
    long at = 1;
    for (; at < argc && argv[at][0] == '-'; at++) {
        if (equal(argv[at], "--systemd-cgroup"))
            continue;
        if ((value = flag_value(argv, &at, "--root")))
            request->root = value;
        else if (at < argc && (value = flag_value(argv, &at, "--log-format"))) {
            if (!equal(value, "json") && !equal(value, "text"))
                return 0;
        } else if (at == argc || !flag_value(argv, &at, "--log"))
            return 0;
    }
    if (argc - at < 2)
        return 0;
    request->command = argv[at++];
    if (equal(request->command, "delete") && (equal(argv[at], "--force") || equal(argv[at], "-f")))
        request->forced = argv[++at] != 0;
    else if (!equal(request->command, "state") && !equal(request->command, "start") && !equal(request->command, "delete"))
        return 0;
    request->id = argv[at];
    return at == argc - 1 && is_id(request->id);
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

__attribute__((noreturn)) static void tell_state(long directory, char *const fields[SUMMARY_FIELDS])
{
    const char *status = "running";
    if (!runs(fields))
        status = "stopped";
    else if (is_created(directory))
        status = "created";
    else if (is_paused(fields))
        status = "paused";
    int told = print_all(fields[BEFORE]) && print_all(equal(status, "stopped") ? "0" : fields[PID]) &&
               print_all(fields[BETWEEN]) && print_all(status) && print_all(fields[AFTER]);
    end(told ? 0 : 1);
}

/* Answer a command where the container's summary suffices for it. */
static void answer(long argc, char **argv, char **envp)
{
    static char path[PATH_SIZE], content[SUMMARY_SIZE + 1];
    static char *fields[SUMMARY_FIELDS];
    struct request request = {system_call(SYS_geteuid, 0, 0, 0, 0) ? "" : "/run/cloche/runc", 0, 0, 0};
    if (!read_request(argc, argv, &request) || request.root[0] != '/' || !request.root[1] ||
        length_of(request.root) + length_of(request.id) > PATH_SIZE - 2 * NAME_SIZE)
        return;
    JOIN(path, request.root, "/", request.id);
    long directory = open_file(path, O_PATH | O_DIRECTORY);
    if (directory < 0)
        return;
    if (split_summary(content, read_whole(directory, "summary", content, SUMMARY_SIZE), fields)) {
        if (equal(request.command, "state"))
            tell_state(directory, fields);
        int notifies = 0;
        for (; *envp; envp++)
            notifies |= begins_with(*envp, "NOTIFY_SOCKET=");
        if (equal(request.command, "delete") && *fields[GROUPS])
            delete_container(request.root, request.id, path, fields, request.forced);
        else if (equal(request.command, "start") && *fields[STARTS] && !notifies)
            start_container(path, fields);
    }
    system_call(SYS_close, directory, 0, 0, 0);
}

#endif
