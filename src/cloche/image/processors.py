"""Stream processors: programs that turn layers of other media types into ordinary ones.

    blob ──▶ stdin PROGRAM stdout ──▶ (the next one, by what the last returns) ──▶ layer.apply

As containerd runs them: with STREAM_PROCESSOR_MEDIATYPE in the environment, and what a client sent along for
the program to be read from descriptor 3. Each is asked once for a layer at most, the one for a type that is
named last in the configuration first.
"""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import contextmanager
from threading import Thread

from cloche.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument, ResourceExhausted
from cloche.image.layer import LayerLimits
from cloche.spec import image as documents
from cloche.spec.fields import Fields
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from cloche.image.compression import Source

IDLE_S = 60.0
_PIECE_BYTES = 1 << 16
_SAID_BYTES = 16 << 10
_FAREWELL_S = 5.0
_PAYLOAD_DESCRIPTOR = 3


class Processor(Record):
    """A program that takes layers of the types `accepts` and writes one of the type `returns`.

    path: a name to be found in PATH, or a path. env: NAME=VALUE, beside our own environment.
    """

    name: str
    accepts: tuple[str, ...]
    returns: str
    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()


class Processors(Record):
    """All that are configured. idle_s: how long one may neither read nor write, in seconds."""

    each: tuple[Processor, ...] = ()
    idle_s: float = IDLE_S

    def chain(self, media_type: str) -> tuple[Processor, ...]:
        """Who is asked for a layer of a type, in this order. Raises InvalidArgument where no layer comes out.

        An ordinary layer that no processor wants needs none.
        """
        found: list[Processor] = []
        current = media_type
        while following := self._following(current, found):
            found.append(following)
            current = following.returns
        if not documents.is_layer(current):
            through = f", as {found[-1].name} returns it," if found else ""
            raise InvalidArgument(f"type {current[:100]!r}{through} is no layer")
        if current.endswith("+encrypted"):
            raise InvalidArgument(
                f"type {current[:100]!r} is encrypted: "
                "[stream_processors] of the configuration needs a program for it"
            )
        return tuple(found)

    def _following(self, media_type: str, used: Sequence[Processor]) -> Processor | None:
        for processor in reversed(self.each):
            if media_type in processor.accepts and processor not in used:
                return processor
        return None

    @contextmanager
    def opened(
        self,
        blob: Source,
        media_type: str,
        *,
        layer: str,
        limits: LayerLimits | None = None,
        payloads: Mapping[str, bytes] | None = None,
    ) -> Iterator[Source]:
        """The bytes of an ordinary layer; leaving the block ends the programs.

        layer: its name in messages. payloads: what each processor reads from descriptor 3, by its name.
        Raises InvalidArgument for a type that does not become a layer. Reading raises FailedPrecondition
        where a program fails, DeadlineExceeded where one stands still, ResourceExhausted for too much.
        """
        running: list[_Running] = []
        source = blob
        try:
            for processor in self.chain(media_type):
                payload = (payloads or {}).get(processor.name)
                what = f"{layer}: stream processor {processor.name!r}"
                allowed = limits or LayerLimits()
                source = _Running(processor, source, media_type, what, allowed, payload, self.idle_s)
                running.append(source)
                media_type = processor.returns
            yield source
        finally:
            for each in running:
                each.kill()
            for each in reversed(running):
                each.close()


NONE = Processors()


