"""How a process becomes a shim: from what `start` was told to the answer, and then to serving.

    start (or the warm parent)          the shim to be
    fork, fork ───────────────────────▶ own session; what the caller has: limits, cgroups, …
                                        reads the parameters, chooses the group
                                        is one listening for this group already?
    prints ◀─────────────────────────── the address (of that one, or of its own new socket)
    ends                                serves until Shutdown

Nothing but this process is ever half a shim: where it fails it says so in its answer, takes the
socket away and ends.
"""

from __future__ import annotations

import os
from os import path as paths
from stat import S_ISFIFO

from cloche.errors import ClocheError, FailedPrecondition, InvalidArgument
from cloche.shim import bootstrap, bundle, sockets
from cloche.shim.caller import create_cookie
from cloche.shim.holder import Gone, Holder
from cloche.shim.serving import Settings, serve, serve_again
from cloche.shim.title import set_title
from cloche.spec.document import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable, Mapping, Sequence
    from typing import NoReturn

    from cloche.shim.bootstrap import Params
    from cloche.shim.caller import Caller

    Answer = Callable[[int, bytes], None]

NAME = "containerd-shim-cloche-v1"
GROUP_ANNOTATIONS = ("io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id")
"""Containers with the same value share a shim; the first of these that a container has counts."""

SUCCEEDED, FAILED = 0, 1
"""How `start` ends: with the answer on standard output, or on standard error."""

_SHORTEST_REST_S, _LONGEST_REST_S = 0.1, 86400.0
_INPUT_LIMIT = 10 << 20
_CONFIG_LIMIT = 16 << 20


class Beginning:
    """One `start`, in the process that may become the shim and has taken over what the caller has.

    program: the command's path; words: of its command line, without the program.
    """

    def __init__(
        self, caller: Caller, program: str, words: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        self._caller = caller
        self._program = program
        self._words = words
        self._environment = environment

    def run(self, stdin: int, answer: Answer) -> NoReturn:
        """Answer and serve.

        stdin: what the caller has as standard input; -1 for none. answer(status, data): tells the
        caller, once.
        """
        try:
            settings, listener, form = self._prepare(stdin)
        except (ClocheError, OSError, ValueError) as error:
            answer(FAILED, f"{NAME}: {error}\n".encode(errors="surrogateescape"))
            os._exit(FAILED)
        data = bootstrap.encode_answer(form, f"unix://{settings.socket_path}")
        try:
            answer(SUCCEEDED, data)
        except OSError:
            # Nobody waits for this shim any more, so nobody would ever end it.
            if listener:
                sockets.remove(settings.socket_path)
            os._exit(FAILED)
        if listener is None:
            os._exit(SUCCEEDED)
        serve(settings, listener, self._program)

    def _prepare(self, stdin: int) -> tuple[Settings, socket | None, str]:
        os.setsid()
        flags = bootstrap.parse_flags(self._words)
        params = bootstrap.parse_input(flags, self._environment, read_input(stdin))
        path = sockets.path_of(params.socket_dir, params.address, params.namespace, group_of(params))
        settings = Settings(
            params.shim_id,
            params.namespace,
            params.address,
            params.ttrpc_address,
            os.getcwd(),
            path,
            params.publish_binary,
            params.debug,
            3 if params.answer == bootstrap.MESSAGE else 2,
            rest_s=rest_of(self._environment),
            guarded=bool(self._environment.get(bootstrap.GUARDED)),
        )
        listener = sockets.claim(path)
        try:
            self._settle(params, settings, joins=listener is None)
        except BaseException:
            if listener:
                sockets.remove(path)
            raise
        return settings, listener, params.answer

    def _settle(self, params: Params, settings: Settings, *, joins: bool) -> None:
        """Leave the files that containerd and `delete` look for, and take the place meant for a shim."""
        bundle.write(settings.bundle, bundle.ADDRESS, f"unix://{settings.socket_path}".encode())
        if joins:
            return
        self._caller.enter_cgroups(params.options.shim_cgroup if params.options else "")
        self._caller.hand_down_score()
        if self._environment.get("SCHED_CORE"):
            _create_cookie()
        open_log()
        set_title([NAME, *settings.words()])


def wake(caller: Caller | None, link: int, words: Sequence[str]) -> NoReturn:
    """Be the worker of a holder that has woken us, and serve on.

    caller: the holder, whose place is to be taken; None where we are its child. link: our end of the link
    to it. words: of its command line.
    """
    if os.getsid(0) != os.getpid():
        os.setsid()
    try:
        holder, descriptors = Holder.take_over(link)
    except Gone:
        os._exit(FAILED)
    if caller is not None:
        caller.enter_cgroups("")
        caller.hand_down_score(0)
        caller.close()
    open_log()
    set_title([NAME, *words[1:-1]])
    serve_again(holder, descriptors)


def rest_of(environment: Mapping[str, str]) -> float:
    """After how many seconds a worker rests. Raises InvalidArgument."""
    text = environment.get(bootstrap.REST) or "2"
    try:
        rest_s = float(text)
    except ValueError:
        rest_s = 0.0
    if not _SHORTEST_REST_S <= rest_s < _LONGEST_REST_S:
        raise InvalidArgument(
            f"{bootstrap.REST}={text}: a number of seconds, from {_SHORTEST_REST_S:g} to a day"
        )
    return rest_s


def _create_cookie() -> None:
    try:
        create_cookie()
    except OSError as error:
        raise FailedPrecondition(
            f"SCHED_CORE is set, and the kernel says {error.strerror}: it needs CONFIG_SCHED_CORE and "
            "a processor with several threads a core"
        ) from None


def open_log() -> None:
    """Make containerd's fifo for a shim's words, `log` in the bundle, our standard error.

    Opened for both directions: so it needs no reader now, and outlives one that is restarted. What
    finds no room in it is lost, rather than waited for.
    """
    try:
        descriptor = os.open("log", os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return
    if S_ISFIFO(os.fstat(descriptor).st_mode):
        os.dup2(descriptor, 2)
    os.close(descriptor)


def read_input(descriptor: int) -> bytes:
    """All of the standard input, up to 10 MiB; what is beyond is not read."""
    parts = []
    left = _INPUT_LIMIT if descriptor >= 0 else 0
    while left and (part := os.read(descriptor, min(left, 1 << 16))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def group_of(params: Params) -> str:
    """The name that containers of one shim have in common, from config.json in the working directory.

    Those run by different programs never share: a pod's sandbox may be runc's business and one of
    its containers gVisor's. Raises InvalidArgument or OSError where config.json cannot be read.
    """
    with open("config.json", "rb", buffering=0) as file:
        if os.fstat(file.fileno()).st_size > _CONFIG_LIMIT:
            raise InvalidArgument(f"config.json: larger than {_CONFIG_LIMIT} bytes")
        text = file.readall()
    # Most containers are in no group: reading this whole document would take longer than all the rest.
    if not any(name.encode() in text for name in GROUP_ANNOTATIONS):
        return params.shim_id
    config = loads(text, "config.json")
    annotations = config.get("annotations") if isinstance(config, dict) else None
    for name in GROUP_ANNOTATIONS:
        group = (annotations or {}).get(name)
        if group and isinstance(group, str):
            binary = params.options.binary_name if params.options else ""
            return group if binary in ("", "runc") else paths.join(group, "binary", binary.lstrip("/"))
    return params.shim_id
