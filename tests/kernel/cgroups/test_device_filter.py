from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.kernel.cgroups import device_filter
from cloche.kernel.cgroups.devices import EVERY, Rules, compile_rules
from cloche.kernel.cgroups.layout import layout

KINDS = {"b": 1, "c": 2}
ACCESS = {"m": 1, "r": 2, "w": 4}
DEVICES = st.tuples(st.sampled_from("bc"), st.sampled_from([EVERY, 1, 5]), st.sampled_from([EVERY, 0, 3]))
LETTERS = st.sets(st.sampled_from("rwm"), min_size=1).map(lambda letters: "".join(sorted(letters)))


def run(program: bytes, kind: int, access: int, major: int, minor: int) -> int:
    """Execute the few eBPF instructions that a device program has."""
    context = struct.pack("=III", access << 16 | kind, major, minor)
    instructions = [
        (code, registers & 15, registers >> 4, offset, value)
        for code, registers, offset, value in struct.iter_unpack("=BBhi", program)
    ]
    registers = [0] * 11
    at = 0
    while True:
        code, target, source, offset, value = instructions[at]
        at += 1
        if code == 0x61:
            (registers[target],) = struct.unpack_from("=I", context, offset)
        elif code == 0xBC:
            registers[target] = registers[source]
        elif code == 0xB4:
            registers[target] = value
        elif code == 0x54:
            registers[target] &= value
        elif code == 0x74:
            registers[target] >>= value
        elif code == 0x15:
            at += offset if registers[target] == value else 0
        elif code == 0x55:
            at += offset if registers[target] != value else 0
        elif code == 0x95:
            return registers[0]
        else:
            raise AssertionError(hex(code))


@given(
    allowed=st.booleans(),
    exceptions=st.dictionaries(DEVICES, LETTERS, max_size=6),
    kind=st.sampled_from("bc"),
    wanted=LETTERS,
    major=st.sampled_from([1, 5, 9]),
    minor=st.sampled_from([0, 3, 7]),
)
def test_the_program_decides_as_the_rules_say(
    allowed: bool, exceptions: dict[tuple[str, int, int], str], kind: str, wanted: str, major: int, minor: int
) -> None:
    matching = [
        set(access)
        for (other, its_major, its_minor), access in exceptions.items()
        if other == kind and its_major in (EVERY, major) and its_minor in (EVERY, minor)
    ]
    if allowed:
        expected = not any(access & set(wanted) for access in matching)
    else:
        expected = any(set(wanted) <= access for access in matching)
    program = device_filter.program(Rules(allowed, tuple(exceptions.items())))
    bits = sum(ACCESS[letter] for letter in wanted)
    assert run(program, KINDS[kind], bits, major, minor) == int(expected)


@pytest.mark.skipif(layout().unified is None, reason="there is no cgroup2 here")
def test_the_kernel_enforces_it_and_an_update_replaces_it(cgroup_parent: str, tmp_path: Path) -> None:
    unified = layout().unified
    assert unified is not None
    directory = Path(f"{unified.mountpoint}{cgroup_parent}")
    directory.mkdir()
    os.mknod(tmp_path / "zero", 0o20666, os.makedev(1, 5))
    script = (
        f"echo $$ > {directory}/cgroup.procs; head -c1 {tmp_path}/zero | wc -c; mknod {tmp_path}/new c 1 3"
    )

    def attempt() -> tuple[str, bool]:
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True)
        (tmp_path / "new").unlink(missing_ok=True)
        return done.stdout.strip(), "Operation not permitted" in done.stderr and done.returncode != 0

    def rule(access: str, minor: int) -> dict[str, object]:
        return {"allow": True, "type": "c", "major": 1, "minor": minor, "access": access}

    try:
        assert attempt() == ("1", False)
        device_filter.attach(str(directory), compile_rules([]))
        assert attempt() == ("0", True)
        device_filter.attach(str(directory), compile_rules([rule("r", 5), rule("m", 3)]))
        assert attempt() == ("1", False)
        device_filter.attach(str(directory), compile_rules([rule("w", 5), rule("rw", 3)]))
        assert attempt() == ("0", True)
        descriptor = os.open(directory, os.O_RDONLY)
        assert len(device_filter.attached(descriptor)) == 1
        os.close(descriptor)
    finally:
        directory.rmdir()
