"""The image config: what to run, as whom, in which environment, on which layers."""

from __future__ import annotations

from cloche.errors import InvalidArgument
from cloche.spec import digest as digests
from cloche.spec.document import loads
from cloche.spec.fields import Fields
from cloche.spec.platform import Platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_LIMIT_BYTES = 4 << 20
_LAYERS_LIMIT = 500


class ImageConfig:
    """A view of a config document, checked once when it is read.

    `document` is the parsed JSON, which keeps fields that nobody here knows. Docker's and OCI's
    configs have the same shape.
    """

    __slots__ = ("_process", "diff_ids", "document", "name")

    def __init__(self, document: dict[str, Any], name: str = "image config") -> None:
        """Raises InvalidArgument naming the field of the wrong type."""
        fields = Fields.of(document, name)
        self.document = document
        self.name = name
        self._process = Fields(fields.nested("config") or {}, f"{name}.config")
        self.diff_ids = self._read_diff_ids(fields)
        self._check(fields)

    @classmethod
    def parse(cls, data: bytes, name: str = "image config") -> ImageConfig:
        """Read the config's bytes. Raises InvalidArgument."""
        if len(data) > _LIMIT_BYTES:
            raise InvalidArgument(f"{name}: has {len(data)} bytes, more than the {_LIMIT_BYTES} allowed")
        return cls(loads(data, name), name)

    @staticmethod
    def _read_diff_ids(fields: Fields) -> tuple[str, ...]:
        rootfs = fields.nested("rootfs")
        if rootfs is None:
            return ()
        place = Fields(rootfs, f"{fields.name}.rootfs")
        if place.string("type") not in ("", "layers"):
            raise InvalidArgument(f"{place.name}.type: must be layers")
        diff_ids = place.strings("diff_ids")
        if len(diff_ids) > _LAYERS_LIMIT:
            raise InvalidArgument(
                f"{place.name}.diff_ids: {len(diff_ids)} layers, more than the {_LAYERS_LIMIT} allowed"
            )
        try:
            return tuple(digests.validate(diff_id) for diff_id in diff_ids)
        except InvalidArgument as error:
            raise InvalidArgument(f"{place.name}.diff_ids: {error}") from None

    def _check(self, fields: Fields) -> None:
        """Read everything once, so that the properties cannot fail later."""
        for key in ("architecture", "variant", "os", "os.version", "created", "author"):
            fields.string(key)
        for number, entry in enumerate(fields.array("history")):
            Fields.of(entry, f"{self.name}.history[{number}]").string("created_by")
        for key in ("User", "WorkingDir", "StopSignal"):
            self._process.string(key)
        for key in ("Env", "Shell", "OnBuild"):
            self._process.strings(key)
        self._command("Entrypoint")
        self._command("Cmd")
        self._process.string_map("Labels")
        self._process.nested("ExposedPorts")
        self._process.nested("Volumes")
        self._process.nested("Healthcheck")

    def _command(self, key: str) -> tuple[str, ...] | None:
        """None where absent; a lone string (very old images) is a list of one."""
        value = self._process.value.get(key)
        if isinstance(value, str):
            return (value,)
        return None if value is None else self._process.strings(key)

    @property
    def platform(self) -> Platform:
        """What the image was built for, as written."""
        text = self.document.get
        return Platform(
            text("os") or "linux", text("architecture") or "", text("variant") or "", text("os.version") or ""
        )

    @property
    def architecture(self) -> str:
        """Empty where absent."""
        return self.document.get("architecture") or ""

    @property
    def os(self) -> str:
        """Empty where absent."""
        return self.document.get("os") or ""

    @property
    def created(self) -> str:
        """RFC 3339, as written; empty where absent."""
        return self.document.get("created") or ""

    @property
    def author(self) -> str:
        """Empty where absent."""
        return self.document.get("author") or ""

    @property
    def history(self) -> tuple[dict[str, Any], ...]:
        """The steps the image was built by, the oldest first."""
        return tuple(self.document.get("history") or ())

    @property
    def entrypoint(self) -> tuple[str, ...] | None:
        """None where the image sets none (an empty one is not the same to Docker)."""
        return self._command("Entrypoint")

    @property
    def cmd(self) -> tuple[str, ...] | None:
        """None where the image sets none."""
        return self._command("Cmd")

    @property
    def env(self) -> tuple[str, ...]:
        """`NAME=value` each."""
        return self._process.strings("Env")

    @property
    def user(self) -> str:
        """`user[:group]`, names or numbers; empty means root."""
        return self._process.string("User")

    @property
    def working_dir(self) -> str:
        """Empty means /."""
        return self._process.string("WorkingDir")

    @property
    def labels(self) -> Mapping[str, str]:
        """The image's own labels."""
        return self._process.string_map("Labels")

    @property
    def exposed_ports(self) -> tuple[str, ...]:
        """`80/tcp` each, in the order of the document."""
        return tuple(self._process.nested("ExposedPorts") or ())

    @property
    def volumes(self) -> tuple[str, ...]:
        """Paths inside that want a volume of their own."""
        return tuple(self._process.nested("Volumes") or ())

    @property
    def stop_signal(self) -> str:
        """A signal's name or number; empty means SIGTERM."""
        return self._process.string("StopSignal")

    @property
    def shell(self) -> tuple[str, ...]:
        """What a Dockerfile's shell forms are run with; empty means the usual one."""
        return self._process.strings("Shell")

    @property
    def healthcheck(self) -> dict[str, Any] | None:
        """Docker's health check as written; None where absent."""
        return self._process.nested("Healthcheck")
