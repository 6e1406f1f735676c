"""The last connection to close shall leave the log alone.

By itself SQLite then writes the log back and deletes it: a checkpoint that nobody asked for, and
four waits for the disk in a process that is about to end. The switch against it can be reached
from Python since 3.12; for 3.11 the same call is made by hand.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.store.sqlite import Connection

_NO_CHECKPOINT_ON_CLOSE = 1006  # SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE


def keep_log(connection: Connection) -> bool:
    """Have a connection's close leave the log alone; False where this Python cannot."""
    configure = getattr(connection, "setconfig", None)
    if configure is not None:
        configure(_NO_CHECKPOINT_ON_CLOSE, True)
        return True
    if sys.version_info[:2] != (3, 11) or sys.implementation.name != "cpython":
        return False
    return _configure(connection)


def _configure(connection: Connection) -> bool:
    import _sqlite3
    from _ctypes import dlopen, dlsym

    from cloche.kernel.foreign import Int, Pointer, ReturnsInt

    library = getattr(_sqlite3, "__file__", None)
    if library is None:  # built into the interpreter, which may hide the symbol
        return False
    try:
        db_config = ReturnsInt(dlsym(dlopen(library, 0), "sqlite3_db_config"))
    except OSError:
        return False
    # A connection's first field after the head that every object has is its sqlite3 *.
    database = Pointer.from_address(id(connection) + object.__basicsize__)
    result: int = db_config(Pointer(database.value), Int(_NO_CHECKPOINT_ON_CLOSE), Int(1), Pointer(0))
    return result == 0
