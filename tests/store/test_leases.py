from __future__ import annotations

import os
from pathlib import Path

import pytest

from cloche.errors import AlreadyExists, InvalidArgument, NotFound, Unimplemented
from cloche.store import clock, leases
from cloche.store.leases import Lease, Owner, Resource
from cloche.store.metadata import Metadata
from tests.store import children

DIGEST = "sha256:" + "a" * 64
CONTENT = Resource("content", DIGEST)
SNAPSHOT = Resource("snapshots/overlayfs", "some key")


@pytest.fixture
def directory(tmp_path: Path) -> str:
    return str(tmp_path / "leases")


def test_a_lease_keeps_what_it_is_told_to(metadata: Metadata) -> None:
    with metadata.write() as tx:
        lease = leases.create(tx, Lease("one", "default", {"a": "b"}))
        assert leases.get(tx, "default", "one") == lease
        for resource in (SNAPSHOT, CONTENT, CONTENT):
            leases.add(tx, "default", "one", resource)
        assert leases.resources(tx, "default", "one") == (CONTENT, SNAPSHOT)
        leases.drop(tx, "default", "one", CONTENT)
        leases.drop(tx, "default", "one", CONTENT)
        assert leases.resources(tx, "default", "one") == (SNAPSHOT,)
        leases.delete(tx, "default", "one")
        assert leases.get(tx, "default", "one") is None
        assert tx.execute("SELECT * FROM lease_resources") == []


def test_a_lease_that_is_missing_is_not_found(metadata: Metadata) -> None:
    with metadata.write() as tx:
        for ask in (leases.delete, leases.resources):
            with pytest.raises(NotFound):
                ask(tx, "default", "one")
        for change in (leases.add, leases.drop):
            with pytest.raises(NotFound):
                change(tx, "default", "one", CONTENT)


def test_leases_are_listed_by_namespace_or_all(metadata: Metadata) -> None:
    with metadata.write() as tx:
        for namespace, lease_id in (("b", "1"), ("a", "2"), ("a", "1")):
            leases.create(tx, Lease(lease_id, namespace))
        with pytest.raises(AlreadyExists):
            leases.create(tx, Lease("1", "a"))
        assert [lease.id for lease in leases.list(tx, "a")] == ["1", "2"]
        assert [(lease.namespace, lease.id) for lease in leases.list(tx)] == [
            ("a", "1"),
            ("a", "2"),
            ("b", "1"),
        ]


@pytest.mark.parametrize(
    ("resource", "error"),
    [
        (Resource("volumes", "x"), Unimplemented),
        (Resource("content", "x"), InvalidArgument),
        (Resource("content/x", DIGEST), InvalidArgument),
        (Resource("snapshots", "key"), InvalidArgument),
        (Resource("snapshots/", "key"), InvalidArgument),
        (Resource("snapshots/a/b", "key"), InvalidArgument),
        (Resource("snapshots/overlayfs", ""), InvalidArgument),
        (Resource("ingests", ""), InvalidArgument),
    ],
)
def test_what_cannot_be_kept_is_refused(
    metadata: Metadata, resource: Resource, error: type[Exception]
) -> None:
    with metadata.write() as tx:
        leases.create(tx, Lease("one", "default"))
        with pytest.raises(error):
            leases.add(tx, "default", "one", resource)


def test_a_lease_ends_when_its_time_is_over(
    metadata: Metadata, directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_an_hour = clock.format_rfc3339(clock.now() + clock.HOUR)
    with metadata.write() as tx:
        leases.create(tx, Lease("short", "default", {leases.EXPIRE_LABEL: in_an_hour}))
        leases.create(tx, Lease("long", "default"))
        assert leases.over(tx, directory) == ()
        monkeypatch.setattr(clock, "_offset", 2 * clock.HOUR)
        assert [lease.id for lease in leases.over(tx, directory)] == ["short"]
        with pytest.raises(InvalidArgument, match="must be a time"):
            leases.create(tx, Lease("never", "default", {leases.EXPIRE_LABEL: "soon"}))


def test_a_lease_lives_as_long_as_its_owner(metadata: Metadata, directory: str) -> None:
    with metadata.write() as tx, Owner(directory) as owner:
        leases.create(tx, Lease("one", "default", owner=owner.name))
        assert leases.over(tx, directory) == ()
        owner.close()
        assert [lease.id for lease in leases.over(tx, directory)] == ["one"]


def test_a_lease_ends_with_a_process_that_is_killed(
    metadata: Metadata, tmp_path: Path, directory: str
) -> None:
    code = """
        from cloche.store.leases import Lease, Owner, create
        owner = Owner(root + "/leases")
        with metadata.write() as tx:
            create(tx, Lease("one", "default", owner=owner.name))
        print("created", flush=True)
        sys.stdin.read()
    """
    with children.start(tmp_path, code) as child:
        assert child.stdout is not None
        child.stdout.readline()
        with metadata.read() as tx:
            assert leases.over(tx, directory) == ()
        child.kill()
    with metadata.read() as tx:
        (lease,) = leases.over(tx, directory)
    assert lease.id == "one"
    assert os.listdir(directory) == [lease.owner]


def test_a_child_that_is_executed_does_not_keep_the_lease_alive(metadata: Metadata, directory: str) -> None:
    with metadata.write() as tx:
        owner = Owner(directory)
        leases.create(tx, Lease("one", "default", owner=owner.name))
        child = os.posix_spawn("/bin/sleep", ["sleep", "60"], {})
        try:
            owner.close()
            assert len(leases.over(tx, directory)) == 1
        finally:
            os.kill(child, 9)
            os.waitpid(child, 0)


def test_liveness_files_of_the_dead_are_swept_unless_a_lease_names_them(directory: str) -> None:
    with Owner(directory) as owner:
        for name in ("dead", "named"):
            Path(directory, name).touch()
        leases.sweep_owners(directory, frozenset({"named"}))
        assert sorted(os.listdir(directory)) == sorted(["named", owner.name])
    leases.sweep_owners(directory + "/missing", frozenset())
