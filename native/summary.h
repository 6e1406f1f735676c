/*
 * What `create` has left of a container for the launcher, in the file `summary` of the container's folder:
 * fields that end with NUL. src/cloche/runtime/face/summary.py writes it.
 */
#ifndef CLOCHE_SUMMARY_H
#define CLOCHE_SUMMARY_H

#include "freestanding.h"

enum { SUMMARY_SIZE = 1 << 16, LOCK_EX = 2 };

/* GROUPS: the cgroups, one a line, in the order in which they are removed. FREEZER: what says whether they
 * are frozen. Empty are the FREEZER of what has none, and STARTS or GROUPS where that is left to Python. */
enum summary_field { FORMAT, PID, START_TIME, BOOT_ID, FREEZER, STARTS, GROUPS, BEFORE, BETWEEN, AFTER, SUMMARY_FIELDS };

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

/* Where the fields of a whole summary begin; 0 where it is none. */
static int split_summary(char *content, long size, char *fields[SUMMARY_FIELDS])
{
    char *at = content;
    for (int field = 0; field < SUMMARY_FIELDS; field++) {
        if (at >= content + size)
            return 0;
        fields[field] = at;
        at += length_of(at) + 1;
    }
    return at == content + size && equal(fields[FORMAT], "cloche summary 2") && number_of(fields[PID]) > 0;
}

/* Whether a /proc/PID/stat is that of a process with this start time, and not of a zombie. */
static int runs_since(char *stat, const char *start_time)
{
    /* The name may hold anything: fields are counted from its last bracket. */
    char *at = 0;
    for (char *look = stat; *look; look++)
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
            return equal(at, start_time);
        }
        at = end;
    }
    return 0;
}

/* Whether the process of the summary runs: of this boot, with that start time, and not a zombie. */
static int runs(char *const fields[SUMMARY_FIELDS])
{
    static char text[PATH_SIZE], path[PATH_SIZE];
    long size = read_whole(AT_FDCWD, "/proc/sys/kernel/random/boot_id", text, PATH_SIZE);
    if (size < 1)
        return 0;
    text[size - 1] = 0; /* its newline */
    return equal(text, fields[BOOT_ID]) &&
           read_whole(AT_FDCWD, JOIN(path, "/proc/", fields[PID], "/stat"), text, PATH_SIZE) >= 0 &&
           runs_since(text, fields[START_TIME]);
}

static int is_created(long directory)
{
    struct status status;
    return status_of(directory, "start.fifo", 0, &status) == 0;
}

static int is_paused(char *const fields[SUMMARY_FIELDS])
{
    char frozen[NAME_SIZE];
    return *fields[FREEZER] && read_whole(AT_FDCWD, fields[FREEZER], frozen, NAME_SIZE) > 0 && frozen[0] == '1';
}

/* The folder of a container, locked; negative where that cannot be, or where it is not the one of that name any more. */
static long lock_folder(const char *path)
{
    struct status locked, current;
    long directory = open_file(path, O_RDONLY | O_DIRECTORY);
    if (directory < 0)
        return -1;
    /* Deleted while we waited for the lock, it is not there any more, or another one of that name is. */
    if (system_call(SYS_flock, directory, LOCK_EX, 0, 0) == 0 && status_of(directory, "", AT_EMPTY_PATH, &locked) == 0 &&
        status_of(AT_FDCWD, path, 0, &current) == 0 && locked.inode == current.inode)
        return directory;
    system_call(SYS_close, directory, 0, 0, 0);
    return -1;
}

#endif
