"""Whether the blobs of a root are kept by another daemon: ROOT/content/elsewhere.json says by whom.

A root has its content in one place. To look for it in another one would make every image there one whose
blobs are missing, and the collector would take its layers: so the place is noted, and does not change.
"""

from __future__ import annotations

import os

from cloche.errors import FailedPrecondition
from cloche.spec import document
from cloche.spec.record import Record

_NAME = "elsewhere.json"
_LIMIT_BYTES = 1 << 16


class Place(Record):
    """address: of the daemon's socket. namespace: ours there, like no other root's."""

    address: str
    namespace: str


def noted(directory: str) -> Place | None:
    """Who keeps the blobs of a content directory; None where they are in it. Raises FailedPrecondition."""
    path = f"{directory}/{_NAME}"
    try:
        found = document.load_file(path, limit_bytes=_LIMIT_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if isinstance(found, dict):
        address, namespace = found.get("address"), found.get("namespace")
        if isinstance(address, str) and isinstance(namespace, str) and address and namespace:
            return Place(address, namespace)
    raise FailedPrecondition(f"{path}: does not say who keeps this root's content")


def refuse(directory: str) -> None:
    """Tell who works without a daemon what it cannot do. Raises FailedPrecondition."""
    if place := noted(directory):
        raise FailedPrecondition(
            f"{directory}: its blobs are kept at {place.address}, which cloched asks for them: "
            "use `cloche ctr`, or another root"
        )


def settle(directory: str, address: str) -> Place | None:
    """Have the blobs of a content directory be kept at an address ("" for here), for good.

    Raises FailedPrecondition where they are somewhere else already.
    """
    place = noted(directory)
    if (place.address if place else "") == address:
        return place
    if place is not None:
        wanted = f"not {address}" if address else "and no proxy plug-in of type content says so"
        raise FailedPrecondition(
            f"{directory}: its blobs are kept at {place.address}, {wanted}: "
            f"configure that one, or remove {directory}/{_NAME} and all images with it"
        )
    if any(_listed(f"{directory}/blobs/{each}") for each in _listed(f"{directory}/blobs")):
        raise FailedPrecondition(
            f"{directory}: has blobs of its own: remove all images before its content is kept at {address}"
        )
    place = Place(address, f"cloche-{os.urandom(4).hex()}")
    os.makedirs(directory, mode=0o700, exist_ok=True)
    with open(f"{directory}/{_NAME}.new", "wb") as file:
        file.write(document.dumps({"address": place.address, "namespace": place.namespace}))
        file.flush()
        os.fsync(file.fileno())
    os.rename(f"{directory}/{_NAME}.new", f"{directory}/{_NAME}")
    return place


def _listed(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []
