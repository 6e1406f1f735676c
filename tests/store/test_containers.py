from __future__ import annotations

import pytest

from cloche.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from cloche.store import containers
from cloche.store.containers import Container
from cloche.store.metadata import Metadata

WHOLE = Container(
    id="abc123",
    namespace="default",
    name="web",
    image="docker.io/library/nginx:latest",
    snapshotter="overlayfs",
    snapshot_key="abc123",
    labels={"tier": "front"},
    spec=b'{"ociVersion":"1.0.2"}',
    options=b"{}",
    runtime="io.containerd.runc.v2",
    sandbox="pod",
    extensions=b"\0\1",
    lease="run-1",
)


def test_a_container_comes_back_as_it_was_created(metadata: Metadata) -> None:
    with metadata.write() as tx:
        created = containers.create(tx, WHOLE)
        assert containers.get(tx, "default", "abc123") == created
    assert created == WHOLE.replace(created_at=created.created_at, updated_at=created.updated_at)
    assert created.created_at > 0


def test_an_id_or_a_name_in_use_is_refused_and_says_by_whom(metadata: Metadata) -> None:
    with metadata.write() as tx:
        containers.create(tx, WHOLE)
        with pytest.raises(AlreadyExists, match="'abc123': the id is in use"):
            containers.create(tx, WHOLE.replace(name="other"))
        with pytest.raises(AlreadyExists, match="'web': in use by container abc123"):
            containers.create(tx, WHOLE.replace(id="def456"))
        containers.create(tx, WHOLE.replace(namespace="other"))


def test_any_number_of_containers_have_no_name(metadata: Metadata) -> None:
    with metadata.write() as tx:
        for number in range(3):
            containers.create(tx, Container(f"id{number}", "default"))
        with pytest.raises(NotFound):
            containers.find(tx, "default", "")


def test_a_container_is_found_by_id_by_name_and_by_the_beginning_of_its_id(metadata: Metadata) -> None:
    with metadata.write() as tx:
        containers.create(tx, WHOLE)
        containers.create(tx, Container("abd999", "default", "abc1"))
        containers.create(tx, Container("ab", "default"))
        assert containers.find(tx, "default", "abc123").name == "web"
        assert containers.find(tx, "default", "web").id == "abc123"
        assert containers.find(tx, "default", "abd").id == "abd999"
        assert containers.find(tx, "default", "abc1").id == "abd999", "a name goes before a beginning"
        assert containers.find(tx, "default", "ab").id == "ab", "a whole id goes before a beginning"
        with pytest.raises(FailedPrecondition, match="several"):
            containers.find(tx, "default", "a")
        for text in ("b", "abc123x", "%", "a_c123", "\U0010ffff"):
            with pytest.raises(NotFound):
                containers.find(tx, "default", text)
        with pytest.raises(NotFound):
            containers.find(tx, "other", "abc123")


def test_containers_are_listed_oldest_first(metadata: Metadata) -> None:
    with metadata.write() as tx:
        for container_id in ("b", "a", "c"):
            containers.create(tx, Container(container_id, "default"))
        containers.create(tx, Container("d", "other"))
        assert [container.id for container in containers.list(tx, "default")] == ["b", "a", "c"]


def test_an_update_changes_all_but_who_it_is(metadata: Metadata) -> None:
    with metadata.write() as tx:
        created = containers.create(tx, WHOLE)
        containers.create(tx, Container("other", "default", "taken"))
        updated = containers.update(tx, created.replace(name="renamed", labels={}, spec=b"{}"))
        assert containers.get(tx, "default", "abc123") == updated
        assert updated.created_at == created.created_at
        with pytest.raises(AlreadyExists):
            containers.update(tx, updated.replace(name="taken"))
        with pytest.raises(NotFound):
            containers.update(tx, Container("missing", "default"))


def test_a_deleted_container_frees_its_id_and_its_name(metadata: Metadata) -> None:
    with metadata.write() as tx:
        containers.create(tx, WHOLE)
        containers.delete(tx, "default", "abc123")
        with pytest.raises(NotFound):
            containers.delete(tx, "default", "abc123")
        containers.create(tx, WHOLE)


def test_the_containers_of_a_lease_are_known(metadata: Metadata) -> None:
    with metadata.write() as tx:
        containers.create(tx, WHOLE)
        containers.create(tx, Container("free", "default"))
        assert [container.id for container in containers.owned(tx, "default", "run-1")] == ["abc123"]
        assert containers.owned(tx, "default", "") == ()


@pytest.mark.parametrize("container_id", ["", "a/b", "x" * 2000, "..", "a\n"])
def test_an_id_that_cannot_be_is_refused(metadata: Metadata, container_id: str) -> None:
    with metadata.write() as tx, pytest.raises(InvalidArgument, match="container id"):
        containers.create(tx, Container(container_id, "default"))
