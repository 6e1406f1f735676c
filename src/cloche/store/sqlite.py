"""SQLite's C binding, loaded without what it drags in.

`_sqlite3` wants one name of `functools` (lru_cache, for its cache of statements), and that import
takes three times as long as SQLite itself. Where nobody has loaded functools yet, a stand-in with
that one name is shown to it and taken away again.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from sqlite3 import Connection, DatabaseError, Error, OperationalError, connect
    from typing import Any


def _lru_cache(maxsize: int) -> Callable[[Callable[..., Any]], Any]:
    import _functools  # type: ignore[import-not-found, unused-ignore]  # typeshed does not know it

    typed = False
    return lambda function: _functools._lru_cache_wrapper(function, maxsize, typed, tuple)


def _load() -> Any:
    # With another thread running, that thread could import functools just now and get the stand-in.
    alone = len(sys._current_frames()) == 1
    if not alone or "functools" in sys.modules:
        import _sqlite3

        return _sqlite3
    stand_in = type(sys)("functools")
    stand_in.__dict__["lru_cache"] = _lru_cache
    sys.modules["functools"] = stand_in
    try:
        import _sqlite3
    finally:
        del sys.modules["functools"]
    return _sqlite3


if not TYPE_CHECKING:
    _binding = _load()
    Connection = _binding.Connection
    DatabaseError = _binding.DatabaseError
    Error = _binding.Error
    OperationalError = _binding.OperationalError
    connect = _binding.connect

__all__ = ["Connection", "DatabaseError", "Error", "OperationalError", "connect"]
