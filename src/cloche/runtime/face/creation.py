"""`create` and `run`: from a bundle to a container."""

from __future__ import annotations

import sys

from cloche import os
from cloche.errors import FailedPrecondition, InvalidArgument, NotFound
from cloche.runtime.face.arguments import Flag, boolean
from cloche.runtime.face.invocation import Command, Invocation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.runtime.container import Container, Process
    from cloche.runtime.face.arguments import Options
    from cloche.runtime.face.log import Log
    from cloche.runtime.trace import Trace
    from cloche.spec.config import Config

_CONFIG = "config.json"
_FIRST_PASSED = 3


def _load_config(invocation: Invocation) -> Config:
    """Make the bundle the current directory and read its config.json from there.

    Being there first means that the file, the root filesystem and the path kept in the state are
    those of one directory, whatever happens to the names that led to it.
    """
    from cloche.spec.document import load_file
    from cloche.spec.validate import validate

    bundle = invocation.options.text("bundle")
    if bundle:
        try:
            os.chdir(bundle)
        except OSError as error:
            raise FailedPrecondition(f"--bundle {bundle}: {error.strerror}") from None
    try:
        config: Config = load_file(_CONFIG)
    except FileNotFoundError:
        raise NotFound(f"JSON specification file {_CONFIG} not found in {os.getcwd()}") from None
    for warning in validate(config):
        invocation.log.warning(warning)
    return config


def rootless_cgroups(invocation: Invocation) -> bool | None:
    """--rootless: whether to do without what may not be done to cgroups; None is for auto."""
    word = invocation.general.text("rootless", "auto")
    if word.lower() in ("", "auto"):
        return None
    try:
        return boolean(word)
    except ValueError:
        raise InvalidArgument(f"--rootless {word}: must be true, false or auto") from None


def _refuse_negative(options: Options) -> None:
    if options.number("preserve-fds") < 0:
        raise InvalidArgument("--preserve-fds must not be negative")


def check_console(*, terminal: bool, detached: bool, console_socket: str) -> None:
    """Refuse a pty that nobody would hold, and a console socket that would never be used."""
    if terminal and detached and not console_socket:
        raise InvalidArgument("cannot allocate tty if runc will detach without setting console socket")
    if console_socket and not (terminal and detached):
        raise InvalidArgument("cannot use console socket if runc will not detach or allocate tty")


def listening() -> int:
    """How many sockets a service manager handed to this very process, from descriptor 3 on."""
    if os.getenv("LISTEN_PID") != str(os.getpid()):
        return 0
    count = os.getenv("LISTEN_FDS", "")
    return int(count) if count.isascii() and count.isdigit() and len(count) < 6 else 0


def preserved(options: Options, sockets: int) -> int:
    """How many descriptors from 3 on the process keeps: the sockets and --preserve-fds more."""
    count = sockets + options.number("preserve-fds")
    for descriptor in range(_FIRST_PASSED, _FIRST_PASSED + count):
        try:
            os.fstat(descriptor)
        except OSError:
            raise InvalidArgument(
                f"--preserve-fds: descriptor {descriptor} is not open, of {count} from {_FIRST_PASSED} on"
            ) from None
    return count


def _pass_sockets(config: Config, sockets: int) -> None:
    if sockets:
        environment = config["process"].setdefault("env", [])
        environment += [f"LISTEN_FDS={sockets}", "LISTEN_PID=1"]


