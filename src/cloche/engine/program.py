"""What a container runs: the image's word and the user's, put together by Docker's rules."""

from __future__ import annotations

import os

from cloche.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.engine.options import Options
    from cloche.spec.image_config import ImageConfig


def command(image: ImageConfig, options: Options) -> list[str]:
    """process.args: entrypoint and command of settings and image, merged by Docker's rules.

    A given entrypoint drops the image's command too. Raises InvalidArgument where nothing is left.
    """
    if options.entrypoint is None:
        entrypoint = image.entrypoint or ()
        arguments = options.args or image.cmd or ()
    else:
        entrypoint, arguments = options.entrypoint, options.args
    words = [*entrypoint, *arguments]
    if not words:
        raise InvalidArgument("no command specified: the image has none, so name one after the image")
    if not words[0]:
        raise InvalidArgument("the command's name is empty")
    if any("\0" in word for word in words):
        raise InvalidArgument("the command has a NUL character in it, which no program can be given")
    return words


def stop_signal(image: ImageConfig, options: Options) -> str:
    """The signal that asks this container to end, as written; SIGTERM by default."""
    return options.stop_signal or image.stop_signal or "SIGTERM"


def working_directory(image: ImageConfig, options: Options) -> str:
    """process.cwd. Raises InvalidArgument where it is not absolute."""
    path = options.workdir or image.working_dir or "/"
    if not path.startswith("/"):
        raise InvalidArgument(f"the working directory {path!r} is invalid, it needs to be an absolute path")
    return os.path.normpath(path).replace("//", "/")


def check_environment(options: Options) -> None:
    """Raises InvalidArgument for a variable that no process can be given."""
    for entry in options.env:
        if not entry.partition("=")[0] or "\0" in entry:
            raise InvalidArgument(f"invalid environment variable {entry!r}: must be NAME=VALUE")
