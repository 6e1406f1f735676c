/*
 * The commands of Cloche: find the Python they were installed for and start it with as little as
 * possible in between. (The shim's command first looks for one that runs already: warm.h.
 * Of the runtime's, two are answered without: summary.h.)
 *
 * A console script written by pip starts Python with `site`, which reads every .pth file of the
 * environment: that alone takes longer than starting a container. This program does what `site`
 * would have found out: its own place (/proc/self/exe, so that symbolic links and any argv[0] do),
 * the base interpreter, the directory of the packages. It then becomes
 *
 *     PYTHON -I -S -X utf8 -c CODE PACKAGES PROGRAM ARGUMENT...
 *
 * where CODE puts PACKAGES on sys.path, leaves [PROGRAM, ARGUMENT...] in sys.argv and calls the
 * entry point. No C library: starting one would cost more than all the rest.
 */

#include "guard.h"

typedef unsigned long size_type;

enum { PATH_SIZE = 4096, FILE_SIZE = 8192, LIST_SIZE = 16384, NAME_SIZE = 32 };
enum { AT_FDCWD = -100, O_RDONLY = 0, O_DIRECTORY_X86 = 0200000, O_DIRECTORY_ARM = 040000, O_CLOEXEC = 02000000 };
enum { F_OK = 0, X_OK = 1, ENOENT = 2, STDERR = 2 };

/* ---- system calls ---- */

#if defined(__x86_64__)
enum { SYS_read = 0, SYS_write = 1, SYS_close = 3, SYS_socket = 41, SYS_connect = 42, SYS_sendmsg = 46,
       SYS_setsockopt = 54, SYS_execve = 59, SYS_fcntl = 72, SYS_flock = 73, SYS_geteuid = 107, SYS_getdents64 = 217, SYS_exit_group = 231,
       SYS_openat = 257, SYS_unlinkat = 263, SYS_readlinkat = 267, SYS_faccessat = 269, SYS_statx = 332, O_DIRECTORY = O_DIRECTORY_X86 };

static long system_call5(long number, long a, long b, long c, long d, long e)
{
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                     : "rcx", "r11", "memory");
    return result;
}

__asm__(".globl _start\n"
        "_start:\n"
        "    xor %ebp, %ebp\n"
        "    mov %rsp, %rdi\n"
        "    and $-16, %rsp\n"
        "    call launch\n");
#elif defined(__aarch64__)
enum { SYS_fcntl = 25, SYS_flock = 32, SYS_unlinkat = 35, SYS_faccessat = 48, SYS_openat = 56, SYS_close = 57, SYS_getdents64 = 61, SYS_read = 63, SYS_write = 64,
       SYS_readlinkat = 78, SYS_exit_group = 94, SYS_geteuid = 175, SYS_socket = 198, SYS_connect = 203,
       SYS_setsockopt = 208, SYS_sendmsg = 211, SYS_execve = 221, SYS_statx = 291, O_DIRECTORY = O_DIRECTORY_ARM };

static long system_call5(long number, long a, long b, long c, long d, long e)
{
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
    return x0;
}

__asm__(".globl _start\n"
        "_start:\n"
        "    mov x29, #0\n"
        "    mov x30, #0\n"
        "    mov x0, sp\n"
        "    bl launch\n");
#else
#error "cloche runs on x86_64 and aarch64"
#endif

static long system_call(long number, long a, long b, long c, long d)
{
    return system_call5(number, a, b, c, d, 0);
}

static long open_file(const char *path, int flags)
{
    return system_call(SYS_openat, AT_FDCWD, (long)path, flags | O_CLOEXEC, 0);
}

static int accessible(const char *path, int mode)
{
    return system_call(SYS_faccessat, AT_FDCWD, (long)path, mode, 0) == 0;
}

/* ---- text ---- */

static size_type length_of(const char *text)
{
    size_type length = 0;
    while (text[length])
        length++;
    return length;
}

static int begins_with(const char *text, const char *prefix)
{
    while (*prefix)
        if (*text++ != *prefix++)
            return 0;
    return 1;
}

static int equal(const char *a, const char *b)
{
    return begins_with(a, b) && length_of(a) == length_of(b);
}

__attribute__((noreturn)) static void fail(const char *what, const char *name, const char *advice)
{
    const char *parts[] = {"cloche: ", what, name, advice, "\n"};
    for (size_type i = 0; i < sizeof parts / sizeof *parts; i++)
        system_call(SYS_write, STDERR, (long)parts[i], (long)length_of(parts[i]), 0);
    system_call(SYS_exit_group, 127, 0, 0, 0);
    __builtin_unreachable();
}

/* Write the parts (ended by a null pointer) one after another into a buffer of PATH_SIZE. */
static const char *join(char *buffer, const char *const *parts)
{
    size_type used = 0;
    for (; *parts; parts++)
        for (const char *from = *parts; *from; from++) {
            if (used + 1 >= PATH_SIZE)
                fail("a path is too long: ", buffer, "");
            buffer[used++] = *from;
            buffer[used] = 0;
        }
    return buffer;
}

