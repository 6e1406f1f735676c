/*
 * The commands of Cloche: find the Python they were installed for and start it with as little as
 * possible in between. (The shim's command first looks for one that runs already: warm.h.
 * It also is what stays of a shim that rests: hold.h. Some of the runtime's are answered without: answering.h.)
 *
 * A console script written by pip starts Python with `site`, which reads every .pth file of the
 * environment: that alone takes longer than starting a container. This program does what `site`
 * would have found out: its own place (/proc/self/exe, so that symbolic links and any argv[0] do),
 * the base interpreter, the directory of the packages. It then becomes
 *
 *     PYTHON -I -S -X utf8 SCRIPT PACKAGES MODULE FLAGS PROGRAM ARGUMENT...
 *
 * where SCRIPT (src/cloche/launch.py) puts PACKAGES on sys.path, leaves [PROGRAM, ARGUMENT...] in sys.argv
 * and calls the entry point in MODULE. No C library: starting one would cost more than all the rest.
 */

#include "answering.h"
#include "hold.h"
#include "warm.h"

/* Where the kernel begins: with argc, arguments and environment on the stack. */
#if defined(CLOCHE_HOSTED)
__attribute__((noreturn)) static void launch(long *stack);
int main(int argc, char **argv)
{
    (void)argc;
    launch((long *)argv - 1);
}
#elif defined(__x86_64__)
__asm__(".globl _start\n"
        "_start:\n"
        "    xor %ebp, %ebp\n"
        "    mov %rsp, %rdi\n"
        "    and $-16, %rsp\n"
        "    call launch\n");
#else
__asm__(".globl _start\n"
        "_start:\n"
        "    mov x29, #0\n"
        "    mov x30, #0\n"
        "    mov x0, sp\n"
        "    bl launch\n");
#endif

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

