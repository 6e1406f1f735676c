/*
 * `containerd-shim-cloche-v1 start` and `delete` without starting Python: the warm parent is asked to
 * fork who does it, and what that answers is printed. It learns everything else about us from /proc/self, whose
 * descriptor it gets together with our standard input.
 *
 * Whatever is not as expected (nobody listens, no answer in time) means that Python shall start
 * after all: it finds out why, and founds a warm parent. src/cloche/shim/place.py makes the same name.
 */
#ifndef CLOCHE_WARM_H
#define CLOCHE_WARM_H

#include "freestanding.h"

enum { AF_UNIX = 1, SOCK_SEQPACKET = 5, SOL_SOCKET = 1, SCM_RIGHTS = 1, SO_RCVTIMEO = 20, SO_SNDTIMEO = 21 };
enum { PATIENCE_S = 10, ANSWER_SIZE = 1 << 16, WRITABLE_BY_OTHERS = 0022 };

struct address { /* sockaddr_un */
    unsigned short family;
    char path[108];
};

struct packet { /* msghdr, with the one control message that there is: descriptors */
    void *name;
    unsigned name_size;
    struct piece {
        const void *start;
        size_type size;
    } *pieces;
    size_type piece_count;
    void *control;
    size_type control_size;
    int flags;
};

struct rights { /* cmsghdr */
    size_type size;
    int level, type;
    int descriptors[2];
};

/* The number in "mnt:[4026531841]", which /proc/self/ns/mnt links to; 0 where there is none. */
static unsigned long namespace_number(const char *link)
{
    char text[NAME_SIZE];
    unsigned long number = 0;
    long size = system_call(SYS_readlinkat, AT_FDCWD, (long)link, (long)text, sizeof text);
    for (long i = 0; i < size; i++)
        if (text[i] >= '0' && text[i] <= '9')
            number = number * 10 + (unsigned long)(text[i] - '0');
    return number;
}

/* User, namespaces and build, as numbers with dashes between. */
static int name_warm_parent(char *name, const char *program)
{
    struct status build;
    if (status_of(AT_FDCWD, program, 0, &build) < 0)
        return 0;
    name = append(name, "", (unsigned long)system_call(SYS_geteuid, 0, 0, 0, 0));
    name = append(name, "-", namespace_number("/proc/self/ns/mnt"));
    name = append(name, "-", namespace_number("/proc/self/ns/pid"));
    name = append(name, "-", namespace_number("/proc/self/ns/net"));
    name = append(name, "-", namespace_number("/proc/self/ns/user"));
    name = append(name, "-", build.inode);
    name = append(name, "-", (unsigned long)build.changed.seconds);
    append(name, "-", build.changed.nanoseconds);
    return 1;
}

/* The directory of the sockets, which must be ours alone: whoever listens there gets our input. */
static long open_warm_directory(char **envp)
{
    static char path[PATH_SIZE];
    struct status status;
    const char *state = "/run/cloche";
    for (; *envp; envp++)
        if (begins_with(*envp, "CLOCHE_STATE=") && (*envp)[13])
            state = *envp + 13;
    long directory = open_file(JOIN(path, state, "/warm"), O_PATH | O_DIRECTORY);
    if (directory < 0)
        return -1;
    if (status_of(directory, "", AT_EMPTY_PATH, &status) < 0 || status.mode & WRITABLE_BY_OTHERS ||
        status.uid != (unsigned)system_call(SYS_geteuid, 0, 0, 0, 0)) {
        system_call(SYS_close, directory, 0, 0, 0);
        return -1;
    }
    return directory;
}

/* A connection to the warm parent; negative where there is none. */
static long reach_warm_parent(const char *program, char **envp)
{
    struct address address = {AF_UNIX, ""};
    const long patience[2] = {PATIENCE_S, 0};
    long directory = open_warm_directory(envp);
    if (directory < 0)
        return -1;
    /* Eight numbers of at most 20 digits might not fit into an address, though real ones do. */
    static char name[200];
    if (!name_warm_parent(name, program) || length_of(name) > 88)
        return -1;
    append(address.path, "/proc/self/fd/", (unsigned long)directory);
    char *end = address.path + length_of(address.path);
    *end++ = '/';
    for (const char *from = name; (*end++ = *from++);)
        ;
    long channel = system_call(SYS_socket, AF_UNIX, SOCK_SEQPACKET | O_CLOEXEC, 0, 0);
    system_call5(SYS_setsockopt, channel, SOL_SOCKET, SO_RCVTIMEO, (long)patience, sizeof patience);
    system_call5(SYS_setsockopt, channel, SOL_SOCKET, SO_SNDTIMEO, (long)patience, sizeof patience);
    long error = system_call(SYS_connect, channel, (long)&address, sizeof address, 0);
    system_call(SYS_close, directory, 0, 0, 0);
    if (error >= 0)
        return channel;
    system_call(SYS_close, channel, 0, 0, 0);
    return -1;
}

/* given: our standard input, or what a worker talks to us by. */
static int send_request(long channel, int given)
{
    long self = open_file("/proc/self", O_PATH | O_DIRECTORY);
    struct rights rights = {sizeof rights, SOL_SOCKET, SCM_RIGHTS, {(int)self, given}};
    struct piece piece = {"1", 1};
    struct packet packet = {0, 0, &piece, 1, &rights, sizeof rights, 0};
    long sent = self < 0 ? self : system_call(SYS_sendmsg, channel, (long)&packet, 0, 0);
    system_call(SYS_close, self, 0, 0, 0);
    return sent == 1;
}

/* Print what the warm parent's child answers, and end as it says. Returns where nothing came of it. */
static void ask_warm_parent(const char *program, long argc, char **argv, char **envp)
{
    static char said[ANSWER_SIZE];
    if (argc < 2 || !(equal(argv[argc - 1], "start") || equal(argv[argc - 1], "delete")))
        return;
    long channel = reach_warm_parent(program, envp);
    if (channel < 0)
        return;
    long size = send_request(channel, 0) ? system_call(SYS_read, channel, (long)said, ANSWER_SIZE, 0) : 0;
    system_call(SYS_close, channel, 0, 0, 0);
    if (size < 1)
        return;
    long stream = said[0] ? STDERR : STDOUT;
    for (long at = 1, written; at < size; at += written)
        if ((written = system_call(SYS_write, stream, (long)said + at, size - at, 0)) <= 0)
            break;
    end(said[0]);
}

#endif