#define JOIN(buffer, ...) join(buffer, (const char *const[]){__VA_ARGS__, 0})

/* Cut the last component off a path; returns it. */
static char *cut_last(char *path)
{
    char *slash = 0;
    for (char *at = path; *at; at++)
        if (*at == '/')
            slash = at;
    if (!slash)
        fail("/proc/self/exe is no absolute path: ", path, "");
    *slash = 0;
    return slash + 1;
}

#include "warm.h"
#include "summary.h"

/* ---- the virtual environment's own description ---- */

struct environment {
    char home[PATH_SIZE];    /* directory of the base interpreter; empty: not a virtual environment */
    char version[NAME_SIZE]; /* "3.11"; empty: not known */
    int system_packages;     /* the base interpreter's packages are to be found too */
};

/* The value of `key = value` where the line has this key, else null. Cuts the line's end off. */
static char *value_of(char *line, const char *key)
{
    if (!begins_with(line, key))
        return 0;
    line += length_of(key);
    while (*line == ' ' || *line == '\t')
        line++;
    if (*line++ != '=')
        return 0;
    while (*line == ' ' || *line == '\t')
        line++;
    size_type length = length_of(line);
    while (length && (line[length - 1] == ' ' || line[length - 1] == '\r' || line[length - 1] == '\t'))
        line[--length] = 0;
    return line;
}

/* Copy "3.11" out of "3.11.7", "3.13.0rc1+" and the like. */
static void copy_version(char *to, const char *from)
{
    size_type used = 0;
    for (int dots = 0; *from && used + 1 < NAME_SIZE; from++) {
        if (*from == '.' && ++dots == 2)
            break;
        if (*from != '.' && (*from < '0' || *from > '9'))
            break;
        to[used++] = *from;
    }
    to[used] = 0;
}

static void read_line(struct environment *environment, char *line)
{
    char *value;
    if ((value = value_of(line, "home")))
        JOIN(environment->home, value);
    else if ((value = value_of(line, "version_info")) || (value = value_of(line, "version")))
        copy_version(environment->version, value);
    else if ((value = value_of(line, "include-system-site-packages")))
        environment->system_packages = equal(value, "true");
}

static void read_environment(struct environment *environment, const char *prefix)
{
    static char path[PATH_SIZE], content[FILE_SIZE];
    long file = open_file(JOIN(path, prefix, "/pyvenv.cfg"), O_RDONLY);
    if (file < 0)
        return;
    long size = system_call(SYS_read, file, (long)content, FILE_SIZE - 1, 0);
    system_call(SYS_close, file, 0, 0, 0);
    if (size < 0)
        fail("cannot read ", path, "");
    content[size] = 0;
    for (char *line = content; *line;) {
        char *end = line;
        while (*end && *end != '\n')
            end++;
        char last = *end;
        *end = 0;
        read_line(environment, line);
        line = last ? end + 1 : end;
    }
    if (!environment->home[0])
        fail("no `home` in ", path, ": make the virtual environment again");
}

/* ---- the packages ---- */

static const char *const PACKAGE_DIRECTORIES[] = {"site-packages", "dist-packages"};

/* Whether PREFIX/lib/pythonVERSION has the package; its directory of packages then is in `packages`. */
static int packages_in(char *packages, const char *prefix, const char *version)
{
    static char probe[PATH_SIZE];
    for (int i = 0; i < 2; i++) {
        JOIN(packages, prefix, "/lib/python", version, "/", PACKAGE_DIRECTORIES[i]);
        if (accessible(JOIN(probe, packages, "/cloche/__init__.py"), F_OK))
            return 1;
    }
    return 0;
}

struct entry { /* linux_dirent64 */
    unsigned long inode;
    long offset;
    unsigned short size;
    unsigned char type;
    char name[];
};

/* Look through PREFIX/lib for a pythonX.Y that has the package. */
static int search_packages(char *packages, const char *prefix, char *version)
{
    static char path[PATH_SIZE], list[LIST_SIZE] __attribute__((aligned(8)));
    long directory = open_file(JOIN(path, prefix, "/lib"), O_RDONLY | O_DIRECTORY);
    long size;
    while (directory >= 0 && (size = system_call(SYS_getdents64, directory, (long)list, LIST_SIZE, 0)) > 0)
        for (long at = 0; at < size;) {
            struct entry *entry = (struct entry *)(list + at);
            at += entry->size;
            if (!begins_with(entry->name, "python3."))
                continue;
            copy_version(version, entry->name + length_of("python"));
            if (packages_in(packages, prefix, version)) {
                system_call(SYS_close, directory, 0, 0, 0);
                return 1;
            }
        }
    if (directory >= 0)
        system_call(SYS_close, directory, 0, 0, 0);
    return 0;
}

/* ---- the interpreter ---- */

static int interpreter_in(char *interpreter, const char *directory, const char *version)
{
    return accessible(JOIN(interpreter, directory, "/python", version), X_OK);
}

