/* libFuzzer harness for what the launcher reads by itself: a summary, a /proc/PID/stat, a command line.
 *
 * Each gets the bytes in an exact allocation, so that one too far is seen by AddressSanitizer.
 */
#define CLOCHE_HOSTED
#include "answering.h"

#include <stdlib.h>
#include <string.h>

enum { WORDS = 16 };

int LLVMFuzzerTestOneInput(const unsigned char *data, unsigned long size);

static unsigned long touched;

/* The bytes, ended by NUL as read_whole does. */
static char *copied(const unsigned char *data, unsigned long size)
{
    char *copy = malloc(size + 1);
    if (!copy) abort();
    memcpy(copy, data, size);
    copy[size] = 0;
    return copy;
}

static void split(const unsigned char *data, unsigned long size)
{
    char *fields[SUMMARY_FIELDS], *copy = copied(data, size);
    if (split_summary(copy, (long)size, fields)) {
        for (int field = 0; field < SUMMARY_FIELDS; field++)
            touched += length_of(fields[field]);
        if (number_of(fields[PID]) <= 0) abort();
    }
    free(copy);
}

static void read_stat(const unsigned char *data, unsigned long size)
{
    char *copy = copied(data, size);
    touched += (unsigned long)runs_since(copy, "12345");
    free(copy);
}

/* A word a line. */
static void read_words(const unsigned char *data, unsigned long size)
{
    char *copy = copied(data, size), *argv[WORDS + 2] = {"cloche-runc"};
    long argc = 1;
    for (char *at = copy; at && argc <= WORDS; at = strchr(at, '\n')) {
        if (at != copy) *at++ = 0;
        argv[argc++] = at;
    }
    struct request request = {"", 0, 0, 0};
    if (read_request(argc, argv, &request)) {
        if (!is_id(request.id) || strchr(request.id, '/')) abort();
        touched += length_of(request.root) + length_of(request.command);
    }
    free(copy);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, unsigned long size)
{
    split(data, size);
    read_stat(data, size);
    read_words(data, size);
    return 0;
}
