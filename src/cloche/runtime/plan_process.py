"""The part of a plan that turns stage two into the container's program; create and exec share it."""

from __future__ import annotations

import sys

from cloche.kernel.capabilities import mask
from cloche.runtime import operations as op
from cloche.runtime.plan import CALLER, STAGE_ONE, STAGE_TWO, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cloche.runtime.facts import Facts
    from cloche.spec.config import Process

# SECCOMP_FILTER_FLAG_* are in the program's flags; 0o022 is what the specification's umask is unset to.
_DEFAULT_UMASK = 0o022


def scored(process: Process, *, rootless: bool) -> Iterator[Step]:
    """The OOM score, by stage one while it still has the host's credentials."""
    score = process.get("oomScoreAdj")
    if score is not None:
        yield Step("process.oomScoreAdj", STAGE_ONE, op.SetOomScore(score, int(rootless)))


def console(process: Process, *, bind: bool) -> Iterator[Step]:
    """The terminal, or the standard streams as they were given."""
    if process.get("terminal"):
        size = process.get("consoleSize", {"width": 0, "height": 0})
        uid = process.get("user", {}).get("uid", 0)
        opened = op.OpenConsole(int(bind), size["width"], size["height"], uid)
        yield Step("process.terminal", STAGE_TWO, opened)


def streams(process: Process) -> Iterator[Step]:
    """Standard streams that the container's user can open again, and none that is the host's device."""
    yield Step("process", STAGE_TWO, op.ReopenNull())
    uid = process.get("user", {}).get("uid", 0)
    if not process.get("terminal") and uid:
        yield Step("process.user.uid", STAGE_TWO, op.OwnStdio(uid))


def is_labelled(process: Process) -> bool:
    """Whether a security module has something to do with the process."""
    return bool(process.get("apparmorProfile") or process.get("selinuxLabel"))


def labelled_proc(process: Process, *, borrowed: bool) -> Iterator[Step]:
    """For exec: the procfs that labels are written through. borrowed: the caller's."""
    if is_labelled(process):
        yield Step("process", STAGE_TWO, op.UseProc("proc") if borrowed else op.OpenProc())


def labels(process: Process) -> Iterator[Step]:
    """What the program's execution changes to: an AppArmor profile, an SELinux context."""
    if profile := process.get("apparmorProfile"):
        write = op.WriteAttribute("attr/apparmor/exec", f"exec {profile}")
        yield Step("process.apparmorProfile", STAGE_TWO, write)
    if label := process.get("selinuxLabel"):
        yield Step("process.selinuxLabel", STAGE_TWO, op.WriteAttribute("attr/exec", label))


def keyring(facts: Facts) -> Iterator[Step]:
    """A session keyring of its own, so that the caller's keys are not inherited."""
    if facts.keyring:
        yield Step("process", STAGE_TWO, op.JoinKeyring(f"_ses.{facts.id}"))


def limits(process: Process, *, raised: bool) -> Iterator[Step]:
    """rlimits, unless the caller sets them from outside the user namespace."""
    if raised or not process.get("rlimits"):
        return
    from cloche.runtime.process_limits import limit_of

    for index, rlimit in enumerate(process.get("rlimits", ())):
        yield Step(f"process.rlimits[{index}]", STAGE_TWO, op.SetLimit(*limit_of(rlimit, index)))


def opened_handover(facts: Facts) -> Iterator[Step]:
    """What a filter's listener is handed over by."""
    if facts.listener:
        from cloche.runtime.notify import MakeHandover

        yield Step("linux.seccomp.listenerPath", CALLER, MakeHandover("handover"))


def filter_early(process: Process, facts: Facts) -> Iterator[Step]:
    """Without no_new_privs a filter needs CAP_SYS_ADMIN: before the identity changes."""
    if not process.get("noNewPrivileges"):
        yield from _filter(facts)


def filter_before_gate(process: Process, facts: Facts) -> Iterator[Step]:
    """One with a listener, while the caller that sends it to its agent is there."""
    if process.get("noNewPrivileges") and facts.listener:
        yield from _filter(facts)


def filter_late(process: Process, facts: Facts) -> Iterator[Step]:
    """With no_new_privs as late as can be, so that it need not allow what init itself calls."""
    if process.get("noNewPrivileges") and not facts.listener:
        yield from _filter(facts)


