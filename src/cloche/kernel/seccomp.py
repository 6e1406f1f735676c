"""linux.seccomp compiled to the program that seccomp(2) takes (see `filter_cache`)."""

from __future__ import annotations

from cloche.errors import InvalidArgument
from cloche.kernel import enosys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from cloche.kernel.libseccomp import Filter, Library

    Condition = tuple[int, int, int, int]

ERRNO = 0x00050000
TRACE = 0x7FF00000
NOTIFY = 0x7FC00000
_EPERM = 1
ACTIONS = {
    "SCMP_ACT_KILL": 0,
    "SCMP_ACT_KILL_THREAD": 0,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": ERRNO,
    "SCMP_ACT_NOTIFY": NOTIFY,
    "SCMP_ACT_TRACE": TRACE,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
OPERATORS = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}
ARCHITECTURES = {
    "SCMP_ARCH_X86": 0x40000003,
    "SCMP_ARCH_X86_64": enosys.AUDIT_X86_64,
    "SCMP_ARCH_X32": enosys.SCMP_X32,
    "SCMP_ARCH_ARM": 0x40000028,
    "SCMP_ARCH_AARCH64": 0xC00000B7,
    "SCMP_ARCH_MIPS": 0x8,
    "SCMP_ARCH_MIPS64": 0x80000008,
    "SCMP_ARCH_MIPS64N32": 0xA0000008,
    "SCMP_ARCH_MIPSEL": 0x40000008,
    "SCMP_ARCH_MIPSEL64": 0xC0000008,
    "SCMP_ARCH_MIPSEL64N32": 0xE0000008,
    "SCMP_ARCH_PARISC": 0xF,
    "SCMP_ARCH_PARISC64": 0x8000000F,
    "SCMP_ARCH_PPC": 0x14,
    "SCMP_ARCH_PPC64": 0x80000015,
    "SCMP_ARCH_PPC64LE": 0xC0000015,
    "SCMP_ARCH_RISCV64": 0xC00000F3,
    "SCMP_ARCH_LOONGARCH64": 0xC0000102,
    "SCMP_ARCH_S390": 0x16,
    "SCMP_ARCH_S390X": 0x80000016,
}
# TSYNC spreads a filter over threads; the process that loads ours has one, and then executes.
FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 0,
    "SECCOMP_FILTER_FLAG_LOG": 1 << 1,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 1 << 2,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 1 << 5,
}
FLAG_NEW_LISTENER = 1 << 3
# A tracer answers for new system calls itself; the others let them through in any case.
_ALLOWING = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE")
# libseccomp's tree has four rules a node, and before 2.5.5 breaks without any.
_TREE_FROM_RULES = 32
MAX_INSTRUCTIONS = 4096


def compile(  # noqa: A001 - read as seccomp.compile
    profile: Mapping[str, Any], warnings: list[str] | None = None
) -> tuple[bytes, int]:
    """The program (an array of struct sock_filter) and the flags for seccomp(2).

    profile: linux.seccomp of a config. warnings: gets a line for each name that no system call here
        has: the rule is left out, as a profile serves many kernels.
    Raises InvalidArgument naming the place in the profile, FailedPrecondition without libseccomp.
    """
    from cloche.kernel.libseccomp import Filter, Library

    default = _action(profile, "defaultAction", "defaultErrnoRet", "linux.seccomp")
    if default == NOTIFY:
        raise InvalidArgument("linux.seccomp.defaultAction: SCMP_ACT_NOTIFY cannot be the default")
    library = Library()
    with Filter(library, default) as filter_:
        native = library.arch_native()
        architectures = list(dict.fromkeys((native, *_architectures(profile))))
        for arch in architectures:
            filter_.arch_add(arch)
        count, last = _add_rules(library, filter_, profile, default, architectures, warnings)
        if count > _TREE_FROM_RULES:
            _ask_for_tree(filter_)
        program = filter_.export_bpf()
    if profile["defaultAction"] not in _ALLOWING:
        program = enosys.encode(enosys.stub(last)) + program
    if len(program) > 8 * MAX_INSTRUCTIONS:
        raise InvalidArgument(
            f"linux.seccomp: takes {len(program) // 8} instructions, {MAX_INSTRUCTIONS} are allowed"
        )
    return program, flags(profile)


