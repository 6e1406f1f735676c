from __future__ import annotations

import pytest

from cloche.errors import InvalidArgument
from cloche.store import blob_labels
from cloche.store.metadata import Metadata

DIGEST = "sha256:" + "a" * 64


def test_labels_are_noted_on_content_in_each_namespace(metadata: Metadata) -> None:
    with metadata.write() as tx:
        assert blob_labels.get(tx, "one", DIGEST) == {}
        assert blob_labels.update(tx, "one", DIGEST, {"a": "1", "b": "2"}) == {"a": "1", "b": "2"}
        assert blob_labels.update(tx, "one", DIGEST, {"a": None, "c": "3"}) == {"b": "2", "c": "3"}
        assert blob_labels.get(tx, "one", DIGEST) == {"b": "2", "c": "3"}
        assert blob_labels.get(tx, "two", DIGEST) == {}
        blob_labels.delete(tx, "one", DIGEST)
        assert blob_labels.get(tx, "one", DIGEST) == {}
        with pytest.raises(InvalidArgument):
            blob_labels.update(tx, "one", "sha256:short", {})
