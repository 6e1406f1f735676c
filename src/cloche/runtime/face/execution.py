"""`exec`: one more process in a container."""

from __future__ import annotations

from cloche import os
from cloche.errors import FailedPrecondition, InvalidArgument
from cloche.runtime.face.arguments import Flag
from cloche.runtime.face.creation import check_console, preserved, write_pid_file
from cloche.runtime.face.invocation import Command, Invocation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.runtime.container import Container
    from cloche.runtime.face.arguments import Options
    from cloche.spec.config import Process as ProcessSettings
    from cloche.spec.config import User


def _from_file(path: str, invocation: Invocation) -> ProcessSettings:
    from cloche.spec.document import load_file
    from cloche.spec.validate import validate_process

    settings: ProcessSettings = load_file(path)
    for warning in validate_process(settings, path):
        invocation.log.warning(warning)
    return settings


def _id(word: str, kind: str) -> int:
    if not (word.isascii() and word.isdigit() and len(word) <= 10 and int(word) < (1 << 32) - 1):
        raise InvalidArgument(f'--user: "{word}" is not a {kind}: it must be UID or UID:GID, in numbers')
    return int(word)


def _user(options: Options, user: User) -> User:
    user = user.copy()
    if options.text("user"):
        uid, colon, gid = options.text("user").partition(":")
        user["uid"] = _id(uid, "uid")
        if colon:
            user["gid"] = _id(gid, "gid")
    groups = options.numbers("additional-gids")
    for gid_number in groups:
        if not 0 <= gid_number < (1 << 32) - 1:
            raise InvalidArgument(f"--additional-gids: {gid_number} is not a gid")
    if groups:
        user["additionalGids"] = [*user.get("additionalGids", ()), *groups]
    return user


def _add_capabilities(settings: ProcessSettings, names: list[str]) -> None:
    sets = settings.get("capabilities", {}).copy()
    sets["bounding"] = [*sets.get("bounding", ()), *names]
    sets["effective"] = [*sets.get("effective", ()), *names]
    sets["permitted"] = [*sets.get("permitted", ()), *names]
    # A capability can be ambient only where it is inheritable too.
    if sets.get("inheritable"):
        sets["ambient"] = [*sets.get("ambient", ()), *names]
    settings["capabilities"] = sets


# What is given by these may be wrong; the rest was found right when the container was created.
_CHECKED = ("cwd", "env", "user", "additional-gids", "cap", "process-label", "apparmor")


def _from_flags(invocation: Invocation, container: Container) -> ProcessSettings:
    options = invocation.options
    if len(options.words) < 2:
        raise InvalidArgument("exec args cannot be empty: name a command, or give --process")
    settings: ProcessSettings = container.config["process"].copy()
    settings["args"] = options.words[1:]
    settings["cwd"] = options.text("cwd") or settings["cwd"]
    settings["env"] = [*settings.get("env", ()), *options.texts("env")]
    settings["terminal"] = options.switch("tty")
    settings["user"] = _user(options, settings.get("user", {}))
    if options.given("no-new-privs"):
        settings["noNewPrivileges"] = options.switch("no-new-privs")
    if options.text("apparmor"):
        settings["apparmorProfile"] = options.text("apparmor")
    if options.text("process-label"):
        settings["selinuxLabel"] = options.text("process-label")
    if options.texts("cap"):
        _add_capabilities(settings, options.texts("cap"))
    if any(map(options.given, _CHECKED)):
        from cloche.spec.validate import validate_process

        for warning in validate_process(settings, "exec"):
            invocation.log.warning(warning)
    return settings


def _require_running(container: Container, options: Options) -> None:
    status = container.status()
    if status == "stopped":
        raise FailedPrecondition("cannot exec in a stopped container")
    if status == "paused" and not options.switch("ignore-paused"):
        raise FailedPrecondition("cannot exec in a paused container (use --ignore-paused to override)")


