"""Metadata: one SQLite database that any number of processes and threads use at once.

The database (schema: store.schema) is in WAL mode with synchronous=FULL: when a write
transaction has ended, a power cut does not undo it. store.session says how processes keep out of
each other's way.
"""

from __future__ import annotations

import os
from _thread import allocate_lock, get_ident

from cloche.store import faults
from cloche.store.schema import MIGRATIONS
from cloche.store.session import Session, reraise
from cloche.store.sqlite import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Any, Self

    Value = str | int | bytes | float | None
    Row = tuple[Any, ...]


class Metadata:
    """The metadata database at a path; safe from any thread, and after a fork.

    path: made on first use, with its directory, readable by its owner only.
    busy_timeout_s: how long to wait for other writers before Unavailable. migrations: what makes
    its tables (store.schema).
    """

    def __init__(
        self, path: str, *, busy_timeout_s: float = 10.0, migrations: tuple[tuple[str, ...], ...] = MIGRATIONS
    ) -> None:
        self.path = path
        self._migrations = migrations
        self._busy_timeout_s = busy_timeout_s
        self._pid = os.getpid()
        self._sessions: dict[int, Session] = {}
        self._guard = allocate_lock()

    def read(self) -> Transaction:
        """A transaction that sees one state of the database and changes nothing."""
        return Transaction(self._session(), "BEGIN")

    def write(self, *, durable: bool = True, patient: bool = True) -> WriteTransaction:
        """The only write transaction of the moment; durable when its `with` block has ended.

        durable: False for what means nothing after a power cut, such as the rows of an attached
        run. It saves the wait for the disk; the death of any process still loses nothing, a power
        cut may undo the transaction as a whole, and the next durable one makes it durable too.
        patient: False to wait for nobody, where that is not to block.
        Raises Unavailable when other writers keep it waiting too long. An exception in the block
        undoes everything.
        """
        return WriteTransaction(self, self._session(), durable=durable, patient=patient)

    def reader(self) -> Reader:
        """To read with one statement: that needs no transaction around it."""
        return Reader(self._session())

    def checkpoint(self) -> bool:
        """Write the log back into the database and empty it; False when others are in the way."""
        return self._session().checkpoint(patience_s=1.0)

    def check(self) -> None:
        """Have SQLite look for damage now; raises DataLoss when it finds some."""
        self._session().check()

    def close(self) -> None:
        """Close this process's connections. No transaction may be under way in any thread.

        Nothing is lost without it.
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

    def _session(self) -> Session:
        if self._pid != os.getpid():
            self._forget_inherited()
        session = self._sessions.get(get_ident())
        if session is None:
            session = Session(self.path, self._busy_timeout_s, self._migrations)
            with self._guard:
                self._sessions[get_ident()] = session
        return session

    def _forget_inherited(self) -> None:
        # SQLite must never use, nor close, a connection in a process that did not open it.
        _inherited.extend(self._sessions.values())
        self._sessions = {}
        self._guard = allocate_lock()
        self._pid = os.getpid()


_inherited: list[Session] = []


class Reader:
    """What rows are read with. Outside of a transaction each statement sees what is there at its time."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._run = session.database.execute

    def execute(self, sql: str, values: Sequence[Value] = ()) -> list[Row]:
        """Run one statement and fetch every row it gives."""
        try:
            return self._run(sql, values).fetchall()
        except Error as error:
            reraise(error, self._session.path)

    def first(self, sql: str, values: Sequence[Value] = ()) -> Row | None:
        """Run one statement and fetch its first row."""
        try:
            row: Row | None = self._run(sql, values).fetchone()
        except Error as error:
            reraise(error, self._session.path)
        return row


class Transaction(Reader):
    """One transaction, as a context manager that gives itself."""

    def __init__(self, session: Session, begin: str) -> None:
        super().__init__(session)
        self._begin = begin

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

    def __init__(
        self, metadata: Metadata, session: Session, *, durable: bool = True, patient: bool = True
    ) -> None:
        super().__init__(session, "BEGIN IMMEDIATE")
        self.metadata = metadata
        self._durable = durable
        self._patient = patient
        self._undo: list[Callable[[], None]] = []
        self._then: list[Callable[[], None]] = []

    def change(self, sql: str, values: Sequence[Value] = ()) -> int:
        """Run one INSERT, UPDATE or DELETE; returns how many rows it changed."""
        try:
            return self._run(sql, values).rowcount
        except Error as error:
            reraise(error, self._session.path)

    def insert(self, sql: str, values: Sequence[Value] = ()) -> int:
        """Run one INSERT; returns the new row's number."""
        try:
            return self._run(sql, values).lastrowid or 0
        except Error as error:
            reraise(error, self._session.path)

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
        if not self._durable and not self._session.busy:
            self.execute("PRAGMA synchronous=NORMAL")
        try:
            self._begin_now()
            try:
                self._session.lock_shared(patient=self._patient)
            except BaseException:
                super().__exit__(None, None, None)
                raise
        except BaseException:
            self._sync_again()
            raise
        return self

    def _begin_now(self) -> None:
        if self._patient:
            super().__enter__()
            return
        self._session.be_patient(patient=False)
        try:
            super().__enter__()
        finally:
            self._session.be_patient(patient=True)

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
            self._sync_again()
        if self._patient:
            self._session.checkpoint_if_long()
        _call_all(self._then)

    def _sync_again(self) -> None:
        if not self._durable and not self._session.busy:
            self.execute("PRAGMA synchronous=FULL")

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
