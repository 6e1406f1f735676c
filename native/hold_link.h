/*
 * The link between a holder and its worker (hold.h): messages with descriptors, and the tables of those that are
 * kept.
 */
#ifndef CLOCHE_HOLD_LINK_H
#define CLOCHE_HOLD_LINK_H

#include "warm.h"

enum { HOLD_PID, HOLD_SPAWN, HOLD_WAIT, HOLD_TABLE, HOLD_SETTLE, HOLD_QUIT };
enum { HOLD_MOST = 4096, HOLD_BATCH = 200, HOLD_LINK = 3, HOLD_NEWS = 4 };
enum { HOLD_NAMED = 1, HOLD_GROUP = 2 };
enum { HOLD_READABLE = 1, SIGTERM = 15, SIGCHLD = 17, SIG_SETMASK = 2, SFD_FLAGS = O_CLOEXEC | O_NONBLOCK };
enum { P_ALL = 0, P_PIDFD = 3, WNOHANG = 1, WEXITED = 4, WNOWAIT = 0x01000000, WALL = 0x40000000 };
enum { MSG_DONTWAIT = 0x40, MSG_NOSIGNAL = 0x4000, MSG_CMSG_CLOEXEC = 0x40000000 };
enum { PR_SET_NAME = 15, PR_SET_CHILD_SUBREAPER = 36, F_DUPFD = 0, PROT_READ = 1, PROT_WRITE = 2, 
       MAP_PRIVATE = 2,
       MAP_ANONYMOUS = 0x20, EAGAIN = 11, EINVAL = 22, PATIENCE_MS = 10000, LONGEST_PAUSE_MS = 5000 };

struct hold_message {
    int kind, a, b, c;
    int numbers[HOLD_BATCH];
};
struct hold_rights { /* cmsghdr */
    size_type size;
    int level, type;
    int descriptors[HOLD_BATCH + 3];
};
struct hold_info { /* siginfo_t */
    int number, error, code, unused, pid, uid, status;
    char rest[100];
};
struct hold_table {
    int count, broken, descriptors[HOLD_MOST], events[HOLD_MOST];
};
struct hold_poll {
    int descriptor;
    short events, happened;
};

static struct hold_table held_tables[2], *held = &held_tables[0], *coming = &held_tables[1];
static struct hold_poll hold_polled[HOLD_MOST + 1];
static int hold_link = HOLD_LINK, hold_news = HOLD_NEWS, hold_guard = -1, hold_signals, hold_terminated;

static void hold_close(long descriptor)
{
    if (descriptor >= 0)
        system_call(SYS_close, descriptor, 0, 0, 0);
}

static long hold_poll(struct hold_poll *polled, long count, long milliseconds)
{
    const long time[2] = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    return system_call5(SYS_ppoll, (long)polled, count, milliseconds < 0 ? 0 : (long)time, 0, 0);
}

static void hold_pause(long milliseconds) { hold_poll(0, 0, milliseconds); }

static long hold_fork(void)
{
#if defined(__x86_64__)
    return system_call(SYS_fork, 0, 0, 0, 0);
#else
    return system_call5(SYS_clone, SIGCHLD, 0, 0, 0, 0);
#endif
}

/* All signals wait to be read, so that nothing about them is inherited by what is executed but the mask. */
static void hold_mask(unsigned long mask)
{
    system_call(SYS_rt_sigprocmask, SIG_SETMASK, (long)&mask, 0, sizeof mask);
}

/* ---- the link ---- */

static long hold_send(int link, const struct hold_message *message, size_type numbers, const int *descriptors,
                      size_type count)
{
    static struct hold_rights rights;
    struct piece piece = {message, 16 + numbers * sizeof(int)};
    struct packet packet = {0, 0, &piece, 1, 0, 0, 0};
    if (count) {
        rights.size = 16 + count * sizeof(int);
        rights.level = SOL_SOCKET;
        rights.type = SCM_RIGHTS;
        for (size_type i = 0; i < count; i++)
            rights.descriptors[i] = descriptors[i];
        packet.control = &rights;
        packet.control_size = (rights.size + 7) & ~7UL;
    }
    return system_call(SYS_sendmsg, link, (long)&packet, MSG_NOSIGNAL | (link == hold_guard ? MSG_DONTWAIT : 0), 0);
}

/* The next message and the descriptors that came along; 0 at the end, negative when there is none. */
static long hold_receive(struct hold_message *message, int *descriptors, int *count)
{
    static struct hold_rights rights;
    struct piece piece = {message, sizeof *message};
    struct packet packet = {0, 0, &piece, 1, &rights, sizeof rights, 0};
    long size = system_call(SYS_recvmsg, hold_link, (long)&packet, MSG_CMSG_CLOEXEC | MSG_DONTWAIT, 0);
    *count = 0;
    if (size > 0 && packet.control_size > 16 && rights.level == SOL_SOCKET && rights.type == SCM_RIGHTS)
        for (; *count < (int)((rights.size - 16) / sizeof(int)); ++*count)
            descriptors[*count] = rights.descriptors[*count];
    return size;
}

/* ---- the table ---- */

static void hold_clear(struct hold_table *table)
{
    for (int i = 0; i < table->count; i++)
        hold_close(table->descriptors[i]);
    table->count = table->broken = 0;
}

/* Takes the descriptors over. Where we may have no more of them, those that are held already stay. */
static int hold_add(const struct hold_message *message, int *descriptors, int count)
{
    if (message->a)
        hold_clear(coming);
    coming->broken |= count != message->b || coming->count + count > HOLD_MOST;
    if (coming->broken)
        return 0;
    for (int i = 0; i < count; i++, coming->count++) {
        coming->descriptors[coming->count] = descriptors[i];
        coming->events[coming->count] = message->numbers[i];
    }
    return 1;
}

static int hold_settle(void)
{
    struct hold_table *old = held;
    if (coming->broken)
        return 0;
    held = coming;
    coming = old;
    hold_clear(coming);
    return 1;
}

/* Let whoever guards us have what a worker would need that came after us. One that is stopped is not waited for. */
static void hold_share(void)
{
    struct hold_message message;
    long error = 0;
    for (int sent = 0, count; sent < held->count && error >= 0; sent += count) {
        count = held->count - sent < HOLD_BATCH ? held->count - sent : HOLD_BATCH;
        message = (struct hold_message){HOLD_TABLE, !sent, count, 0, {0}};
        error = hold_send(hold_guard, &message, (size_type)count, held->descriptors + sent, (size_type)count);
    }
    message = (struct hold_message){HOLD_SETTLE, 0, -1, 0, {0}};
    if (error >= 0)
        hold_send(hold_guard, &message, 0, 0, 0);
}

#endif
