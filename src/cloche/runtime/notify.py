"""Seccomp's user notifications: the filter's listener goes to an agent (runtime-spec, `listenerPath`).

Once the filter is loaded, any system call of the container's process may be one that the agent has
to answer, which does not have the listener yet. So the process says the listener's number in a page
of memory it shares with us; we copy the descriptor out of it, send it on, and answer in that page.

The filter is loaded before the gate of `create` even with no_new_privs, as runc does it: whoever
calls `start` later is another process, and need not be able to reach the agent.
"""

from __future__ import annotations

import fcntl
import os
import select
import time
from _socket import AF_UNIX, SCM_RIGHTS, SO_SNDTIMEO, SOCK_CLOEXEC, SOCK_STREAM, SOL_SOCKET, socket
from _struct import pack

from cloche.errors import FailedPrecondition, InvalidArgument, Unavailable
from cloche.kernel.syscalls import pidfd_getfd
from cloche.runtime.caller import CallerOperation, Performing
from cloche.runtime.facts import Listener
from cloche.runtime.hooks import state_document
from cloche.spec import document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.runtime.operations import Slot
    from cloche.spec.config import Config

PAGE_SIZE = 4096
_FLAG_NEW_LISTENER = 8
# Well below the time for which init is ready to wait (native/process.h, HANDOVER_TURNS).
_PATIENCE_S = 3

_F_ADD_SEALS = 1033
_F_SEAL_SHRINK, _F_SEAL_GROW = 2, 4


def listener(
    config: Config, flags: int, container_id: str, *, bundle: str, status: str, pid: int = 0
) -> Listener | None:
    """Where the listener of a compiled filter goes; None where no action of it notifies anybody.

    flags: of the compiled filter. pid: the container's own process; 0: the one being made.
    Raises InvalidArgument when the configuration does not say where to.
    """
    if not flags & _FLAG_NEW_LISTENER:
        return None
    seccomp = config["linux"]["seccomp"]
    path = seccomp.get("listenerPath")
    if not path:
        raise InvalidArgument(
            "config.json: linux.seccomp.listenerPath: is needed where an action is SCMP_ACT_NOTIFY"
        )
    state = state_document(config, container_id, bundle=bundle, status=status, pid=pid)
    return Listener(path, seccomp.get("listenerMetadata", ""), document.dumps(state))


class MakeHandover(CallerOperation):
    """A page of memory that can change neither size nor place."""

    slot: Slot

    def perform(self, performing: Performing) -> None:
        """See the class."""
        page = os.memfd_create("cloche-handover", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        performing.descriptors[self.slot] = page
        os.truncate(page, PAGE_SIZE)
        fcntl.fcntl(page, _F_ADD_SEALS, _F_SEAL_SHRINK | _F_SEAL_GROW)


class SendListener(CallerOperation):
    """Copy the listener out of the process, send it to the agent, and let the process go on."""

    handover: Slot
    listener: Listener

    def perform(self, performing: Performing) -> None:
        """See the class."""
        page = performing.descriptors[self.handover]
        number = _number_of_listener(page, performing.pidfd)
        if number is None:
            return  # the process ended, and says why in a record of its own
        descriptor = pidfd_getfd(performing.pidfd, number)
        try:
            if os.readlink(f"/proc/self/fd/{descriptor}") != "anon_inode:seccomp notify":
                raise FailedPrecondition("cloche-init named a descriptor that is no seccomp listener")
            _send(self.listener.path, self._message(performing.pid), descriptor)
        finally:
            os.close(descriptor)
        os.pwrite(page, (1).to_bytes(4, "little"), 4)

    def describe(self) -> str:
        """One line for people."""
        return f"send the filter's listener to {self.listener.path!r}"

    def _message(self, pid: int) -> bytes:
        """The ContainerProcessState."""
        state = document.loads(self.listener.state, "state")
        state["pid"] = state["pid"] or pid
        message = {"ociVersion": state["ociVersion"], "fds": ["seccompFd"], "pid": pid}
        if self.listener.metadata:
            message["metadata"] = self.listener.metadata
        return document.dumps(message | {"state": state})


def _number_of_listener(page: int, pidfd: int) -> int | None:
    """Wait for the process to load its filter; None when it ends instead."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    deadline = time.monotonic() + _PATIENCE_S
    pause_ms = 0
    while True:
        word = int.from_bytes(os.pread(page, 4, 0), "little")
        # Twice the same: not half of a number.
        if word and word == int.from_bytes(os.pread(page, 4, 0), "little"):
            return word - 1
        if poll.poll(pause_ms):
            return None
        if time.monotonic() > deadline:
            raise Unavailable(
                "cloche-init does not load its seccomp filter: try again on a less busy machine"
            )
        pause_ms = 1


def _send(path: str, message: bytes, descriptor: int) -> None:
    rights = [(SOL_SOCKET, SCM_RIGHTS, descriptor.to_bytes(4, "little"))]
    agent = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)
    try:
        # Not settimeout(): without blocking, an agent whose queue is full is not waited for at all.
        agent.setsockopt(SOL_SOCKET, SO_SNDTIMEO, pack("@2l", _PATIENCE_S, 0))
        agent.connect(path)
        sent = agent.sendmsg([message], rights)
        agent.sendall(message[sent:])
    except BlockingIOError:
        raise Unavailable(
            f"config.json: linux.seccomp.listenerPath: nobody accepts at {path!r}: is the agent alive?"
        ) from None
    finally:
        agent.close()
