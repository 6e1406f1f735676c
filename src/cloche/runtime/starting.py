"""Start a created container: open its gate, and hear whether its program could be executed."""

from __future__ import annotations

import errno

from cloche import os
from cloche.errors import FailedPrecondition
from cloche.runtime.execute import REPORT_SIZE
from cloche.runtime.state import Lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.runtime.container import Container


def start(container: Container) -> None:
    """See `Container.start`."""
    folder = container.folder
    with Lock(folder):
        container.require("start")
        held = container.stored.hold_root()
        result = os.open(f"{folder.path}/result.fifo", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            _open_gate(container)
            os.set_blocking(result, True)
            # The container's process alone holds the other end; execve closes it.
            data = os.read(result, REPORT_SIZE)
            folder.remove_gate()
            if data:
                from cloche.runtime.step_failures import of_start

                raise of_start(data, container.stored.late_steps, container.config["process"], held)
        finally:
            for descriptor in (result, *held):
                os.close(descriptor)
    container.run_poststart_hooks()


def report_failed_start(container: Container) -> None:
    """Raise ExecFailed where the launcher's start has failed just now; otherwise nothing happens."""
    with Lock(container.folder):
        data, held = container.folder.take_failure()
    if not data:
        return
    try:
        from cloche.runtime.step_failures import of_start

        raise of_start(data, container.stored.late_steps, container.config["process"], held)
    finally:
        for descriptor in held:
            os.close(descriptor)


def _open_gate(container: Container) -> None:
    try:
        gate = os.open(f"{container.folder.path}/start.fifo", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        raise FailedPrecondition(f"cannot start a container that is stopped: {container.id!r}") from None
    try:
        os.write(gate, b"s")
    finally:
        os.close(gate)
