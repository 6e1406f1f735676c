"""Executing CNI plugins: found in folders, told by environment and input, and never waited for for ever."""

from __future__ import annotations

import os
import select
import time

from cloche.errors import ClocheError, DeadlineExceeded, FailedPrecondition, NotFound, Unavailable
from cloche.kernel import pidfd
from cloche.spec import document
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Mapping, Sequence
    from typing import Any
else:
    import _signal as signal  # `signal` imports enum

_OUTPUT_LIMIT_BYTES = 4 << 20
_WORDS_LIMIT = 2000
_TRY_AGAIN_LATER = 11
_PLUGIN_NOT_AVAILABLE = (50, 51)


class Call(Record):
    """One call of a plugin, but for its input.

    command: ADD, DEL and so on. netns: a path, empty where there is none (any more).
    args: CNI_ARGS. folders: where plugins are, for plugins that call others.
    """

    command: str
    container_id: str
    netns: str
    interface: str
    args: Mapping[str, str]
    folders: Sequence[str]

    def environment(self) -> dict[str, str]:
        """Ours, since plugins call iptables and the like, with what the specification adds."""
        variables = {name: value for name, value in os.environ.items() if not name.startswith("CNI_")}
        variables["CNI_COMMAND"] = self.command
        variables["CNI_PATH"] = os.pathsep.join(self.folders)
        # GC and STATUS are about no container.
        for name, value in (
            ("CNI_CONTAINERID", self.container_id),
            ("CNI_NETNS", self.netns),
            ("CNI_IFNAME", self.interface),
            ("CNI_ARGS", ";".join(f"{key}={value}" for key, value in self.args.items())),
        ):
            if value:
                variables[name] = value
        return variables


def find(kind: str, folders: Sequence[str]) -> str:
    """The path of a plugin. Raises NotFound, saying where it was looked for."""
    for folder in folders:
        path = f"{folder}/{kind}"
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    raise NotFound(f"CNI plugin {kind!r} is not in {', '.join(folders) or 'any folder'}: install it there")


def execute(call: Call, plugin: Mapping[str, Any], *, timeout_s: float) -> dict[str, Any] | None:
    """Call a plugin; the document that it prints, None where it prints nothing.

    plugin: its input, with its `type`. Raises NotFound where it is missing, DeadlineExceeded where it
    was killed after timeout_s, Unavailable where it asks for another try, FailedPrecondition with
    its own words where it fails, or where what it prints is no JSON object.
    """
    what = f"CNI plugin {plugin['type']!r} ({call.command} of {plugin.get('name', '')!r})"
    path = find(plugin["type"], call.folders)
    try:
        running = _Running(path, call.environment())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FailedPrecondition(f"{what}: {path} cannot be executed: {reason}") from None
    with running:
        status = running.finish(document.dumps(plugin), time.monotonic() + timeout_s)
    if status is None:
        raise DeadlineExceeded(f"{what}: not done after {timeout_s:g} s, and killed")
    output = bytes(running.output).strip()
    if status:
        raise _failure(what, status, output, bytes(running.errors))
    if not output:
        return None
    try:
        printed = document.loads(output, "its output")
    except ClocheError as error:
        raise FailedPrecondition(f"{what}: {error}") from None
    if not isinstance(printed, dict):
        raise FailedPrecondition(f"{what}: its output is no JSON object")
    return printed


def _failure(what: str, status: int, output: bytes, errors: bytes) -> ClocheError:
    """A plugin's error as it worded it; what it left on stderr where it did not."""
    try:
        said = document.loads(output, "") if output else {}
    except ClocheError:
        said = {}
    if not isinstance(said, dict):
        said = {}
    code, words = said.get("code"), said.get("msg")
    parts = [part for part in (words, said.get("details")) if isinstance(part, str) and part]
    if not parts:
        shown = (errors.strip() or output).decode(errors="replace")
        parts = [f"exit status {status}", *([shown] if shown else [])]
    text = " ".join(": ".join(parts).split())[:_WORDS_LIMIT]
    again = code == _TRY_AGAIN_LATER or code in _PLUGIN_NOT_AVAILABLE
    return (Unavailable if again else FailedPrecondition)(f"{what}: {text}")


class _Running:
    """A plugin's process in a session of its own, so that it is killed with all that it has called."""

    def __init__(self, path: str, environment: dict[str, str]) -> None:
        pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(3)]
        theirs = [pipes[0][0], pipes[1][1], pipes[2][1]]
        self._input, *outputs = pipes[0][1], pipes[1][0], pipes[2][0]
        self.output, self.errors = bytearray(), bytearray()
        self._kept = {outputs[0]: self.output, outputs[1]: self.errors}
        try:
            actions = [(os.POSIX_SPAWN_DUP2, end, number) for number, end in enumerate(theirs)]
            defaults = [signal.SIGPIPE, signal.SIGXFSZ]
            self._pid = os.posix_spawn(
                path, [path], environment, file_actions=actions, setsigdef=defaults, setsid=True
            )
            self._process = pidfd.open(self._pid)
        except BaseException:
            self._process = -1
            self._close()
            raise
        finally:
            for end in theirs:
                os.close(end)
        for end in (self._input, *outputs):
            os.set_blocking(end, False)

    def __enter__(self) -> _Running:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process >= 0:
            self._kill()
        self._close()

    def finish(self, data: bytes, deadline: float) -> int | None:
        """Feed it and collect what it prints until it ends: its status, None where it was killed.

        What its own children still print after its end is nobody's.
        """
        poll = select.poll()
        poll.register(self._process, select.POLLIN)
        poll.register(self._input, select.POLLOUT)
        for end in self._kept:
            poll.register(end, select.POLLIN)
        while True:
            left_ms = (deadline - time.monotonic()) * 1000
            if left_ms <= 0 or sum(map(len, self._kept.values())) > _OUTPUT_LIMIT_BYTES:
                return None
            events = poll.poll(left_ms)
            for end, _ in events:
                if end == self._input:
                    data = self._feed(data, poll)
                elif end in self._kept and not self._collect(end):
                    poll.unregister(end)
            if any(end == self._process for end, _ in events):
                for end in self._kept:
                    self._collect(end)
                return self._reap()

    def _feed(self, data: bytes, poll: select.poll) -> bytes:
        """The part of the data that is left. A plugin need not read it."""
        try:
            data = data[os.write(self._input, data) :]
        except BlockingIOError:
            return data
        except OSError:
            data = b""
        if not data:
            poll.unregister(self._input)
            os.close(self._input)
            self._input = -1
        return data

    def _collect(self, end: int) -> bool:
        """Take what is there; False at the end."""
        while len(self._kept[end]) <= _OUTPUT_LIMIT_BYTES:
            try:
                part = os.read(end, 1 << 16)
            except BlockingIOError:
                return True
            if not part:
                return False
            self._kept[end] += part
        return True

    def _kill(self) -> None:
        """With its session, which cannot be another's while it was not waited for."""
        os.killpg(self._pid, signal.SIGKILL)
        self._reap()

    def _reap(self) -> int:
        ended = pidfd.wait(self._process)
        os.close(self._process)
        self._process = -1
        return ended.status if ended else 0

    def _close(self) -> None:
        for end in (self._input, *self._kept):
            if end >= 0:
                os.close(end)
        self._input = -1
        self._kept = {}
