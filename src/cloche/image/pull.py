"""Pulling: a reference becomes content, unpacked layers and a row in the images table.

    resolve ── index ── manifest ── config ──┬─ layers, a few at a time (threads)
                                             └─ unpack, each layer when it and its parents are here
    labels, resolution and image in one transaction, which also ends the lease

Until that transaction nobody else can see the image; a lease keeps what has arrived. A pull that
fails leaves blobs that are whole, and the beginnings of others, for the next attempt to use.
"""

from __future__ import annotations

import os

from cloche.image import closure, fetch, hosts_directory, resolve
from cloche.image import credentials as stored_credentials
from cloche.image import progress as news
from cloche.image.fetch import Fetcher
from cloche.image.processors import NONE
from cloche.image.progress import Progress
from cloche.image.registry import Registry
from cloche.image.transfers import Transfers
from cloche.spec import reference as references
from cloche.store import clock, leases

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence

    from cloche.image.credentials import Credentials
    from cloche.image.hosts import Host
    from cloche.image.processors import Processors
    from cloche.image.resolve import Chosen
    from cloche.spec.image import Descriptor
    from cloche.spec.platform import Platform
    from cloche.spec.reference import Reference
    from cloche.store.content import ContentStore
    from cloche.store.images import Image
    from cloche.store.metadata import Metadata, WriteTransaction
    from cloche.store.snapshots.local import LocalSnapshotter

_WORKERS = 3
_LEASE_LIFE_NS = 24 * 3600 * 10**9


def pull(
    reference: str | Reference,
    *,
    content: ContentStore,
    metadata: Metadata,
    namespace: str,
    snapshotter: LocalSnapshotter | None = None,
    platform: Platform | None = None,
    auth: Credentials | None = None,
    plain_http: bool | None = None,
    skip_verify: bool = False,
    ca: tuple[str, ...] = (),
    hosts: Sequence[Host] | None = None,
    hosts_dir: str = "",
    progress: Progress | None = None,
    cancelled: threading.Event | None = None,
    owner: str = "",
    workers: int = _WORKERS,
    unpackers: int = 0,
    verify: Callable[[str, Descriptor], object] | None = None,
    processors: Processors = NONE,
) -> Image:
    """Bring an image here and name it by its reference; returns the row.

    snapshotter: where its layers are unpacked; None leaves them packed.
    platform: which of an index's images; this machine's by default.
    auth: credentials; None looks in Docker's configuration, empty ones stay anonymous.
    plain_http, skip_verify, ca: see hosts.of_domain. hosts: ask these instead, in this order.
    hosts_dir: where registries are configured; see hosts_directory.directories.
    cancelled: set it to have the pull end soon with Cancelled; it is set when the pull has failed.
    owner: the liveness file that the pull's lease dies with (store.leases); a day's lease without.
    workers: how many layers arrive at once; unpackers: how many are unpacked at once, 0
    for a few. verify: called with the name and what it stands for, before
    anything else is fetched; what it raises ends the pull. processors: for layers of other media types.
    Raises the errors of Registry.resolve, resolve.choose and the unpacking.
    """
    wanted = references.parse(reference) if isinstance(reference, str) else reference
    if auth is None:
        auth = stored_credentials.find(wanted.domain)
    if hosts is None:
        hosts = hosts_directory.hosts_of(
            wanted.domain, hosts_dir, plain_http=plain_http, skip_verify=skip_verify, ca=ca
        )
    mirrors = stored_credentials.of_mirrors(hosts)
    with Registry(
        wanted, hosts, credentials=auth, mirror_credentials=mirrors, cancelled=cancelled
    ) as registry:
        task = _Pull(wanted, registry, content, metadata, namespace, progress or Progress())
        task.verify = verify
        task.processors = processors
        task.unpackers = unpackers
        with _Lease(metadata, namespace, owner) as lease:
            return task.run(resolve.completed(platform), snapshotter, lease, workers)


