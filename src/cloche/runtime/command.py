"""`cloche-runc`: the OCI runtime's command line, argument for argument what runc takes.

How it starts is most of what it costs, so a command's own module is imported only when that
command is asked for, and the process ends without the interpreter's long goodbye.
"""

from __future__ import annotations

import gc
import sys

from cloche import os
from cloche.errors import ClocheError, InvalidArgument
from cloche.runtime.face.arguments import Flag, Options, UsageError, parse
from cloche.runtime.face.invocation import Command, Invocation
from cloche.runtime.face.log import Log, open_log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

NAME = "cloche-runc"
DEFAULT_ROOT = "/run/cloche/runc"

_UNKNOWN_COMMAND = 3
_INTERRUPTED = 130

FLAGS = (
    Flag("debug", "switch", "also log what is done, and where an unexpected error came from"),
    Flag("log", "text", "file to append log lines to (default: standard error)"),
    Flag("log-format", "text", "text or json (default: text)"),
    Flag("root", "text", f"directory of the containers' state (default: {DEFAULT_ROOT})"),
    Flag("systemd-cgroup", "switch", "let systemd manage the containers' cgroups"),
    Flag("rootless", "text", "true, false or auto: go on where cgroups may not be changed (default: auto)"),
    Flag("criu", "text", "ignored: the criu in $PATH is used", hidden=True),
    Flag("version", "switch", "print the version", "v"),
)

# Which module has which command.
MODULES = {
    "checkpoint": "checkpointing",
    "create": "creation",
    "delete": "control",
    "events": "watching",
    "exec": "execution",
    "features": "feature_list",
    "kill": "control",
    "list": "listing",
    "pause": "control",
    "ps": "listing",
    "restore": "checkpointing",
    "resume": "control",
    "run": "creation",
    "spec": "specification",
    "start": "control",
    "state": "listing",
    "update": "limits",
}


def find(name: str) -> Command:
    """The command of that name, which must be in MODULES."""
    module = __import__(f"cloche.runtime.face.{MODULES[name]}", fromlist=["COMMANDS"])
    command: Command = module.COMMANDS[name]
    return command


def main() -> NoReturn:
    """The console entry: carry out sys.argv and exit."""
    # Nothing here lives long enough to be worth looking for: that is a tenth of a command's time.
    gc.disable()
    try:
        status = run(sys.argv[1:])
    except KeyboardInterrupt:
        status = _INTERRUPTED
    try:
        sys.stdout.flush()
    except OSError:
        status = status or 1
    # Everything is written: tearing the interpreter down would only take time.
    os._exit(status)


def run(words: list[str]) -> int:
    """Carry out one command line, without the program's name; returns the exit code."""
    log = Log("", json=False, debug=False)
    try:
        general = parse(FLAGS, words, interspersed=False)
        log = open_log(general.text("log"), general.text("log-format"), debug=general.switch("debug"))
        root = _root(general)
    except UsageError as error:
        _show_usage(error, None)
        log.error(str(error))
        return 1
    except (ClocheError, OSError) as error:
        log.error(_one_line(error))
        return 1
    if general.switch("version"):
        return _version()
    rest = general.words
    if general.switch("help") or not rest or rest[0] in ("help", "h"):
        return _help(rest[1:])
    if rest[0] not in MODULES:
        log.error(f"No help topic for '{rest[0]}'")
        return _UNKNOWN_COMMAND
    return _carry_out(rest[0], rest[1:], root, log, general)


def _carry_out(name: str, words: list[str], root: str, log: Log, general: Options) -> int:
    command = find(name)
    try:
        options = parse(command.flags, words, interspersed=command.interspersed)
        if options.switch("help"):
            return _help([name])
        _count(name, command, options)
    except UsageError as error:
        _show_usage(error, name)
        log.error(str(error))
        return 1
    if general.given("criu"):
        log.warning("--criu is ignored: the criu in $PATH is used")
    log.debug(f"{name}, with the state in {root}")
    try:
        return command.action(Invocation(root, log, general, options))
    except (ClocheError, OSError) as error:
        message = _one_line(error) + _about_state(error, root)
    except Exception as error:
        if log.debugging:
            raise
        message = f"unexpected {type(error).__name__}: {_one_line(error)} (a bug; --debug shows where)"
    log.error(f"{command.failure}: {message}" if command.failure else message)
    return command.failure_code


def _about_state(error: BaseException, root: str) -> str:
    """What to do where the caller may not keep state in the place that was chosen."""
    if isinstance(error, PermissionError) and str(error.filename).startswith((root, os.path.dirname(root))):
        return ": the containers' state is kept there: set XDG_RUNTIME_DIR, or name a directory with --root"
    return ""


def _count(name: str, command: Command, options: Options) -> None:
    count = len(options.words)
    if command.least == command.most != count:
        raise UsageError(f'{NAME}: "{name}" requires exactly {command.least} argument(s)')
    if count < command.least:
        raise UsageError(f'{NAME}: "{name}" requires a minimum of {command.least} argument(s)')
    if 0 <= command.most < count:
        raise UsageError(f'{NAME}: "{name}" requires a maximum of {command.most} argument(s)')


def _root(general: Options) -> str:
    if general.given("root"):
        root = os.path.abspath(general.text("root"))
        if root == "/":
            raise InvalidArgument("--root cannot be /: name a directory of its own for the state")
        return root
    runtime_directory = os.getenv("XDG_RUNTIME_DIR", "")
    if runtime_directory and os.geteuid() != 0:
        return f"{runtime_directory}/cloche/runc"
    return DEFAULT_ROOT


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = error.filename if isinstance(error.filename, str) else ""
        text = f"{where}: {error.strerror}" if where else error.strerror
    else:
        text = str(error)
    return " ".join(text.split("\n"))


def _show_usage(error: UsageError, name: str | None) -> None:
    sys.stdout.write(f"Incorrect Usage: {error}\n\n")
    _help([name] if name else [])


def _help(words: list[str]) -> int:
    from cloche.runtime.face import help as pages

    if not words:
        sys.stdout.write(pages.general_page({name: find(name) for name in MODULES}))
        return 0
    if words[0] not in MODULES:
        Log("", json=False, debug=False).error(f"No help topic for '{words[0]}'")
        return _UNKNOWN_COMMAND
    sys.stdout.write(pages.command_page(words[0], find(words[0])))
    return 0


def _version() -> int:
    from cloche.runtime.face.version import version_text

    sys.stdout.write(version_text())
    return 0