/* Look through PREFIX/lib for a pythonX.Y that has the package. */
static int search_packages(char *packages, const char *prefix, char *version)
{
    static char path[PATH_SIZE];
    static struct listing listing;
    const char *name;
    int found = 0;
    listing.directory = open_file(JOIN(path, prefix, "/lib"), O_RDONLY | O_DIRECTORY);
    while (!found && listing.directory >= 0 && (name = next_name(&listing)))
        if (begins_with(name, "python3.")) {
            copy_version(version, name + length_of("python"));
            found = packages_in(packages, prefix, version);
        }
    if (listing.directory >= 0)
        system_call(SYS_close, listing.directory, 0, 0, 0);
    return found;
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

#define SHIM "containerd-shim-cloche-v1"

static const struct {
    const char *name, *module;
} COMMANDS[] = {
    {"cloche", "cloche.cli.main"},
    {"cloche-runc", "cloche.runtime.command"},
    {"cloched", "cloche.daemon.command"},
    {SHIM, "cloche.shim.command"},
};

static const char *module_for(const char *name)
{
    for (size_type i = 0; i < sizeof COMMANDS / sizeof *COMMANDS; i++)
        if (equal(name, COMMANDS[i].name))
            return COMMANDS[i].module;
    fail("not one of its commands: ", name, ": this program has another name");
}

struct header { /* of a compiled module */
    unsigned short version, end;
    unsigned flags, modified, size;
};

static int is_compiled_of(const char *script, const char *compiled)
{
    struct header header;
    struct status source;
    long file = open_file(compiled, O_RDONLY);
    if (file < 0)
        return 0;
    long size = system_call(SYS_read, file, (long)&header, sizeof header, 0);
    system_call(SYS_close, file, 0, 0, 0);
    return size == sizeof header && header.end == ('\n' << 8 | '\r') && !header.flags &&
           status_of(AT_FDCWD, script, 0, &source) == 0 && header.modified == (unsigned)source.modified.seconds &&
           header.size == (unsigned)source.size;
}

/* What Python is to execute: src/cloche/launch.py, compiled where that is of the source as it is now. */
static void find_script(char *script, const char *packages, const char *version)
{
    static const char *const SUFFIXES[] = {".opt-2.pyc", ".pyc"};
    static char compiled[PATH_SIZE], digits[NAME_SIZE];
    for (char *to = digits; *version; version++)
        if (*version != '.')
            *to++ = *version;
    JOIN(script, packages, "/cloche/launch.py");
    for (int i = 0; i < 2; i++) {
        JOIN(compiled, packages, "/cloche/__pycache__/launch.cpython-", digits, SUFFIXES[i]);
        if (is_compiled_of(script, compiled)) {
            JOIN(script, compiled);
            return;
        }
    }
}

/*
 * The environment with LC_ALL=POSIX, where it has no LC_ALL: what it says is of no account with -X utf8, and
 * no locale is loaded then. launch.py takes it away again. Returns whether it was added.
 */
static int without_locale(const char **with, char **envp)
{
    int has = 0;
    for (; *envp; envp++) {
        has |= begins_with(*envp, "LC_ALL=");
        *with++ = *envp;
    }
    if (!has)
        *with++ = "LC_ALL=POSIX";
    *with = 0;
    return !has;
}

/* The words before the user's own: PYTHON -I -S -X utf8 SCRIPT PACKAGES MODULE FLAGS PROGRAM */
enum { OWN_WORDS = 10 };

__attribute__((noreturn, used)) static void launch(long *stack)
{
    static const char *const FLAGS[2][2] = {{"-", "l"}, {"s", "sl"}};
    static char program[PATH_SIZE], bin[PATH_SIZE], packages[PATH_SIZE], interpreter[PATH_SIZE], script[PATH_SIZE];
    static struct environment environment;
    seed_guard((const unsigned long *)stack);
    long argc = stack[0];
    char **argv = (char **)(stack + 1), **envp = argv + argc + 1;

    long size = system_call(SYS_readlinkat, AT_FDCWD, (long)"/proc/self/exe", (long)program, PATH_SIZE - 1);
    if (size < 0)
        fail("cannot read /proc/self/exe", "", ": is /proc mounted?");
    JOIN(bin, program);
    const char *name = cut_last(bin);
    if (argc > 1 && (equal(argv[argc - 1], "hold") || equal(argv[argc - 1], "guard")) && begins_with(name, SHIM)) {
        hold(program, argv, envp);
        JOIN(bin, program);
        name = cut_last(bin);
    }
    static char prefix[PATH_SIZE];
    JOIN(prefix, bin);
    cut_last(prefix);

    if (equal(name, SHIM))
        ask_warm_parent(program, argc, argv, envp);
    if (equal(name, "cloche-runc"))
        answer(argc, argv, envp);
    read_environment(&environment, prefix);
    if (!(environment.version[0] && packages_in(packages, prefix, environment.version)) &&
        !search_packages(packages, prefix, environment.version))
        fail("the cloche package is not under ", prefix, "/lib: install it again");
    find_interpreter(interpreter, &environment, bin);

    find_script(script, packages, environment.version);
    int searches = environment.system_packages || !environment.home[0];
    long variable_count = 0;
    while (envp[variable_count])
        variable_count++;
    const char *variables[variable_count + 2], *words[OWN_WORDS + (argc > 0 ? argc : 1)];
    long count = 0;
    words[count++] = interpreter;
    words[count++] = "-I";
    words[count++] = "-S";
    words[count++] = "-X";
    words[count++] = "utf8";
    words[count++] = script;
    words[count++] = packages;
    words[count++] = module_for(name);
    words[count++] = FLAGS[searches][without_locale(variables, envp)];
    words[count++] = program;
    for (long i = 1; i < argc; i++)
        words[count++] = argv[i];
    words[count] = 0;
    system_call(SYS_execve, (long)interpreter, (long)words, (long)variables, 0);
    fail("cannot execute ", interpreter, "");
}
