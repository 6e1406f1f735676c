"""`ctr images import` and `export`: images in one file."""

from __future__ import annotations

import os
import time

from cloche.cli.arguments import UsageError
from cloche.cli.ctr import scratch, values
from cloche.cli.ctr.command import CtrCommand, Invocation
from cloche.cli.ctr.flags import ALL_PLATFORMS, LABEL, PLATFORM
from cloche.cli.ctr.image_content import Documents, get, platform_of
from cloche.cli.ctr.leases import Leased
from cloche.cli.ctr.pull import local_only, message_of
from cloche.cli.ctr.scratch import Scratch
from cloche.cli.ctr.snapshots import used
from cloche.cli.ctr.transfer import Transfer
from cloche.cli.ctr.transfer_progress import Display
from cloche.cli.ctr.tree import SNAPSHOTTER
from cloche.cli.ctr.unpack import unpack
from cloche.cli.output import write, write_bytes
from cloche.errors import Unimplemented
from cloche.spec.image import Descriptor
from cloche.wire.messages import transfer as messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.store.images import Image


def _import(invocation: Invocation) -> None:
    if invocation.on("skip-digest-for-named") and not invocation.on("digests"):
        raise UsageError("--skip-digest-for-named is about --digests: give that too")
    path = invocation.argument(0)
    descriptor = 0 if path == "-" else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    if not invocation.on("local"):
        local_only(invocation, ("discard-unpacked-layers",))
        try:
            _transfer(invocation, descriptor)
        except Unimplemented:
            if path == "-":
                raise
        else:
            return
    _load(invocation, path)


def _prefix(invocation: Invocation) -> str:
    return invocation.text("base-name") or f"import-{time.strftime('%Y-%m-%d')}"


def _transfer(invocation: Invocation, descriptor: int) -> None:
    platform = message_of(platform_of(invocation.text("platform")))
    named = messages.ImageReference(
        name=_prefix(invocation),
        is_prefix=True,
        allow_overwrite=not invocation.text("base-name"),
        add_digest=invocation.on("digests"),
        skip_named_digest=invocation.on("skip-digest-for-named"),
    )
    unpacked = messages.UnpackConfiguration(platform=platform, snapshotter=invocation.snapshotter)
    destination = messages.ImageStore(
        name=invocation.text("index-name"),
        labels=values.labels(invocation.all("label")),
        platforms=[] if invocation.on("all-platforms") else [platform],
        extra_references=[named],
        unpacks=[] if invocation.on("no-unpack") else [unpacked],
    )
    transfer = Transfer(invocation.daemon, Display())
    stream = transfer.upload(lambda count: os.read(descriptor, count))
    source = messages.ImageImportStream(stream=stream, force_compress=invocation.on("compress-blobs"))
    transfer.run(source, destination)


def _load(invocation: Invocation, path: str) -> None:
    """Read the archive in this process, and send the daemon what is in it."""
    from cloche.image import archive

    if invocation.on("discard-unpacked-layers") and invocation.on("no-unpack"):
        raise UsageError("--discard-unpacked-layers and --no-unpack do not go together")
    daemon = invocation.daemon
    platform = platform_of(invocation.text("platform"))
    with Scratch() as store, Leased(daemon):
        found = archive.load(
            "/dev/stdin" if path == "-" else path,
            content=store.content,
            metadata=store.metadata,
            namespace=scratch.NAMESPACE,
            platform=platform,
            base_name=_prefix(invocation),
        )
        for row in found:
            target = Descriptor(row.target.media_type, row.target.digest, row.target.size)
            store.upload(daemon, target)
            for name in _names(invocation, row):
                image = scratch.name(daemon, name, target, values.labels(invocation.all("label")))
                if not invocation.on("no-unpack"):
                    write(f"unpacking {name} ({target.digest})...")
                    chosen = Documents(daemon).choose(image, platform)
                    unpack(daemon, used(invocation), chosen, sync_fs=invocation.on("sync-fs"))
                    write("done\n")


def _names(invocation: Invocation, row: Image) -> list[str]:
    """The names that an image of the archive gets."""
    if not invocation.on("digests"):
        return [row.name]
    digested = f"{_prefix(invocation)}@{row.target.digest}"
    return [row.name] if invocation.on("skip-digest-for-named") else [row.name, digested]


def _export(invocation: Invocation) -> None:
    path, *names = invocation.arguments
    # Names first: a file that is not to be written over must not be emptied for nothing.
    for name in names:
        get(invocation.daemon, name)
    descriptor = 1
    if path != "-":
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    if not invocation.on("local"):
        try:
            _transfer_out(invocation, descriptor, names)
        except Unimplemented:
            pass
        else:
            return
    _save(invocation, descriptor, names)


def _transfer_out(invocation: Invocation, descriptor: int, names: list[str]) -> None:
    transfer = Transfer(invocation.daemon, Display(quiet=descriptor == 1))
    stream = transfer.download(lambda data: write_bytes(data, descriptor))
    destination = messages.ImageExportStream(
        stream=stream,
        platforms=[message_of(platform_of(text)) for text in invocation.all("platform")],
        all_platforms=invocation.on("all-platforms"),
        skip_compatibility_manifest=invocation.on("skip-manifest-json"),
        skip_non_distributable=invocation.on("skip-non-distributable"),
    )
    references = [messages.ImageReference(name=name) for name in names]
    transfer.run(messages.ImageStore(extra_references=references), destination)


def _save(invocation: Invocation, descriptor: int, names: list[str]) -> None:
    """Fetch the images from the daemon, and write the archive in this process."""
    from cloche.image import export

    named = invocation.all("platform")
    with Scratch() as store:
        for name in names:
            store.download(invocation.daemon, get(invocation.daemon, name))
        export.save(
            names,
            lambda data: write_bytes(data, descriptor),
            content=store.content,
            metadata=store.metadata,
            namespace=scratch.NAMESPACE,
            platform=platform_of(named[0]) if named else None,
        )


_IMPORT = (
    ALL_PLATFORMS,
    LABEL,
    SNAPSHOTTER,
    ("base-name", "", "string", "What images without a name of their own are called"),
    ("compress-blobs", "", "bool", ""),
    ("digests", "", "bool", "Name them by their digests too"),
    ("discard-unpacked-layers", "", "bool", ""),
    ("index-name", "", "string", "A name for the archive's index"),
    ("local", "", "bool", "Read it in this process"),
    ("no-unpack", "", "bool", "Leave them packed"),
    ("platform", "", "string", "Of images for several platforms, this one"),
    ("skip-digest-for-named", "", "bool", "With --digests: not what has a name"),
    ("sync-fs", "", "bool", "Wait until it is on the disk"),
)
_EXPORT = (
    ALL_PLATFORMS,
    PLATFORM,
    ("local", "", "bool", "Write it in this process"),
    ("skip-manifest-json", "", "bool", "Without what Docker reads"),
    ("skip-non-distributable", "", "bool", "Without layers that may not be passed on"),
)

IMPORT = CtrCommand("[OPTIONS] FILE|-", _import, groups=(("Options", _IMPORT),), minimum=1, maximum=1)
EXPORT = CtrCommand(
    "[OPTIONS] FILE|- IMAGE [IMAGE...]", _export, groups=(("Options", _EXPORT),), minimum=2, maximum=None
)
