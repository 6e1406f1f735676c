/* Operations on mounts and on what the container finds in its filesystem. */
#ifndef CLOCHE_MOUNTS_H
#define CLOCHE_MOUNTS_H

#include "paths.h"
#include "plan.h"

/* What the filesystem said about a refused option, for the failure report. */
static char trouble[200];

/* Our own procfs: the only way to sysctls (CVE-2019-16884, CVE-2025-52881). */
static int proc_fd = -1;

static int change_mount(int fd, const char *path, u64 flags, struct mount_attributes attributes)
{
    flags |= *path ? 0 : AT_EMPTY_PATH;
    return (int)CALL(NR_mount_setattr, (u64)fd, W(path), flags, W(&attributes), sizeof attributes);
}

static int attach(int mount, int target)
{
    return (int)CALL(NR_move_mount, (u64)mount, W(""), (u64)target, W(""),
                     MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

static int clone_mount(int fd, u64 flags)
{
    return (int)CALL(NR_open_tree, (u64)fd, W(""), AT_EMPTY_PATH | OPEN_TREE_CLONE | O_CLOEXEC | flags);
}

static int do_set_propagation(const struct set_propagation *op)
{
    return change_mount(AT_FDCWD, "/", op->recursive ? AT_RECURSIVE : 0,
                        (struct mount_attributes){ .propagation = (u64)op->propagation });
}

static int configure(int context, const char *option)
{
    char key[256];
    u64 at = 0;
    while (option[at] && option[at] != '=') at++;
    if (at >= sizeof key) return -ENAMETOOLONG;
    memcpy(key, option, at);
    key[at] = 0;
    if (!option[at]) return (int)CALL(NR_fsconfig, (u64)context, FSCONFIG_SET_FLAG, W(key), 0, 0);
    return (int)CALL(NR_fsconfig, (u64)context, FSCONFIG_SET_STRING, W(key), W(option + at + 1), 0);
}

/* Read the filesystem's own words for the report; `error` is handed through. */
static int explain(int context, int error)
{
    long size = raw(NR_read, (u64)context, W(trouble), sizeof trouble - 1, 0, 0, 0);
    trouble[size > 0 ? size : 0] = 0;
    return error;
}

/* A detached mount of a new filesystem. */
static int make_filesystem(const char *type, const char *source, char *const *options, u64 attributes)
{
    OWNED int context = (int)CALL(NR_fsopen, W(type), 1);
    TRY(context);
    if (*source) {
        int refused = (int)CALL(NR_fsconfig, (u64)context, FSCONFIG_SET_STRING, W("source"), W(source), 0);
        if (refused < 0) return explain(context, refused);
    }
    for (; *options; options++) {
        int refused = configure(context, *options);
        if (refused < 0) return explain(context, refused);
    }
    int created = (int)CALL(NR_fsconfig, (u64)context, FSCONFIG_CMD_CREATE, 0, 0, 0);
    if (created < 0) return explain(context, created);
    int mount = (int)CALL(NR_fsmount, (u64)context, 1, attributes);
    return mount < 0 ? explain(context, mount) : mount;
}

static char *const no_options[] = { 0 };

static int do_open_proc(const struct open_proc *op)
{
    (void)op;
    OWNED int mount = make_filesystem("proc", "", no_options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    TRY(mount);
    /* fsmount gives an O_PATH descriptor, which is all that openat2 needs. */
    proc_fd = mount;
    mount = -1;
    return 0;
}

static int do_use_proc(const struct use_proc *op)
{
    proc_fd = (int)CALL(NR_openat, (u64)op->proc, W("."), O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    close_fd(op->proc);
    return proc_fd < 0 ? proc_fd : 0;
}

static int do_copy_found(const struct copy_found *op)
{
    OWNED int copy = clone_mount((int)op->tree, op->recursive ? AT_RECURSIVE : 0);
    TRY(copy);
    int moved = (int)CALL(NR_dup3, (u64)copy, (u64)op->tree, O_CLOEXEC);
    return moved < 0 ? moved : 0;
}

static int do_copy_tree(const struct copy_tree *op)
{
    u64 flags = OPEN_TREE_CLONE | O_CLOEXEC | (op->recursive ? AT_RECURSIVE : 0);
    OWNED int copy = (int)CALL(NR_open_tree, AT_FDCWD, W(op->source), flags);
    TRY(copy);
    int moved = (int)CALL(NR_dup3, (u64)copy, (u64)op->tree, O_CLOEXEC);
    return moved < 0 ? moved : 0;
}

static int do_attach_root(const struct attach_root *op)
{
    if (op->propagation)
        TRY(change_mount((int)op->rootfs, "", AT_RECURSIVE,
                         (struct mount_attributes){ .propagation = (u64)op->propagation }));
    /* pivot_root(2) refuses a parent that is shared, as it is where rootfsPropagation says so. */
    TRY(change_mount(AT_FDCWD, "/", 0, (struct mount_attributes){ .propagation = 1 << 18 /* MS_PRIVATE */ }));
    /* Over the old root, where a mount point always exists. Path look-ups from / still find the
     * old root below it; ours is reached through the descriptor until pivot_root makes it /. */
    OWNED int target = (int)CALL(NR_openat, AT_FDCWD, W("/"), O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    TRY(target);
    TRY(attach((int)op->rootfs, target));
    root_fd = (int)op->rootfs;
    return 0;
}

/* In a mount namespace that others live in nothing is attached: the container's mounts stay a tree of
 * their own, which its processes alone are in, and which goes when they do. Its root has no parent, so
 * that chroot(2) is as good as pivot_root(2). Mounting in detached trees is new in Linux 6.15. */
static int do_clone_root(const struct clone_root *op)
{
    OWNED int directory = (int)CALL(NR_openat, AT_FDCWD, W(op->path), O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    TRY(directory);
    root_fd = clone_mount(directory, AT_RECURSIVE);
    TRY(root_fd);
    return change_mount(root_fd, "", AT_RECURSIVE, (struct mount_attributes){ .propagation = 1 << 18 /* MS_PRIVATE */ });
}

static int do_open_root(const struct open_root *op)
{
    (void)op;
    root_fd = (int)CALL(NR_openat, AT_FDCWD, W("/"), O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    return root_fd < 0 ? root_fd : 0;
}

/* An image with a link for /proc could have what is protected there lie elsewhere in the end
 * (CVE-2019-19921, CVE-2023-27561, CVE-2023-28642). */
static int needs_ordinary_directory(const char *type)
{
    static const char names[2][6] = { "proc", "sysfs" };
    for (int which = 0; which < 2; which++) {
        u64 i = 0;
        while (names[which][i] && names[which][i] == type[i]) i++;
        if (!names[which][i] && !type[i]) return 1;
    }
    return 0;
}

/* Give the root of a detached mount these permissions. */
static int change_mode(int mount, int mode)
{
    OWNED int directory = (int)CALL(NR_openat, (u64)mount, W("."), O_DIRECTORY | O_CLOEXEC, 0);
    TRY(directory);
    return (int)CALL(NR_fchmod, (u64)directory, (u64)mode & 07777);
}

static int do_new_mount(const struct new_mount *op)
{
    OWNED int covered = op->keep_mode ? open_below_root(op->target, O_PATH | O_DIRECTORY) : -1;
    OWNED int mount = make_filesystem(op->filesystem, op->source, op->options, (u64)op->attributes);
    TRY(mount);
    if (covered >= 0) TRY(change_mode(mount, mode_of(covered)));
    OWNED int target = needs_ordinary_directory(op->filesystem) ? make_ordinary_directory(op->target)
                                                                : make_below_root(op->target, 1, 0755);
    TRY(target);
    return attach(mount, target);
}

static int receive_mount(void); /* report.h */

static int do_attach_mount(const struct attach_mount *op)
{
    OWNED int fd = op->mount < 0 ? receive_mount() : (int)op->mount;
    TRY(fd);
    int mode = mode_of(fd);
    TRY(mode);
    OWNED int target = make_below_root(op->target, (mode & S_IFMT) == S_IFDIR, (mode & S_IFMT) == S_IFDIR ? 0755 : 0644);
    TRY(target);
    if (op->propagation)
        TRY(change_mount(fd, "", AT_RECURSIVE, (struct mount_attributes){ .propagation = (u64)op->propagation }));
    if (op->set || op->clear)
        TRY(change_mount(fd, "", 0, (struct mount_attributes){ .set = (u64)op->set, .clear = (u64)op->clear }));
    if (op->set_all || op->clear_all)
        TRY(change_mount(fd, "", AT_RECURSIVE,
                         (struct mount_attributes){ .set = (u64)op->set_all, .clear = (u64)op->clear_all }));
    return attach(fd, target);
}

static int do_change_mount(const struct change_mount *op)
{
    OWNED int target = open_below_root(op->target, O_PATH);
    TRY(target);
    return change_mount(target, "", op->recursive ? AT_RECURSIVE : 0,
                        (struct mount_attributes){ .set = (u64)op->set, .clear = (u64)op->clear,
                                                   .propagation = (u64)op->propagation });
}

static int do_make_directory(const struct make_directory *op)
{
    OWNED int made = make_below_root(op->path, 1, (u32)op->mode);
    return made < 0 ? made : 0;
}

static int do_make_device(const struct make_device *op)
{
    const char *name;
    OWNED int parent = open_parent(op->path, &name);
    TRY(parent);
    u64 major = (u64)op->major, minor = (u64)op->minor;
    u64 device = (minor & 0xff) | (major & 0xfff) << 8 | (minor & ~0xffULL) << 12;
    u64 mode = (u64)(op->kind | op->mode);
    long made = CALL(NR_mknodat, (u64)parent, W(name), mode, device);
    if (made == -EEXIST) {
        TRY(CALL(NR_unlinkat, (u64)parent, W(name), 0));
        made = CALL(NR_mknodat, (u64)parent, W(name), mode, device);
    }
    TRY(made);
    if (op->uid || op->gid)
        TRY(CALL(NR_fchownat, (u64)parent, W(name), (u64)op->uid, (u64)op->gid, AT_SYMLINK_NOFOLLOW));
    /* mknod obeys the umask, which is 0 here (see start_stage_two), so no chmod by name is needed. */
    return 0;
}

static int do_make_symlink(const struct make_symlink *op)
{
    const char *name;
    OWNED int parent = open_parent(op->path, &name);
    TRY(parent);
    long made = CALL(NR_symlinkat, W(op->content), (u64)parent, W(name));
    return made == -EEXIST ? 0 : (int)made;
}

static int do_enter_root(const struct enter_root *op)
{
    (void)op;
    TRY(CALL(NR_fchdir, (u64)root_fd));
    TRY(CALL(NR_chroot, W(".")));
    TRY(CALL(NR_chdir, W("/")));
    return 0;
}

static int do_enter_tree(const struct enter_tree *op)
{
    int result = (int)CALL(NR_fchdir, (u64)op->root);
    close_fd(op->root);
    TRY(result);
    TRY(CALL(NR_chroot, W(".")));
    TRY(CALL(NR_chdir, W("/")));
    return do_open_root(0);
}

static int do_pivot_root(const struct pivot_root *op)
{
    (void)op;
    TRY(CALL(NR_fchdir, (u64)root_fd));
    /* With both names ".", the old root ends up on top of the new one; detaching it leaves nothing. */
    TRY(CALL(NR_pivot_root, W("."), W(".")));
    TRY(CALL(NR_umount2, W("."), 2 /* MNT_DETACH */));
    TRY(CALL(NR_chdir, W("/")));
    close_fd(root_fd);
    root_fd = -1;
    return do_open_root(0);
}

/* Write a file of our own procfs, reached without links or mounts on the way. */
static int write_proc(const char *path, const char *value)
{
    struct open_how how = { .flags = O_WRONLY | O_CLOEXEC,
                            .resolve = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS };
    OWNED int file = (int)CALL(NR_openat2, (u64)proc_fd, W(path), W(&how), sizeof how);
    if (file == -ENOSYS) file = descend(proc_fd, path, O_WRONLY);
    TRY(file);
    struct statfs_buffer filesystem;
    TRY(CALL(NR_fstatfs, (u64)file, W(&filesystem)));
    if (filesystem.type != PROC_SUPER_MAGIC) return -EPERM;
    long written = CALL(NR_write, (u64)file, W(value), length(value));
    return written < 0 ? (int)written : 0;
}

static int do_write_sysctl(const struct write_sysctl *op)
{
    return write_proc(op->path, op->value);
}

static int is_null_device(int fd)
{
    struct stat_buffer stat;
    TRY(CALL(NR_fstat, (u64)fd, W(&stat)));
    return (stat.mode & S_IFMT) == S_IFCHR && stat.rdev == (1 << 8 | 3);
}

/* The first mask of a kind is attached from its source, the next ones are copies of it. */
static int masked_file = -1, masked_directory = -1;

static int mask(int *first, int source, int target)
{
    if (*first < 0) {
        TRY(attach(source, target));
        *first = source;
        return 0;
    }
    OWNED int copy = clone_mount(*first, 0);
    TRY(copy);
    return attach(copy, target);
}

static int do_mask_path(const struct mask_path *op)
{
    OWNED int target = open_below_root(op->path, O_PATH);
    if (target == -ENOENT || target == -ENOTDIR) return 0;
    TRY(target);
    int mode = mode_of(target);
    TRY(mode);
    if ((mode & S_IFMT) != S_IFDIR) {
        int null = is_null_device((int)op->null);
        TRY(null);
        return null ? mask(&masked_file, (int)op->null, target) : -EINVAL;
    }
    static char size[] = "size=0", inodes[] = "nr_inodes=1", permissions[] = "mode=755";
    static char *const options[] = { size, inodes, permissions, 0 };
    int source = -1;
    if (masked_directory < 0)
        TRY(source = make_filesystem("tmpfs", "tmpfs", options, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC));
    return mask(&masked_directory, source, target);
}

static int do_protect_path(const struct protect_path *op)
{
    OWNED int target = open_below_root(op->path, O_PATH);
    if (target == -ENOENT || target == -ENOTDIR) return 0;
    TRY(target);
    OWNED int copy = clone_mount(target, AT_RECURSIVE);
    TRY(copy);
    TRY(change_mount(copy, "", 0, (struct mount_attributes){ .set = MOUNT_ATTR_RDONLY }));
    return attach(copy, target);
}

#endif
