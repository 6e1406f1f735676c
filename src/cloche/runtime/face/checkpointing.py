"""`checkpoint` and `restore`: a container's processes into files and back, which criu does."""

from __future__ import annotations

import fcntl
import os

from cloche.errors import FailedPrecondition, InvalidArgument
from cloche.runtime.face.arguments import Flag
from cloche.runtime.face.creation import Request, in_front, remove
from cloche.runtime.face.invocation import Command, Invocation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from cloche.runtime.container import Container, Process
    from cloche.runtime.face.arguments import Options

_DEFAULT_PLACE = "checkpoint"


def _common(options: Options) -> dict[str, Any]:
    """What both commands have. Relative paths count from here, whatever the bundle is."""
    for kind in options.texts("empty-ns"):
        if kind != "network":
            raise InvalidArgument(f'--empty-ns: namespace "{kind}" is not supported: only network is')
    work = options.text("work-path")
    return {
        "image_path": os.path.abspath(options.text("image-path") or _DEFAULT_PLACE),
        "work_path": os.path.abspath(work) if work else "",
        "tcp_established": options.switch("tcp-established"),
        "ext_unix_sk": options.switch("ext-unix-sk"),
        "shell_job": options.switch("shell-job"),
        "file_locks": options.switch("file-locks"),
        "manage_cgroups_mode": options.text("manage-cgroups-mode"),
        "auto_dedup": options.switch("auto-dedup"),
        "lazy_pages": options.switch("lazy-pages"),
    }


def page_server(word: str) -> tuple[str, int] | None:
    """ADDRESS:PORT, where an IPv6 address stands in brackets; None for nothing. Raises InvalidArgument."""
    if not word:
        return None
    address, _, port = word.rpartition(":")
    bracketed = address.startswith("[") and address.endswith("]")
    if not address or not port or (":" in address and not bracketed):
        raise InvalidArgument(f"--page-server {word}: use --page-server ADDRESS:PORT to specify page server")
    if not (port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 1 << 16):
        raise InvalidArgument(f"--page-server {word}: invalid port number")
    return (address[1:-1] if bracketed else address), int(port)


def _status(options: Options) -> int:
    """The descriptor that is told when lazy pages can be fetched; -1 for none."""
    if not options.given("status-fd") or not options.switch("lazy-pages"):
        return -1
    descriptor = options.number("status-fd")
    if descriptor < 0:
        return -1
    try:
        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    except OSError as error:
        raise InvalidArgument(f"invalid --status-fd argument {descriptor}: {error.strerror}") from None
    if flags & os.O_ACCMODE == os.O_RDONLY:
        raise InvalidArgument(f"invalid --status-fd argument {descriptor}: not writable")
    return descriptor


def _teller(descriptor: int) -> Callable[[], None]:
    """Tell once, and let go: whoever waits there for the end has it."""

    def tell() -> None:
        try:
            os.write(descriptor, b"\0")
        except OSError:
            pass  # whoever asked to be told is gone, and the pages are there all the same
        finally:
            os.close(descriptor)

    return tell


def _warn_without_root(invocation: Invocation) -> None:
    if os.geteuid() != 0:
        invocation.log.warning("criu needs root for containers: this is not known to work without")


def checkpoint(invocation: Invocation) -> int:
    """Write a running container into files; it ends by that, unless it is to go on."""
    from cloche.runtime.criu.options import CheckpointOptions

    options = invocation.options
    _warn_without_root(invocation)
    container = invocation.container()
    status = container.status()
    if status not in ("running", "paused"):
        raise FailedPrecondition(
            f"Container cannot be checkpointed in {status} state: only one that runs, or is paused"
        )
    wanted = CheckpointOptions(
        **_common(options),
        leave_running=options.switch("leave-running"),
        pre_dump=options.switch("pre-dump"),
        parent_path=options.text("parent-path"),
        page_server=page_server(options.text("page-server")),
        tcp_skip_in_flight=options.switch("tcp-skip-in-flight"),
        link_remap=options.switch("link-remap"),
    )
    descriptor = _status(options)
    container.checkpoint(wanted, ready=_teller(descriptor) if descriptor >= 0 else None)
    if not (wanted.leave_running or wanted.pre_dump):
        remove(container, invocation.log)
    return 0