def write_pid_file(path: str, pid: int) -> None:
    """Write a pid into a file that appears whole or not at all."""
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, f".{name}.{os.getpid()}")
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        os.write(file, b"%d" % pid)
        os.close(file)
        os.rename(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise


class Request:
    """What create and run have in common: all that is checked before anything is made."""

    def __init__(self, invocation: Invocation, *, detached: bool) -> None:
        options = invocation.options
        self.root = invocation.root
        self.log = invocation.log
        self.container_id = invocation.container_id()
        self.pid_file = os.path.abspath(options.text("pid-file")) if options.text("pid-file") else ""
        self.systemd = invocation.general.switch("systemd-cgroup")
        self.rootless_cgroups = rootless_cgroups(invocation)
        _refuse_negative(invocation.options)
        self.config = _load_config(invocation)
        self.pivot = not options.switch("no-pivot")
        self.keyring = not options.switch("no-new-keyring")
        self.console_socket = options.text("console-socket")
        self.pidfd_socket = options.text("pidfd-socket")
        self.trace_file = os.path.abspath(options.text("trace")) if options.text("trace") else ""
        self.explained = options.switch("explain")
        terminal = self.config["process"].get("terminal", False)
        check_console(terminal=terminal, detached=detached, console_socket=self.console_socket)
        self.readiness = None
        if os.getenv("NOTIFY_SOCKET"):
            from cloche.runtime.face.readiness import Readiness

            self.readiness = Readiness(os.getenv("NOTIFY_SOCKET"))
            self.readiness.configure(self.config, self._folder)
        sockets = listening()
        self.preserve_fds = preserved(options, sockets)
        _pass_sockets(self.config, sockets)

    @property
    def _folder(self) -> str:
        return os.path.join(self.root, self.container_id)

    def explain(self, *, gate: bool) -> int:
        """Print the plan; nothing is made."""
        from cloche.runtime.explain import plan_of

        warnings: list[str] = []
        plan = plan_of(
            self.config,
            self.container_id,
            bundle=os.getcwd(),
            gate=self._folder if gate else "",
            pivot=self.pivot,
            keyring=self.keyring,
            warnings=warnings,
            systemd=self.systemd,
            rootless_cgroups=self.rootless_cgroups,
        )
        for warning in warnings:
            self.log.warning(f"{_CONFIG}: {warning}")
        sys.stdout.write(plan.explain() + "\n")
        return 0

    def create(self, *, gate: bool, stdio: tuple[int, int, int] = (0, 1, 2)) -> tuple[Container, Process]:
        """Make the container. gate: its process waits for start."""
        if not (self.trace_file or self.log.debugging):
            return self._create(gate=gate, stdio=stdio, trace=None)
        from cloche.runtime.trace import Trace

        path = self.trace_file or "/dev/null"
        with open(path, "w", encoding="utf-8", errors="surrogateescape") as file, Trace() as trace:
            try:
                return self._create(gate=gate, stdio=stdio, trace=trace)
            finally:
                file.write(trace.table())
                for line in trace.table().splitlines():
                    self.log.debug(line)

    def _create(
        self, *, gate: bool, stdio: tuple[int, int, int], trace: Trace | None
    ) -> tuple[Container, Process]:
        from cloche.runtime.create import create

        warnings: list[str] = []
        prepare = None
        if self.readiness:
            prepare = self.readiness.make_directory if gate else self.readiness.make_and_listen
        try:
            return create(
                self.root,
                self.container_id,
                self.config,
                bundle=os.getcwd(),
                stdio=stdio,
                preserve_fds=self.preserve_fds,
                gate=gate,
                pivot=self.pivot,
                keyring=self.keyring,
                warnings=warnings,
                trace=trace,
                prepare=prepare,
                systemd=self.systemd,
                rootless_cgroups=self.rootless_cgroups,
            )
        finally:
            for warning in warnings:
                self.log.warning(f"{_CONFIG}: {warning}")

    def _summarize(self, container: Container) -> None:
        """For the launcher, which answers simple questions about what was created by itself."""
        from cloche.runtime.face import summary

        summary.write(container, self.config)

    def create_detached(self, *, gate: bool) -> None:
        """Make the container for somebody else to hold: its pty, if any, goes to the console socket."""
        from cloche.runtime.face.console import ConsoleSocket, PidfdSocket

        with ConsoleSocket(self.console_socket) as socket, PidfdSocket(self.pidfd_socket) as pidfds:
            container, process = self.create(gate=gate)
            try:
                with process:
                    if process.console is not None:
                        socket.send_master(process.console)
                    pidfds.send_process(process.pidfd, b"standard")
                    if self.pid_file:
                        write_pid_file(self.pid_file, process.pid)
                    if self.readiness and not gate:
                        self.readiness.forward(process.pidfd, process.pid)
                    if gate:
                        self._summarize(container)
            except BaseException:
                container.delete(force=True)
                raise


def remove(container: Container, log: Log) -> None:
    """Remove a container whatever it does; nothing happens where somebody else has just done so.

    Both who stands in front of a container and who has checkpointed it remove it.
    """
    try:
        for warning in container.delete(force=True):
            log.warning(warning)
    except NotFound:
        return


def create(invocation: Invocation) -> int:
    """Make a container whose process waits for `start`."""
    request = Request(invocation, detached=True)
    if request.explained:
        return request.explain(gate=True)
    request.create_detached(gate=True)
    return 0


def run(invocation: Invocation) -> int:
    """Make a container and start it; attached, wait for its end and remove it again."""
    detached = invocation.options.switch("detach")
    request = Request(invocation, detached=detached)
    if request.explained:
        return request.explain(gate=False)
    if detached:
        request.create_detached(gate=False)
        return 0
    return in_front(request, keep=invocation.options.switch("keep"))


def in_front(request: Request, *, keep: bool = False) -> int:
    """Make the container and stand in front of it to its end; returns its exit code.

    keep: it is not removed then.
    """
    from cloche.runtime.face.console import PidfdSocket
    from cloche.runtime.face.foreground import Forwarding, fit_terminal, follow
    from cloche.runtime.face.relays import Relays

    fit_terminal(request.config["process"])
    relayed = not request.config["process"].get("terminal", False)
    with (
        PidfdSocket(request.pidfd_socket) as pidfds,
        Relays(wanted=relayed) as relays,
        Forwarding() as forwarding,
    ):
        container, process = request.create(gate=False, stdio=relays.stdio)
        try:
            with process:
                pidfds.send_process(process.pidfd, b"standard")
                if request.pid_file:
                    write_pid_file(request.pid_file, process.pid)
                if request.readiness:
                    request.readiness.forward_meanwhile(process.pidfd)
                status = follow(process, forwarding, relays)
        finally:
            if not keep:
                remove(container, request.log)
    return status


_FLAGS = (
    Flag("bundle", "text", "the bundle's directory (default: the current one)", "b"),
    Flag("console-socket", "text", "unix socket that is sent the pty's master"),
    Flag("pidfd-socket", "text", "unix socket that is sent the process's pidfd"),
    Flag("pid-file", "text", "file to write the process's pid to"),
    Flag("no-pivot", "switch", "do not use pivot_root(2): for a root filesystem on a ramdisk"),
    Flag("no-new-keyring", "switch", "keep the caller's session keyring"),
    Flag("preserve-fds", "number", "how many more descriptors, after the standard ones, the process keeps"),
    Flag("explain", "switch", "print the plan, an operation a line, and carry out nothing"),
    Flag("trace", "text", "file to write each operation's start and duration to"),
)

COMMANDS = {
    "create": Command(
        "make a container from a bundle; its process waits for start",
        "<container-id>",
        create,
        _FLAGS,
        failure="create failed",
    ),
    "run": Command(
        "make a container from a bundle and start it",
        "<container-id>",
        run,
        (
            *_FLAGS,
            Flag("detach", "switch", "leave the container running and return", "d"),
            Flag("keep", "switch", "do not remove the container when its process has ended"),
            Flag("no-subreaper", "switch", "do not adopt the container's orphans (never done)"),
        ),
        failure="run failed",
        description="The exit code is that of the process, 128 and the signal's number where one ended it.",
    ),
}