def configured(path: str) -> Processors:
    """What a config.toml says of them, without what it imports; none where there is no file.

    Raises InvalidArgument for what cannot be used, FailedPrecondition where it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            import tomllib

            document = Fields.of(tomllib.load(file), path)
    except FileNotFoundError:
        return NONE
    except OSError as error:
        raise FailedPrecondition(f"{path}: cannot be read: {(error.strerror or '').lower()}") from None
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{path}: is no TOML: {str(error)[:200]}") from None
    tables: dict[str, dict[str, Any]] = {}
    for name, value in (document.nested("stream_processors") or {}).items():
        table = Fields.of(value, f"{path}: stream_processors.{name}")
        tables[name] = {key: table.strings(key) for key in ("accepts", "args", "env")}
        tables[name] |= {key: table.string(key) for key in ("returns", "path")}
    return of_tables(tables)


def of_tables(tables: Mapping[str, Any]) -> Processors:
    """What `stream_processors` of a configuration says, its types being checked already.

    Raises InvalidArgument for one that cannot work.
    """
    found = []
    for name, table in tables.items():
        place = f"stream_processors.{name}"
        for key in ("accepts", "returns", "path"):
            if not table.get(key):
                raise InvalidArgument(f"{place}.{key}: is needed")
        for variable in table.get("env", ()):
            if "=" not in variable.removeprefix("="):
                raise InvalidArgument(f"{place}.env: {variable!r}: must be NAME=VALUE")
        found.append(
            Processor(
                name,
                tuple(table["accepts"]),
                table["returns"],
                table["path"],
                tuple(table.get("args", ())),
                tuple(table.get("env", ())),
            )
        )
    return Processors(tuple(found))


class _Running:
    """One program at work: a source of what it writes, and a thread that feeds it.

    When it writes no more, it is reaped by whoever reads from it: the feeder of the next one, or the layer's
    extraction. `close` comes when both are over.
    """

    def __init__(
        self,
        processor: Processor,
        source: Source,
        media_type: str,
        what: str,
        limits: LayerLimits,
        payload: bytes | None,
        idle_s: float,
    ) -> None:
        self._what = what
        self._source = source
        self._limits = limits
        self._idle_s = idle_s
        self._taken = self._given = 0
        self._feeding: BaseException | None = None
        self._said = b""
        self._over = False
        stdin, self._input = os.pipe()
        self._output, stdout = os.pipe()
        self._errors, stderr = os.pipe()
        ends = [(stdin, 0), (stdout, 1), (stderr, 2)]
        if payload is not None:
            ends.append((_holding(payload), _PAYLOAD_DESCRIPTOR))
        try:
            self._pid = _spawned(processor, media_type, ends)
        except OSError as error:
            for descriptor in (self._input, self._output, self._errors):
                os.close(descriptor)
            reason = (error.strerror or "").lower()
            raise FailedPrecondition(f"{what}: {processor.path}: cannot be executed: {reason}") from None
        finally:
            for descriptor, _ in ends:
                os.close(descriptor)
        self._alive = os.pidfd_open(self._pid)
        self._feeder = Thread(target=self._feed, name=f"feed {processor.name}", daemon=True)
        self._feeder.start()

    def read(self, size: int = _PIECE_BYTES, /) -> bytes:
        """At most `size` bytes; none only at the end of a program that ended well."""
        if self._over:
            return b""
        while True:
            if not self._is_ready():
                continue
            data = os.read(self._output, min(size, _PIECE_BYTES))
            if not data:
                self._end()
                return b""
            self._given += len(data)
            if self._given > self._limits.allowed(self._taken):
                raise ResourceExhausted(
                    f"{self._what}: {self._taken} bytes became {self._given}: "
                    "more than may come out of a layer"
                )
            return data

    def _is_ready(self) -> bool:
        """Whether there is something to be read, having taken what the program says meanwhile."""
        waiting = select.poll()
        waiting.register(self._output, select.POLLIN)
        if self._errors >= 0:
            waiting.register(self._errors, select.POLLIN)
        taken = self._taken
        ready = dict(waiting.poll(self._idle_s * 1000))
        if not ready and taken == self._taken:
            raise DeadlineExceeded(f"{self._what}: has stood still for {self._idle_s:g} s: it was ended")
        if self._errors in ready:
            self._hear()
        return self._output in ready

    def _hear(self) -> None:
        data = os.read(self._errors, _PIECE_BYTES)
        self._said = (self._said + data)[-_SAID_BYTES:]
        if not data:
            os.close(self._errors)
            self._errors = -1

    def _end(self) -> None:
        """Wait for the program's end. Raises where it was not a good one."""
        deadline = time.monotonic() + self._idle_s
        while not _readable(self._alive, 0):
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise DeadlineExceeded(f"{self._what}: closed its output but did not end: it was ended")
            if self._errors >= 0 and _readable(self._errors, min(left_s, 0.1)):
                self._hear()
            elif self._errors < 0:
                _readable(self._alive, left_s)
        self._over = True
        while self._errors >= 0 and _readable(self._errors, 0):
            self._hear()
        _, status = os.waitpid(self._pid, 0)
        self._pid = 0
        self._feeder.join(_FAREWELL_S)
        if self._feeding is not None:
            raise self._feeding
        code = os.waitstatus_to_exitcode(status)
        if code:
            ending = f"exit code {code}" if code > 0 else f"killed by signal {-code}"
            words = self._said.decode(errors="replace").strip().splitlines()
            raise FailedPrecondition(f"{self._what}: {ending}" + (f": {words[-1][:500]}" if words else ""))

    def _feed(self) -> None:
        """Give the program what it reads. What the source raises is told when the program has ended."""
        try:
            while data := self._source.read(_PIECE_BYTES):
                view = memoryview(data)
                while view:
                    written = os.write(self._input, view)
                    self._taken += written
                    view = view[written:]
        except BrokenPipeError:
            pass  # it needs no more, or is gone, which its exit code tells
        except BaseException as error:
            self._feeding = error
        finally:
            os.close(self._input)

    def kill(self) -> None:
        """Have the program end now, if it has not; then all who read from it or write to it go on."""
        if self._pid:
            try:
                signal.pidfd_send_signal(self._alive, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def close(self) -> None:
        """Forget a program that was killed or has ended, and stop feeding it."""
        self._feeder.join(_FAREWELL_S)
        if self._pid:
            os.waitpid(self._pid, 0)
            self._pid = 0
        for descriptor in (self._output, self._errors, self._alive):
            if descriptor >= 0:
                os.close(descriptor)


def _spawned(processor: Processor, media_type: str, ends: Sequence[tuple[int, int]]) -> int:
    """Execute a program with descriptors as it knows them; its pid."""
    environment = dict(os.environ)
    for each in processor.env:
        name, _, value = each.partition("=")
        environment[name] = value
    environment["STREAM_PROCESSOR_MEDIATYPE"] = media_type
    return os.posix_spawnp(
        processor.path,
        [processor.path, *processor.args],
        environment,
        file_actions=[(os.POSIX_SPAWN_DUP2, ours, theirs) for ours, theirs in ends],
        setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
    )


def _holding(payload: bytes) -> int:
    """A descriptor from which a payload can be read."""
    file = os.memfd_create("payload", os.MFD_CLOEXEC)
    with open(file, "wb", closefd=False) as writer:
        writer.write(payload)
    os.lseek(file, 0, os.SEEK_SET)
    return file


def _readable(descriptor: int, timeout_s: float) -> bool:
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    return bool(waiting.poll(max(0.0, timeout_s) * 1000))
