/*
 * `cloche-runc delete`: container.py (`destroy`), kernel/cgroups/processes.py and state.py (`Folder.remove`)
 * have the same steps, with their reasons. All of them can be repeated, so that Python can go on at any point.
 */
#ifndef CLOCHE_DELETING_H
#define CLOCHE_DELETING_H

#include "summary.h"

enum { SIGKILL = 9, POLLIN = 1, KILL_TIMEOUT_S = 10, PAUSES = 8, FIRST_PAUSE_NS = 100000 };
#define STAGING "@half-"

struct poll { /* pollfd */
    int descriptor;
    short wanted, found;
};

struct duration { /* timespec */
    long seconds, nanoseconds;
};

static int ended_within(long process, long seconds)
{
    struct poll poll = {(int)process, POLLIN, 0};
    struct duration timeout = {seconds, 0};
    return system_call(SYS_ppoll, (long)&poll, 1, (long)&timeout, 0) == 1;
}

static void pause_for(long nanoseconds)
{
    struct duration timeout = {0, nanoseconds};
    system_call(SYS_ppoll, 0, 0, (long)&timeout, 0);
}

/* Kill the container's process; 0 where it is still there afterwards. */
static int end_process(char *const fields[SUMMARY_FIELDS])
{
    long process = system_call(SYS_pidfd_open, number_of(fields[PID]), 0, 0, 0);
    int ended = 1;
    /* Compared after opening: only now is the number known to stay the same process's. */
    if (runs(fields))
        ended = process >= 0 && system_call(SYS_pidfd_send_signal, process, SIGKILL, 0, 0) == 0 &&
                ended_within(process, KILL_TIMEOUT_S);
    if (process >= 0)
        system_call(SYS_close, process, 0, 0, 0);
    return ended;
}

/* Remove a cgroup, which processes leave some time after they died; 0 where somebody is in it or below it. */
static int remove_group(const char *path)
{
    struct status status;
    long error;
    for (int pause = 0;; pause++) {
        error = system_call(SYS_unlinkat, AT_FDCWD, (long)path, AT_REMOVEDIR, 0);
        if (error != -EBUSY || pause == PAUSES)
            return error == 0 || error == -ENOENT;
        /* A directory has two links, and one more for each in it. */
        if (status_of(AT_FDCWD, path, 0, &status) == 0 && status.links > 2)
            return 0;
        pause_for((long)FIRST_PAUSE_NS << pause);
    }
}

static int remove_groups(char *at)
{
    while (*at) {
        char *path = at;
        while (*at && *at != '\n')
            at++;
        if (*at)
            *at++ = 0;
        if (!remove_group(path))
            return 0;
    }
    return 1;
}

/* Free the id, at once, and then remove the files; what cannot be removed is swept later. */
static int remove_folder(const char *root, const char *id, const char *path, long directory)
{
    static char gone[PATH_SIZE], number[NAME_SIZE];
    static struct listing listing;
    const char *name;
    append(number, ".", (unsigned long)system_call(SYS_getpid, 0, 0, 0, 0));
    JOIN(gone, root, "/" STAGING, id, number);
    if (system_call5(SYS_renameat2, AT_FDCWD, (long)path, AT_FDCWD, (long)gone, 0) < 0)
        return 0;
    listing.directory = directory;
    while ((name = next_name(&listing)))
        system_call(SYS_unlinkat, directory, (long)name, 0, 0);
    system_call(SYS_unlinkat, AT_FDCWD, (long)gone, AT_REMOVEDIR, 0);
    return 1;
}

/* Whether a root has what a create or a delete that was killed has left. */
static int has_leftovers(const char *root)
{
    static struct listing listing;
    const char *name = 0;
    listing.directory = open_file(root, O_RDONLY | O_DIRECTORY);
    while (listing.directory >= 0 && (name = next_name(&listing)))
        if (begins_with(name, STAGING))
            break;
    system_call(SYS_close, listing.directory, 0, 0, 0);
    return name != 0;
}

/* Returns where Python has to go on. forced: whatever the status; that also removes what others have left. */
static void delete_container(const char *root, const char *id, const char *path, char *const fields[SUMMARY_FIELDS],
                             int forced)
{
    long directory = lock_folder(path);
    if (directory < 0)
        return;
    /* Nothing of the user's runs in one that was only created. What is paused must be let go, to die. */
    int ends = runs(fields) ? (forced || is_created(directory)) && !is_paused(fields) && end_process(fields) : 1;
    if (ends && remove_groups(fields[GROUPS]) && remove_folder(root, id, path, directory) &&
        !(forced && has_leftovers(root)))
        end(0);
    system_call(SYS_close, directory, 0, 0, 0);
}

#endif
