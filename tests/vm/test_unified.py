"""Cloche on a machine with cgroup2 alone and a kernel older than most: a guest under QEMU."""

from __future__ import annotations

import pytest

from tests.vm.machine import CHECKOUT, Guest

PYTEST = f"cd {CHECKOUT} && exec .venv/bin/python -m pytest -q -m system --durations=12"
TIMEOUT_S = 250.0


def passes(guest: Guest, *files: str) -> None:
    """These test files pass in the guest; what it says is the failure."""
    paths = " ".join(f"tests/{file}" for file in files)
    result = guest.run("sh", "-c", f"{PYTEST} {paths}", timeout_s=TIMEOUT_S)
    if result.status:
        pytest.fail(result.output, pytrace=False)
    assert " passed" in result.output


def test_the_guest_is_what_it_should_be(guest: Guest) -> None:
    assert guest.shell("ls /sys/fs/cgroup | grep -c '^cgroup.controllers$'") == "1\n"
    assert guest.shell("grep -c cgroup /proc/mounts") == "1\n"
    assert guest.shell("uname -r").endswith("-cloud-amd64\n")


def test_what_a_unified_machine_must_show(guest: Guest) -> None:
    passes(guest, "vm/unified.py")


def test_cgroups_of_this_kind_pass_what_others_do(guest: Guest) -> None:
    passes(guest, "kernel/cgroups")


def test_events_and_new_limits(guest: Guest) -> None:
    passes(guest, "vm/unified_events.py")
