"""Pushing: an image's content into a registry, each blob before what refers to it.

layers and config ── HEAD, or mount from a repository that has it, or POST and PUT
manifest, then the indexes above it ── PUT, the last one under the tag
"""

from __future__ import annotations

import os
import threading

from cloche.errors import ClocheError, DataLoss, NotFound, Unavailable
from cloche.image import credentials as stored_credentials
from cloche.image import fetch, hosts_directory, resolve
from cloche.image import progress as news
from cloche.image.endpoint import Endpoint
from cloche.image.progress import BlobStatus, Progress
from cloche.image.refusal import refusal
from cloche.image.retry import Retries
from cloche.image.transfers import Transfers
from cloche.spec import image as documents
from cloche.spec import reference as references
from cloche.spec.image import Descriptor, Index
from cloche.store import blob_labels, images

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import BinaryIO

    from cloche.image.credentials import Credentials
    from cloche.image.hosts import Host
    from cloche.image.transport import Readable, Response
    from cloche.spec.platform import Platform
    from cloche.spec.reference import Reference
    from cloche.store.content import ContentStore
    from cloche.store.metadata import Metadata

_WORKERS = 3
_ATTEMPTS = 4
_FOREIGN = ("application/vnd.oci.image.layer.nondistributable.", documents.DOCKER_LAYER_FOREIGN_GZIP)


def push(
    reference: str | Reference,
    *,
    content: ContentStore,
    metadata: Metadata,
    namespace: str,
    image: str = "",
    platform: Platform | None = None,
    auth: Credentials | None = None,
    plain_http: bool | None = None,
    skip_verify: bool = False,
    ca: tuple[str, ...] = (),
    host: Host | None = None,
    hosts_dir: str = "",
    progress: Progress | None = None,
    cancelled: threading.Event | None = None,
    workers: int = _WORKERS,
) -> Descriptor:
    """Send an image to where the reference says; returns what the tag now points to.

    image: the name of the image's row; the reference itself by default. platform: only this one of
    an index, which is then sent alone; by default the whole index where all of it is here, else
    the image for this machine. The other arguments are those of pull. Raises NotFound where the image
    is not here, PermissionDenied, Unavailable and others as the registry gives cause.
    """
    wanted = references.parse(reference) if isinstance(reference, str) else reference
    with metadata.read() as tx:
        row = images.get(tx, namespace, image or str(wanted))
    if row is None:
        raise NotFound(f"image {image or wanted}: there is none of that name here to push")
    if host is None:
        host = hosts_directory.pushed_to(
            hosts_directory.hosts_of(
                wanted.domain, hosts_dir, plain_http=plain_http, skip_verify=skip_verify, ca=ca
            ),
            str(wanted),
        )
    if host.is_mirror:
        auth = stored_credentials.find(host.authority)
    elif auth is None:
        auth = stored_credentials.find(wanted.domain)
    target = Descriptor(row.target.media_type, row.target.digest, row.target.size)
    closure = _Closure(content, str(wanted), platform).of(target)
    sources = _Sources(metadata, namespace, wanted)
    endpoint = Endpoint(host, auth, cancelled or threading.Event())
    pusher = _Pusher(wanted, endpoint, content, sources, progress or Progress(), with_login=auth is not None)
    try:
        pusher.send(closure, workers)
    finally:
        endpoint.close()
    return closure[-1]


class _Closure:
    """What has to be sent, in an order in which nothing refers to what is not there yet."""

    def __init__(self, content: ContentStore, name: str, platform: Platform | None) -> None:
        self._content = content
        self._name = name
        self._platform = platform
        self._read = resolve.from_content(content)

    def of(self, target: Descriptor) -> list[Descriptor]:
        """Every blob and document, the target (or the one image chosen of it) last."""
        if self._platform is None and self._is_whole(target):
            return list({each.digest: each for each in self._walk(target)}.values())
        platform = resolve.completed(self._platform)
        chosen = resolve.choose(target, platform, self._read, name=self._name)
        return list({each.digest: each for each in self._walk(chosen.descriptor)}.values())

    def _walk(self, descriptor: Descriptor, depth: int = 0) -> Iterator[Descriptor]:
        if depth > documents.INDEX_DEPTH_LIMIT:
            raise DataLoss(f"{self._name}: indexes nested deeper than {documents.INDEX_DEPTH_LIMIT}")
        if descriptor.media_type in (*documents.INDEX_TYPES, *documents.MANIFEST_TYPES):
            document = documents.parse(self._read(descriptor), descriptor.media_type, name=self._name)
            if isinstance(document, Index):
                for entry in document.manifests:
                    yield from self._walk(entry, depth + 1)
            else:
                yield from (*document.layers, document.config)
        yield descriptor

    def _is_whole(self, target: Descriptor) -> bool:
        try:
            return all(_is_foreign(each) or self._content.exists(each.digest) for each in self._walk(target))
        except NotFound:
            return False


class _Sources:
    """Repositories of the same registry that are known to have a blob."""

    def __init__(self, metadata: Metadata, namespace: str, reference: Reference) -> None:
        self._metadata = metadata
        self._namespace = namespace
        self._reference = reference
        self._label = f"containerd.io/distribution.source.{reference.domain}"

    def of(self, digest: str) -> str:
        """One of them, empty where none is known."""
        with self._metadata.read() as tx:
            known = blob_labels.get(tx, self._namespace, digest).get(self._label, "")
        return next((each for each in known.split(",") if each and each != self._reference.path), "")

    def add(self, digests: list[str]) -> None:
        """Note that the reference's own repository has these now."""
        with self._metadata.write() as tx:
            for digest in digests:
                known = blob_labels.get(tx, self._namespace, digest).get(self._label, "")
                repositories = {*filter(None, known.split(",")), self._reference.path}
                blob_labels.update(tx, self._namespace, digest, {self._label: ",".join(sorted(repositories))})


