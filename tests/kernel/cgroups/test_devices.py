from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.errors import InvalidArgument
from cloche.kernel.cgroups.devices import DEFAULT_RULES, EVERY, Rules, compile_rules, parse_list, transition

DENY_ALL = {"allow": False, "access": "rwm"}
ALLOW_ALL = {"allow": True, "access": "rwm"}
DEVICES = st.tuples(st.sampled_from("bc"), st.sampled_from([EVERY, 1, 5]), st.sampled_from([EVERY, 0, 3]))
ACCESS = st.sets(st.sampled_from("rwm"), min_size=1).map(lambda letters: "".join(sorted(letters)))


def rule(
    kind: str, major: int | None, minor: int | None, access: str = "rwm", allow: bool = True
) -> dict[str, Any]:
    return {"allow": allow, "type": kind, "major": major, "minor": minor, "access": access}


def test_without_rules_nothing_is_allowed() -> None:
    assert compile_rules([]) == Rules(False)


def test_rules_add_up() -> None:
    rules = [DENY_ALL, rule("c", 1, 3, "r"), rule("c", 1, 3, "w"), rule("b", 8, None, "m")]
    assert compile_rules(rules) == Rules(False, ((("c", 1, 3), "rw"), (("b", 8, EVERY), "m")))


def test_the_kernel_is_told_of_devices_in_the_order_of_the_configuration() -> None:
    wanted = compile_rules(
        [rule("c", 10, 229), rule("b", 8, 20, "rw"), rule("b", 10, 200, "r"), *DEFAULT_RULES]
    )
    (_, lines) = next(transition(Rules(False), wanted))
    assert lines[:4] == ["c 10:229 rwm", "b 8:20 rw", "b 10:200 r", "c *:* m"]


def test_everything_allowed_forgets_what_was_before() -> None:
    assert compile_rules([DENY_ALL, rule("c", 1, 3), ALLOW_ALL, *DEFAULT_RULES]) == Rules(True)


def test_an_access_can_be_taken_back() -> None:
    rules = [
        rule("c", 1, 3),
        rule("c", 1, 3, "w", allow=False),
        rule("c", 5, EVERY, "rw"),
        rule("c", 5, 0, "m"),
    ]
    assert compile_rules(rules) == Rules(
        False, ((("c", 1, 3), "rm"), (("c", 5, EVERY), "rw"), (("c", 5, 0), "m"))
    )
    assert compile_rules([rule("c", 1, 3), rule("c", 1, EVERY, allow=False)]) == Rules(False)


def test_an_exception_that_the_kernel_cannot_express_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"devices\[1\].*c 1:3"):
        compile_rules([rule("c", 1, None), rule("c", 1, 3, "w", allow=False)])


def test_a_fresh_cgroup_is_closed_and_then_opened_by_exceptions() -> None:
    wanted = compile_rules([DENY_ALL, *DEFAULT_RULES])
    (deny, everything), (allow, lines) = transition(Rules(True), wanted)
    assert (deny, everything, allow) == ("devices.deny", ["a *:* rwm"], "devices.allow")
    assert len(lines) == len(DEFAULT_RULES)
    assert {"c *:* m", "b *:* m", "c 1:3 rwm", "c 136:* rwm"} <= set(lines)


def test_an_update_never_closes_everything() -> None:
    before, after = (
        compile_rules([rule("c", 1, 3), rule("c", 1, 5)]),
        compile_rules([rule("c", 1, 3, "r"), rule("c", 5, 0)]),
    )
    assert list(transition(before, after)) == [
        ("devices.allow", ["c 5:0 rwm"]),
        ("devices.deny", ["c 1:3 wm", "c 1:5 rwm"]),
    ]


def test_nothing_to_change_is_no_write() -> None:
    assert list(transition(Rules(True), Rules(True))) == []
    rules = compile_rules(DEFAULT_RULES)
    assert list(transition(rules, rules)) == []


def test_from_allowed_with_exceptions() -> None:
    wanted = compile_rules([ALLOW_ALL, rule("c", 10, 200, allow=False)])
    assert list(transition(Rules(False), wanted)) == [
        ("devices.allow", ["a *:* rwm"]),
        ("devices.deny", ["c 10:200 rwm"]),
    ]


def test_the_kernels_list_is_read() -> None:
    assert parse_list("a *:* rwm") == Rules(True)
    assert parse_list("") == Rules(False)
    assert parse_list("c 136:* rwm\nb *:* m") == Rules(
        False, ((("b", EVERY, EVERY), "m"), (("c", 136, EVERY), "rwm"))
    )


class Kernel:
    """The v1 device cgroup's own way with its list: exact entries, wildcards not looked into."""

    def __init__(self, state: Rules) -> None:
        self.allowed = state.allowed
        self.entries = dict(state.exceptions)

    def write(self, file: str, line: str) -> None:
        kind, numbers, access = line.split()
        allow = file == "devices.allow"
        if kind == "a":
            self.allowed, self.entries = allow, {}
            return
        major, minor = (EVERY if number == "*" else int(number) for number in numbers.split(":"))
        device = (kind, major, minor)
        held = set(self.entries.get(device, ""))
        held = held | set(access) if allow != self.allowed else held - set(access)
        if held:
            self.entries[device] = "".join(letter for letter in "rwm" if letter in held)
        else:
            self.entries.pop(device, None)


STATES = st.builds(
    lambda allowed, exceptions: Rules(
        allowed,
        tuple(sorted((d, "".join(letter for letter in "rwm" if letter in a)) for d, a in exceptions.items())),
    ),
    st.booleans(),
    st.dictionaries(DEVICES, ACCESS),
)


@given(current=STATES, wanted=STATES)
def test_the_writes_lead_to_the_wanted_state(current: Rules, wanted: Rules) -> None:
    if current.allowed:
        current = Rules(True)  # its exceptions cannot be seen
    kernel = Kernel(current)
    for file, lines in transition(current, wanted):
        for line in lines:
            kernel.write(file, line)
    assert (kernel.allowed, tuple(sorted(kernel.entries.items()))) == (wanted.allowed, wanted.exceptions)


def matches(pattern: tuple[str, int, int], device: tuple[str, int, int]) -> bool:
    pairs = zip(pattern[1:], device[1:], strict=True)
    return pattern[0] == device[0] and all(ours in (EVERY, theirs) for ours, theirs in pairs)


@given(rules=st.lists(st.tuples(DEVICES, ACCESS, st.booleans())), start=st.booleans())
def test_the_last_rule_that_speaks_of_a_device_decides(
    rules: list[tuple[tuple[str, int, int], str, bool]], start: bool
) -> None:
    documents = [rule(*device, access=access, allow=allow) for device, access, allow in rules]
    try:
        state = compile_rules([ALLOW_ALL if start else DENY_ALL, *documents])
    except InvalidArgument:
        return
    for device in (("c", 1, 3), ("b", 1, 0), ("c", 5, 7), ("c", 9, 3)):
        for letter in "rwm":
            expected = start
            for pattern, access, allow in rules:
                if matches(pattern, device) and letter in access:
                    expected = allow
            excepted = any(matches(each, device) and letter in access for each, access in state.exceptions)
            assert (state.allowed != excepted) == expected
