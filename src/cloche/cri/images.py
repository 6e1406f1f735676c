"""Images as CRI sees them: one for each config, however many names it has.

In the store an image has a row for each name, as containerd's CRI makes them: its tags, its
digests (NAME@sha256:…), and its id, the digest of its config.
"""

from __future__ import annotations

from cloche.errors import ClocheError, InvalidArgument, NotFound
from cloche.image import resolve
from cloche.spec import reference as references
from cloche.spec.image import DOCUMENT_LIMIT_BYTES, Descriptor, parse_manifest
from cloche.spec.image_config import ImageConfig
from cloche.spec.record import Record
from cloche.store import images as store
from cloche.wire.messages.cri import images as messages
from cloche.wire.messages.cri.values import Int64Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from cloche.engine.context import Context
    from cloche.store.images import Resolution

MANAGED = "io.cri-containerd.image"
PINNED = "io.cri-containerd.pinned"
_LEAST_ID = 5


class Image(Record):
    """An image on this machine's platform.

    id: its config's digest. rows: one for each of its names. size: of what was fetched, in bytes.
    """

    id: str
    found: Resolution
    rows: tuple[store.Image, ...]
    config: ImageConfig
    size: int

    @property
    def tags(self) -> list[str]:
        """Its names with tags."""
        return [row.name for row in self.rows if "@" not in row.name and not row.name.startswith("sha256:")]

    @property
    def digests(self) -> list[str]:
        """Its names with digests."""
        return [row.name for row in self.rows if "@" in row.name]

    @property
    def pinned(self) -> bool:
        """Whether it is not to be removed for room."""
        return any(row.labels.get(PINNED) == "pinned" for row in self.rows)

    def message(self) -> messages.Image:
        """As clients get it."""
        user = self.config.user.partition(":")[0]
        is_number = user.isascii() and user.isdecimal()
        return messages.Image(
            id=self.id,
            repo_tags=self.tags,
            repo_digests=self.digests,
            size=self.size,
            uid=Int64Value(value=int(user)) if is_number else None,
            username="" if is_number else user,
            pinned=self.pinned,
        )


class Images:
    """Finds images. All methods may block, where an image's documents were not read yet."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._platform = resolve.host_platform()
        self._documents: dict[str, tuple[ImageConfig, int]] = {}

    def all(self) -> list[Image]:
        """Every image; those that are damaged, or for other machines, are left out."""
        with self._context.metadata.read() as tx:
            rows = store.list(tx, self._context.namespace)
            known = {
                row.target.digest: store.resolution(tx, row.target.digest, str(self._platform))
                for row in rows
            }
        grouped: dict[str, tuple[Resolution, list[store.Image]]] = {}
        for row in rows:
            try:
                found = known[row.target.digest] or self._resolve(row)
            except (ClocheError, OSError):
                continue
            grouped.setdefault(found.config_digest, (found, []))[1].append(row)
        return [image for found, rows_of in grouped.values() if (image := self._image(found, rows_of))]

    def find(self, text: str) -> Image | None:
        """The image of a name, an id, or the beginning of an id; None where there is none.

        Raises InvalidArgument for what can be neither, and where several ids begin so.
        """
        if not text:
            raise InvalidArgument("image: its name must not be empty")
        images = self.all()
        name = _name(text)
        for image in images:
            if (
                text == image.id
                or f"sha256:{text}" == image.id
                or any(row.name == name for row in image.rows)
            ):
                return image
        digits = text.removeprefix("sha256:")
        if len(digits) < _LEAST_ID or digits.strip("0123456789abcdef"):
            return None
        begun = [image for image in images if image.id.removeprefix("sha256:").startswith(digits)]
        if len(begun) > 1:
            raise InvalidArgument(f"image id {digits!r}: several begin so: give more of it")
        return begun[0] if begun else None

    def need(self, text: str) -> Image:
        """As `find`. Raises NotFound where there is none."""
        found = self.find(text)
        if found is None:
            raise NotFound(f"image {text!r}: not found: pull it first")
        return found

    def _resolve(self, row: store.Image) -> Resolution:
        """What an image is on this machine, where nobody has looked yet."""
        target = Descriptor(row.target.media_type, row.target.digest, row.target.size)
        read = resolve.from_content(self._context.content)
        chosen = resolve.choose(target, self._platform, read, name=row.name)
        return store.Resolution(
            str(self._platform), chosen.descriptor.digest, chosen.manifest.config.digest, chosen.chain_id
        )

    def _image(self, found: Resolution, rows: Iterable[store.Image]) -> Image | None:
        try:
            config, size = self._read(found)
        except (ClocheError, OSError):
            return None  # a blob is gone: a pull brings it back
        return Image(found.config_digest, found, tuple(rows), config, size)

    def _read(self, found: Resolution) -> tuple[ImageConfig, int]:
        known = self._documents.get(found.manifest_digest)
        if known is None:
            content = self._context.content
            data = content.read(found.manifest_digest, limit_bytes=DOCUMENT_LIMIT_BYTES)
            manifest = parse_manifest(data, name=found.manifest_digest)
            config = ImageConfig.parse(content.read(found.config_digest), f"config {found.config_digest}")
            size = len(data) + manifest.config.size + sum(layer.size for layer in manifest.layers)
            known = self._documents[found.manifest_digest] = (config, size)
        return known


def _name(text: str) -> str:
    """A reference in full; text that is none as it is."""
    try:
        return full_name(text)
    except InvalidArgument:
        return text


def full_name(text: str) -> str:
    """A reference in full, without its tag where it has a digest. Raises InvalidArgument."""
    reference = references.parse(text)
    return str(reference.replace(tag="") if reference.digest else reference)


def names(reference: str, target_digest: str, image_id: str) -> tuple[str, ...]:
    """The names that a pulled image gets. reference: in full."""
    parsed = references.parse(reference)
    by_digest = f"{parsed.name}@{target_digest}"
    return (reference, image_id) if parsed.digest else (reference, by_digest, image_id)
