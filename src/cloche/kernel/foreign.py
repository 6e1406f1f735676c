"""C types for calls into shared libraries, on `_ctypes`: to import `ctypes` itself takes milliseconds."""

from __future__ import annotations

from _ctypes import FUNCFLAG_CDECL, FUNCFLAG_USE_ERRNO, CFuncPtr, _SimpleCData

TYPE_CHECKING = False
if TYPE_CHECKING:
    _Number = _SimpleCData[int]
    _Address = _SimpleCData[bytes | None]
else:
    _Number = _Address = _SimpleCData


class Byte(_Number):
    """unsigned char"""

    _type_ = "B"


class Int(_Number):
    """int"""

    _type_ = "i"


class Unsigned(_Number):
    """unsigned int"""

    _type_ = "I"


class Long(_Number):
    """long"""

    _type_ = "l"


class UnsignedLong(_Number):
    """unsigned long"""

    _type_ = "L"


class Pointer(_Number):
    """void *, as a number; None for NULL"""

    _type_ = "P"


class Bytes(_Address):
    """const char *: the address of a bytes object, or NULL for None"""

    _type_ = "z"


class ReturnsInt(CFuncPtr):
    """A function that returns int."""

    _flags_ = FUNCFLAG_CDECL
    _restype_ = Int


class ReturnsUnsigned(CFuncPtr):
    """A function that returns unsigned int."""

    _flags_ = FUNCFLAG_CDECL
    _restype_ = Unsigned


class ReturnsPointer(CFuncPtr):
    """A function that returns a pointer."""

    _flags_ = FUNCFLAG_CDECL
    _restype_ = Pointer


class ReturnsLongAndErrno(CFuncPtr):
    """A function that returns long and leaves errno for `get_errno`."""

    _flags_ = FUNCFLAG_CDECL | FUNCFLAG_USE_ERRNO
    _restype_ = Long
