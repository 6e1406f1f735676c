/* Paths inside the container: found and made below the root, whatever symlinks an image holds. */
#ifndef CLOCHE_PATHS_H
#define CLOCHE_PATHS_H

#include "system.h"

enum { PATH_SIZE = 4096, LINK_DEPTH = 16 };

/* The container's root: the detached rootfs once attached, or / of a joined container. */
static int root_fd = -1;

/* Copy, refusing what does not fit. Returns the length. */
static int copy_path(char *to, const char *from, u64 size)
{
    if (size > PATH_SIZE - 1) return -ENAMETOOLONG;
    memcpy(to, from, size);
    to[size] = 0;
    return (int)size;
}

/* --- without openat2: sandboxes that filter it out answer ENOSYS or EPERM ---------------------------- */

/* Go down `path`, which must hold no symlink and no "..", one component at a time. */
static int descend(int root, const char *path, u64 flags)
{
    char name[256];
    int at = (int)CALL(NR_openat, (u64)root, W("."), O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    for (u64 i = 0; at >= 0;) {
        while (path[i] == '/') i++;
        u64 size = 0;
        while (path[i + size] && path[i + size] != '/') size++;
        if (!size) {
            if (flags == O_PATH) return at;
            int last = (int)CALL(NR_openat, (u64)at, W("."), flags | O_CLOEXEC, 0);
            close_fd(at);
            return last;
        }
        u64 rest = i + size;
        while (path[rest] == '/') rest++;
        int next = -ENAMETOOLONG;
        if (size < sizeof name) {
            memcpy(name, path + i, size);
            name[size] = 0;
            u64 how = path[rest] ? O_PATH : flags;
            next = (int)CALL(NR_openat, (u64)at, W(name), how | O_NOFOLLOW | O_CLOEXEC, 0);
        }
        close_fd(at);
        at = next;
        if (!path[rest]) return at;
        i = rest;
    }
    return at;
}

/* The content of the symlink at `path`, or -EINVAL where it is none. */
static long read_link(int root, const char *path, char *target)
{
    OWNED int fd = descend(root, path, O_PATH);
    TRY(fd);
    long size = CALL(NR_readlinkat, (u64)fd, W(""), W(target), PATH_SIZE);
    return size == -ENOENT ? -EINVAL : size; /* what readlinkat says of a descriptor that is no link */
}

/* Rewrite `path` without links and "..", as if `root` were /. Every link is read as text, so that a
 * magic one cannot lead anywhere; what changes under our feet is met as ELOOP by descend(). */
static int flatten(int root, const char *path, char *clean)
{
    char rest[PATH_SIZE], target[PATH_SIZE], work[PATH_SIZE];
    u64 size = 0, at = 0;
    TRY(copy_path(rest, path, length(path)));
    for (int links = 0; links < 40;) {
        while (rest[at] == '/') at++;
        u64 end = at;
        while (rest[end] && rest[end] != '/') end++;
        if (end == at) return 0;
        u64 count = end - at;
        if (count == 1 && rest[at] == '.') { at = end; continue; }
        if (count == 2 && rest[at] == '.' && rest[at + 1] == '.') {
            while (size && clean[--size] != '/');
            clean[size] = 0;
            at = end;
            continue;
        }
        u64 before = size;
        if (size + count + 2 > PATH_SIZE) return -ENAMETOOLONG;
        clean[size++] = '/';
        memcpy(clean + size, rest + at, count);
        size += count;
        clean[size] = 0;
        long link = read_link(root, clean, target);
        if (link == -EINVAL) { at = end; continue; }
        /* What is missing is found missing by whoever opens the result. */
        if (link < 0 && link != -ENOENT) return (int)link;
        if (link < 0) { at = end; continue; }
        links++;
        u64 tail = length(rest + end);
        if ((u64)link + tail + 2 > PATH_SIZE) return -ENAMETOOLONG;
        memcpy(work, target, (u64)link);
        memcpy(work + link, rest + end, tail + 1);
        size = target[0] == '/' ? 0 : before;
        clean[size] = 0;
        TRY(copy_path(rest, work, (u64)link + tail));
        at = 0;
    }
    return -ELOOP;
}

static int open_by_walking(int root, const char *path, u64 flags)
{
    char clean[PATH_SIZE] = "";
    TRY(flatten(root, path, clean));
    return descend(root, clean, flags);
}

/* Open `path` below the root, as a program in the container would see it. */
static int open_below_root(const char *path, u64 flags)
{
    struct open_how how = { .flags = flags | O_CLOEXEC, .mode = 0, .resolve = RESOLVE_IN_ROOT };
    int fd = (int)CALL(NR_openat2, (u64)root_fd, W(*path ? path : "."), W(&how), sizeof how);
    return fd == -ENOSYS ? open_by_walking(root_fd, path, flags) : fd;
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

/* The same, where no symlink may lead to it: `path` itself must be a directory of the image. */
static int make_ordinary_directory(const char *path)
{
    OWNED int made = make_below_root(path, 1, 0755);
    TRY(made);
    int same = descend(root_fd, path, O_PATH | O_DIRECTORY);
    return same == -ENOTDIR ? -ELOOP : same;
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
