/* Debian's busybox looks for a command among its own before it looks into the file system, so it runs `ls`
 * where /bin/ls is masked. Upstream's does not, and critest compares its words: so a single command is
 * looked for in the file system here, and everything else is busybox's. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int count, char **words) {
    if (count == 3 && !strcmp(words[1], "-c") &&
        strspn(words[2], "abcdefghijklmnopqrstuvwxyz") == strlen(words[2])) {
        execlp(words[2], words[2], (char *)0);
        if (errno == EACCES) {
            fprintf(stderr, "%s: %s: %s\n", words[0], words[2], strerror(errno));
            return 126;
        }
    }
    execv("/bin/busybox", words);
    return 127;
}
