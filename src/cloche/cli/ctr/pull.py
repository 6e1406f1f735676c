"""`ctr images pull` and `ctr content fetch`."""

from __future__ import annotations

import time

from cloche.cli.arguments import UsageError
from cloche.cli.ctr import registries, scratch, values
from cloche.cli.ctr.command import CtrCommand, Invocation
from cloche.cli.ctr.flags import ALL_PLATFORMS, LABEL, PLATFORM, REGISTRY
from cloche.cli.ctr.image_content import Documents, platform_of, target_of
from cloche.cli.ctr.leases import Leased
from cloche.cli.ctr.scratch import Scratch
from cloche.cli.ctr.snapshots import used
from cloche.cli.ctr.transfer import Transfer
from cloche.cli.ctr.transfer_progress import Display
from cloche.cli.ctr.tree import SNAPSHOTTER
from cloche.cli.ctr.unpack import unpack
from cloche.cli.output import line
from cloche.errors import Unimplemented
from cloche.spec import reference as references
from cloche.spec.image import Descriptor
from cloche.wire.messages import transfer as messages
from cloche.wire.messages import types

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloche.spec.platform import Platform
    from cloche.spec.reference import Reference
    from cloche.wire.messages.images import Image

# What only a pull by the client itself can do.
_LOCAL_ONLY = ("max-concurrent-downloads", "print-chainid", "skip-verify", "tlscacert", "tlscert", "tlskey")


def resolver(invocation: Invocation, transfer: Transfer) -> messages.RegistryResolver:
    """How the daemon finds the registry, and logs in."""
    shown = registries.login(invocation)
    debug = messages.DEBUG if invocation.on("http-dump") else messages.DISABLED
    trace = messages.TRACE if invocation.on("http-trace") else messages.DISABLED
    return messages.RegistryResolver(
        auth_stream=transfer.credentials(shown) if shown else "",
        host_dir=invocation.text("hosts-dir"),
        default_scheme="http" if invocation.on("plain-http") else "",
        http_debug=debug | trace,
    )


def wanted_platforms(invocation: Invocation) -> list[Platform]:
    """The platforms that the flags name; this machine's where they name none, nothing for all of them."""
    named = [platform_of(text) for text in invocation.all("platform")]
    if invocation.on("all-platforms"):
        if named:
            raise UsageError("--platform and --all-platforms do not go together")
        return []
    return named or [platform_of("")]


def message_of(platform: Platform) -> types.Platform:
    """A platform as the protocol has it."""
    return types.Platform(os=platform.os, architecture=platform.architecture, variant=platform.variant)


def local_only(invocation: Invocation, flags: tuple[str, ...]) -> None:
    """Refuse flags that the daemon cannot be told. Raises UsageError."""
    for flag in flags:
        if invocation.given(flag):
            raise UsageError(f"--{flag} needs --local: the daemon cannot be told it")


def _pull(invocation: Invocation) -> None:
    reference = references.parse(invocation.argument(0))
    if not invocation.on("local"):
        local_only(invocation, _LOCAL_ONLY)
        try:
            _transfer(invocation, reference)
        except Unimplemented:
            pass
        else:
            return
    began = time.monotonic()
    with Leased(invocation.daemon):
        image = _fetch(invocation, reference)
        contents = Documents(invocation.daemon)
        wanted = wanted_platforms(invocation) or [platform_of("")]
        for platform in wanted:
            line(f"unpacking {platform} {target_of(image).digest}...")
            chosen = contents.choose(image, platform)
            unpack(invocation.daemon, used(invocation), chosen, sync_fs=invocation.on("sync-fs"))
            if invocation.on("print-chainid"):
                line(f"image chain ID: {chosen.chain_id}")
    line(f"done: {time.monotonic() - began:.3f}s\t")


def _transfer(invocation: Invocation, reference: Reference) -> None:
    transfer = Transfer(invocation.daemon, Display())
    platforms = [message_of(each) for each in wanted_platforms(invocation)]
    source = messages.OCIRegistry(reference=str(reference), resolver=resolver(invocation, transfer))
    destination = messages.ImageStore(
        name=str(reference),
        labels=values.labels(invocation.all("label")),
        platforms=platforms,
        all_metadata=not invocation.on("skip-metadata"),
        unpacks=[
            messages.UnpackConfiguration(platform=each, snapshotter=invocation.snapshotter)
            for each in platforms
        ],
    )
    transfer.run(source, destination)


def _fetch(invocation: Invocation, reference: Reference) -> Image:
    """Pull into a store of our own, and send it to the daemon; its image."""
    from cloche.image.pull import pull

    with Scratch() as store:
        for platform in wanted_platforms(invocation) or list(_offered(invocation, reference, store)):
            row = pull(
                reference,
                content=store.content,
                metadata=store.metadata,
                namespace=scratch.NAMESPACE,
                platform=platform,
                auth=registries.login(invocation),
                hosts=registries.hosts(invocation, reference.domain),
                workers=invocation.number("max-concurrent-downloads") or 3,
            )
        target = Descriptor(row.target.media_type, row.target.digest, row.target.size)
        store.upload(invocation.daemon, target)
        labels = values.labels(invocation.all("label"))
        image = scratch.name(invocation.daemon, str(reference), target, labels)
    line(f"{reference}: saved\n{target.media_type} {target.digest}")
    return image


def _offered(invocation: Invocation, reference: Reference, store: Scratch) -> Iterator[Platform]:
    """Every platform that an image is offered for."""
    from cloche.image import fetch
    from cloche.spec import image as documents

    with registries.opened(invocation, reference) as registry:
        resolved = registry.resolve()
        data = resolved.data or registry.document(resolved.descriptor)
    fetch.store(store.content, resolved.descriptor, data)
    document = documents.parse(data, resolved.descriptor.media_type)
    if not isinstance(document, documents.Index):
        yield platform_of("")
        return
    for each in document.manifests:
        if each.platform is not None and each.platform.os != "unknown":
            yield each.platform


def _fetch_only(invocation: Invocation) -> None:
    with Leased(invocation.daemon):
        _fetch(invocation, references.parse(invocation.argument(0)))


_METADATA = (
    ("all-metadata", "", "bool", ""),
    ("skip-metadata", "", "bool", "Without documents of other platforms"),
)
_FLAGS = (
    ALL_PLATFORMS,
    LABEL,
    PLATFORM,
    SNAPSHOTTER,
    ("local", "", "bool", "Pull in this process, and send it to the daemon"),
    ("max-concurrent-downloads", "", "int", "How many layers come at once"),
    ("print-chainid", "", "bool", "Print the name of its uppermost snapshot"),
    ("sync-fs", "", "bool", "Wait until it is on the disk"),
    *_METADATA,
)

PULL = CtrCommand(
    "[OPTIONS] IMAGE",
    _pull,
    groups=(("Options", _FLAGS), ("Registry Options", REGISTRY)),
    minimum=1,
    maximum=1,
)
FETCH = CtrCommand(
    "[OPTIONS] IMAGE",
    _fetch_only,
    groups=(
        ("Options", (ALL_PLATFORMS, LABEL, PLATFORM, ("metadata-only", "", "bool", ""), *_METADATA)),
        ("Registry Options", REGISTRY),
    ),
    minimum=1,
    maximum=1,
)
