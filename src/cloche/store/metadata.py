"""Metadata: one SQLite database that any number of processes and threads use at once.

The database (schema: store.schema) is in WAL mode with synchronous=FULL: when a write
transaction has ended, a power cut does not undo it. Beside it lies PATH-lock:

    writer          BEGIN IMMEDIATE ── flock shared ── rows ── COMMIT ── unlock
    checkpoint                         flock exclusive ── wal_checkpoint ── unlock
    first opening                      flock exclusive ── create or migrate ── unlock

Until SQLite 3.51.2 a checkpoint that meets a writer starting the log over can corrupt a database,
so automatic checkpoints are off and the lock keeps the two apart. The writer locks after BEGIN
IMMEDIATE, so at most one holds the lock and a checkpoint is never starved. The lock file's
content is the boot id under which the database was last checked: the first to open it after a
reboot has it checked.
"""

from __future__ import annotations

import os
import time
from _thread import allocate_lock, get_ident
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN, flock

from cloche.errors import DataLoss, FailedPrecondition, ResourceExhausted, Unavailable
from cloche.store import faults
from cloche.store.schema import MIGRATIONS
from cloche.store.sqlite import Connection, DatabaseError, Error, connect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Any, Self

    Value = str | int | bytes | float | None
    Row = tuple[Any, ...]

CHECKPOINT_BYTES = 1 << 20
"""A log longer than this is written back when that disturbs nobody. The first process to open a
database reads its whole log, so a short one is worth more than few checkpoints."""

_IMPATIENT_BYTES = 16 * CHECKPOINT_BYTES
_POLL_S = 0.0005

_BUSY, _LOCKED, _NOMEM, _IOERR, _CORRUPT, _FULL, _CANTOPEN, _NOTADB = 5, 6, 7, 10, 11, 13, 14, 26
_NO_CHECKPOINT_ON_CLOSE = 1006


class Metadata:
    """The metadata database at a path; safe from any thread, and after a fork.

    path: made on first use, with its directory, readable by its owner only.
    busy_timeout_s: how long to wait for other writers before Unavailable.
    """

    def __init__(self, path: str, *, busy_timeout_s: float = 10.0) -> None:
        self.path = path
        self._busy_timeout_s = busy_timeout_s
        self._pid = os.getpid()
        self._sessions: dict[int, _Session] = {}
        self._guard = allocate_lock()

    def read(self) -> Transaction:
        """A transaction that sees one state of the database and changes nothing."""
        return Transaction(self._session(), "BEGIN")

    def write(self) -> WriteTransaction:
        """The only write transaction of the moment; durable when its `with` block has ended.

        Raises Unavailable when other writers keep it waiting too long. An exception in the block
        undoes everything.
        """
        return WriteTransaction(self, self._session())

    def checkpoint(self) -> bool:
        """Write the log back into the database and empty it; False when others are in the way."""
        return self._session().checkpoint(patience_s=1.0)

    def check(self) -> None:
        """Have SQLite look for damage now; raises DataLoss when it finds some."""
        self._session().check()

    def close(self) -> None:
        """Close this process's connections. No transaction may be under way in any thread.

        A process that is about to end need not do this: the database loses nothing, and the last
        connection to close would write back the log.
        """
        with self._guard:
            sessions, self._sessions = self._sessions, {}
        if self._pid != os.getpid():
            _inherited.extend(sessions.values())
            return
        for session in sessions.values():
            session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _session(self) -> _Session:
        if self._pid != os.getpid():
            self._forget_inherited()
        session = self._sessions.get(get_ident())
        if session is None:
            session = _Session(self.path, self._busy_timeout_s)
            with self._guard:
                self._sessions[get_ident()] = session
        return session

    def _forget_inherited(self) -> None:
        # SQLite must never use, nor close, a connection in a process that did not open it.
        _inherited.extend(self._sessions.values())
        self._sessions = {}
        self._guard = allocate_lock()
        self._pid = os.getpid()


_inherited: list[_Session] = []


class Transaction:
    """One transaction, as a context manager that gives itself."""

    def __init__(self, session: _Session, begin: str) -> None:
        self._session = session
        self._begin = begin
        self._run = session.database.execute

    def execute(self, sql: str, values: Sequence[Value] = ()) -> list[Row]:
        """Run one statement and fetch every row it gives."""
        try:
            return self._run(sql, values).fetchall()
        except Error as error:
            raise _translated(error, self._session.path) from error

    def first(self, sql: str, values: Sequence[Value] = ()) -> Row | None:
        """Run one statement and fetch its first row."""
        try:
            row: Row | None = self._run(sql, values).fetchone()
        except Error as error:
            raise _translated(error, self._session.path) from error
        return row

    def __enter__(self) -> Self:
        if self._session.busy:
            raise RuntimeError("this thread has a transaction already: pass it on instead")
        self.execute(self._begin)
        self._session.busy = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.busy = False
        self.execute("ROLLBACK")


class WriteTransaction(Transaction):
    """A transaction that changes rows, and knows what else belongs to them.

    metadata: the database it belongs to, for those who have to do with it afterwards.
    """

    def __init__(self, metadata: Metadata, session: _Session) -> None:
        super().__init__(session, "BEGIN IMMEDIATE")
        self.metadata = metadata
        self._undo: list[Callable[[], None]] = []
        self._then: list[Callable[[], None]] = []

    def change(self, sql: str, values: Sequence[Value] = ()) -> int:
        """Run one INSERT, UPDATE or DELETE; returns how many rows it changed."""
        try:
            return self._run(sql, values).rowcount
        except Error as error:
            raise _translated(error, self._session.path) from error

    def insert(self, sql: str, values: Sequence[Value] = ()) -> int:
        """Run one INSERT; returns the new row's number."""
        try:
            return self._run(sql, values).lastrowid or 0
        except Error as error:
            raise _translated(error, self._session.path) from error

    def on_rollback(self, undo: Callable[[], None]) -> None:
        """Have `undo` called if the transaction comes to nothing; the last registered goes first.

        For what was made outside the database. It may raise OSError, which is ignored: what it
        leaves behind has no row, and cleanup collects it.
        """
        self._undo.append(undo)

    def after_commit(self, then: Callable[[], None]) -> None:
        """Have `then` called when the transaction is durable and no lock is held any more.

        What it raises leaves the `with` block, after all others were called; the rows stay.
        """
        self._then.append(then)

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            self._session.lock_shared()
        except BaseException:
            super().__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is not None:
                self._roll_back()
                return
            self._commit()
        finally:
            self._session.busy = False
            self._session.unlock()
        self._session.checkpoint_if_long()
        _call_all(self._then)

    def _commit(self) -> None:
        faults.point("metadata.commit")
        try:
            self.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise
        faults.point("metadata.committed")

    def _roll_back(self) -> None:
        try:
            if self._session.database.in_transaction:
                self.execute("ROLLBACK")
        finally:
            for undo in reversed(self._undo):
                try:
                    undo()
                except OSError:
                    pass


def _call_all(functions: Sequence[Callable[[], None]]) -> None:
    failure: BaseException | None = None
    for function in functions:
        try:
            function()
        except Exception as error:
            failure = failure or error
    if failure is not None:
        raise failure