def flags(profile: Mapping[str, Any]) -> int:
    """The flags for seccomp(2) that a profile asks for."""
    bits = 0
    for index, name in enumerate(profile.get("flags") or ()):
        if name not in FLAGS:
            raise InvalidArgument(f"linux.seccomp.flags[{index}]: {name!r} is no flag known here")
        bits |= FLAGS[name]
    if any(rule.get("action") == "SCMP_ACT_NOTIFY" for rule in profile.get("syscalls") or ()):
        bits |= FLAG_NEW_LISTENER
    return bits


def _ask_for_tree(filter_: Filter) -> None:
    from cloche.kernel.libseccomp import ATTRIBUTE_OPTIMIZE, TREE

    try:
        filter_.attr_set(ATTRIBUTE_OPTIMIZE, TREE)
    except OSError:
        pass  # libseccomp before 2.5: the filter is a list, and slower, but the same


def _architectures(profile: Mapping[str, Any]) -> Iterator[int]:
    for index, name in enumerate(profile.get("architectures") or ()):
        if name not in ARCHITECTURES:
            raise InvalidArgument(f"linux.seccomp.architectures[{index}]: {name!r} is no architecture")
        yield ARCHITECTURES[name]


def _action(rule: Mapping[str, Any], key: str, errno_key: str, place: str) -> int:
    name = rule.get(key)
    if name not in ACTIONS:
        raise InvalidArgument(f"{place}.{key}: {name!r} is no seccomp action")
    action = ACTIONS[name]
    if action in (ERRNO, TRACE):
        number = rule.get(errno_key)
        action |= (_EPERM if number is None else number) & 0xFFFF
    return action


def _add_rules(
    library: Library,
    filter_: Filter,
    profile: Mapping[str, Any],
    default: int,
    architectures: list[int],
    warnings: list[str] | None,
) -> tuple[int, dict[int, int]]:
    """Add all rules; returns how many, and the largest number named for each architecture."""
    count = 0
    last: dict[int, int] = {}
    native = architectures[0]
    for index, rule in enumerate(profile.get("syscalls") or ()):
        place = f"linux.seccomp.syscalls[{index}]"
        action = _action(rule, "action", "errnoRet", place)
        conditions = _conditions(rule, place)
        for name in rule.get("names") or ():
            count += 1
            if action == NOTIFY and name == "write":
                # The listener is handed over before the program starts, by a process under the filter.
                raise InvalidArgument(f"{place}.names: SCMP_ACT_NOTIFY cannot be used for write")
            for arch in architectures:
                last[arch] = max(last.get(arch, 0), library.syscall_resolve_name_arch(arch, name))
            number = library.syscall_resolve_name_arch(native, name)
            if number == -1:
                if warnings is not None:
                    warnings.append(f"{place}.names: {name!r} is no system call known here: left out")
            elif action != default:
                _add_rule(filter_, action, number, conditions, f"{place}.names: {name!r}")
    return count, {arch: number for arch, number in last.items() if number > 0}


def _add_rule(filter_: Filter, action: int, number: int, conditions: list[Condition], place: str) -> None:
    try:
        if len({condition[0] for condition in conditions}) == len(conditions):
            filter_.rule_add(action, number, conditions)
            return
        # One rule can look at an argument only once. What profiles mean by several conditions on
        # the same one is "any of these", and so every runtime reads it.
        for condition in conditions:
            filter_.rule_add(action, number, [condition])
    except OSError as error:
        raise InvalidArgument(f"{place}: {error.strerror}: check it against the rules before it") from None


def _conditions(rule: Mapping[str, Any], place: str) -> list[Condition]:
    conditions = []
    for index, argument in enumerate(rule.get("args") or ()):
        operator = argument.get("op")
        if operator not in OPERATORS:
            raise InvalidArgument(f"{place}.args[{index}].op: {operator!r} is no comparison")
        if not 0 <= argument["index"] <= 5:
            raise InvalidArgument(f"{place}.args[{index}].index: system calls have arguments 0 to 5")
        second = argument.get("valueTwo") or 0
        conditions.append((argument["index"], OPERATORS[operator], argument["value"], second))
    return conditions
