"""What a command of the runtime is, and what it is given when it runs."""

from __future__ import annotations

from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cloche.runtime.container import Container
    from cloche.runtime.face.arguments import Flag, Options
    from cloche.runtime.face.log import Log

    Action = Callable[["Invocation"], int]


class Invocation:
    """One command line being carried out.

    root: directory of the containers' state, absolute. options: the command's own flags and words.
    general: the flags in front of the command.
    """

    __slots__ = ("general", "log", "options", "root")

    def __init__(self, root: str, log: Log, general: Options, options: Options) -> None:
        self.root = root
        self.log = log
        self.general = general
        self.options = options

    def container_id(self) -> str:
        """The first word, checked: ids become paths."""
        from cloche.spec.validate import validate_id

        return validate_id(self.options.words[0])

    def container(self) -> Container:
        """The container that the first word names; NotFound in the words runc's callers look for."""
        from cloche.errors import NotFound
        from cloche.runtime.container import Container

        container_id = self.container_id()
        try:
            return Container.load(self.root, container_id)
        except NotFound:
            raise NotFound(f"container does not exist: {container_id} (looked in {self.root})") from None


class Command(Record):
    """One command: its grammar, its help and the function that carries it out.

    usage: the words after the flags, for the help. least, most: how many there may be; most -1
    is any number. interspersed: whether flags may follow after words. failure: put before the
    message of an error; failure_code: the exit code then.
    """

    summary: str
    usage: str
    action: Action
    flags: tuple[Flag, ...] = ()
    least: int = 1
    most: int = 1
    interspersed: bool = True
    failure: str = ""
    failure_code: int = 1
    description: str = ""
