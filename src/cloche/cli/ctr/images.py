"""`ctr images`: names for content."""

from __future__ import annotations

from cloche.cli.ctr import values
from cloche.cli.ctr.command import CtrCommand, Invocation
from cloche.cli.ctr.image_content import Documents, every, get, platform_of, target_of
from cloche.cli.ctr.leases import Leased
from cloche.cli.ctr.tabs import aligned
from cloche.cli.output import line, warn, write
from cloche.errors import AlreadyExists, ClocheError, NotFound, Unimplemented
from cloche.spec import reference as references
from cloche.wire.messages import images as messages
from cloche.wire.messages.google import FieldMask
from cloche.wire.messages.images import IMAGES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.cli.ctr.daemon import Daemon


def _list(invocation: Invocation) -> None:
    found = every(invocation.daemon, invocation.arguments)
    if invocation.on("quiet"):
        write("".join(f"{each.name}\n" for each in found))
        return
    contents = Documents(invocation.daemon)
    rows = []
    for each in found:
        target = target_of(each)
        shown = f"{values.size(_size(each, contents))}\t{_platforms(each, contents)}"
        labels = values.shown(each.labels, empty="-")
        rows.append(f"{each.name}\t{target.media_type}\t{target.digest}\t{shown}\t{labels}\t")
    write(aligned(["REF\tTYPE\tDIGEST\tSIZE\tPLATFORMS\tLABELS\t", *rows]))


def _size(image: messages.Image, contents: Documents) -> int:
    """Bytes of the packed image for this machine, with all documents on the way; 0 where some are gone."""
    try:
        chosen = contents.choose(image, platform_of(""))
    except ClocheError as error:
        warn(f"the size of image {image.name} is not known: {error}")
        return 0
    whole = [descriptor for descriptor, _ in chosen.indexes]
    whole += [chosen.descriptor, chosen.manifest.config, *chosen.manifest.layers]
    return sum(each.size for each in whole)


def _platforms(image: messages.Image, contents: Documents) -> str:
    try:
        return ",".join(sorted(set(contents.platforms(target_of(image))))) or "-"
    except ClocheError as error:
        warn(f"the platforms of image {image.name} are not known: {error}")
        return "-"


def _label(invocation: Invocation) -> None:
    name, *words = invocation.arguments
    labels = values.labels(words)
    paths = ["labels"] if invocation.on("replace-all") else [f"labels.{key}" for key in labels]
    request = messages.UpdateImageRequest(
        image=messages.Image(name=name, labels=labels), update_mask=FieldMask(paths=paths)
    )
    line(values.shown(invocation.daemon.ask(IMAGES, "Update", request).image.labels))


def _delete(invocation: Invocation) -> int:
    failed = 0
    names = invocation.arguments
    for name in names:
        sync = invocation.on("sync") and name == names[-1]
        try:
            invocation.daemon.ask(IMAGES, "Delete", messages.DeleteImageRequest(name=name, sync=sync))
        except NotFound:
            warn(f"{name}: image not found")
        except ClocheError as error:
            warn(f"unable to delete {name}: {error}")
            failed = 1
        else:
            line(name)
    return failed


def _prune(invocation: Invocation) -> None:
    from cloche.wire.messages.containers import CONTAINERS, ListContainersRequest

    if not invocation.on("all"):
        warn("no images are pruned: say --all")
        return
    daemon = invocation.daemon
    used = {each.image for each in daemon.ask(CONTAINERS, "List", ListContainersRequest()).containers}
    unused = [each.name for each in every(daemon) if each.name not in used]
    for name in unused:
        request = messages.DeleteImageRequest(name=name, sync=name == unused[-1])
        if daemon.find(IMAGES, "Delete", request) is not None:
            warn(f"deleted image: {name}")


def _tag(invocation: Invocation) -> None:
    source, *targets = invocation.arguments
    daemon = invocation.daemon
    with Leased(daemon):
        image = get(daemon, source)
        for target in targets:
            if not invocation.on("skip-reference-check"):
                references.parse(target)
            made = messages.Image(name=target, target=image.target, labels=image.labels)
            # Through the transfer service an existing name is replaced, and so it is here.
            _name(daemon, made, replace=invocation.on("force") or not invocation.on("local"))
            line(target)


def _name(daemon: Daemon, image: messages.Image, *, replace: bool) -> None:
    try:
        daemon.ask(IMAGES, "Create", messages.CreateImageRequest(image=image))
    except AlreadyExists:
        if not replace:
            raise
        daemon.ask(IMAGES, "Update", messages.UpdateImageRequest(image=image))


def _refuse_erofs(_: Invocation) -> None:
    raise Unimplemented("there is no erofs snapshotter here whose cache could be built")


LIST = CtrCommand(
    "[OPTIONS] [FILTER...]",
    _list,
    groups=(("Options", (("quiet", "q", "bool", "Only the names"),)),),
    maximum=None,
)
LABEL = CtrCommand(
    "[OPTIONS] NAME [KEY=VALUE...]",
    _label,
    groups=(("Options", (("replace-all", "r", "bool", "Instead of all labels it has"),)),),
    minimum=1,
    maximum=None,
)
DELETE = CtrCommand(
    "[OPTIONS] NAME [NAME...]",
    _delete,
    groups=(("Options", (("sync", "", "bool", "Wait until what only they held is collected"),)),),
    maximum=None,
)
PRUNE = CtrCommand(
    "--all", _prune, groups=(("Options", (("all", "", "bool", "All that no container uses"),)),)
)
TAG = CtrCommand(
    "[OPTIONS] NAME NEW-NAME [NEW-NAME...]",
    _tag,
    groups=(
        (
            "Options",
            (
                ("force", "", "bool", "Also where the name is taken"),
                ("local", "", "bool", "Refuse a name that is taken, unless --force is given"),
                ("skip-reference-check", "", "bool", "Take names that are no references"),
            ),
        ),
    ),
    minimum=2,
    maximum=None,
)
EROFS_CACHE = CtrCommand("", _refuse_erofs, maximum=None)
