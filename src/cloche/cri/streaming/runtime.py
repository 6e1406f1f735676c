"""What the streaming server needs from those who run containers.

They hand over descriptors, and the server moves the bytes: it reads from one only while the client
takes what it read before, so that a slow client holds up the program and not the daemon's memory.
"""

from __future__ import annotations

from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Protocol

    class Process(Protocol):
        """Something that runs in a container, for one session of a client.

        stdin: a descriptor to write to; stdout, stderr: descriptors to read from, of pipes, fifos,
        sockets or terminals. None where the request did not ask for it, and for the stderr of what has
        a terminal. The server makes them nonblocking and closes them, each as soon as it is at its end; no
        two are the same number.
        """

        stdin: int | None
        stdout: int | None
        stderr: int | None

        async def close_stdin(self) -> None:
            """The client has said everything, and our descriptor is closed: let the program see the end.

            For shims that hold the fifo open themselves (CloseIO).
            """

        async def resize(self, width: int, height: int) -> None:
            """The client's terminal has so many columns and rows now. What has no terminal ignores it."""

        async def wait(self) -> int:
            """The exit code, once it has ended; 128 and the signal where one ended it.

            Output may still be on its way then: the server reads it until it ends.
            """

        async def close(self) -> None:
            """The session is over: called once, last, also where the client went before the program ended.

            What was started for the client alone is hung up on then; what was attached to goes on.
            """

    class StreamingRuntime(Protocol):
        """Who runs containers. Errors are those of cloche.errors, whose text the client is shown."""

        async def exec(self, request: ExecRequest) -> Process:
            """Start a program in a container. Raises NotFound, FailedPrecondition where it does not run, and
            ClocheError where the program cannot be started.
            """

        async def attach(self, request: AttachRequest) -> Process:
            """Join the streams of a container's first process, from now on. Raises as `exec`."""

        async def connect(self, sandbox: str, port: int) -> socket.socket:
            """Connect to a TCP port on the loopback interface of a pod, IPv4 before IPv6. The socket is ours,
            and nonblocking. Raises NotFound for the pod, Unavailable where nobody listens.
            """


class AttachRequest(Record):
    """Which streams of a container a client wants. With a terminal, stderr is part of stdout."""

    container: str
    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    terminal: bool = False


class ExecRequest(AttachRequest):
    """A program to start in a container. command: it and its arguments, looked up as the container does."""

    command: tuple[str, ...] = ()


class ForwardRequest(Record):
    """Connections to a pod's ports. ports: what may be connected to; none for any, as the client says."""

    sandbox: str
    ports: tuple[int, ...] = ()