class _Restoring(Request):
    """A container that is made from a checkpoint."""

    def __init__(self, invocation: Invocation, *, detached: bool) -> None:
        from cloche.runtime.criu.options import RestoreOptions

        options = invocation.options
        self.wanted = RestoreOptions(
            **_common(options),
            lsm_profile=options.text("lsm-profile"),
            lsm_mount_context=options.text("lsm-mount-context"),
        )
        super().__init__(invocation, detached=detached)
        self.notifying, self.readiness = self.readiness, None

    def create(self, *, gate: bool, stdio: tuple[int, int, int] = (0, 1, 2)) -> tuple[Container, Process]:
        """Restore. gate: there is none, the process is past it."""
        from cloche.runtime.criu.restore import restore

        return restore(
            self.root,
            self.container_id,
            self.config,
            bundle=os.getcwd(),
            options=self.wanted,
            stdio=stdio,
            # It has told its readiness long ago; only the place where it did so has to be there.
            prepare=self.notifying.make_directory if self.notifying else None,
            systemd=self.systemd,
        )


def restore(invocation: Invocation) -> int:
    """Make a container from a checkpoint; attached, wait for its end and remove it again."""
    _warn_without_root(invocation)
    detached = invocation.options.switch("detach")
    request = _Restoring(invocation, detached=detached)
    if detached:
        request.create_detached(gate=False)
        return 0
    return in_front(request)


_IMAGE = Flag("image-path", "text", "folder of the checkpoint (default: ./checkpoint)")
_COMMON = (
    Flag("work-path", "text", "folder for criu's logs and statistics (default: that of the checkpoint)"),
    Flag("tcp-established", "switch", "allow open TCP connections"),
    Flag("ext-unix-sk", "switch", "allow unix sockets that are connected to outside"),
    Flag("shell-job", "switch", "allow a terminal that is not the container's own"),
    Flag("lazy-pages", "switch", "memory pages are fetched when they are used (userfaultfd)"),
    Flag("file-locks", "switch", "allow locks on files"),
    Flag("manage-cgroups-mode", "text", "soft, full, strict or ignore (default: soft)"),
    Flag("empty-ns", "texts", "kind of namespace that is made anew and left empty: network, which always is"),
    Flag("auto-dedup", "switch", "give back what later images of memory make superfluous"),
)

COMMANDS = {
    "checkpoint": Command(
        "write a running container into files",
        "<container-id>",
        checkpoint,
        (
            _IMAGE,
            *_COMMON,
            Flag("parent-path", "text", "folder of an earlier pre-dump, relative to --image-path"),
            Flag("leave-running", "switch", "the container goes on afterwards"),
            Flag("tcp-skip-in-flight", "switch", "leave out connections that are not accepted yet"),
            Flag("link-remap", "switch", "give files that were removed while open a name again"),
            Flag("status-fd", "number", "descriptor that gets a zero byte when lazy pages can be fetched"),
            Flag("page-server", "text", "ADDRESS:PORT of the page server that memory is sent to"),
            Flag("pre-dump", "switch", "memory alone, ahead of a checkpoint; the container goes on"),
        ),
        description="criu (https://criu.org) does the work. The container is removed unless it goes on.",
    ),
    "restore": Command(
        "make a container from a checkpoint, its processes as they were",
        "<container-id>",
        restore,
        (
            _IMAGE,
            *_COMMON,
            Flag("console-socket", "text", "unix socket that is sent the pty's master"),
            Flag("bundle", "text", "the bundle's directory (default: the current one)", "b"),
            Flag("detach", "switch", "leave the container running and return", "d"),
            Flag("pid-file", "text", "file to write the process's pid to"),
            Flag("no-subreaper", "switch", "do not adopt the container's orphans (never done)"),
            Flag("no-pivot", "switch", "taken, and of no consequence: criu decides how the root is changed"),
            Flag("lsm-profile", "text", "TYPE:NAME of the security label that processes get"),
            Flag("lsm-mount-context", "text", "security label that mounts get"),
        ),
        description="The exit code is that of the process, 128 and the signal's number where one ended it.",
    ),
}
