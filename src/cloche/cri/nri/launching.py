"""The programs of a directory that are plugins: found, started on a connection of their own, ended."""

from __future__ import annotations

import logging
import os
import socket
import subprocess

from cloche.cri.nri.plugin import refused
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_log = logging.getLogger("cloche.nri")

_WASM = b"\0asm\1\0\0\0"


class Program(Record):
    """A plugin's program. index, base: what its name says, "10-limits"; config: what it is to be told."""

    path: str
    index: str
    base: str
    config: str


def find(directory: str, config_directory: str) -> list[Program]:
    """The programs of a directory in the order of their names; the log names those that cannot be used."""
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        return []
    except OSError as error:
        _log.warning("NRI plugins: %s: %s", directory, error.strerror)
        return []
    return list(_usable(directory, config_directory, names))


def _usable(directory: str, config_directory: str, names: list[str]) -> Iterator[Program]:
    for name in names:
        path = f"{directory}/{name}"
        if not os.path.isfile(path) or not os.access(path, os.X_OK):
            continue
        index, _, base = name.partition("-")
        why = refused(index, base)
        try:
            if not why and _is_wasm(path):
                why = "WebAssembly is not run here: use a plugin for this machine"
            config = "" if why else _config(config_directory, name, base)
        except (OSError, UnicodeDecodeError) as error:
            why = f"cannot be read: {error}"
        if why:
            _log.warning("NRI plugin %s is not started: %s", path, why)
        else:
            yield Program(path, index, base, config)


def _is_wasm(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(len(_WASM)) == _WASM


def _config(directory: str, name: str, base: str) -> str:
    for path in (f"{directory}/{name}.conf", f"{directory}/{base}.conf"):
        try:
            with open(path, encoding="utf-8") as file:
                return file.read()
        except FileNotFoundError:
            continue
    return ""


def start(program: Program) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start a program; our end of its connection. Blocks. Raises OSError."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with theirs:
        environment = {
            "NRI_PLUGIN_NAME": program.base,
            "NRI_PLUGIN_IDX": program.index,
            "NRI_PLUGIN_SOCKET": str(theirs.fileno()),
        }
        try:
            process = subprocess.Popen(
                [program.path],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            raise
    ours.setblocking(False)
    return process, ours


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a program, and wait for its end. Blocks."""
    process.kill()
    process.wait()
