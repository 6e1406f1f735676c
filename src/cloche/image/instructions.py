"""Dockerfile instructions that change an image's config, as `import --change` and `commit` take them."""

from __future__ import annotations

import os

from cloche.errors import ClocheError, InvalidArgument
from cloche.spec.document import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Process = dict[str, Any]


def change(process: Process, text: str) -> None:
    """Carry one instruction out on `process`, the object `config` of an image's config.

    Raises InvalidArgument, naming the instruction, for what cannot be understood.
    """
    keyword, _, rest = text.strip().partition(" ")
    obey = _INSTRUCTIONS.get(keyword.upper())
    if obey is None:
        known = ", ".join(sorted(_INSTRUCTIONS))
        raise InvalidArgument(f"invalid change {text!r}: {keyword or 'nothing'} is not one of {known}")
    rest = rest.strip()
    if not rest or "\0" in rest:
        raise InvalidArgument(f"invalid change {text!r}: {keyword} needs a value")
    try:
        obey(process, rest)
    except ValueError as error:
        raise InvalidArgument(f"invalid change {text!r}: {error}") from None


def _words(text: str) -> list[str]:
    import shlex

    return shlex.split(text)


def _list(text: str) -> list[str] | None:
    """The strings of a JSON array; None for other text, which then is a shell's line or plain words."""
    if not text.startswith("["):
        return None
    try:
        value = loads(text.encode(), "list")
    except ClocheError:
        return None
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        return None
    return value


def _command(process: Process, text: str) -> list[str]:
    words = _list(text)
    if words is None:
        words = [*process.get("Shell", ("/bin/sh", "-c")), text]
    return words


def _cmd(process: Process, text: str) -> None:
    process["Cmd"] = _command(process, text)


def _entrypoint(process: Process, text: str) -> None:
    process["Entrypoint"] = _command(process, text)


def _pairs(text: str) -> dict[str, str]:
    """`key=value key="another value"`, or the old `key the whole rest`."""
    if text[0] not in "\"'" and "=" not in text.split()[0]:
        key, _, value = text.partition(" ")
        if not value.strip():
            raise ValueError("must be KEY=VALUE")
        return {key: value.strip()}
    pairs = {}
    for word in _words(text):
        key, equals, value = word.partition("=")
        if not key or not equals:
            raise ValueError(f"{word!r} must be KEY=VALUE")
        pairs[key] = value
    return pairs


def _env(process: Process, text: str) -> None:
    entries = {entry.partition("=")[0]: entry for entry in process.get("Env") or ()}
    for name, value in _pairs(text).items():
        entries[name] = f"{name}={value}"
    process["Env"] = list(entries.values())


def _label(process: Process, text: str) -> None:
    process["Labels"] = {**(process.get("Labels") or {}), **_pairs(text)}


def _expose(process: Process, text: str) -> None:
    ports = dict(process.get("ExposedPorts") or {})
    for word in text.split():
        numbers, _, protocol = word.partition("/")
        first, dash, last = numbers.partition("-")
        protocol = protocol.lower() or "tcp"
        low, high = _port(first, word), _port(last if dash else first, word)
        if protocol not in ("tcp", "udp", "sctp") or low > high:
            raise ValueError(f"{word!r} is no port, as 80, 53/udp or 8000-8010")
        ports.update({f"{port}/{protocol}": {} for port in range(low, high + 1)})
    process["ExposedPorts"] = ports


def _port(digits: str, word: str) -> int:
    if not (digits.isascii() and digits.isdigit() and len(digits) < 6 and 0 < int(digits) < 65536):
        raise ValueError(f"{word!r} is no port, as 80, 53/udp or 8000-8010")
    return int(digits)


def _volume(process: Process, text: str) -> None:
    paths = _list(text)
    paths = _words(text) if paths is None else paths
    if not all(paths):
        raise ValueError("a volume's path is empty")
    process["Volumes"] = {**(process.get("Volumes") or {}), **{path: {} for path in paths}}


def _user(process: Process, text: str) -> None:
    process["User"] = text


def _workdir(process: Process, text: str) -> None:
    """A relative path is below the one before."""
    process["WorkingDir"] = os.path.normpath(os.path.join(process.get("WorkingDir") or "/", text))


def _stop_signal(process: Process, text: str) -> None:
    process["StopSignal"] = text


def _on_build(process: Process, text: str) -> None:
    process["OnBuild"] = [*(process.get("OnBuild") or ()), text]


_INSTRUCTIONS: dict[str, Callable[[Process, str], None]] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "LABEL": _label,
    "ONBUILD": _on_build,
    "STOPSIGNAL": _stop_signal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