def _filter(facts: Facts) -> Iterator[Step]:
    if not facts.filter_program:
        return
    program, flags, place = facts.filter_program, facts.filter_flags, "linux.seccomp"
    if facts.listener:
        from cloche.runtime.notify import SendListener

        yield Step(place, STAGE_TWO, op.LoadNotifyingFilter(program, flags, "handover"))
        yield Step(f"{place}.listenerPath", CALLER, SendListener("handover", facts.listener))
    else:
        yield Step(place, STAGE_TWO, op.LoadFilter(program, flags))


def identity(process: Process, *, user_namespace: bool) -> Iterator[Step]:
    """no_new_privs, the bounding set while we may, groups, user, and last the other four sets."""
    user = process.get("user", {})
    uid, gid = user.get("uid", 0), user.get("gid", 0)
    if process.get("noNewPrivileges"):
        yield Step("process.noNewPrivileges", STAGE_TWO, op.ForbidPrivileges())
    sets = process.get("capabilities", {})
    place = "process.capabilities"
    yield Step(f"{place}.bounding", STAGE_TWO, op.DropBounding(_mask(sets.get("bounding"))))
    gids = user.get("additionalGids", [])
    numbers = b"".join([gid.to_bytes(4, sys.byteorder) for gid in gids])
    groups = op.SetGroups(numbers, int(user_namespace and not gids))
    yield Step("process.user.additionalGids", STAGE_TWO, groups)
    yield Step("process.user", STAGE_TWO, op.SetUser(uid, gid))
    permitted, inheritable = _mask(sets.get("permitted")), _mask(sets.get("inheritable"))
    # The kernel takes an ambient capability only where it is permitted and inheritable too.
    ambient = _mask(sets.get("ambient")) & permitted & inheritable
    effective = _mask(sets.get("effective"))
    yield Step(place, STAGE_TWO, op.SetCapabilities(effective, permitted, inheritable, ambient))
    yield Step("process.user.umask", STAGE_TWO, op.SetUmask(user.get("umask", _DEFAULT_UMASK)))


def _mask(names: list[str] | None) -> int:
    return mask(names or ())[0]


def directory(process: Process, *, deferrable: bool) -> Iterator[Step]:
    """Where the program starts: tried before the user changes and after."""
    yield Step("process.cwd", STAGE_TWO, op.ChangeDirectory(process["cwd"], int(deferrable)))


def program(process: Process) -> Iterator[Step]:
    """Which file is executed, before the gate: a missing program fails the create."""
    yield Step("process.args[0]", STAGE_TWO, op.FindProgram(candidates(process)))


def candidates(process: Process) -> tuple[str, ...]:
    """The paths at which the program is looked for, in order; none without a PATH."""
    name = process["args"][0]
    if "/" in name or not name:
        return (name,)
    search = ""
    for variable in process.get("env", ()):
        if variable.startswith("PATH="):
            search = variable[5:]
    return tuple(f"{directory or '.'}/{name}" for directory in search.split(":")) if search else ()


def execute(process: Process, home: str) -> Iterator[Step]:
    """execve(2), HOME added where the environment lacks it; of two variables of a name the last counts."""
    environment = {variable.partition("=")[0]: variable for variable in process.get("env", ())}
    if home:
        environment.setdefault("HOME", f"HOME={home}")
    yield Step("process.args", STAGE_TWO, op.Execute(tuple(process["args"]), tuple(environment.values())))


def scheduled(process: Process) -> Iterable[Step]:
    """How the processor and the disks are shared."""
    if not (process.get("scheduler") or process.get("ioPriority")):
        return ()
    from cloche.runtime import plan_scheduling

    return plan_scheduling.scheduled(process)


def privileges_given_up(process: Process, facts: Facts) -> Iterator[Step]:
    """From the runtime's privileges to the program's, whose file is found with those."""
    # The filter may not know getcwd(2), by which the directory is known to be inside.
    yield from directory(process, deferrable=True)
    yield from filter_early(process, facts)
    yield from identity(process, user_namespace=facts.user_namespace)
    yield from directory(process, deferrable=False)
    yield from program(process)
    yield from filter_before_gate(process, facts)