def _subgroups(words: list[str]) -> dict[str, str]:
    """--cgroup, PATH or CONTROLLER,...:PATH: cgroups below the container's, by controller."""
    paths: dict[str, str] = {}
    for word in words:
        names, colon, path = word.rpartition(":")
        if not colon and len(words) > 1:
            raise InvalidArgument(f"--cgroup {word}: of several each needs its controller, CONTROLLER:PATH")
        for name in names.split(","):
            if colon and not name:
                raise InvalidArgument(f"--cgroup {word}: the controller in front of the colon is missing")
            if name in paths:
                raise InvalidArgument(f"--cgroup {word}: the controller {name!r} was given before")
            paths[name] = path
    return paths


def execute(invocation: Invocation) -> int:
    """Run one more process in a container; attached, wait for its end and return its status."""
    from cloche.runtime.face.console import ConsoleSocket, PidfdSocket
    from cloche.runtime.face.foreground import Forwarding, fit_terminal, follow
    from cloche.runtime.face.relays import Relays

    options = invocation.options
    subgroups = _subgroups(options.texts("cgroup"))
    pid_file = os.path.abspath(options.text("pid-file")) if options.text("pid-file") else ""
    container = invocation.container()
    _require_running(container, options)
    path = options.text("process")
    settings = _from_file(path, invocation) if path else _from_flags(invocation, container)
    detached, terminal = options.switch("detach"), settings.get("terminal", False)
    console_socket = options.text("console-socket")
    check_console(terminal=terminal, detached=detached, console_socket=console_socket)
    count = preserved(options, 0)
    if not detached:
        fit_terminal(settings)
    with (
        ConsoleSocket(console_socket) as socket,
        PidfdSocket(options.text("pidfd-socket")) as pidfds,
        Relays(wanted=not (detached or terminal)) as relays,
        Forwarding(wanted=not detached) as forwarding,
        container.execute(
            settings,
            stdio=relays.stdio,
            preserve_fds=count,
            ignore_paused=options.switch("ignore-paused"),
            subgroups=subgroups,
        ) as process,
    ):
        try:
            if console_socket and process.console is not None:
                socket.send_master(process.console)
            pidfds.send_process(process.pidfd, b"setns")
            if pid_file:
                write_pid_file(pid_file, process.pid)
        except BaseException:
            process.kill(9)
            raise
        return 0 if detached else follow(process, forwarding, relays)


COMMANDS = {
    "exec": Command(
        "run one more process in a container",
        "<container-id> <command> [command options]  || -p process.json <container-id>",
        execute,
        (
            Flag("console-socket", "text", "unix socket that is sent the pty's master"),
            Flag("pidfd-socket", "text", "unix socket that is sent the process's pidfd"),
            Flag("cwd", "text", "working directory in the container"),
            Flag("env", "texts", "one more variable, NAME=VALUE", "e"),
            Flag("tty", "switch", "give the process a pty", "t"),
            Flag("user", "text", "UID or UID:GID", "u"),
            Flag("additional-gids", "numbers", "one more group", "g"),
            Flag("process", "text", "file with the whole process object", "p"),
            Flag("detach", "switch", "do not wait for the process", "d"),
            Flag("pid-file", "text", "file to write the process's pid to"),
            Flag("process-label", "text", "SELinux label of the process"),
            Flag("apparmor", "text", "AppArmor profile of the process"),
            Flag("no-new-privs", "switch", "no program may raise its privileges"),
            Flag("cap", "texts", "one more capability", "c"),
            Flag("preserve-fds", "number", "how many more descriptors, after the standard ones, are kept"),
            Flag("cgroup", "texts", "existing cgroup below the container's, [CONTROLLER:]PATH"),
            Flag("ignore-paused", "switch", "also in a paused container: it runs when that is resumed"),
        ),
        most=-1,
        interspersed=False,
        failure="exec failed",
        failure_code=255,
        description="The exit code is the process's, and 255 where it could not be run.",
    )
}
