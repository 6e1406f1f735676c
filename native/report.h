/* What init tells its caller: records of one size on a SOCK_SEQPACKET socket, some with a descriptor. */
#ifndef CLOCHE_REPORT_H
#define CLOCHE_REPORT_H

#include "mounts.h"

/* In step with cloche/runtime/execute.py. */
enum report_kind { FAILED = 1, CLONED, WAITING, CONSOLE, CREATED, EXECUTING };

struct report {
    u32 kind, index;
    i32 error, call;
    char text[112];
};

static int control_fd = -1;  /* the caller's socket, until the start gate is reached */
static int result_fd = -1;   /* then the fifo that `start` reads */

/* Send a record, with a descriptor beside it where fd is not negative. */
static int send_report(const struct report *report, int fd)
{
    if (result_fd >= 0) return (int)CALL(NR_write, (u64)result_fd, W(report), sizeof *report);
    struct { struct control_header head; i32 fd, pad; } control = {
        { sizeof control.head + sizeof control.fd, 1 /* SOL_SOCKET */, 1 /* SCM_RIGHTS */ }, fd, 0 };
    struct vector vector = { (void *)(uptr)report, sizeof *report };
    struct message message = { .vectors = &vector, .vector_count = 1 };
    if (fd >= 0) {
        message.control = &control;
        message.control_size = sizeof control;
    }
    return (int)CALL(NR_sendmsg, (u64)control_fd, W(&message), 0x4000 /* MSG_NOSIGNAL */);
}

static int tell(enum report_kind kind, u32 index, i32 value, int fd)
{
    struct report report = { .kind = kind, .index = index, .error = value };
    int sent = send_report(&report, fd);
    return sent < 0 ? sent : 0;
}

static int tell_failure(u32 index, int error)
{
    struct report report = { .kind = FAILED, .index = index, .error = -error, .call = last_call };
    for (u64 i = 0; i < sizeof report.text - 1 && trouble[i]; i++) report.text[i] = trouble[i];
    return send_report(&report, -1);
}

/* Wait for the caller's word; its death is the end of the socket, and ours. */
static int await_word(void)
{
    char word;
    long size = CALL(NR_read, (u64)control_fd, W(&word), 1);
    return size == 1 ? 0 : size < 0 ? (int)size : -EPROTO;
}

/* Take the descriptors of one message from the caller; returns how many. */
static int receive_descriptors(i64 *descriptors, int most)
{
    struct { struct control_header head; i32 fds[253]; } control;
    char word;
    struct vector vector = { &word, 1 };
    struct message message = { .vectors = &vector, .vector_count = 1, .control = &control, .control_size = sizeof control };
    long size = CALL(NR_recvmsg, (u64)control_fd, W(&message), 0x40000000 /* MSG_CMSG_CLOEXEC */);
    TRY(size);
    if (size != 1 || message.control_size < sizeof control.head || control.head.type != 1) return -EPROTO;
    int count = (int)((control.head.size - sizeof control.head) / sizeof(i32));
    if (count > most) return -EPROTO;
    for (int i = 0; i < count; i++) descriptors[i] = control.fds[i];
    return count;
}

static int receive_mount(void)
{
    i64 mount = -1;
    int count = receive_descriptors(&mount, 1);
    return count == 1 ? (int)mount : count < 0 ? count : -EPROTO;
}

#endif
