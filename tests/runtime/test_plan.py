"""The plan as a value: its order, its text, its encoding. No root needed."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from cloche.runtime import operations as op
from cloche.runtime.caller import CallerOperation
from cloche.runtime.compile import compile_create
from cloche.runtime.facts import CgroupFacts, Facts
from cloche.runtime.plan import CALLER, STAGE_ONE, STAGE_TWO, Plan, Step
from cloche.runtime.plan_namespaces import delegate_of
from cloche.spec.config import Config
from cloche.spec.default import default_config

FACTS = Facts("/bundle", CgroupFacts(("/sys/fs/cgroup/pids/c/tasks",)), filter_program=bytes(8))


def names(plan: Plan) -> list[str]:
    return [type(step.operation).__name__ for step in plan.steps]


def compiled(**changes: object) -> Plan:
    config: Config = default_config()
    config["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1"}
    config["process"].update(changes)  # type: ignore[typeddict-item]  # what the test wants to see
    return compile_create(config, FACTS)


def test_stages_come_in_their_order() -> None:
    stages = [step.stage for step in compiled().steps]
    assert stages == sorted(stages)
    assert set(stages) == {CALLER, STAGE_ONE, STAGE_TWO}


def test_stage_one_ends_with_the_only_clone() -> None:
    plan = compiled()
    assert names(plan).count("CloneProcess") == 1
    last = [step for step in plan.steps if step.stage == STAGE_ONE][-1]
    assert isinstance(last.operation, op.CloneProcess)


def test_cgroups_are_entered_before_anything_else_is_done_in_stage_two() -> None:
    first = next(step for step in compiled().steps if step.stage == STAGE_TWO)
    assert isinstance(first.operation, op.EnterCgroup)


def test_no_mount_is_made_before_propagation_is_cut() -> None:
    order = names(compiled())
    assert order.index("SetPropagation") < order.index("AttachRoot") < order.index("NewMount")


def test_no_operation_after_the_pivot_uses_a_descriptor_of_the_host_but_the_null_device() -> None:
    plan = compiled()
    after = plan.steps[names(plan).index("PivotRoot") + 1 :]
    slots = {
        getattr(step.operation, name)
        for step in after
        for name, kind in step.operation._field_types.items()
        if kind == "Slot"
    }
    assert slots == {"null"}


def test_the_filter_is_loaded_once_and_with_no_new_privs_as_late_as_can_be() -> None:
    order = names(compiled(noNewPrivileges=True))
    assert order.count("LoadFilter") == 1
    assert order[-2:] == ["LoadFilter", "Execute"]
    assert order.index("ForbidPrivileges") < order.index("LoadFilter")


def test_without_no_new_privs_the_filter_is_loaded_while_privileges_are_there() -> None:
    order = names(compiled(noNewPrivileges=False))
    assert order.count("LoadFilter") == 1
    assert order.index("LoadFilter") < order.index("DropBounding") < order.index("SetCapabilities")


def test_sysctls_go_through_a_procfs_opened_before_the_first_mount_of_the_configuration() -> None:
    order = names(compiled())
    assert order.index("OpenProc") < order.index("AttachRoot")
    assert order.index("PivotRoot") < order.index("WriteSysctl")


def test_masks_come_after_everything_that_could_be_mounted_over_them() -> None:
    order = names(compiled())
    last_mount = max(i for i, name in enumerate(order) if name in ("NewMount", "AttachMount"))
    assert last_mount < order.index("ProtectPath") < order.index("MaskPath")


def test_explain_has_one_line_a_step_that_names_its_origin() -> None:
    plan = compiled()
    lines = plan.explain().splitlines()
    assert len(lines) == len(plan.steps)
    assert any("mounts[0]" in line and "new mount" in line for line in lines)


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
integers = st.integers(-(2**63), 2**63 - 1)
generated = st.one_of(
    st.builds(op.SetHostname, texts),
    st.builds(op.SetLimit, integers, integers, integers),
    st.builds(op.LoadFilter, st.binary(max_size=64), integers),
    st.builds(op.Execute, st.tuples(texts, texts), st.lists(texts, max_size=4).map(tuple)),
    st.builds(op.NewMount, texts, texts, texts, st.lists(texts, max_size=3).map(tuple), integers),
    st.builds(op.EnterCgroup, texts.filter(bool)),
)


@given(st.lists(generated, max_size=8))
def test_what_is_encoded_can_be_read_back(operations: list[op.Operation]) -> None:
    plan = Plan(tuple(Step("x", STAGE_TWO, operation) for operation in operations))
    data, slots = plan.encode()
    assert Decoder(data, slots).operations() == operations


class Decoder:
    """Reads a plan as native/plan.h does."""

    def __init__(self, data: bytes, slots: tuple[str, ...]) -> None:
        self.data, self.slots = data, slots

    def operations(self) -> list[op.Operation]:
        magic, fingerprint, count, size, used, slots, _ = struct.unpack_from("<8s2I2Q2I", self.data)
        assert (magic, fingerprint, size) == (b"clocheP1", op.fingerprint(), len(self.data))
        assert slots == len(self.slots)
        found, at = [], 40
        for _index in range(count):
            code, _stage, length, _ = struct.unpack_from("<4I", self.data, at)
            found.append(self._operation(op.Operation.table[code - 1], at + 16))
            at += length
        assert at == 40 + used
        return found

    def _operation(self, kind: type[op.Operation], at: int) -> op.Operation:
        values: list[object] = []
        for name in kind._fields:
            word, second = struct.unpack_from("<2q", self.data + bytes(8), at)
            at += 16 if kind._field_types[name] == "bytes" else 8
            values.append(self._value(kind._field_types[name], word, second))
        return kind(*values)

    def _value(self, kind: str, word: int, second: int) -> object:
        if kind == "int":
            return word
        if kind == "Slot":
            return self.slots[word] if word >= 0 else ""
        if kind == "bytes":
            return self.data[word : word + second]
        if kind == "str":
            return self._text(word)
        offsets = []
        while offset := struct.unpack_from("<Q", self.data, word)[0]:
            offsets.append(offset)
            word += 8
        return tuple(self._text(offset) for offset in offsets)

    def _text(self, offset: int) -> str:
        return self.data[offset : self.data.index(0, offset)].decode()


def test_the_callers_operations_are_not_encoded() -> None:
    plan = compiled()
    data, _ = plan.encode()
    count = struct.unpack_from("<8s2I", data)[2]
    assert count == sum(not isinstance(step.operation, CallerOperation) for step in plan.steps)


def test_the_fingerprint_follows_the_table() -> None:
    before = op.fingerprint()

    class Extra(op.Operation):
        """One more operation."""

        value: int

    try:
        assert op.fingerprint() != before
    finally:
        op.Operation.table.remove(Extra)
    assert op.fingerprint() == before


def test_the_cgroup_is_delegated_to_the_containers_user_only_with_a_namespace_and_a_writable_mount() -> None:
    config = default_config()
    config["linux"]["namespaces"] += [{"type": "user"}, {"type": "cgroup"}]
    config["linux"]["uidMappings"] = [{"containerID": 0, "hostID": 7000, "size": 10}]
    config["process"]["user"]["uid"] = 3
    (mount,) = (mount for mount in config["mounts"] if mount["destination"] == "/sys/fs/cgroup")
    assert delegate_of(config) is None
    mount["options"].remove("ro")
    assert delegate_of(config) == 7003
    config["process"]["user"]["uid"] = 10
    assert delegate_of(config) is None
    config["linux"]["namespaces"] = [n for n in config["linux"]["namespaces"] if n["type"] != "cgroup"]
    config["process"]["user"]["uid"] = 3
    assert delegate_of(config) is None
