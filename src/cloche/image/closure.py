"""All that belongs to an image, said in labels and rows.

Our collector reads manifests itself. The labels are those that containerd's clients expect to find,
and they outlive a manifest that is damaged.
"""

from __future__ import annotations

from cloche.store import blob_labels, images
from cloche.store.images import Image, Resolution, Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cloche.image.resolve import Chosen
    from cloche.store.metadata import WriteTransaction

_REFERS_TO = "containerd.io/gc.ref.content"
_REFERS_TO_SNAPSHOT = "containerd.io/gc.ref.snapshot"
_UNCOMPRESSED = "containerd.io/uncompressed"
_SOURCE = "containerd.io/distribution.source"
_SOURCE_LIMIT = 2048


def blob_references(chosen: Chosen) -> dict[str, dict[str, str]]:
    """The labels of every blob of an image, by digest: what it refers to."""
    labels: dict[str, dict[str, str]] = {}
    for descriptor, index in chosen.indexes:
        labels[descriptor.digest] = {
            f"{_REFERS_TO}.m.{number}": entry.digest for number, entry in enumerate(index.manifests)
        }
    labels[chosen.descriptor.digest] = {
        f"{_REFERS_TO}.config": chosen.manifest.config.digest,
        **{f"{_REFERS_TO}.l.{number}": layer.digest for number, layer in enumerate(chosen.manifest.layers)},
    }
    labels[chosen.manifest.config.digest] = {}
    for layer, diff_id in zip(chosen.manifest.layers, chosen.config.diff_ids, strict=True):
        labels[layer.digest] = {_UNCOMPRESSED: diff_id} if layer.digest != diff_id else {}
    return labels


def record(
    tx: WriteTransaction,
    namespace: str,
    name: str,
    chosen: Chosen,
    *,
    platform: str,
    snapshotter: str | None = None,
    source: tuple[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
) -> Image:
    """Name an image whose content is all here.

    platform: under which the resolution is remembered. snapshotter: where its layers are unpacked,
    if they are. source: registry host and repository it came from, by which a later push knows what
    it need not send. labels: of the image's row. Returns the row.
    """
    for digest, refers_to in blob_references(chosen).items():
        changes: dict[str, str | None] = dict(refers_to)
        if snapshotter and digest == chosen.manifest.config.digest and chosen.chain_id:
            changes[f"{_REFERS_TO_SNAPSHOT}.{snapshotter}"] = chosen.chain_id
        if source is not None:
            key = f"{_SOURCE}.{source[0]}"
            changes[key] = _with_source(blob_labels.get(tx, namespace, digest).get(key, ""), source[1])
        blob_labels.update(tx, namespace, digest, changes)
    found = Resolution(platform, chosen.descriptor.digest, chosen.manifest.config.digest, chosen.chain_id)
    images.remember(tx, chosen.target.digest, found)
    target = Target(chosen.target.media_type, chosen.target.digest, chosen.target.size)
    return images.put(tx, namespace, Image(name, target, labels or {}))


def _with_source(known: str, repository: str) -> str:
    """A list of repositories with one more, unless it became too long for a label."""
    repositories = known.split(",") if known else []
    if repository not in repositories:
        repositories.append(repository)
    text = ",".join(sorted(repositories))
    return text if len(text) <= _SOURCE_LIMIT else known
