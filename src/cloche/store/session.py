"""One thread's connection to the metadata database, and the locks that belong to it.

Beside the database lies PATH-lock:

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
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN, flock

from cloche.errors import DataLoss, FailedPrecondition, PermissionDenied, ResourceExhausted, Unavailable
from cloche.store import faults
from cloche.store.last_close import keep_log
from cloche.store.schema import MIGRATIONS
from cloche.store.sqlite import Connection, DatabaseError, Error, connect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

CHECKPOINT_BYTES = 1 << 20
"""A log longer than this is written back when that disturbs nobody. The first process to open a
database reads its whole log, so a short one is worth more than few checkpoints."""

_IMPATIENT_BYTES = 16 * CHECKPOINT_BYTES
_POLL_S = 0.0005

_REMEDY = "`cloche fsck --repair` moves it away and makes it anew"
_BUSY, _LOCKED, _NOMEM, _READONLY, _IOERR = 5, 6, 7, 8, 10
_CORRUPT, _FULL, _CANTOPEN, _NOTADB = 11, 13, 14, 26


class Session:
    """One thread's connection, and its own descriptor of the lock file."""

    def __init__(
        self, path: str, busy_timeout_s: float, migrations: tuple[tuple[str, ...], ...] = MIGRATIONS
    ) -> None:
        """migrations: what makes its tables (store.schema)."""
        self.path = path
        self._migrations = migrations
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
        database = self._connect()
        try:
            version: int = database.execute("PRAGMA user_version").fetchone()[0]
            if version != len(self._migrations):
                self._migrate(database)
            self.database = database
            if os.pread(self._lock, 64, 0) != _boot_id():
                self.check()
        except Error as error:
            database.close()
            reraise(error, self.path)
        except BaseException:
            database.close()
            raise
        return database

    def _connect(self) -> Connection:
        try:
            database = connect(
                self.path, timeout=self._patience_s, isolation_level=None, check_same_thread=False
            )
        except Error as error:
            reraise(error, self.path)
        try:
            database.execute("PRAGMA synchronous=FULL")
            database.execute("PRAGMA wal_autocheckpoint=0")
            self._keeps_log = keep_log(database)
        except Error as error:
            database.close()
            reraise(error, self.path)
        return database

    def _migrate(self, database: Connection) -> None:
        self._lock_within(LOCK_EX, self._patience_s)
        try:
            version: int = database.execute("PRAGMA user_version").fetchone()[0]
            if version > len(self._migrations):
                raise FailedPrecondition(
                    f"{self.path}: written by a newer cloche (schema {version}, and this one knows"
                    f" {len(self._migrations)}): use that one, or another --root"
                )
            if version == 0:
                os.chmod(self.path, 0o600)
                database.execute("PRAGMA journal_mode=WAL")
            if version < len(self._migrations):
                self._apply(database, version)
        finally:
            self.unlock()

    def _apply(self, database: Connection, version: int) -> None:
        database.execute("BEGIN IMMEDIATE")
        try:
            for statements in self._migrations[version:]:
                for statement in statements:
                    database.execute(statement)
            database.execute(f"PRAGMA user_version={len(self._migrations)}")
            faults.point("metadata.migrated")
            database.execute("COMMIT")
        except BaseException:
            database.execute("ROLLBACK")
            raise

    def check(self) -> None:
        """Have SQLite look for damage, and note that it was done under this boot. Raises DataLoss."""
        try:
            found = [row[0] for row in self.database.execute("PRAGMA quick_check(3)")]
        except DatabaseError as error:
            reraise(error, self.path)
        if found != ["ok"]:
            raise DataLoss(f"{self.path}: damaged ({found[0]}): {_REMEDY}")
        os.pwrite(self._lock, _boot_id(), 0)

    def lock_shared(self, *, patient: bool) -> None:
        """Keep checkpoints away until `unlock`. Raises Unavailable when one does not end."""
        try:
            flock(self._lock, LOCK_SH | LOCK_NB)
        except BlockingIOError:
            self._lock_within(LOCK_SH, self._patience_s if patient else 0)

    def be_patient(self, *, patient: bool) -> None:
        """From now on SQLite waits for others as usual, or for nobody."""
        timeout_ms = int(self._patience_s * 1000) if patient else 0
        self.database.execute(f"PRAGMA busy_timeout={timeout_ms}")

    def unlock(self) -> None:
        """Let checkpoints happen again."""
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
        """Write the log back when it is worth it and nobody is in the way."""
        try:
            length = os.stat(self._log).st_size
        except FileNotFoundError:
            return
        if length > CHECKPOINT_BYTES:
            self.checkpoint(patience_s=1.0 if length > _IMPATIENT_BYTES else 0)

    def checkpoint(self, *, patience_s: float) -> bool:
        """Write the log back and empty it; False when writers or readers were in the way too long."""
        try:
            self._lock_within(LOCK_EX, patience_s)
        except Unavailable:
            return False
        try:
            # SQLite would otherwise wait here for readers to end.
            self.be_patient(patient=False)
            faults.point("metadata.checkpoint")
            return not self.database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        except Error as error:
            reraise(error, self.path)
        finally:
            self.be_patient(patient=True)
            self.unlock()

    def close(self) -> None:
        """Close the connection; the log stays as it is where that can be had."""
        if not self._keeps_log:
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
        try:
            return os.open(path + "-lock", flags, 0o600)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(os.path.abspath(path)), mode=0o711, exist_ok=True)
            return os.open(path + "-lock", flags, 0o600)
    except PermissionError:
        raise PermissionDenied(f"{path}: may not be opened: be root, or choose another --root") from None
    except OSError as error:
        raise FailedPrecondition(f"{path}: cannot be opened: {error.strerror}") from error


def _boot_id() -> bytes:
    descriptor = os.open("/proc/sys/kernel/random/boot_id", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 64)
    finally:
        os.close(descriptor)


def reraise(error: Error, path: str) -> NoReturn:
    """Raise what an error of SQLite means to the user; itself where it can only be a mistake of ours."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (_BUSY, _LOCKED):
        raise Unavailable(f"{path}: other writers kept it busy: try again") from error
    if code in (_CORRUPT, _NOTADB):
        raise DataLoss(f"{path}: damaged ({error}): {_REMEDY}") from error
    if code in (_FULL, _NOMEM):
        raise ResourceExhausted(f"{path}: {error}: free some space and try again") from error
    if code in (_IOERR, _CANTOPEN, _READONLY):
        raise FailedPrecondition(f"{path}: cannot be used: {error}") from error
    raise error
