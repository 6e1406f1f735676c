"""A transfer that the daemon makes, and the streams that it uses meanwhile.

this thread       Transfer ─────────────────────────────▶ answered when all is done
others, each      Stream: progress ◀──, credentials ◀─▶, an archive ◀── or ──▶
with a connection
"""

from __future__ import annotations

import os
from time import monotonic

from cloche.errors import ClocheError
from cloche.wire.messages import transfer as messages
from cloche.wire.messages.google import Any
from cloche.wire.messages.streaming import STREAMING, StreamInit
from cloche.wire.messages.transfer_service import TRANSFER, TransferOptions, TransferRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Thread

    from cloche.cli.ctr.daemon import Daemon
    from cloche.cli.ctr.transfer_progress import Display
    from cloche.daemon.blocking_client import BlockingCall
    from cloche.image.credentials import Credentials
    from cloche.wire.protobuf import Message

_CHUNK_BYTES = 32 << 10
_WINDOW_BYTES = 4 << 20
# containerd does not end the streams that it sends over. When the transfer is answered, what is on its
# way comes at once, and the end is when nothing came for so long.
_LAST_NEWS_S = 0.1
_LAST_BYTES_S = 0.5


class Transfer:
    """One transfer; its streams are opened first, and named in what is transferred."""

    def __init__(self, daemon: Daemon, display: Display) -> None:
        self._daemon = daemon
        self._display = display
        self._threads: list[tuple[Thread, float]] = []
        self._heard = 0.0
        self._failures: list[Exception] = []

    def run(self, source: Message, destination: Message) -> None:
        """Have it done. Raises what the daemon answers; Unimplemented where it knows no transfers."""
        name = self._stream("progress", self._listen, _LAST_NEWS_S)
        request = TransferRequest(
            source=Any.pack(source),
            destination=Any.pack(destination),
            options=TransferOptions(progress_stream=name),
        )
        self._daemon.ask(TRANSFER, "Transfer", request)
        self._heard = monotonic()
        for thread, patience_s in self._threads:
            while thread.is_alive() and (left_s := self._heard + patience_s - monotonic()) > 0:
                thread.join(left_s)
        self._display.close()
        for failure in self._failures:
            raise failure

    def credentials(self, shown: Credentials) -> str:
        """The name of a stream over which the daemon asks for credentials."""
        return self._stream("auth", lambda call: _answer(call, shown), 0)

    def upload(self, read: Callable[[int], bytes]) -> str:
        """The name of a stream that bytes are sent over; `read` gives none at the end."""
        return self._stream("import", lambda call: _upload(call, read), 0)

    def download(self, write: Callable[[bytes], object]) -> str:
        """The name of a stream that bytes come over."""

        def taken(data: bytes) -> None:
            self._heard = monotonic()
            write(data)

        return self._stream("export", lambda call: _download(call, taken), _LAST_BYTES_S)

    def _stream(self, kind: str, work: Callable[[BlockingCall], None], patience_s: float) -> str:
        """Open a stream, and work on it in a thread; its name."""
        from threading import Thread

        name = f"{kind}-{os.urandom(8).hex()}"
        call = self._daemon.another().open(STREAMING, "Stream")
        call.send(Any.pack(StreamInit(id=name)))
        call.receive()
        thread = Thread(target=self._carry_out, args=(work, call), daemon=True)
        thread.start()
        self._threads.append((thread, patience_s))
        return name

    def _carry_out(self, work: Callable[[BlockingCall], None], call: BlockingCall) -> None:
        try:
            work(call)
        except ClocheError:
            pass  # the daemon ended the stream: why, is what the transfer is answered with
        except OSError as error:
            self._failures.append(error)
            call.cancel()

    def _listen(self, call: BlockingCall) -> None:
        for packed in call:
            if packed.type_name == messages.Progress.FULL_NAME:
                self._display.show(messages.Progress.decode(packed.value))


def _answer(call: BlockingCall, shown: Credentials) -> None:
    for packed in call:
        if packed.type_name != messages.AuthRequest.FULL_NAME:
            continue
        if shown.identity_token:
            answer = messages.AuthResponse(authType=messages.REFRESH, secret=shown.identity_token)
        else:
            answer = messages.AuthResponse(
                authType=messages.CREDENTIALS, username=shown.username, secret=shown.password
            )
        call.send(Any.pack(answer))


def _upload(call: BlockingCall, read: Callable[[int], bytes]) -> None:
    allowed = 0
    while data := read(_CHUNK_BYTES):
        while allowed <= 0:
            packed = call.receive()
            if packed is None:
                return
            if packed.type_name == messages.WindowUpdate.FULL_NAME:
                allowed += messages.WindowUpdate.decode(packed.value).update
        call.send(Any.pack(messages.Data(data=data)))
        allowed -= len(data)
    call.end()
    call.receive()


def _download(call: BlockingCall, write: Callable[[bytes], object]) -> None:
    call.send(Any.pack(messages.WindowUpdate(update=_WINDOW_BYTES)))
    taken = 0
    for packed in call:
        if packed.type_name != messages.Data.FULL_NAME:
            continue
        data = messages.Data.decode(packed.value).data
        write(data)
        taken += len(data)
        if taken >= _WINDOW_BYTES // 4:
            call.send(Any.pack(messages.WindowUpdate(update=taken)))
            taken = 0
