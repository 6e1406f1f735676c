"""The files that a shim and its command keep in a bundle, beside those of containerd.

address         where the shim listens, for a containerd that is started anew
shim.pid        its process; in a pod, in the bundle of the container that it was started for
init.pid        the container's process
options.json    the runtime's options, for `delete` after a dead shim
"""

from __future__ import annotations

import os

from cloche.errors import ClocheError
from cloche.spec.document import dumps, load_file
from cloche.wire.messages.runc_options import Options

ADDRESS, SHIM_PID, INIT_PID, OPTIONS = "address", "shim.pid", "init.pid", "options.json"


def write(bundle: str, name: str, data: bytes) -> None:
    """Put a file there as a whole, mode 0644."""
    path, unfinished = os.path.join(bundle, name), os.path.join(bundle, f".{name}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(unfinished, flags, 0o644)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)
    os.rename(unfinished, path)


def keep_options(bundle: str, options: Options | None) -> None:
    """Write down what the container was created with, under the names that runc's shim uses."""
    if options is not None:
        given = {field.name: getattr(options, field.name) for field in Options.FIELDS}
        write(bundle, OPTIONS, dumps({name: value for name, value in given.items() if value}))


def options_of(bundle: str) -> Options | None:
    """What `keep_options` wrote; None where nothing or nothing readable is there."""
    try:
        document = load_file(os.path.join(bundle, OPTIONS), limit_bytes=1 << 20)
        return Options(
            **{field.name: document[field.name] for field in Options.FIELDS if field.name in document}
        )
    except (OSError, ClocheError, TypeError):
        return None


def address_in(bundle: str) -> str:
    """Where the shim listens or has listened; "" where that is not known."""
    try:
        with open(os.path.join(bundle, ADDRESS), "rb", buffering=0) as file:
            return os.fsdecode(file.read(4096) or b"").strip()
    except OSError:
        return ""


def pid_in(bundle: str, name: str) -> int:
    """The number in one of the .pid files; 0 where there is none."""
    try:
        with open(os.path.join(bundle, name), "rb", buffering=0) as file:
            return int(file.read(32) or b"0")
    except (OSError, ValueError):
        return 0
