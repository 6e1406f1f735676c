"""`ctr images push`."""

from __future__ import annotations

from cloche.cli.ctr import registries, scratch
from cloche.cli.ctr.command import CtrCommand, Invocation
from cloche.cli.ctr.flags import PLATFORM, REGISTRY
from cloche.cli.ctr.image_content import get, platform_of
from cloche.cli.ctr.pull import local_only, message_of, resolver
from cloche.cli.ctr.scratch import Scratch
from cloche.cli.ctr.transfer import Transfer
from cloche.cli.ctr.transfer_progress import Display
from cloche.cli.output import line
from cloche.errors import Unimplemented
from cloche.image import hosts_directory
from cloche.spec import reference as references
from cloche.spec.image import OCI_MANIFEST
from cloche.wire.messages import images, types
from cloche.wire.messages import transfer as messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.spec.reference import Reference

_LOCAL_ONLY = (
    *("manifest", "manifest-type", "max-concurrent-uploaded-layers", "allow-non-distributable-blobs"),
    *("skip-verify", "tlscacert", "tlscert", "tlskey", "http-dump", "http-trace"),
)


def _push(invocation: Invocation) -> None:
    reference = references.parse(invocation.argument(0))
    source = invocation.argument(1) or str(reference)
    if not invocation.on("local"):
        local_only(invocation, _LOCAL_ONLY)
        try:
            _transfer(invocation, reference, source)
        except Unimplemented:
            pass
        else:
            return
    _send(invocation, reference, source)


def _transfer(invocation: Invocation, reference: Reference, source: str) -> None:
    transfer = Transfer(invocation.daemon, Display())
    platforms = [message_of(platform_of(text)) for text in invocation.all("platform")]
    destination = messages.OCIRegistry(reference=str(reference), resolver=resolver(invocation, transfer))
    transfer.run(messages.ImageStore(name=source, platforms=platforms), destination)


def _send(invocation: Invocation, reference: Reference, source: str) -> None:
    """Fetch the image from the daemon, and push it from here."""
    from cloche.image.push import push

    manifest = invocation.text("manifest")
    if manifest:
        kind = invocation.text("manifest-type") or OCI_MANIFEST
        image = images.Image(name=manifest, target=_described(invocation, manifest, kind))
    else:
        image = get(invocation.daemon, source)
    named = invocation.all("platform")
    with Scratch() as store:
        row = store.download(invocation.daemon, image)
        host = hosts_directory.pushed_to(registries.hosts(invocation, reference.domain), str(reference))
        sent = push(
            reference,
            content=store.content,
            metadata=store.metadata,
            namespace=scratch.NAMESPACE,
            image=row.name,
            platform=platform_of(named[0]) if named else None,
            auth=registries.login(invocation),
            host=host,
            workers=invocation.number("max-concurrent-uploaded-layers") or 3,
        )
    line(f"{reference}: pushed\n{sent.media_type} {sent.digest}")


def _described(invocation: Invocation, digest: str, kind: str) -> types.Descriptor:
    from cloche.cli.ctr import blobs
    from cloche.errors import NotFound
    from cloche.spec import digest as digests

    found = blobs.info(invocation.daemon, digests.validate(digest))
    if found is None:
        raise NotFound(f"manifest {digest}: not here")
    return types.Descriptor(media_type=kind, digest=digest, size=found.size)


_FLAGS = (
    PLATFORM,
    ("allow-non-distributable-blobs", "", "bool", ""),
    ("local", "", "bool", "Push from this process, with content of the daemon"),
    ("manifest", "", "string", "Push this manifest, by its digest"),
    ("manifest-type", "", "string", f"What kind of document it is (default {OCI_MANIFEST})"),
    ("max-concurrent-uploaded-layers", "", "int", "How many layers go at once"),
)

PUSH = CtrCommand(
    "[OPTIONS] REMOTE [LOCAL]",
    _push,
    groups=(("Options", _FLAGS), ("Registry Options", REGISTRY)),
    minimum=1,
    maximum=2,
)
