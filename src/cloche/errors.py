"""The closed set of errors that Cloche raises for its callers.

Kernel errors stay OSError until the operation that met them knows what it meant for the user.
Each face (command line, gRPC, CRI, HTTP) maps these classes to its own codes in one table.
"""

from __future__ import annotations


class ClocheError(Exception):
    """Base of every error meant for a user: one line, lower case, saying what to do."""


class NotFound(ClocheError):
    """The named thing does not exist."""


class AlreadyExists(ClocheError):
    """The name is taken."""


class InvalidArgument(ClocheError):
    """The input cannot be accepted whatever the state; says where in the input."""


class FailedPrecondition(ClocheError):
    """The input is fine, but not in this state of the machine or the object."""


class Unavailable(ClocheError):
    """Not now; trying again may help."""


class PermissionDenied(ClocheError):
    """The caller may not do this."""


class Cancelled(ClocheError):
    """The caller gave up."""


class DeadlineExceeded(ClocheError):
    """The time that was allowed is over."""


class ResourceExhausted(ClocheError):
    """A limit was reached."""


class Unimplemented(ClocheError):
    """Not supported by this build or this kernel."""


class DataLoss(ClocheError):
    """Stored or received data is not what its digest or length promised."""
