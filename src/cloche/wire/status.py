"""How errors travel: the one table between `cloche.errors` and the codes of gRPC, which ttrpc shares."""

from __future__ import annotations

from cloche import errors
from cloche.wire.protobuf_values import DecodeError
from cloche.wire.ttrpc import Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloche.wire.messages.google import Any

(
    OK,
    CANCELLED,
    UNKNOWN,
    INVALID_ARGUMENT,
    DEADLINE_EXCEEDED,
    NOT_FOUND,
    ALREADY_EXISTS,
    PERMISSION_DENIED,
    RESOURCE_EXHAUSTED,
    FAILED_PRECONDITION,
    ABORTED,
    OUT_OF_RANGE,
    UNIMPLEMENTED,
    INTERNAL,
    UNAVAILABLE,
    DATA_LOSS,
    UNAUTHENTICATED,
) = range(17)

CODES: dict[type[errors.ClocheError], int] = {
    errors.NotFound: NOT_FOUND,
    errors.AlreadyExists: ALREADY_EXISTS,
    errors.InvalidArgument: INVALID_ARGUMENT,
    errors.FailedPrecondition: FAILED_PRECONDITION,
    errors.Unavailable: UNAVAILABLE,
    errors.PermissionDenied: PERMISSION_DENIED,
    errors.Cancelled: CANCELLED,
    errors.DeadlineExceeded: DEADLINE_EXCEEDED,
    errors.ResourceExhausted: RESOURCE_EXHAUSTED,
    errors.Unimplemented: UNIMPLEMENTED,
    errors.DataLoss: DATA_LOSS,
}
_CLASSES = {code: kind for kind, code in CODES.items()}


class StatusError(errors.ClocheError):
    """An error with a code that no class of `cloche.errors` stands for, or with details.

    code: one of those above, but OK. details: what a client that knows their types makes use of.
    """

    def __init__(self, code: int, message: str, details: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.details = details


def status_of(error: BaseException) -> Status:
    """What a peer is told of an error.

    What nobody foresaw is INTERNAL, and worth a line in the log: its text is for its author.
    """
    if isinstance(error, StatusError):
        return Status(code=error.code, message=str(error), details=error.details)
    for kind in type(error).__mro__:
        if kind in CODES:
            return Status(code=CODES[kind], message=str(error))
    if isinstance(error, DecodeError):
        return Status(code=INVALID_ARGUMENT, message=f"the request is malformed: {error}")
    if isinstance(error, TimeoutError):
        return Status(code=DEADLINE_EXCEEDED, message=str(error) or "deadline exceeded")
    if isinstance(error, OSError):
        return Status(code=UNKNOWN, message=str(error))
    return Status(code=INTERNAL, message=f"internal error: {type(error).__name__}: {error}")


def is_foreseen(error: BaseException) -> bool:
    """Whether an error is an answer, and nothing for the log."""
    return isinstance(error, errors.ClocheError | OSError | DecodeError)


def error_of(status: Status) -> errors.ClocheError:
    """The error that a peer's answer stands for: the other way around."""
    kind = _CLASSES.get(status.code)
    if kind is None or status.details:
        return StatusError(status.code, status.message, status.details)
    return kind(status.message)


def code_of(error: BaseException) -> int:
    """The code alone."""
    return status_of(error).code