class _Pusher:
    """The writing half of the distribution specification, for one repository."""

    def __init__(
        self,
        reference: Reference,
        endpoint: Endpoint,
        content: ContentStore,
        sources: _Sources,
        progress: Progress,
        *,
        with_login: bool,
    ) -> None:
        self._reference = reference
        self._endpoint = endpoint
        self._content = content
        self._sources = sources
        self._progress = progress
        self._with_login = with_login
        self._scope = f"repository:{reference.path}:pull,push"

    def send(self, closure: list[Descriptor], workers: int) -> None:
        """Send all of it, the last under the reference's tag."""
        kinds = (*documents.INDEX_TYPES, *documents.MANIFEST_TYPES)
        blobs = [each for each in closure if each.media_type not in kinds and not _is_foreign(each)]
        for blob in blobs:
            self._report(blob, news.WAITING)
        # The first request settles how the host is spoken to and fetches the token, for all threads.
        first, rest = blobs[:1], blobs[1:]
        for blob in first:
            self._send_blob(blob)
        cancel = self._endpoint.cancel
        with Transfers(rest, self._send_blob, cancel=cancel, workers=workers) as transfers:
            transfers.wait_for_all()
        manifests = [each for each in closure if each.media_type in kinds]
        for manifest in manifests:
            is_last = manifest is manifests[-1]
            self._send_manifest(manifest, self._reference.tag if is_last else "")
        self._sources.add([each.digest for each in closure if not _is_foreign(each)])

    def _report(self, blob: Descriptor, status: str, offset: int = 0) -> None:
        self._progress.update(BlobStatus(blob.digest, fetch.kind(blob), status, offset, blob.size))

    def _send_blob(self, blob: Descriptor) -> None:
        path = f"/{self._reference.path}/blobs/{blob.digest}"
        with self._request("HEAD", path, blob.digest, (200, 404)) as found:
            if found.status == 200:
                self._report(blob, news.EXISTS, blob.size)
                return
        retries = Retries(_ATTEMPTS, self._endpoint.cancelled)
        while True:
            try:
                self._upload(blob)
            except Unavailable:
                if not retries.again():
                    raise
                continue
            self._report(blob, news.DONE, blob.size)
            return

    def _upload(self, blob: Descriptor) -> None:
        """Mount the blob from where the registry has it, or send it in one piece."""
        self._report(blob, news.UPLOADING)
        path = f"/{self._reference.path}/blobs/uploads/"
        source = self._sources.of(blob.digest)
        query = {"mount": blob.digest, "from": source} if source else {}
        scope = f"{self._scope} repository:{source}:pull" if source else self._scope
        # RFC 9110 wants a length even where there is no body.
        headers = {"Content-Length": "0"}
        with self._request(
            "POST", path, blob.digest, (201, 202), query=query, scope=scope, headers=headers, body=b""
        ) as begun:
            location = begun.headers.get("Location", "")
            if begun.status == 201:
                return
        if not location:
            raise Unavailable(f"{self._reference}: {self._endpoint.host.name} does not say where to upload")
        self._put(blob, self._endpoint.absolute(location, path))

    def _put(self, blob: Descriptor, url: str) -> None:
        url += f"{'&' if '?' in url else '?'}digest={blob.digest}"
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(blob.size)}
        with open(self._content.open(blob.digest), "rb") as file:
            if os.fstat(file.fileno()).st_size != blob.size:
                raise DataLoss(f"{self._reference}: {blob.digest} does not have its {blob.size} bytes here")
            body = _Reported(file, lambda offset: self._report(blob, news.UPLOADING, offset))
            if self._endpoint.owns(url):
                self._request("PUT", url, blob.digest, (201,), headers=headers, body=body).close()
                return
            response = self._endpoint.request_elsewhere("PUT", url, headers, body)
            self._checked(response, blob.digest, (200, 201)).close()

    def _send_manifest(self, manifest: Descriptor, tag: str) -> None:
        data = self._content.read(manifest.digest)
        path = f"/{self._reference.path}/manifests/{tag or manifest.digest}"
        headers = {"Content-Type": manifest.media_type, "Content-Length": str(len(data))}
        with self._request("PUT", path, manifest.digest, (201,), headers=headers, body=data) as response:
            stored = response.headers.get("Docker-Content-Digest", manifest.digest)
        if stored != manifest.digest:
            raise DataLoss(f"{self._reference}: {self._endpoint.host.name} stored it as {stored}")
        self._report(manifest, news.DONE, manifest.size)

    def _request(
        self,
        method: str,
        path: str,
        part: str,
        accepted: tuple[int, ...],
        *,
        scope: str = "",
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | Readable | None = None,
    ) -> Response:
        try:
            response = self._endpoint.request(
                method, path, scope=scope or self._scope, query=query, headers=headers, body=body
            )
        except ClocheError as error:
            raise type(error)(f"{self._reference}: {part}: {error}") from error
        return self._checked(response, part, accepted)

    def _checked(self, response: Response, part: str, accepted: tuple[int, ...]) -> Response:
        if response.status in accepted:
            return response
        what = f"{self._reference}: {part}"
        raise refusal(response, what, self._endpoint.host.name, with_login=self._with_login, action="push")


class _Reported:
    """A file that tells how far it was read."""

    def __init__(self, file: BinaryIO, report: Callable[[int], None]) -> None:
        self._file = file
        self._report = report

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._report(self._file.tell())
        return data

    def seek(self, offset: int) -> int:
        return self._file.seek(offset)


def _is_foreign(descriptor: Descriptor) -> bool:
    """Whether the layer's makers do not allow others to pass it on; registries take the manifest without."""
    return descriptor.media_type.startswith(_FOREIGN)