static void find_interpreter(char *interpreter, const struct environment *environment, const char *bin)
{
    if (environment->home[0]) {
        if (interpreter_in(interpreter, environment->home, environment->version) ||
            interpreter_in(interpreter, environment->home, "3"))
            return;
        fail("the Python of this virtual environment is gone: ", interpreter, ": make the environment again");
    }
    const char *const places[] = {bin, "/usr/local/bin", "/usr/bin"};
    for (int i = 0; i < 3; i++)
        if (interpreter_in(interpreter, places[i], environment->version))
            return;
    fail("found no python", environment->version, ": install cloche with the Python that is there");
}

/* ---- start ---- */

/*
 * The collector of cycles would run a dozen times while modules are imported, to find nothing: a
 * tenth of the time that they take. It still runs in commands that go on for long.
 */
#define BEGIN \
    "import sys,gc\n" \
    "gc.set_threshold(100000)\n" \
    "a=sys.argv\n" \
    "del a[0]\n" \
    "sys.path.append(a.pop(0))\n" \
    "from cloche.modules import quicken\n" \
    "quicken()\n"
/*
 * Outside a virtual environment the packages that Cloche needs may lie in any of the places that
 * `site` knows. It is asked only when an import was not found, so that the usual command starts
 * without it.
 */
#define SEARCH_FURTHER \
    "class S:\n" \
    " def find_spec(n,p=None,t=None):\n" \
    "  if p is None and S in sys.meta_path:\n" \
    "   sys.meta_path.remove(S)\n" \
    "   import site\n" \
    "   site.main()\n" \
    "   from importlib.machinery import PathFinder\n" \
    "   return PathFinder.find_spec(n)\n" \
    "sys.meta_path.append(S)\n"
/* Python's orderly end takes 2 ms; all that is left to do at this point is to flush. */
#define CALL(module) \
    "from " module " import main\n" \
    "c=main()or 0\n" \
    "try:\n" \
    " for f in(sys.stdout,sys.stderr):f and f.flush()\n" \
    "except OSError:c=c or 1\n" \
    "from posix import _exit\n" \
    "_exit(c)\n"

#define SHIM "containerd-shim-cloche-v1"

static const struct {
    const char *name, *code, *searching_code;
} COMMANDS[] = {
    {"cloche", BEGIN CALL("cloche.cli.main"), BEGIN SEARCH_FURTHER CALL("cloche.cli.main")},
    {"cloche-runc", BEGIN CALL("cloche.runtime.command"), BEGIN SEARCH_FURTHER CALL("cloche.runtime.command")},
    {"cloched", BEGIN CALL("cloche.daemon.command"), BEGIN SEARCH_FURTHER CALL("cloche.daemon.command")},
    {SHIM, BEGIN CALL("cloche.shim.command"), BEGIN SEARCH_FURTHER CALL("cloche.shim.command")},
};

static const char *code_for(const char *name, int searching)
{
    for (size_type i = 0; i < sizeof COMMANDS / sizeof *COMMANDS; i++)
        if (equal(name, COMMANDS[i].name))
            return searching ? COMMANDS[i].searching_code : COMMANDS[i].code;
    fail("not one of its commands: ", name, ": this program has another name");
}

/* The words before the user's own: PYTHON -I -S -X utf8 -c CODE PACKAGES PROGRAM */
enum { OWN_WORDS = 9 };

__attribute__((noreturn, used)) static void launch(long *stack)
{
    static char program[PATH_SIZE], bin[PATH_SIZE], packages[PATH_SIZE], interpreter[PATH_SIZE];
    static struct environment environment;
    seed_guard((const unsigned long *)stack);
    long argc = stack[0];
    char **argv = (char **)(stack + 1), **envp = argv + argc + 1;

    long size = system_call(SYS_readlinkat, AT_FDCWD, (long)"/proc/self/exe", (long)program, PATH_SIZE - 1);
    if (size < 0)
        fail("cannot read /proc/self/exe", "", ": is /proc mounted?");
    JOIN(bin, program);
    const char *name = cut_last(bin);
    static char prefix[PATH_SIZE];
    JOIN(prefix, bin);
    cut_last(prefix);

    if (equal(name, SHIM))
        ask_warm_parent(program, argc, argv, envp);
    if (equal(name, "cloche-runc"))
        answer_from_summary(argc, argv, envp);
    read_environment(&environment, prefix);
    if (!(environment.version[0] && packages_in(packages, prefix, environment.version)) &&
        !search_packages(packages, prefix, environment.version))
        fail("the cloche package is not under ", prefix, "/lib: install it again");
    find_interpreter(interpreter, &environment, bin);

    const char *words[OWN_WORDS + (argc > 0 ? argc : 1)];
    long count = 0;
    words[count++] = interpreter;
    words[count++] = "-I";
    words[count++] = "-S";
    words[count++] = "-X";
    words[count++] = "utf8";
    words[count++] = "-c";
    words[count++] = code_for(name, environment.system_packages || !environment.home[0]);
    words[count++] = packages;
    words[count++] = program;
    for (long i = 1; i < argc; i++)
        words[count++] = argv[i];
    words[count] = 0;
    system_call(SYS_execve, (long)interpreter, (long)words, (long)envp, 0);
    fail("cannot execute ", interpreter, "");
}
