/* Paths inside the container: found and made below the root, whatever symlinks an image holds. */
#ifndef CLOCHE_PATHS_H
#define CLOCHE_PATHS_H

#include "system.h"

enum { PATH_SIZE = 4096, LINK_DEPTH = 16 };

/* The container's root: the detached rootfs once attached, or / of a joined container. */
static int root_fd = -1;

/* Open `path` below the root, as a program in the container would see it. */
static int open_below_root(const char *path, u64 flags)
{
    struct open_how how = { .flags = flags | O_CLOEXEC, .mode = 0, .resolve = RESOLVE_IN_ROOT };
    return (int)CALL(NR_openat2, (u64)root_fd, W(*path ? path : "."), W(&how), sizeof how);
}

/* Copy, refusing what does not fit. Returns the length. */
static int copy_path(char *to, const char *from, u64 size)
{
    if (size > PATH_SIZE - 1) return -ENAMETOOLONG;
    memcpy(to, from, size);
    to[size] = 0;
    return (int)size;
}

/* Put the content of the symlink `name` (in `directory`, itself at `prefix`) before `rest`. */
static int follow_link(int directory, const char *name, char *path, u64 prefix, const char *rest)
{
    char target[PATH_SIZE], whole[PATH_SIZE];
    long size = CALL(NR_readlinkat, (u64)directory, W(name), W(target), sizeof target);
    if (size < 0) return (int)size;
    u64 kept = target[0] == '/' ? 0 : prefix, tail = length(rest);
    if (kept + (u64)size + tail + 2 > PATH_SIZE) return -ENAMETOOLONG;
    memcpy(whole, path, kept);
    memcpy(whole + kept, target, (u64)size);
    memcpy(whole + kept + size, rest, tail + 1);
    return copy_path(path, whole, kept + (u64)size + tail);
}

/* Make one missing component in `directory`. -EEXIST means: something is there, a dangling link. */
static int make_component(int directory, const char *name, int is_directory, u32 mode)
{
    if (is_directory) return (int)CALL(NR_mkdirat, (u64)directory, W(name), mode);
    long fd = CALL(NR_openat, (u64)directory, W(name), O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    close_fd(fd);
    return fd < 0 ? (int)fd : 0;
}

/* One walk down `path`, making what is missing. 1: a dangling link was put into `path`, walk again. */
static int make_walk(char *path, int last_is_directory, u32 mode)
{
    char prefix[PATH_SIZE], name[256];
    OWNED int directory = open_below_root("/", O_PATH | O_DIRECTORY);
    TRY(directory);
    for (u64 at = 0;;) {
        while (path[at] == '/') at++;
        if (!path[at]) return 0;
        u64 end = at;
        while (path[end] && path[end] != '/') end++;
        if (end - at >= sizeof name) return -ENAMETOOLONG;
        memcpy(name, path + at, end - at);
        name[end - at] = 0;
        u64 next = end;
        while (path[next] == '/') next++;
        int is_directory = path[next] ? 1 : last_is_directory;
        TRY(copy_path(prefix, path, end));
        int found = open_below_root(prefix, O_PATH);
        if (found == -ENOENT) {
            int made = make_component(directory, name, is_directory, path[next] ? 0755 : mode);
            if (made == -EEXIST) {
                TRY(follow_link(directory, name, path, at, path + end));
                return 1;
            }
            TRY(made);
            found = open_below_root(prefix, O_PATH);
        }
        TRY(found);
        close_fd(directory);
        directory = found;
        at = end;
    }
}

/* A descriptor of `path` below the root, made with its parents where missing. */
static int make_below_root(const char *path, int is_directory, u32 mode)
{
    int found = open_below_root(path, O_PATH);
    if (found != -ENOENT) return found;
    char work[PATH_SIZE];
    TRY(copy_path(work, path, length(path)));
    for (int depth = 0; depth < LINK_DEPTH; depth++) {
        int again = make_walk(work, is_directory, mode);
        TRY(again);
        if (!again) return open_below_root(work, O_PATH);
    }
    return -ELOOP;
}

/* The directory that holds `path`, made where missing; `name` receives the last component. */
static int open_parent(const char *path, const char **name)
{
    char parent[PATH_SIZE];
    u64 cut = 0;
    for (u64 i = 0; path[i]; i++)
        if (path[i] == '/') cut = i;
    *name = path + cut + (path[cut] == '/');
    TRY(copy_path(parent, path, cut));
    return make_below_root(parent, 1, 0755);
}

/* What kind of file a descriptor is: the mode, or a negative error. */
static int mode_of(int fd)
{
    struct stat_buffer stat;
    TRY(CALL(NR_fstat, (u64)fd, W(&stat)));
    return (int)stat.mode;
}

#endif
