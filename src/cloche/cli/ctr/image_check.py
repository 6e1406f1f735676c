"""`ctr images check` and `usage`: is an image here, and what does it take."""

from __future__ import annotations

from cloche.cli.ctr import blobs, values
from cloche.cli.ctr.command import CtrCommand, Invocation
from cloche.cli.ctr.image_content import Documents, every, get, platform_of, target_of
from cloche.cli.ctr.snapshots import stat, used
from cloche.cli.ctr.tabs import aligned
from cloche.cli.ctr.tree import SNAPSHOTTER
from cloche.cli.output import warn, write
from cloche.errors import ClocheError, FailedPrecondition, NotFound
from cloche.wire.messages.snapshots import SNAPSHOTS, UsageRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.cli.ctr.daemon import Daemon
    from cloche.image.resolve import Chosen
    from cloche.wire.messages.images import Image


class _Found:
    """What is here of one image. chosen: None where its documents are not."""

    def __init__(self, image: Image, contents: Documents, daemon: Daemon, snapshotter: str) -> None:
        self.chosen: Chosen | None = None
        self.problem = ""
        try:
            self.chosen = contents.choose(image, platform_of(""))
        except NotFound:
            pass
        except ClocheError as error:
            self.problem = str(error)
        needed = (self.chosen.manifest.config, *self.chosen.manifest.layers) if self.chosen else ()
        present = [each for each in needed if blobs.info(daemon, each.digest)]
        self.counts = f"{len(present)}/{len(needed) if self.chosen else '?'}"
        self.complete = self.chosen is not None and len(present) == len(needed)
        whole = values.size(sum(each.size for each in needed)) if self.chosen else "?"
        self.size = "-" if self.problem else f"{values.size(sum(each.size for each in present))}/{whole}"
        self.unpacked = self.chosen is not None and is_unpacked(daemon, snapshotter, self.chosen)

    @property
    def status(self) -> str:
        """The word and the counts that ctr shows."""
        if self.problem:
            return "error"
        word = "complete" if self.complete else "incomplete" if self.chosen else "unavailable"
        return f"{word} ({self.counts})"


def is_unpacked(daemon: Daemon, snapshotter: str, chosen: Chosen) -> bool:
    """Whether a snapshotter has all of an image's layers."""
    try:
        stat(daemon, snapshotter, chosen.chain_id)
    except NotFound:
        return False
    return True


def _check(invocation: Invocation) -> int:
    daemon = invocation.daemon
    contents = Documents(daemon)
    failed = 0
    rows = ["REF\tTYPE\tDIGEST\tSTATUS\tSIZE\tUNPACKED\t"]
    for image in every(daemon, invocation.arguments):
        found = _Found(image, contents, daemon, used(invocation))
        if found.problem:
            warn(f"unable to check {image.name}: {found.problem}")
            failed = 1
        target = target_of(image)
        unpacked = str(found.unpacked).lower()
        if not invocation.on("quiet"):
            head = f"{image.name}\t{target.media_type}\t{target.digest}"
            rows.append(f"{head}\t{found.status}\t{found.size}\t{unpacked}")
        elif found.complete and found.unpacked:
            write(f"{image.name}\n")
    if not invocation.on("quiet") and len(rows) > 1:
        write(aligned(rows))
    return failed


def _usage(invocation: Invocation) -> None:
    daemon, snapshotter = invocation.daemon, used(invocation)
    image = get(daemon, invocation.argument(0))
    chosen = Documents(daemon).choose(image, platform_of(""))
    if not is_unpacked(daemon, snapshotter, chosen):
        raise FailedPrecondition(f"image {image.name} is not unpacked in snapshotter {snapshotter}")
    rows = ["KEY\tSIZE\tINODES\t"]
    key = chosen.chain_id
    while key:
        usage = daemon.ask(SNAPSHOTS, "Usage", UsageRequest(snapshotter=snapshotter, key=key))
        rows.append(f"{key}\t{values.size(usage.size)}\t{usage.inodes}\t")
        key = stat(daemon, snapshotter, key).parent
    write(aligned(rows))


CHECK = CtrCommand(
    "[OPTIONS] [FILTER...]",
    _check,
    groups=(
        ("Options", (("quiet", "q", "bool", "Only names of what is complete and unpacked"), SNAPSHOTTER)),
    ),
    maximum=None,
)
USAGE = CtrCommand("[OPTIONS] NAME", _usage, groups=(("Options", (SNAPSHOTTER,)),), minimum=1, maximum=1)
