"""A repository in a registry: the reading half of the OCI distribution specification."""

from __future__ import annotations

import threading
import weakref

from cloche.errors import ClocheError, DataLoss, NotFound, Unavailable
from cloche.image.endpoint import Endpoint
from cloche.image.hosts import PULL, RESOLVE
from cloche.image.refusal import refusal
from cloche.spec import digest as digests
from cloche.spec import image as documents
from cloche.spec.image import Descriptor
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TypeVar

    from cloche.image.credentials import Credentials
    from cloche.image.hosts import Host
    from cloche.image.transport import Response
    from cloche.spec.reference import Reference

    _Result = TypeVar("_Result")

ACCEPT = ", ".join((*documents.INDEX_TYPES, *documents.MANIFEST_TYPES, "*/*"))
_CHUNK_BYTES = 1 << 20


class Resolved(Record):
    """What a reference points to. data: the document where it had to be fetched on the way."""

    descriptor: Descriptor
    data: bytes | None = None


class BrokenOff(Unavailable):
    """The connection ended before the blob did; the rest can be asked for."""


class Blob:
    """A blob's bytes as they arrive, from an offset on. what: for messages."""

    def __init__(self, response: Response, what: str, skip_bytes: int) -> None:
        self._response = response
        self._what = what
        self._skip_bytes = skip_bytes

    def read(self, size_bytes: int = _CHUNK_BYTES) -> bytes:
        """At most so many bytes; empty at the end. Raises BrokenOff when the connection breaks."""
        while self._skip_bytes:
            skipped = self._read(min(self._skip_bytes, _CHUNK_BYTES))
            if not skipped:
                return b""
            self._skip_bytes -= len(skipped)
        return self._read(size_bytes)

    def _read(self, size_bytes: int) -> bytes:
        try:
            return self._response.read(size_bytes)
        except Unavailable as error:
            raise BrokenOff(f"{self._what}: {error}") from error

    def interrupt(self) -> None:
        """Have a `read` that waits in another thread end at once."""
        self._response.interrupt()

    def close(self) -> None:
        """Give the connection back."""
        self._response.close()

    def __enter__(self) -> Blob:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Registry:
    """The hosts of one repository, asked in turn. Safe to use from several threads.

    reference: names the repository; its tag or digest is what `resolve` asks for. hosts: mirrors
    first, the registry itself last. credentials: for the registry itself. mirror_credentials: those of
    mirrors, by host[:port]; no mirror sees the registry's. cancelled: set it to end every request
    soon with Cancelled.
    """

    def __init__(
        self,
        reference: Reference,
        hosts: Sequence[Host],
        *,
        credentials: Credentials | None = None,
        mirror_credentials: Mapping[str, Credentials] | None = None,
        cancelled: threading.Event | None = None,
    ) -> None:
        self.reference = reference
        self.cancelled = cancelled or threading.Event()
        self._live: weakref.WeakSet[Blob] = weakref.WeakSet()
        self._live_lock = threading.Lock()
        logins = mirror_credentials or {}
        self._endpoints = [
            Endpoint(host, logins.get(host.authority) if host.is_mirror else credentials, self.cancelled)
            for host in hosts
        ]
        self._given_up: set[Endpoint] = set()
        self._pull_scope = f"repository:{reference.path}:pull"

    def cancel(self) -> None:
        """End every request that is under way, also those waiting for data; they raise Cancelled."""
        self.cancelled.set()
        with self._live_lock:
            live = list(self._live)
        for blob in live:
            blob.interrupt()

    def close(self) -> None:
        """Drop all connections."""
        for endpoint in self._endpoints:
            endpoint.close()

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def resolve(self) -> Resolved:
        """Find what the reference points to now.

        A tag costs one HEAD where the registry answers it fully. Raises NotFound, PermissionDenied,
        Unavailable, ResourceExhausted or DataLoss, each naming reference and host.
        """
        if self.reference.digest:
            return self._in_turn(RESOLVE, self._get_pointed)
        return self._in_turn(RESOLVE, self._head)

    def document(self, descriptor: Descriptor) -> bytes:
        """Fetch a manifest or an index and check it against its descriptor. Errors as `resolve`."""
        if descriptor.size > documents.DOCUMENT_LIMIT_BYTES:
            raise DataLoss(
                f"{self.reference}: {descriptor.digest} has {descriptor.size} bytes, and a manifest may have "
                f"{documents.DOCUMENT_LIMIT_BYTES}"
            )
        resolved = self._in_turn(PULL, lambda endpoint: self._get(endpoint, descriptor.digest))
        if len(resolved.data or b"") != descriptor.size:
            raise DataLoss(f"{self.reference}: {descriptor.digest} does not have its {descriptor.size} bytes")
        return resolved.data or b""

    def blob(self, descriptor: Descriptor, offset: int = 0) -> Blob:
        """Begin to fetch a blob from an offset on. Errors as `resolve`.

        Foreign layers are asked from their own addresses, without credentials, where the registry
        does not have them. A server that ignores ranges is borne: what is known is skipped. A negative
        size says that nobody knows it.
        """
        try:
            return self._in_turn(PULL, lambda endpoint: self._get_blob(endpoint, descriptor, offset))
        except NotFound:
            for url in descriptor.urls:
                if url.startswith(("https://", "http://")):
                    response = self._endpoints[-1].request_elsewhere("GET", url, _range(offset))
                    return self._opened(response, descriptor, offset, url.split("/")[2])
            raise

    def piece(self, descriptor: Descriptor, offset: int, length: int) -> bytes | None:
        """So many bytes of a blob; None where the registry only gives it as a whole. Errors as `blob`."""
        return self._in_turn(PULL, lambda endpoint: self._get_piece(endpoint, descriptor, offset, length))

    def _get_piece(
        self, endpoint: Endpoint, descriptor: Descriptor, offset: int, length: int
    ) -> bytes | None:
        wanted = {"Range": f"bytes={offset}-{offset + length - 1}"}
        response = self._request(endpoint, "GET", f"blobs/{descriptor.digest}", wanted, descriptor.digest)
        what = f"{self.reference}: {descriptor.digest}"
        if response.status == 200:
            response.close()
            return None
        if response.status != 206 or _range_start(response) != offset:
            raise refusal(response, what, endpoint.host.name, with_login=False)
        parts, left = [], length
        with self._followed(Blob(response, what, 0)) as blob:
            # One byte more than there should be is asked for: a longer body must be noticed.
            while data := blob.read(min(_CHUNK_BYTES, left + 1)):
                parts.append(data)
                left -= len(data)
        if left > 0:
            raise BrokenOff(f"{what}: only {length - left} of {length} bytes arrived")
        if left < 0:
            raise DataLoss(f"{what}: {endpoint.host.name} sent more than it was asked for")
        return b"".join(parts)

    def _followed(self, blob: Blob) -> Blob:
        """A blob that `cancel` ends."""
        with self._live_lock:
            self._live.add(blob)
        return blob

    def _in_turn(self, capability: str, ask: Callable[[Endpoint], _Result]) -> _Result:
        """Ask one host after the other until one has it; the last one's refusal counts."""
        failure: ClocheError = NotFound(f"{self.reference}: no configured host may be asked for it")
        for endpoint in self._endpoints:
            if capability not in endpoint.host.capabilities or endpoint in self._given_up:
                continue
            try:
                return ask(endpoint)
            except ClocheError as error:
                if self.cancelled.is_set():
                    raise
                failure = error
                if not endpoint.has_answered and endpoint is not self._endpoints[-1]:
                    # Each layer would wait for the same dead mirror once more.
                    self._given_up.add(endpoint)
        raise failure

    def _request(
        self, endpoint: Endpoint, method: str, path: str, headers: dict[str, str], part: str = ""
    ) -> Response:
        """Send a request of this repository; any answer but success becomes an error."""
        what = f"{self.reference}: {part}" if part else str(self.reference)
        try:
            response = endpoint.request(
                method, f"/{self.reference.path}/{path}", scope=self._pull_scope, headers=headers
            )
        except ClocheError as error:
            raise type(error)(f"{what}: {error}") from error
        if response.status not in (200, 206):
            raise refusal(response, what, endpoint.host.name, with_login=endpoint.has_login)
        return response

    def _head(self, endpoint: Endpoint) -> Resolved:
        path = f"manifests/{self.reference.tag}"
        what = str(self.reference)
        try:
            response = endpoint.request(
                "HEAD", f"/{self.reference.path}/{path}", scope=self._pull_scope, headers={"Accept": ACCEPT}
            )
        except ClocheError as error:
            raise type(error)(f"{what}: {error}") from error
        response.close()
        digest = response.headers.get("Docker-Content-Digest", "")
        length = response.headers.get("Content-Length", "")
        media_type = _media_type(response)
        if response.status != 200 or not digest or not length.isdigit() or "json" not in media_type:
            # An answer to HEAD has no body, so errors are asked for once more to have their words.
            return self._get(endpoint, self.reference.tag)
        return Resolved(Descriptor(media_type, digests.validate(digest), int(length)))

    def _get_pointed(self, endpoint: Endpoint) -> Resolved:
        return self._get(endpoint, self.reference.digest)

    def _get(self, endpoint: Endpoint, pointer: str) -> Resolved:
        """GET a manifest by tag or digest and check what says what it is."""
        with self._request(endpoint, "GET", f"manifests/{pointer}", {"Accept": ACCEPT}) as response:
            try:
                data = response.read_all(documents.DOCUMENT_LIMIT_BYTES)
            except (DataLoss, Unavailable) as error:
                raise type(error)(f"{self.reference}: {error}") from error
        announced = response.headers.get("Docker-Content-Digest", "")
        digest = pointer if ":" in pointer else announced
        algorithm = digests.parse(digest)[0] if digest else "sha256"
        found = digests.of(data, algorithm)
        if digest and found != digest:
            raise DataLoss(
                f"{self.reference}: {endpoint.host.name} sent a manifest with digest {found}, not {digest}"
            )
        return Resolved(Descriptor(_media_type(response), found, len(data)), data)

    def _get_blob(self, endpoint: Endpoint, descriptor: Descriptor, offset: int) -> Blob:
        path = f"blobs/{descriptor.digest}"
        response = self._request(endpoint, "GET", path, _range(offset), descriptor.digest)
        return self._opened(response, descriptor, offset, endpoint.host.name)

    def _opened(self, response: Response, descriptor: Descriptor, offset: int, host: str) -> Blob:
        """Check that the answer can be this blob before a byte of it is read."""
        what = f"{self.reference}: {descriptor.digest}"
        if response.status not in (200, 206):
            raise refusal(response, what, host, with_login=False)
        skip_bytes = offset
        if response.status == 206:
            skip_bytes = offset - _range_start(response)
            if skip_bytes < 0:
                response.close()
                raise DataLoss(f"{what}: {host} sent another range than the one asked for")
        length = response.headers.get("Content-Length", "")
        if descriptor.size >= 0 and length.isdigit() and int(length) + offset - skip_bytes != descriptor.size:
            response.close()
            raise DataLoss(
                f"{what}: {host} offers {int(length) + offset - skip_bytes} bytes, not the {descriptor.size} "
                "the manifest names"
            )
        return self._followed(Blob(response, what, skip_bytes))


def _media_type(response: Response) -> str:
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _range(offset: int) -> dict[str, str]:
    return {"Range": f"bytes={offset}-"} if offset else {}


def _range_start(response: Response) -> int:
    """Where a partial answer begins (`Content-Range: bytes 5-9/10`); -1 hides nothing: it is refused."""
    start = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0].strip()
    return int(start) if start.isdigit() else 1 << 62
