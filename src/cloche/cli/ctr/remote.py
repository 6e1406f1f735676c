"""`ctr content fetch-object`, `fetch-blob` and `push-object`: a registry, without images."""

from __future__ import annotations

from cloche.cli.ctr import blobs, registries
from cloche.cli.ctr.command import CtrCommand, Invocation
from cloche.cli.ctr.flags import REGISTRY
from cloche.cli.ctr.scratch import NAMESPACE, Scratch
from cloche.cli.output import line, write_bytes
from cloche.errors import DataLoss, NotFound
from cloche.image import hosts_directory
from cloche.spec import digest as digests
from cloche.spec import reference as references
from cloche.spec.image import OCI_LAYER, Descriptor
from cloche.wire.messages import images, types


def _fetch_object(invocation: Invocation) -> None:
    reference = references.parse(invocation.argument(0))
    with registries.opened(invocation, reference) as registry:
        resolved = registry.resolve()
        write_bytes(resolved.data or registry.document(resolved.descriptor))


def _fetch_blob(invocation: Invocation) -> None:
    name, *wanted = invocation.arguments
    kind = invocation.text("media-type") or OCI_LAYER
    with registries.opened(invocation, references.parse(name)) as registry:
        for digest in wanted:
            algorithm, digits = digests.parse(digest)
            hashing = digests.hasher(algorithm)
            with registry.blob(Descriptor(kind, digest, -1)) as blob:
                while data := blob.read():
                    hashing.update(data)
                    write_bytes(data)
            if hashing.hexdigest() != digits:
                raise DataLoss(f"{digest}: the registry sent something else")


def _push_object(invocation: Invocation) -> None:
    from cloche.image.push import push

    name, digest, kind = invocation.arguments
    reference = references.parse(name)
    found = blobs.info(invocation.daemon, digests.validate(digest))
    if found is None:
        raise NotFound(f"content {digest}: not here")
    target = types.Descriptor(media_type=kind, digest=digest, size=found.size)
    with Scratch() as store:
        store.download(invocation.daemon, images.Image(name=digest, target=target))
        push(
            reference,
            content=store.content,
            metadata=store.metadata,
            namespace=NAMESPACE,
            image=digest,
            auth=registries.login(invocation),
            host=hosts_directory.pushed_to(registries.hosts(invocation, reference.domain), name),
        )
    line(f"Pushed {digest} {kind}")


FETCH_OBJECT = CtrCommand(
    "[OPTIONS] REMOTE [HINT...]",
    _fetch_object,
    groups=(("Registry Options", REGISTRY),),
    minimum=1,
    maximum=None,
)
FETCH_BLOB = CtrCommand(
    "[OPTIONS] REMOTE DIGEST [DIGEST...]",
    _fetch_blob,
    groups=(
        ("Options", (("media-type", "", "string", "What kind of content it is"),)),
        ("Registry Options", REGISTRY),
    ),
    minimum=2,
    maximum=None,
)
PUSH_OBJECT = CtrCommand(
    "[OPTIONS] REMOTE DIGEST TYPE",
    _push_object,
    groups=(("Registry Options", REGISTRY),),
    minimum=3,
    maximum=3,
)
