"""What the engine keeps with a container: the settings, and what of its image a start needs.

The image itself may be removed or renamed meanwhile; its layers stay with the container's snapshot.
"""

from __future__ import annotations

from cloche.engine.options import Options, from_document, to_document
from cloche.spec.document import dumps, loads
from cloche.spec.image_config import ImageConfig
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cloche.store.containers import Container


class Kept(Record):
    """options: as given at create. image_id: the config's digest. image_digest: what the name stood
    for. chain_id: the layers. volumes: target -> name of each volume; anonymous: those made for
    this container alone.
    """

    options: Options
    image_config: ImageConfig
    image_id: str = ""
    image_digest: str = ""
    chain_id: str = ""
    volumes: Mapping[str, str] = {}
    anonymous: tuple[str, ...] = ()

    def to_bytes(self) -> bytes:
        """As the store holds it."""
        document = self.image_config.document
        wanted = ("architecture", "os", "variant", "created", "config")
        return dumps(
            {
                "options": to_document(self.options),
                "image_config": {key: document[key] for key in wanted if key in document},
                "image_id": self.image_id,
                "image_digest": self.image_digest,
                "chain_id": self.chain_id,
                "volumes": dict(self.volumes),
                "anonymous": list(self.anonymous),
            }
        )

    @classmethod
    def of(cls, row: Container) -> Kept:
        """Of a container of the store; of one that a client of the API made, as far as its spec tells."""
        if row.options:
            return cls.from_bytes(row.options)
        process = loads(row.spec or b"{}", "the container's spec").get("process") or {}
        arguments = tuple(str(word) for word in process.get("args") or ())
        return cls(Options(args=arguments, tty=bool(process.get("terminal"))), ImageConfig({}))

    @classmethod
    def from_bytes(cls, data: bytes) -> Kept:
        """Raises InvalidArgument for what `to_bytes` did not write."""
        document = loads(data or b"{}", "the container's stored settings")
        return cls(
            options=from_document(document.get("options", {})),
            image_config=ImageConfig(document.get("image_config", {})),
            image_id=document.get("image_id", ""),
            image_digest=document.get("image_digest", ""),
            chain_id=document.get("chain_id", ""),
            volumes=document.get("volumes", {}),
            anonymous=tuple(document.get("anonymous", ())),
        )