class _Pull:
    """One pull under way."""

    def __init__(
        self,
        reference: Reference,
        registry: Registry,
        content: ContentStore,
        metadata: Metadata,
        namespace: str,
        progress: Progress,
    ) -> None:
        self._reference = reference
        self._registry = registry
        self._fetcher = Fetcher(registry, content, progress)
        self._content = content
        self._metadata = metadata
        self._namespace = namespace
        self.verify: Callable[[str, Descriptor], object] | None = None
        self.processors = NONE
        self.unpackers = 0

    def run(
        self, platform: Platform, snapshotter: LocalSnapshotter | None, lease: _Lease, workers: int
    ) -> Image:
        """Bring everything; extract each layer as soon as it is here where there is a snapshotter."""
        chosen = self._choose(platform)
        if snapshotter is not None:
            resolve.check_layers(chosen.manifest, self.processors, str(self._reference))
        lease.keep(chosen)
        layers = chosen.manifest.layers
        self._fetcher.unpacks = snapshotter is not None
        for layer in layers:
            self._fetcher.report(layer, news.WAITING)
        with Transfers(
            layers, self._fetcher.fetch, cancel=self._registry.cancel, workers=workers
        ) as downloads:
            if snapshotter is None:
                downloads.wait_for_all()
                return self._record(chosen, platform, lease)
            return self._unpack(chosen, platform, lease, snapshotter, downloads)

    def _choose(self, platform: Platform) -> Chosen:
        """Bring the documents, down to the config of the image for a platform."""
        resolved = self._registry.resolve()
        if self.verify is not None:
            self.verify(str(self._reference), resolved.descriptor)
        if resolved.data is not None:
            fetch.store(self._content, resolved.descriptor, resolved.data)
        return resolve.choose(resolved.descriptor, platform, self._read, name=str(self._reference))

    def _read(self, descriptor: Descriptor) -> bytes:
        if fetch.kind(descriptor) == "config":
            self._fetcher.fetch(descriptor)
        elif not self._content.exists(descriptor.digest):
            fetch.store(self._content, descriptor, self._registry.document(descriptor))
        return self._content.read(descriptor.digest)

    def _unpack(
        self,
        chosen: Chosen,
        platform: Platform,
        lease: _Lease,
        snapshotter: LocalSnapshotter,
        downloads: Transfers,
    ) -> Image:
        from cloche.image.unpack import Unpacking

        layers = {layer.digest: layer for layer in chosen.manifest.layers}

        def arrived(digest: str) -> None:
            downloads.wait(digest)
            self._fetcher.report(layers[digest], news.EXTRACTING)

        def extracted(digest: str) -> None:
            self._fetcher.report(layers[digest], news.DONE, layers[digest].size)

        with Unpacking(
            chosen.manifest,
            chosen.config,
            content=self._content,
            metadata=self._metadata,
            snapshotter=snapshotter,
            processors=self.processors,
            workers=self.unpackers,
        ) as unpacking:
            unpacking.extract(arrived, done=extracted)
            downloads.wait_for_all()
            return self._record(chosen, platform, lease, snapshotter.name, unpacking.commit)

    def _record(
        self,
        chosen: Chosen,
        platform: Platform,
        lease: _Lease,
        snapshotter: str | None = None,
        commit: Callable[[WriteTransaction], object] | None = None,
    ) -> Image:
        """Make image and snapshots visible, and the lease unnecessary, in one transaction."""
        with self._metadata.write() as tx:
            if commit is not None:
                commit(tx)
            image = closure.record(
                tx,
                self._namespace,
                str(self._reference),
                chosen,
                platform=str(platform),
                snapshotter=snapshotter,
                source=(self._reference.domain, self._reference.path),
            )
            lease.end(tx)
        return image


class _Lease:
    """What the pull brings stays until its image is recorded, or the pull has failed."""

    def __init__(self, metadata: Metadata, namespace: str, owner: str) -> None:
        self._metadata = metadata
        self._namespace = namespace
        self._id = f"pull-{os.getpid()}-{os.urandom(8).hex()}"
        self._owner = owner
        self._open = False

    def __enter__(self) -> _Lease:
        return self

    def keep(self, chosen: Chosen) -> None:
        """Make the lease, over every blob of the image."""
        expires_at = None if self._owner else clock.now() + _LEASE_LIFE_NS
        lease = leases.Lease(self._id, self._namespace, expires_at=expires_at, owner=self._owner)
        with self._metadata.write() as tx:
            leases.create(tx, lease)
            for digest in closure.blob_references(chosen):
                leases.add(tx, self._namespace, self._id, leases.Resource("content", digest))
        self._open = True

    def end(self, tx: WriteTransaction) -> None:
        """Drop it with the transaction that makes it unnecessary."""
        leases.delete(tx, self._namespace, self._id)
        tx.after_commit(self._ended)

    def _ended(self) -> None:
        self._open = False

    def __exit__(self, *_: object) -> None:
        if self._open:
            with self._metadata.write() as tx:
                leases.delete(tx, self._namespace, self._id)
