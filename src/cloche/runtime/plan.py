"""The plan: the ordered list of operations that makes a container, as a value.

A plan can be printed (`Plan.explain`), tested and encoded for cloche-init. Encoding (little endian):

    magic, fingerprint of the table, number of operations, total size, size of the operations, slots,
    one more than the slot that times are written to (0: nobody asked)
    operations, each: code, stage, size, index; then 8 bytes an argument (16 for bytes)
    data: the strings, lists of offsets and programs that arguments point to by offset
"""

from __future__ import annotations

from cloche.runtime.caller import CallerOperation
from cloche.runtime.operations import AwaitStart, Operation, fingerprint
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

CALLER = 0
"""The runtime itself: before the start, and while init waits."""
STAGE_ONE = 1
"""The spawned init: host credentials, enters kernel namespaces, clones."""
STAGE_TWO = 2
"""The container's process, until it executes the program."""

MAGIC = b"clocheP1"
TRACE_SLOT = "trace"
"""Memory shared with init, where each of its operations leaves the time of its start and its end."""
_HEADER_SIZE = 40
_FINGERPRINT = fingerprint()
_STAGE_NAMES = {CALLER: "caller", STAGE_ONE: "stage one", STAGE_TWO: "stage two"}


class Step(Record):
    """One operation in its place.

    place: where in config.json it came from (`mounts[3]`), or what it is for when nothing there
    asked for it. stage: who performs it.
    """

    place: str
    stage: int
    operation: Operation | CallerOperation

    def describe(self) -> str:
        """One line: stage, operation, origin."""
        return f"{_STAGE_NAMES[self.stage]}: {self.operation.describe()}  ({self.place})"


class Plan(Record):
    """Steps in execution order.

    The caller's first ones open descriptors; then come stage one's and stage two's. Steps of the
    caller among stage two's follow an AwaitCaller and are performed while init waits there.
    """

    steps: tuple[Step, ...]

    def explain(self) -> str:
        """The whole plan, one line a step."""
        return "\n".join(f"{index:3} {step.describe()}" for index, step in enumerate(self.steps))

    def encode(self, trace: str = "") -> tuple[bytes, tuple[str, ...]]:
        """The plan as cloche-init reads it, and the slots' names in the order of their descriptors.

        trace: the slot of the memory for times.
        """
        return _Encoder(self.steps).encoded(trace)

    def late_steps(self) -> dict[str, tuple[str, str]]:
        """Place and description of the steps behind the gate, by their index."""
        for gate, step in enumerate(self.steps):
            if isinstance(step.operation, AwaitStart):
                late = enumerate(self.steps[gate:], gate)
                return {str(index): (s.place, _short(s.operation.describe())) for index, s in late}
        return {}

    def caller_steps(self, after: int = -1) -> tuple[Step, ...]:
        """The caller's steps that follow directly after the step with that index."""
        end = after + 1
        while end < len(self.steps) and self.steps[end].stage == CALLER:
            end += 1
        return self.steps[after + 1 : end]


def _short(description: str) -> str:
    return description if len(description) < 200 else f"{description[:200]}…"


class _Encoder:
    def __init__(self, steps: Iterable[Step]) -> None:
        self.steps = [
            (index, step.stage, step.operation)
            for index, step in enumerate(steps)
            if isinstance(step.operation, Operation)
        ]
        self.slots: dict[str, int] = {}
        self.operations = bytearray()
        self.data = bytearray()
        self.texts: dict[str, int] = {}
        self.data_start = _HEADER_SIZE + sum(
            16 + _arguments_size(operation) for _, _, operation in self.steps
        )

    def encoded(self, trace: str) -> tuple[bytes, tuple[str, ...]]:
        for index, stage, operation in self.steps:
            arguments = bytearray()
            kinds = operation._field_types
            for name in operation._fields:
                arguments += _WRITERS[kinds[name]](self, getattr(operation, name))
            self.operations += _words(4, operation.code, stage, 16 + len(arguments), index)
            self.operations += arguments
        times = self.slots.setdefault(trace, len(self.slots)) + 1 if trace else 0
        size = _HEADER_SIZE + len(self.operations) + len(self.data)
        header = (
            MAGIC
            + _words(4, _FINGERPRINT, len(self.steps))
            + _words(8, size, len(self.operations))
            + _words(4, len(self.slots), times)
        )
        return header + self.operations + self.data, tuple(self.slots)

    def integer(self, value: int) -> bytes:
        return _words(8, value & 0xFFFFFFFFFFFFFFFF)

    def slot(self, name: str) -> bytes:
        return self.integer(self.slots.setdefault(name, len(self.slots)) if name else -1)

    def text(self, value: str) -> bytes:
        return _words(8, self.text_offset(value))

    def text_offset(self, value: str) -> int:
        offset = self.texts.get(value)
        if offset is None:
            offset = self.texts[value] = self.data_start + len(self.data)
            # surrogateescape: paths and arguments are bytes to the kernel.
            self.data += value.encode("utf-8", "surrogateescape") + b"\0"
        return offset

    def program(self, value: bytes) -> bytes:
        self.align()
        offset = self.data_start + len(self.data)
        self.data += value
        return _words(8, offset, len(value))

    def texts_list(self, values: tuple[str, ...]) -> bytes:
        offsets = [self.text_offset(value) for value in values]
        self.align()
        offset = self.data_start + len(self.data)
        self.data += _words(8, *offsets, 0)
        return _words(8, offset)

    def align(self) -> None:
        self.data += bytes(-(self.data_start + len(self.data)) % 8)


def _words(size: int, *values: int) -> bytes:
    """Numbers of so many bytes each. `struct` would be a library more to load."""
    return b"".join([value.to_bytes(size, "little") for value in values])


def _arguments_size(operation: Operation) -> int:
    return sum(16 if kind == "bytes" else 8 for kind in operation._field_types.values())


_WRITERS: dict[str, Callable[[_Encoder, Any], bytes]] = {
    "int": _Encoder.integer,
    "Slot": _Encoder.slot,
    "str": _Encoder.text,
    "bytes": _Encoder.program,
    "tuple[str, ...]": _Encoder.texts_list,
}
