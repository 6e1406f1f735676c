"""`ctr images inspect`: an image as a tree of what it consists of."""

from __future__ import annotations

from cloche.cli.ctr import blobs, values
from cloche.cli.ctr.command import CtrCommand, Invocation
from cloche.cli.ctr.image_content import Documents, get, target_of
from cloche.cli.human import quoted
from cloche.cli.output import line
from cloche.errors import NotFound
from cloche.spec import image as documents

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.cli.ctr.daemon import Daemon
    from cloche.spec.image import Descriptor

_MIDDLE, _LAST = "├── ", "└── "
_BAR, _BLANK = "│   ", "    "
_LABELS = "┌────────Labels─────────"
_CONTENT = "┌────────Content────────"
_END = "└───────────────────────"


class _Tree:
    def __init__(self, daemon: Daemon, *, with_content: bool) -> None:
        self._daemon = daemon
        self._documents = Documents(daemon)
        self._with_content = with_content

    def show(self, descriptor: Descriptor, head: str, indent: str) -> None:
        """Print a document and what is below it. head: before its own line; indent: before the rest."""
        line(f"{head}{_described(descriptor)}")
        if descriptor.platform is not None and descriptor.platform.architecture:
            line(f"{indent}{_BAR} Platform: {descriptor.platform.normalised()}")
        try:
            below = self._documents.below(descriptor)
        except NotFound:
            line(f"{indent}{_LAST} Content does not exist locally, skipping")
            return
        self._verbose(descriptor, indent + (_BAR if below else _BLANK))
        nested = descriptor.media_type in documents.INDEX_TYPES
        for number, each in enumerate(below):
            last = number == len(below) - 1
            own = indent + (_LAST if last else _MIDDLE)
            if nested:
                self.show(each, own, indent + (_BLANK if last else _BAR))
                continue
            line(f"{own}{_described(each)}")
            if number == 0:  # the config: layers are not for reading
                self._verbose(each, indent + (_BLANK if last else _BAR))

    def _verbose(self, descriptor: Descriptor, indent: str) -> None:
        if not self._with_content:
            return
        found = blobs.info(self._daemon, descriptor.digest)
        if found is not None and found.labels:
            line(f"{indent}{_LABELS}")
            for key, value in sorted(found.labels.items()):
                line(f"{indent}│{quoted(key)}: {quoted(value)}")
            line(f"{indent}{_END}")
        if descriptor.media_type.endswith("json"):
            from cloche.spec.document import dumps_indented, loads

            shown = loads(self._documents.read(descriptor), descriptor.digest)
            line(f"{indent}{_CONTENT}")
            for each in dumps_indented(shown, "   ").decode().splitlines():
                line(f"{indent}│{each}")
            line(f"{indent}{_END}")


def _described(descriptor: Descriptor) -> str:
    return f"{descriptor.media_type} @{descriptor.digest} ({descriptor.size} bytes)"


def _inspect(invocation: Invocation) -> None:
    image = get(invocation.daemon, invocation.argument(0))
    line(image.name)
    line(f"{_BAR} Created: {values.go_time(image.created_at)}")
    line(f"{_BAR} Updated: {values.go_time(image.updated_at)}")
    for key, value in sorted(image.labels.items()):
        line(f"{_BAR} Label {quoted(key)}: {quoted(value)}")
    _Tree(invocation.daemon, with_content=invocation.on("content")).show(target_of(image), _LAST, _BLANK)


INSPECT = CtrCommand(
    "[OPTIONS] NAME",
    _inspect,
    groups=(("Options", (("content", "", "bool", "With the documents and their labels"),)),),
    minimum=1,
    maximum=1,
)
