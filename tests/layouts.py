"""OCI image layouts written by the tests themselves, so that they owe nothing to the code they test."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def tar_directory(directory: Path) -> bytes:
    """An uncompressed tar of what is below a directory, owned by root, in the order of names."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(directory.rglob("*")):
            archive.add(path, path.relative_to(directory), recursive=False, filter=_owned_by_root)
    return buffer.getvalue()


def _owned_by_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    entry.mtime = 0
    return entry


class Layout:
    """A directory in the OCI image layout: blobs, an index of named images."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._images: list[dict[str, Any]] = []
        (path / "blobs" / "sha256").mkdir(parents=True)
        (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')

    def blob(self, data: bytes, media_type: str) -> dict[str, Any]:
        """Store bytes; returns their descriptor."""
        digest = hashlib.sha256(data).hexdigest()
        (self.path / "blobs" / "sha256" / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    def document(self, content: dict[str, Any], media_type: str) -> dict[str, Any]:
        """Store a JSON document; returns its descriptor."""
        return self.blob(json.dumps(content).encode(), media_type)

    def image(
        self, name: str, layers: list[bytes], *, compressed: bool = True, **settings: Any
    ) -> dict[str, Any]:
        """Add an image of these uncompressed layers; returns its manifest's descriptor.

        settings: of the image configuration's `config` object (Env, Cmd, …).
        """
        config = {
            "architecture": ARCHITECTURES[os.uname().machine],
            "os": "linux",
            "config": {"Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], **settings},
            "rootfs": {
                "type": "layers",
                "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers],
            },
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.document(config, CONFIG),
            "layers": [self._layer(layer, compressed=compressed) for layer in layers],
        }
        descriptor = self.document(manifest, MANIFEST)
        self._images.append(descriptor | {"annotations": {"org.opencontainers.image.ref.name": name}})
        index = {"schemaVersion": 2, "manifests": self._images}
        (self.path / "index.json").write_text(json.dumps(index))
        return descriptor

    def _layer(self, layer: bytes, *, compressed: bool) -> dict[str, Any]:
        if compressed:
            return self.blob(gzip.compress(layer, compresslevel=6, mtime=0), f"{LAYER}+gzip")
        return self.blob(layer, LAYER)

    def archive(self, path: Path) -> Path:
        """Write the layout as one tar file, as `docker load` and `ctr images import` take it."""
        with tarfile.open(path, "w") as archive:
            for entry in sorted(self.path.iterdir()):
                archive.add(entry, entry.name)
        return path
