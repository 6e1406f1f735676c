from __future__ import annotations

import os
import shutil
import tempfile

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cloche.errors import AlreadyExists, ClocheError, FailedPrecondition, InvalidArgument, NotFound
from cloche.store.metadata import Metadata, WriteTransaction
from cloche.store.snapshots.open import snapshotter

NAMES = st.sampled_from(["a", "b", "c", "d"])


class Model:
    """Snapshots as a dictionary: name to (kind, parent)."""

    def __init__(self) -> None:
        self.entries: dict[str, tuple[str, str]] = {}

    def create(self, kind: str, key: str, parent: str) -> type[ClocheError] | None:
        if parent:
            if parent not in self.entries:
                return NotFound
            if self.entries[parent][0] != "committed":
                return InvalidArgument
        if key in self.entries:
            return AlreadyExists
        self.entries[key] = (kind, parent)
        return None

    def commit(self, name: str, key: str) -> type[ClocheError] | None:
        if key not in self.entries:
            return NotFound
        if name in self.entries:
            return AlreadyExists
        if self.entries[key][0] != "active":
            return FailedPrecondition
        self.entries[name] = ("committed", self.entries.pop(key)[1])
        return None

    def remove(self, key: str) -> type[ClocheError] | None:
        if key not in self.entries:
            return NotFound
        if any(parent == key for _, parent in self.entries.values()):
            return FailedPrecondition
        del self.entries[key]
        return None


class SnapshotMachine(RuleBasedStateMachine):
    """The overlayfs snapshotter against the model, every step in a transaction of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.root = tempfile.mkdtemp()
        self.metadata = Metadata(self.root + "/meta.db")
        self.snapshots = snapshotter("overlayfs", self.root)
        self.model = Model()

    def teardown(self) -> None:
        self.metadata.close()
        shutil.rmtree(self.root)

    def expect(self, error: type[ClocheError] | None, step: str, *values: str) -> None:
        def act() -> None:
            with self.metadata.write() as tx:
                self.act(tx, step, values)

        if error is None:
            act()
        else:
            with pytest.raises(error):
                act()

    def act(self, tx: WriteTransaction, step: str, values: tuple[str, ...]) -> None:
        if step == "commit":
            self.snapshots.commit(tx, values[0], values[1])
        elif step == "remove":
            self.snapshots.remove(tx, values[0])
        elif step == "view":
            self.snapshots.view(tx, values[0], values[1])
        else:
            self.snapshots.prepare(tx, values[0], values[1])

    @rule(key=NAMES, parent=NAMES | st.just(""), kind=st.sampled_from(["active", "view"]))
    def create(self, key: str, parent: str, kind: str) -> None:
        self.expect(self.model.create(kind, key, parent), kind, key, parent)

    @rule(name=NAMES, key=NAMES)
    def commit(self, name: str, key: str) -> None:
        self.expect(self.model.commit(name, key), "commit", name, key)

    @rule(key=NAMES)
    def remove(self, key: str) -> None:
        self.expect(self.model.remove(key), "remove", key)

    @rule()
    def purge(self) -> None:
        self.snapshots.purge()

    @rule()
    def find_nothing_to_clean(self) -> None:
        with self.metadata.write() as tx:
            assert self.snapshots.cleanup(tx) == 0

    @invariant()
    def both_know_the_same_snapshots(self) -> None:
        with self.metadata.read() as tx:
            walked = {info.name: (info.kind, info.parent) for info in self.snapshots.walk(tx)}
        assert walked == self.model.entries

    @invariant()
    def directories_are_those_of_the_rows(self) -> None:
        path = f"{self.snapshots.root}/snapshots"
        directories = os.listdir(path) if os.path.exists(path) else []
        own = [kind for kind, parent in self.model.entries.values() if kind != "view" or not parent]
        assert len(directories) == len(own)


TestSnapshotsAgainstAModel = SnapshotMachine.TestCase
TestSnapshotsAgainstAModel.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
