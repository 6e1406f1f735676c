"""What failed when a plan was executed, in the user's terms: where in config.json, why, what to do."""

from __future__ import annotations

from errno import EACCES, ENOENT, EPERM

from cloche import os
from cloche.errors import ClocheError, FailedPrecondition, NotFound, PermissionDenied
from cloche.runtime.execute import Report
from cloche.runtime.operations import FindProgram

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cloche.runtime.plan import Plan, Step
    from cloche.spec.config import Process as ProcessConfig

_HOOK_FAILED = 125  # native/hooks.h


def of_start(
    data: bytes, late_steps: Mapping[str, tuple[str, str]], process: ProcessConfig, held: Sequence[int]
) -> ClocheError:
    """The error behind the record that `start` read from the result fifo.

    late_steps: as the plan gave them at create. process: config.json's. held: what
    `State.hold_root` gave before the start.
    """
    report = Report.parse(data)
    place, what = late_steps.get(str(report.index), ("process", "start"))
    if not place.startswith("process.args"):
        return _worded(place, what, report.error, report.text)
    from cloche.runtime.program_faults import Wanted, fault, refusal

    wanted = Wanted.of_process(process)
    why = fault(held[0], wanted, report.error) if held else ""
    return refusal(wanted.command, report.error, why)


def of_program(plan: Plan, errno: int, pid: int) -> ClocheError:
    """Why the program cannot be executed, as the process that tried sees it: it waits for that."""
    from cloche.runtime.program_faults import Wanted, fault, refusal

    # Every plan ends with the program's execution, after it was looked for.
    command = plan.steps[-1].operation.values()[0][0]
    found = [step.operation.candidates for step in plan.steps if isinstance(step.operation, FindProgram)]
    try:
        wanted = Wanted.of_attempt(pid, command, found[0])
        root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except (OSError, LookupError, ValueError):
        return refusal(command, errno)
    try:
        return refusal(command, errno, fault(root, wanted, errno))
    finally:
        os.close(root)


def of_step(step: Step, errno: int, detail: str) -> ClocheError:
    """Why a step of a plan could not be done. detail: what cloche-init says beside the number."""
    return _worded(step.place, step.operation.describe(), errno, detail)


def _worded(place: str, what: str, errno: int, detail: str) -> ClocheError:
    reason = "the hook failed" if errno == _HOOK_FAILED else os.strerror(errno).lower()
    from cloche.runtime.advice import advice

    todo = advice(what, errno)
    message = f"config.json: {place}: {what}: {reason}{f' ({detail})' if detail else ''}"
    message = f"{message}: {todo}" if todo else message
    if errno == ENOENT:
        return NotFound(message)
    if errno in (EPERM, EACCES):
        return PermissionDenied(message)
    return FailedPrecondition(message)
