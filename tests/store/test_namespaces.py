from __future__ import annotations

import pytest

from cloche.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from cloche.store import containers, namespaces
from cloche.store.metadata import Metadata


def test_a_namespace_has_labels(metadata: Metadata) -> None:
    with metadata.write() as tx:
        namespaces.create(tx, "one", {"a": "b"})
        assert namespaces.get(tx, "one") == {"a": "b"}
        namespaces.update(tx, "one", {"c": "d"})
        assert namespaces.get(tx, "one") == {"c": "d"}
        assert namespaces.get(tx, "two") is None
        with pytest.raises(NotFound):
            namespaces.update(tx, "two", {})
        with pytest.raises(AlreadyExists):
            namespaces.create(tx, "one")
        with pytest.raises(InvalidArgument):
            namespaces.create(tx, "o/ne")


def test_a_namespace_comes_with_the_first_thing_in_it_and_goes_when_it_is_empty(metadata: Metadata) -> None:
    with metadata.write() as tx:
        containers.create(tx, containers.Container("c", "one"))
        assert namespaces.list(tx) == ("one",)
        with pytest.raises(FailedPrecondition, match="it has containers"):
            namespaces.delete(tx, "one")
        containers.delete(tx, "one", "c")
        namespaces.delete(tx, "one")
        assert namespaces.list(tx) == ()
        with pytest.raises(NotFound):
            namespaces.delete(tx, "one")
