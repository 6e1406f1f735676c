"""The shim process. `cloche.shim.launch` starts it and says what it is given."""

from __future__ import annotations

import os
import resource

from cloche.runtime.container import Container
from cloche.shim.launch import ANSWER, LOCK, REQUEST, ROOTFS, described
from cloche.shim.parent import Parent, Request
from cloche.spec.document import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LIMIT_BYTES = 64 << 20


def main() -> None:
    """Read the request, leave the starter, and be a container's parent. Does not return."""
    document = _read_request()
    document["on_exit"] = tuple(document["on_exit"])
    request = Request(**document)
    _leave_starter(ROOTFS, ANSWER, LOCK)
    code = 1
    try:
        code = _run(request)
    finally:
        if code == 0 and request.on_exit:
            os.execv(request.on_exit[0], list(request.on_exit))
        os._exit(code)


def main_exec() -> None:
    """Read what to execute in which container, be its parent until it ends. Does not return."""
    document = _read_request()
    _leave_starter(ANSWER)
    try:
        container = Container.load(document["runtime_root"], document["container_id"])
        process = container.execute(document["process"], stdio=(0, 1, 2))
    except Exception as error:
        _tell(described(error))
        os._exit(1)
    _tell({"pid": process.pid})
    process.wait()
    os._exit(0)


def _read_request() -> dict[str, Any]:
    size = os.fstat(REQUEST).st_size
    document: dict[str, Any] = loads(os.pread(REQUEST, min(size, _LIMIT_BYTES), 0), "the starter's request")
    os.close(REQUEST)
    return document


def _leave_starter(*kept: int) -> None:
    """Become a process of our own. Descriptors that the starter's libraries forgot to mark
    close-on-exec must not live on here.
    """
    if os.fork():
        os._exit(0)
    os.setsid()
    os.chdir("/")
    os.umask(0o022)
    highest = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    os.closerange(max(kept) + 1, highest if highest > 0 else 1 << 20)
    for descriptor in range(3, max(kept) + 1):
        if descriptor in kept:
            os.set_inheritable(descriptor, False)
        else:
            os.closerange(descriptor, descriptor + 1)


def _run(request: Request) -> int:
    parent = Parent(request)
    try:
        parent.start(ROOTFS)
        parent.listen()
    except Exception as error:
        # The starter shares this lock: it is free when both have closed it.
        os.close(LOCK)
        _tell(described(error))
        return 1
    finally:
        os.close(ROOTFS)
    _tell({"pid": parent.pid})
    parent.serve(released=lambda: os.close(LOCK))
    return 0


def _tell(answer: dict[str, object]) -> None:
    """The starter may be gone; the container is not its business then."""
    try:
        os.write(ANSWER, dumps(answer))
    except BrokenPipeError:
        pass
    os.close(ANSWER)
