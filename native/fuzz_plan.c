/* libFuzzer harness for the reader of plans: whatever the bytes are, check_plan stays inside them.
 *
 * A plan that passes is then walked as the operations would read it, so that a pointer check_plan
 * let through to the outside is seen by AddressSanitizer.
 */
#define CLOCHE_HOSTED
#include "hooks.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, unsigned long size);

static u64 touched;

static void touch_text(const char *text)
{
    touched += length(text);
}

static void walk(const struct plan *plan)
{
    const char *at = (const char *)(plan + 1);
    for (u32 index = 0; index < plan->count; index++) {
        const struct operation *op = (const struct operation *)(const void *)at;
        const u64 *word = (const u64 *)(const void *)(op + 1);
        for (const char *kind = argument_kinds[op->code]; *kind; kind++, word++) {
            if (*kind == 's') touch_text((const char *)(uptr)*word);
            if (*kind == 'l')
                for (char *const *entry = (char *const *)(uptr)*word; *entry; entry++) touch_text(*entry);
            if (*kind == 'b') {
                for (u64 i = 0; i < word[1]; i++) touched += ((const unsigned char *)(uptr)word[0])[i];
                word++;
            }
        }
        at += op->size;
    }
}

int LLVMFuzzerTestOneInput(const unsigned char *data, unsigned long size)
{
    /* An exact allocation, so that one byte too far is seen; relocation writes into it. */
    char *copy = malloc(size ? size : 1);
    if (!copy) return 0;
    memcpy(copy, data, size);
    if (size >= sizeof(struct plan)) {
        /* The fuzzer cannot guess these; everything behind them is what is tested. */
        struct plan *plan = (struct plan *)(void *)copy;
        memcpy(plan->magic, "clocheP1", 8);
        plan->fingerprint = PLAN_FINGERPRINT;
        plan->size = size;
    }
    if (!check_plan(copy, size)) walk((struct plan *)(void *)copy);
    free(copy);
    return 0;
}
