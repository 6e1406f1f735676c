/*
 * What only a parent can do, for the workers of a holder (hold.h): to make children, and to learn of their ends.
 */
#ifndef CLOCHE_HOLD_CHILDREN_H
#define CLOCHE_HOLD_CHILDREN_H

#include "hold_link.h"

/* The block has how many arguments and variables there are; the path, the arguments and the variables follow. */
static long hold_read_words(int block, long size, char **path, char ***words, char ***environment)
{
    unsigned *counts = (unsigned *)system_call6(SYS_mmap, 0, size, PROT_READ, MAP_PRIVATE, block, 0);
    if ((unsigned long)counts > -4096UL)
        return (long)counts;
    long total = (long)((counts[0] + counts[1] + 2) * sizeof(char *));
    char **put = (char **)system_call6(SYS_mmap, 0, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if ((unsigned long)put > -4096UL)
        return (long)put;
    *path = (char *)(counts + 2);
    *words = put;
    char *at = *path + length_of(*path) + 1;
    for (unsigned i = 0; i < counts[0]; i++, at += length_of(at) + 1)
        *put++ = at;
    *environment = ++put;
    for (unsigned i = 0; i < counts[1]; i++, at += length_of(at) + 1)
        *put++ = at;
    return 0;
}

/*
 * In the child: descriptors are the words, a pipe for the error, the program (where it has no path), and what is to
 * become the targets.
 */
__attribute__((noreturn)) static void hold_execute(const struct hold_message *message, int *descriptors, int count)
{
    const int named = message->b & HOLD_NAMED, first = named ? 2 : 3;
    int highest = 2;
    for (int i = 0; i < message->a; i++)
        if (message->numbers[i] > highest)
            highest = message->numbers[i];
    long error = 0;
    for (int i = 0; i < count && error >= 0; i++)
        error = descriptors[i] = (int)system_call(SYS_fcntl, descriptors[i], F_DUPFD, highest + 3, 0);
    if (error >= 0)
        error = system_call(SYS_dup3, descriptors[1], highest + 1, O_CLOEXEC, 0);
    if (error >= 0 && !named)
        error = system_call(SYS_dup3, descriptors[2], highest + 2, O_CLOEXEC, 0);
    for (int i = 0; i < message->a && error >= 0; i++)
        error = system_call(SYS_dup3, descriptors[first + i], message->numbers[i], 0, 0);
    char *path, **words, **environment;
    if (error >= 0)
        error = hold_read_words(descriptors[0], message->c, &path, &words, &environment);
    if (error >= 0) {
        system_call(SYS_close_range, highest + (named ? 2 : 3), 0xffffffffL, 0, 0);
        descriptors[1] = highest + 1;
        if (message->b & HOLD_GROUP)
            system_call(SYS_setpgid, 0, 0, 0, 0);
        hold_mask(0);
        error = named ? system_call(SYS_execve, (long)path, (long)words, (long)environment, 0)
                      : system_call5(SYS_execveat, highest + 2, (long)"", (long)words, (long)environment, AT_EMPTY_PATH);
    }
    int number = (int)-error;
    system_call(SYS_write, descriptors[1], (long)&number, sizeof number, 0);
    for (;;)
        system_call(SYS_exit_group, 127, 0, 0, 0);
}

/* The child itself tells whether it could be executed: a file system that hangs must not hold us up. */
static long hold_spawn(const struct hold_message *message, int *descriptors, int count)
{
    if (message->a < 0 || message->a > HOLD_BATCH || count != message->a + (message->b & HOLD_NAMED ? 2 : 3))
        return -EINVAL;
    long pid = hold_fork();
    if (!pid)
        hold_execute(message, descriptors, count);
    return pid;
}

/* waitid(2) of our children, as the message has it; one that is meant by a pidfd comes along. */
static void hold_wait(const struct hold_message *message, int pidfd, struct hold_message *answer)
{
    struct hold_info info;
    info.pid = info.code = info.status = 0;
    long id = message->a == P_PIDFD ? pidfd : message->b;
    answer->a = (int)system_call5(SYS_waitid, message->a, id, (long)&info, message->c | WNOHANG, 0);
    answer->b = info.pid;
    answer->c = info.code;
    answer->numbers[0] = info.status;
}

static int hold_has_ended_child(void)
{
    struct hold_info info;
    info.pid = 0;
    long error = system_call5(SYS_waitid, P_ALL, 0, (long)&info, WEXITED | WNOHANG | WNOWAIT | WALL, 0);
    return error >= 0 && info.pid;
}

#endif
