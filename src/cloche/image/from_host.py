"""An image out of this machine's own programs, so that there is always one to run, without a registry.

One plain layer, sorted and with fixed times and owners: the same files give the same digests. What
a program opens while it runs (Python's modules, terminal descriptions, certificates) is not known to
its headers; name those files or directories too.
"""

from __future__ import annotations

import os
import stat

from cloche.errors import InvalidArgument
from cloche.image import single_layer
from cloche.image.gather import SEARCH_PATH, Gathered, Gatherer
from cloche.image.install import install
from cloche.image.tarentry import DIRECTORY, HARDLINK, Entry
from cloche.image.tarwriter import Writer, regular, symlink
from cloche.spec import image as documents
from cloche.spec import platform, reference
from cloche.spec.image import Descriptor, ImageConfig, Manifest
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloche.store.content import ContentStore
    from cloche.store.images import Image
    from cloche.store.metadata import Metadata
    from cloche.store.snapshots.local import LocalSnapshotter

_CREATED = "1970-01-01T00:00:00Z"
_CHUNK_BYTES = 1 << 20
_ACCOUNTS = {
    "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n",
    "etc/group": b"root:x:0:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": b"passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n",
}
_DIRECTORIES = {"dev": 0o755, "proc": 0o555, "sys": 0o555, "root": 0o700, "run": 0o755, "tmp": 0o1777}
_SHELLS = ("sh", "bash", "dash", "zsh", "busybox")


class Built(Record):
    """What was built. missing: libraries that no one found, one line each; the program may still run."""

    image: Image
    manifest: Manifest
    config: ImageConfig
    missing: tuple[str, ...] = ()


def build(
    name: str,
    programs: Sequence[str],
    *,
    content: ContentStore,
    metadata: Metadata,
    namespace: str,
    snapshotter: LocalSnapshotter | None = None,
) -> Built:
    """Make an image of the given programs and all they load, and give it a name.

    name: as `docker tag` takes it. programs: paths, or names found in the usual directories; a
    directory goes in whole. The first is what the image runs, unless there is a shell among them.
    snapshotter: where the image is unpacked; None leaves it packed.
    Raises NotFound for a program that is not on this machine, InvalidArgument for what is no name.
    """
    full_name = str(reference.parse(name))
    if not programs:
        raise InvalidArgument("no programs: name at least one, such as /bin/sh")
    gathered = Gatherer().gather(programs)
    layer = _store_layer(gathered, content)
    system = platform.of_machine(os.uname().machine)
    process = {"Env": [f"PATH={SEARCH_PATH}"], "Cmd": [_command(gathered.programs)], "WorkingDir": "/"}
    said = f"cloche image from-host {' '.join(gathered.programs)}"
    history = {"created": _CREATED, "created_by": said[:4096]}
    chosen = single_layer.store(layer, process, history, system, content)
    image = install(
        full_name,
        chosen,
        content=content,
        metadata=metadata,
        namespace=namespace,
        platform=str(system),
        snapshotter=snapshotter,
    )
    return Built(image, chosen.manifest, chosen.config, tuple(gathered.missing))


def _command(programs: Sequence[str]) -> str:
    """A shell where there is one, since one wants to look around; the first program otherwise."""
    by_name = {os.path.basename(program): program for program in reversed(programs)}
    for shell in _SHELLS:
        if shell in by_name:
            return by_name[shell]
    return programs[0] if programs else "/bin/sh"


def _store_layer(gathered: Gathered, content: ContentStore) -> Descriptor:
    """Write the layer into the content store; its digest is its diff id, as it is not compressed."""
    ref = f"from-host {os.getpid()} {os.urandom(8).hex()}"
    with content.writer(ref) as ingest:
        try:
            write_layer(gathered, Writer(ingest.write))
            size = ingest.offset
            digest = ingest.commit()
        except BaseException:
            ingest.abort()
            raise
    return Descriptor(documents.OCI_LAYER, digest, size)


def write_layer(gathered: Gathered, archive: Writer) -> None:
    """Write everything in the order of paths, parents first, owned by root, with the time 0."""
    directories = dict.fromkeys(gathered.directories, 0o755) | _DIRECTORIES
    for path in (*gathered.files, *gathered.links, *gathered.directories, *_ACCOUNTS):
        while path := path.rpartition("/")[0]:
            if path in gathered.links or path in directories:
                break
            directories[path] = 0o755
    written: dict[tuple[int, int], str] = {}
    for path in sorted({*directories, *gathered.files, *gathered.links, *_ACCOUNTS}):
        name = os.fsencode(path)
        if path in gathered.links:
            archive.add(symlink(name, os.fsencode(gathered.links[path])))
        elif path in gathered.files:
            _write_file(path, gathered.files[path], written, archive)
        elif path in directories:
            archive.add(Entry(name + b"/", DIRECTORY, directories[path]))
        else:
            archive.add(regular(name, 0), _ACCOUNTS[path])
    archive.close()


def _write_file(
    path: str, found: os.stat_result, written: dict[tuple[int, int], str], archive: Writer
) -> None:
    identity = (found.st_dev, found.st_ino)
    if found.st_nlink > 1 and identity in written:
        entry = Entry(os.fsencode(path), HARDLINK, _mode(found))
        entry.link = os.fsencode(written[identity])
        archive.add(entry)
        return
    written[identity] = path
    fd = os.open(f"/{path}", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        left = os.fstat(fd).st_size
        archive.add(regular(os.fsencode(path), left, mode=_mode(found)))
        while left:
            data = os.read(fd, min(left, _CHUNK_BYTES))
            if not data:
                raise InvalidArgument(f"/{path}: became shorter while it was read; try again")
            archive.write(data)
            left -= len(data)
    finally:
        os.close(fd)


def _mode(found: os.stat_result) -> int:
    """The file's mode. What runs as its owner must be root's already: in the image everything is."""
    mode = stat.S_IMODE(found.st_mode)
    return mode if found.st_uid == 0 and found.st_gid == 0 else mode & ~0o6000