class _Session:
    """One thread's connection, and its own descriptor of the lock file."""

    def __init__(self, path: str, busy_timeout_s: float) -> None:
        self.path = path
        self.busy = False
        self._log = path + "-wal"
        self._patience_s = busy_timeout_s
        self._lock = _open_lock(path)
        try:
            self.database = self._open()
        except BaseException:
            os.close(self._lock)
            raise

    def _open(self) -> Connection:
        try:
            database = self._connect()
            version: int = database.execute("PRAGMA user_version").fetchone()[0]
            if version != len(MIGRATIONS):
                self._migrate(database)
        except Error as error:
            raise _translated(error, self.path) from error
        self.database = database
        if os.pread(self._lock, 64, 0) != _boot_id():
            self.check()
        return database

    def _connect(self) -> Connection:
        database = connect(self.path, timeout=self._patience_s, isolation_level=None, check_same_thread=False)
        database.execute("PRAGMA synchronous=FULL")
        database.execute("PRAGMA wal_autocheckpoint=0")
        configure = getattr(database, "setconfig", None)  # Python 3.12 and newer
        if configure is not None:
            configure(_NO_CHECKPOINT_ON_CLOSE, True)
        return database

    def _migrate(self, database: Connection) -> None:
        self._lock_within(LOCK_EX, self._patience_s)
        try:
            version: int = database.execute("PRAGMA user_version").fetchone()[0]
            if version > len(MIGRATIONS):
                raise FailedPrecondition(
                    f"{self.path}: written by a newer cloche (schema {version}, and this one knows"
                    f" {len(MIGRATIONS)}): use that one, or another --root"
                )
            if version == 0:
                os.chmod(self.path, 0o600)
                database.execute("PRAGMA journal_mode=WAL")
            if version < len(MIGRATIONS):
                self._apply(database, version)
        finally:
            self.unlock()

    def _apply(self, database: Connection, version: int) -> None:
        database.execute("BEGIN IMMEDIATE")
        try:
            for statements in MIGRATIONS[version:]:
                for statement in statements:
                    database.execute(statement)
            database.execute(f"PRAGMA user_version={len(MIGRATIONS)}")
            faults.point("metadata.migrated")
            database.execute("COMMIT")
        except BaseException:
            database.execute("ROLLBACK")
            raise

    def check(self) -> None:
        try:
            found = [row[0] for row in self.database.execute("PRAGMA quick_check(3)")]
        except DatabaseError as error:
            raise _translated(error, self.path) from error
        if found != ["ok"]:
            raise DataLoss(f"{self.path}: damaged ({found[0]}): move it away, and load the images again")
        os.pwrite(self._lock, _boot_id(), 0)

    def lock_shared(self) -> None:
        try:
            flock(self._lock, LOCK_SH | LOCK_NB)
        except BlockingIOError:
            self._lock_within(LOCK_SH, self._patience_s)

    def unlock(self) -> None:
        flock(self._lock, LOCK_UN)

    def _lock_within(self, kind: int, patience_s: float) -> None:
        deadline = time.monotonic() + patience_s
        while True:
            try:
                return flock(self._lock, kind | LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise Unavailable(f"{self.path}: locked by another process: try again") from None
            time.sleep(_POLL_S)

    def checkpoint_if_long(self) -> None:
        try:
            length = os.stat(self._log).st_size
        except FileNotFoundError:
            return
        if length > CHECKPOINT_BYTES:
            self.checkpoint(patience_s=1.0 if length > _IMPATIENT_BYTES else 0)

    def checkpoint(self, *, patience_s: float) -> bool:
        try:
            self._lock_within(LOCK_EX, patience_s)
        except Unavailable:
            return False
        try:
            # Without its own patience: SQLite would otherwise wait here for readers to end.
            self.database.execute("PRAGMA busy_timeout=0")
            faults.point("metadata.checkpoint")
            return not self.database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        except Error as error:
            raise _translated(error, self.path) from error
        finally:
            self.database.execute(f"PRAGMA busy_timeout={int(self._patience_s * 1000)}")
            self.unlock()

    def close(self) -> None:
        # The last connection to close writes the log back. If the lock cannot be had, its holder
        # has the database open too, so this one is not the last.
        try:
            self._lock_within(LOCK_EX, 1.0)
        except Unavailable:
            pass
        self.database.close()
        os.close(self._lock)


def _open_lock(path: str) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path + "-lock", flags, 0o600)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(os.path.abspath(path)), mode=0o711, exist_ok=True)
        return os.open(path + "-lock", flags, 0o600)


def _boot_id() -> bytes:
    descriptor = os.open("/proc/sys/kernel/random/boot_id", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 64)
    finally:
        os.close(descriptor)


def _translated(error: Error, path: str) -> Exception:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (_BUSY, _LOCKED):
        return Unavailable(f"{path}: other writers kept it busy: try again")
    if code in (_CORRUPT, _NOTADB):
        return DataLoss(f"{path}: damaged ({error}): move it away, and load the images again")
    if code in (_FULL, _NOMEM):
        return ResourceExhausted(f"{path}: {error}")
    if code in (_IOERR, _CANTOPEN):
        return FailedPrecondition(f"{path}: cannot be used: {error}")
    return error
