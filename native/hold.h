/*
 * `containerd-shim-cloche-v1 … hold`: the part of a shim that stays. It is the parent of the containers'
 * processes and keeps all descriptors, and it is small: what a shim knows and does is Python's, in a worker
 * that is forked of the warm parent when there is something to do, and ends when there is not.
 *
 *     holder                                worker
 *     link (3), news (4) ─────────────────▶ has started it, or was woken by it
 *     forks and executes   ◀── SPAWN ────── cannot make children for somebody else
 *     waitid(2)            ◀── WAIT ─────── nor reap them
 *     keeps descriptors    ◀── TABLE, SETTLE ── in use: those that must outlive the worker
 *                                           at rest: all, and the worker ends
 *     polls; wakes a worker ── TABLE ─────▶ goes on where the last one was
 *
 * A worker that dies without having settled is followed by another one, which goes by what was settled
 * last. Nothing here allocates, and nothing that comes over the link can make it wait.
 *
 * `… guard` is two of these: the first one is the parent of the second, and learns of all that this one's
 * workers settle while they work. When the second dies, its children become the first one's, for which that
 * is a worker's death like any other.
 */
#ifndef CLOCHE_HOLD_H
#define CLOCHE_HOLD_H

#include "hold_children.h"

/* ---- awake ---- */

static void hold_tell(int signal)
{
    char byte = (char)signal;
    system_call(SYS_write, hold_news, (long)&byte, 1, 0);
}

static void hold_take_signals(void)
{
    static int info[32]; /* signalfd_siginfo */
    while (system_call(SYS_read, hold_signals, (long)info, sizeof info, 0) == sizeof info) {
        hold_terminated |= info[0] == SIGTERM;
        hold_tell(info[0]);
    }
}

enum { LOST, AWAKE, RESTING };

/* One message of the worker's. pause: how long to rest at most. */
static int hold_obey(int *pause)
{
    struct hold_message message, answer = {0, 0, 0, 0, {0}};
    int descriptors[HOLD_BATCH + 3], count, taken = 0, outcome = AWAKE;
    long size = hold_receive(&message, descriptors, &count);
    if (size == -EAGAIN)
        return AWAKE;
    if (size < 16)
        return LOST;
    answer.kind = message.kind;
    if (message.kind == HOLD_SPAWN) {
        answer.a = (int)hold_spawn(&message, descriptors, count);
        hold_send(hold_link, &answer, 0, 0, 0);
    } else if (message.kind == HOLD_WAIT) {
        hold_wait(&message, count ? descriptors[0] : -1, &answer);
        hold_send(hold_link, &answer, 1, 0, 0);
    } else if (message.kind == HOLD_TABLE) {
        taken = hold_add(&message, descriptors, count);
    } else if (message.kind == HOLD_SETTLE) {
        const int settled = hold_settle();
        *pause = message.b;
        if (message.a && !settled)
            hold_send(hold_link, &answer, 0, 0, 0); /* not now */
        else if (message.a)
            outcome = RESTING;
        else if (settled && hold_guard >= 0)
            hold_share();
    } else if (message.kind == HOLD_QUIT) {
        if (hold_guard >= 0)
            hold_send(hold_guard, &message, 0, 0, 0);
        system_call(SYS_exit_group, 0, 0, 0, 0);
    }
    for (int i = 0; !taken && i < count; i++)
        hold_close(descriptors[i]);
    return outcome;
}

/* Do what the worker says, until it rests or is gone. heard: whether it has said anything. */
static int hold_serve(int *pause, int *heard)
{
    struct hold_poll polled[2] = {{hold_link, HOLD_READABLE, 0}, {hold_signals, HOLD_READABLE, 0}};
    int outcome = AWAKE;
    *heard = 0;
    while (outcome == AWAKE) {
        /* One that was woken says so soon. */
        if (!hold_poll(polled, 2, *heard ? -1 : PATIENCE_MS) && !*heard && held->count)
            return LOST;
        if (polled[1].happened)
            hold_take_signals();
        if (polled[0].happened && (outcome = hold_obey(pause)) != LOST)
            *heard = 1;
    }
    return outcome;
}

static void hold_hang_up(void)
{
    hold_close(hold_link);
    hold_close(hold_news);
    hold_link = hold_news = -1;
}

/* ---- at rest ---- */

/* Until something happens to what is held, or to a child. */
static void hold_rest(int milliseconds)
{
    int count = 1;
    hold_polled[0] = (struct hold_poll){hold_signals, HOLD_READABLE, 0};
    for (int i = 0; i < held->count; i++)
        if (held->events[i])
            hold_polled[count++] = (struct hold_poll){held->descriptors[i], (short)held->events[i], 0};
    while (!hold_has_ended_child() && !hold_terminated) {
        long ready = hold_poll(hold_polled, count, milliseconds);
        if (hold_polled[0].happened)
            hold_take_signals();
        if (ready < 0)
            hold_pause(100);
        else if (!ready || ready > (hold_polled[0].happened != 0))
            return;
    }
}

/* Give a worker all that is held; what it does not settle again is closed then. */
static void hold_give(int news)
{
    struct hold_message message;
    int sent = 0, first = 1;
    while (first || sent < held->count) {
        int descriptors[HOLD_BATCH], count = 0;
        if (first)
            descriptors[count++] = news;
        while (count < HOLD_BATCH && sent < held->count)
            descriptors[count++] = held->descriptors[sent++];
        message = (struct hold_message){HOLD_TABLE, first, count, held->count - sent, {0}};
        if (hold_send(hold_link, &message, 0, descriptors, (size_type)count) < 0)
            return;
        first = 0;
    }
}

