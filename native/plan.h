/* The plan: received, checked whole, then relocated in place.
 *
 * Layout (little endian, see cloche/runtime/plan.py): header, operations one after the other, data.
 * An operation is its head and 8 bytes an argument (16 for bytes: offset and size). Offsets count
 * from the plan's first byte and become pointers here. After check_plan every pointer an operation
 * holds is inside the plan and every string ends with NUL inside it: the operations rely on that.
 */
#ifndef CLOCHE_PLAN_H
#define CLOCHE_PLAN_H

#include "system.h"

struct plan {
    char magic[8];
    u32 fingerprint, count;
    u64 size, operations_size;
    u32 slots, times; /* times: one more than the slot of the shared memory for them, or 0 */
};
struct operation { u32 code, stage, size, index; };

#include "operations.h"

enum { MAXIMUM_SLOTS = 1024, PLAN_MAXIMUM = 64 << 20 };
static i64 slot_descriptors[MAXIMUM_SLOTS];
static u32 slot_count;

static int text_is_inside(const char *base, u64 size, u64 offset)
{
    while (offset < size)
        if (!base[offset++]) return 1;
    return 0;
}

/* Turn one argument's offset into a pointer; returns the words it takes, 0 where it is not valid. */
static int relocate(char *base, const struct plan *plan, char kind, u64 *word)
{
    u64 size = plan->size;
    if (kind == 'i') return 1;
    if (kind == 'd') {
        i64 slot = (i64)word[0];
        if (slot < -1 || slot >= (i64)plan->slots) return 0;
        word[0] = (u64)(slot < 0 ? -1 : slot_descriptors[slot]);
        return 1;
    }
    if (kind == 'b') {
        if (word[0] > size || word[1] > size - word[0]) return 0;
        word[0] = W(base + word[0]);
        return 2;
    }
    if (kind == 's') {
        if (!text_is_inside(base, size, word[0])) return 0;
        word[0] = W(base + word[0]);
        return 1;
    }
    if (word[0] & 7 || word[0] < sizeof *plan + plan->operations_size) return 0;
    for (u64 at = word[0];; at += 8) {
        if (at > size - 8) return 0;
        u64 *entry = (u64 *)(void *)(base + at);
        if (!*entry) break;
        if (!text_is_inside(base, size, *entry)) return 0;
        *entry = W(base + *entry);
    }
    word[0] = W(base + word[0]);
    return 1;
}

/* When each operation began and ended, in memory shared with the caller where it asked for that. */
static struct timing { u64 start, end; } *timings;

static u64 clock_now(void)
{
    u64 now[2] = { 0, 0 };
    /* CLOCK_REALTIME, the one clock that no time namespace moves. */
    raw(NR_clock_gettime, 0, W(now), 0, 0, 0, 0);
    return now[0] * 1000000000 + now[1];
}

/* Check the whole plan and relocate it. `size`: what was mapped. 0, or -EPROTO. */
static int check_plan(char *base, u64 size)
{
    struct plan *plan = (struct plan *)(void *)base;
    static const char magic[8] = { 'c', 'l', 'o', 'c', 'h', 'e', 'P', '1' };
    if (size < sizeof *plan || plan->size != size) return -EPROTO;
    for (int i = 0; i < 8; i++)
        if (plan->magic[i] != magic[i]) return -EPROTO;
    if (plan->fingerprint != PLAN_FINGERPRINT || plan->slots > MAXIMUM_SLOTS) return -EPROTO;
    if (plan->times > plan->slots) return -EPROTO;
    if (plan->operations_size > size - sizeof *plan) return -EPROTO;

    char *at = base + sizeof *plan, *end = at + plan->operations_size;
    for (u32 index = 0; index < plan->count; index++) {
        struct operation *op = (struct operation *)(void *)at;
        if ((u64)(end - at) < sizeof *op || op->code == 0 || op->code > OPERATION_COUNT) return -EPROTO;
        if (op->size < sizeof *op || op->size & 7 || op->size > (u64)(end - at)) return -EPROTO;
        u64 *word = (u64 *)(void *)(at + sizeof *op), *stop = (u64 *)(void *)(at + op->size);
        for (const char *kind = argument_kinds[op->code]; *kind; kind++) {
            if (stop - word < (*kind == 'b' ? 2 : 1)) return -EPROTO;
            int words = relocate(base, plan, *kind, word);
            if (!words) return -EPROTO;
            word += words;
        }
        if (word != stop) return -EPROTO;
        at += op->size;
    }
    return at == end ? 0 : -EPROTO;
}

#endif
