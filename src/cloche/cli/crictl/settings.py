"""Where the daemon is and what to do by default: crictl.yaml, then the environment, then flags."""

from __future__ import annotations

import os

from cloche.cli.arguments import UsageError
from cloche.errors import InvalidArgument
from cloche.spec import duration
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from cloche.cli.arguments import Parsed

PATH = "/etc/crictl.yaml"
DEFAULT_ENDPOINTS = (
    "unix:///run/containerd/containerd.sock",
    "unix:///run/crio/crio.sock",
    "unix:///var/run/cri-dockerd.sock",
)
"""What crictl tries where nobody says anything; this machine's cloched comes before them."""
_TIMEOUT_S = 2.0
_TRUE, _FALSE = ("1", "t", "T", "true", "TRUE", "True"), ("0", "f", "F", "false", "FALSE", "False")


class File(Record):
    """What a crictl.yaml says; timeout in seconds, 0 for the default."""

    runtime_endpoint: str = ""
    image_endpoint: str = ""
    timeout: int = 0
    debug: bool = False
    pull_image_on_create: bool = False
    disable_pull_on_run: bool = False

    def changed(self, option: str, value: str) -> File:
        """The same with one option as a text says. Raises InvalidArgument."""
        name = option.replace("-", "_")
        if name not in OPTIONS:
            raise InvalidArgument(f"no option {option!r}: there are {', '.join(option_names())}")
        return self.replace(**{name: OPTIONS[name](f"{option}: {value!r}", value)})

    def text(self) -> str:
        """The file, as crictl writes it."""
        return "".join(f"{name.replace('_', '-')}: {_written(getattr(self, name))}\n" for name in OPTIONS)


class Settings(Record):
    """How to work. path: of the configuration file; image_endpoint: "" for the runtime's.

    endpoints: the runtime's, in the order in which they are tried. timeout_s: for connecting.
    """

    path: str
    endpoints: tuple[str, ...]
    image_endpoint: str
    timeout_s: float
    pull_on_create: bool
    pull_on_run: bool


def settings(flags: Parsed, environment: Mapping[str, str], default: str) -> Settings:
    """What holds. default: the endpoint of this machine's own daemon. Raises InvalidArgument."""
    path = flags.text("config") or environment.get("CRI_CONFIG_FILE") or PATH
    # A file that somebody named has to be there.
    named = flags.text("config") is not None or "CRI_CONFIG_FILE" in environment
    file = read(path) if os.path.exists(path) or (named and "config" in flags.given()) else File()
    runtime = flags.text("runtime-endpoint")
    if runtime is None:
        runtime = environment.get("CONTAINER_RUNTIME_ENDPOINT")
    if runtime == "":
        raise UsageError("--runtime-endpoint is empty")
    runtime = runtime or file.runtime_endpoint
    image = flags.text("image-endpoint") or environment.get("IMAGE_SERVICE_ENDPOINT") or file.image_endpoint
    return Settings(
        path,
        (runtime,) if runtime else (default, *DEFAULT_ENDPOINTS),
        image,
        seconds(flags, "timeout") or file.timeout or _TIMEOUT_S,
        pull_on_create=file.pull_image_on_create,
        pull_on_run=not file.disable_pull_on_run,
    )


def seconds(flags: Parsed, name: str) -> float:
    """The value of a flag that is a length of time ("2s", or a bare number of seconds); 0 for none."""
    text = flags.text(name) or ""
    if text.replace(".", "", 1).isdigit():
        return float(text)
    try:
        return duration.seconds(text) if text else 0.0
    except InvalidArgument as error:
        raise UsageError(f"--{name}: {error}") from None


def read(path: str) -> File:
    """Read a configuration file. Raises InvalidArgument with the place, OSError."""
    from cloche.spec.yaml_document import load

    document = load(path)
    if document is None:
        return File()
    if not isinstance(document, dict):
        raise InvalidArgument(f"{path}: must be a mapping of options")
    file = File()
    for option, value in document.items():
        if value is not None:
            try:
                file = file.changed(str(option), _written(value))
            except InvalidArgument as error:
                raise InvalidArgument(f"{path}: {error}") from None
    return file


def option_names() -> list[str]:
    """The options as they are written."""
    return [name.replace("_", "-") for name in OPTIONS]


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return '""' if value == "" else str(value)


def _text(place: str, text: str) -> str:
    return "" if text == '""' else text


def _number(place: str, text: str) -> int:
    if not text.isascii() or not text.removeprefix("-").isdigit() or len(text) > 9:
        raise InvalidArgument(f"{place} is no whole number of seconds")
    return int(text)


def _boolean(place: str, text: str) -> bool:
    if text not in _TRUE + _FALSE:
        raise InvalidArgument(f"{place} is neither true nor false")
    return text in _TRUE


OPTIONS: dict[str, Callable[[str, str], Any]] = {
    "runtime_endpoint": _text,
    "image_endpoint": _text,
    "timeout": _number,
    "debug": _boolean,
    "pull_image_on_create": _boolean,
    "disable_pull_on_run": _boolean,
}