/* Ask the warm parent for a worker, or fork a child that is to become one: 0 in that child. */
static int hold_wake(const char *program, char **envp, int cold)
{
    int ends[2], news[2];
    if (system_call(SYS_socketpair, AF_UNIX, SOCK_SEQPACKET | O_CLOEXEC, 0, (long)ends) < 0)
        return -1;
    if (system_call(SYS_pipe2, (long)news, O_CLOEXEC | O_NONBLOCK, 0, 0) < 0) {
        hold_close(ends[0]);
        hold_close(ends[1]);
        return -1;
    }
    long channel = cold ? -1 : reach_warm_parent(program, envp), pid = -1;
    if (channel >= 0)
        pid = send_request(channel, ends[1]) ? 1 : -1;
    else if (cold)
        pid = hold_fork();
    if (!pid) {
        /* The link must not be inherited under a number that is in use, and is 3 as it was for us. */
        int link = (int)system_call(SYS_fcntl, ends[1], F_DUPFD, HOLD_LINK + 1, 0);
        system_call(SYS_dup3, link, HOLD_LINK, 0, 0);
        system_call(SYS_close_range, HOLD_LINK + 1, 0xffffffffL, 0, 0);
        hold_mask(0);
        return 0;
    }
    hold_close(channel);
    hold_close(ends[1]);
    hold_link = ends[0];
    hold_news = news[1];
    if (pid > 0) {
        hold_give(news[0]);
        if (hold_terminated)
            hold_tell(SIGTERM);
    }
    hold_close(news[0]);
    if (pid < 0)
        hold_hang_up();
    return pid > 0 ? 1 : -1;
}

/* A newer build has our place: the next worker is of that one. */
static void hold_name_successor(char *program)
{
    static const char gone[] = " (deleted)";
    size_type size = length_of(program), cut = sizeof gone - 1;
    if (size > cut && equal(program + size - cut, gone))
        program[size - cut] = 0;
}

/* Nobody's child but PID 1's, or the nearest subreaper's: whoever has started us goes when it rests. */
static void hold_leave_home(void)
{
    long pid = hold_fork();
    if (pid)
        system_call(SYS_exit_group, pid < 0, 0, 0, 0);
    system_call(SYS_setsid, 0, 0, 0, 0);
    system_call5(SYS_prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    system_call5(SYS_prctl, PR_SET_NAME, (long)"containerd-shim", 0, 0, 0);
}

/* Become two, of which the child serves. Where that cannot be, one has to do. */
static void hold_divide(void)
{
    int ends[2];
    if (system_call(SYS_socketpair, AF_UNIX, SOCK_SEQPACKET | O_CLOEXEC, 0, (long)ends) < 0)
        return;
    long pid = hold_fork();
    if (pid > 0) {
        hold_close(HOLD_LINK);
        hold_close(HOLD_NEWS);
        hold_link = ends[0];
        hold_news = -1;
        hold_close(ends[1]);
        return;
    }
    if (!pid) {
        hold_guard = ends[1];
        system_call(SYS_setsid, 0, 0, 0, 0);
        system_call5(SYS_prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    }
    hold_close(ends[0]);
}

/* A worker hears of this first. */
static void hold_say_pid(void)
{
    struct hold_message message = {HOLD_PID, (int)system_call(SYS_getpid, 0, 0, 0, 0), 0, 0, {0}};
    hold_send(hold_link, &message, 0, 0, 0);
}

/* Returns in a child that is to become a worker, by way of Python. */
static void hold(char *program, char **argv, char **envp)
{
    const unsigned long watched = 1UL << (SIGCHLD - 1) | 1UL << (SIGTERM - 1);
    int pause = -1, heard, cold = 0, delay = 0, guarded;
    long last = 0;
    while (argv[last + 1])
        last++;
    guarded = equal(argv[last], "guard");
    hold_name_successor(program);
    hold_mask(~0UL);
    hold_leave_home();
    if (guarded)
        hold_divide();
    if (hold_news >= 0)
        hold_say_pid();
    hold_signals = (int)system_call(SYS_signalfd4, -1, (long)&watched, sizeof watched, SFD_FLAGS);
    for (int outcome = hold_serve(&pause, &heard);; outcome = hold_serve(&pause, &heard)) {
        hold_hang_up();
        if (!held->count)
            system_call(SYS_exit_group, 1, 0, 0, 0);
        /* Nobody there: Python has to start. A worker that dies over and over must not keep us busy. */
        cold = outcome == LOST && !heard && !cold;
        delay = outcome == RESTING ? 0 : cold ? delay : delay ? delay * 2 : 10;
        delay = delay > LONGEST_PAUSE_MS ? LONGEST_PAUSE_MS : delay;
        if (outcome == LOST && !cold)
            hold_pause(delay);
        if (outcome == RESTING)
            hold_rest(pause);
        for (int woken; (woken = hold_wake(program, envp, cold)) <= 0; cold = !cold) {
            if (!woken) {
                argv[last] = (char *)"wake";
                return;
            }
            if (cold)
                hold_pause(100);
        }
    }
}

#endif
