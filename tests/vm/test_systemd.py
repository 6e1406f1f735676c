"""Cloche on a machine that systemd runs, for root and for a user: a guest under QEMU."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.vm.machine import CHECKOUT, Guest, boot

SUITES = {
    "scopes": "tests/vm/scopes.py tests/vm/scoped_checkpoints.py",
    "without root": "tests/vm/delegated.py",
    # systemd mounts cgroup2 with nsdelegate, which keeps everyone within his cgroup namespace.
    "cgroup namespaces": "tests/runtime/face/test_namespace_mixes.py -k 'cgroup and not all'",
}
PYTEST = f"cd {CHECKOUT} && $(cat /python) -m pytest -q -m system --durations=10 --timeout=100"
# Less than a minute where the host has nothing else to do.
TIMEOUT_S = 800.0

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def systemd_guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """A running machine whose first process is systemd."""
    running = boot(tmp_path_factory.mktemp("systemd"), systemd=True)
    yield running
    running.close()


@pytest.fixture(scope="module")
def outcomes(systemd_guest: Guest) -> dict[str, tuple[int, str]]:
    """What each suite came to: pytest's exit status and what it printed."""
    jobs = [
        f"( set +e; ({PYTEST} {suite}) >/tmp/{number}.log 2>&1; echo $? >/tmp/{number}.status ) &"
        for number, suite in enumerate(SUITES.values())
    ]
    systemd_guest.shell("\n".join([*jobs, "wait"]), timeout_s=TIMEOUT_S)
    return {
        name: (
            int(systemd_guest.shell(f"cat /tmp/{number}.status")),
            systemd_guest.shell(f"cat /tmp/{number}.log"),
        )
        for number, name in enumerate(SUITES)
    }


@pytest.mark.system
def test_the_first_process_is_systemd(systemd_guest: Guest) -> None:
    assert systemd_guest.shell("cat /proc/1/comm; systemctl is-system-running") == "systemd\nrunning\n"


@pytest.mark.system
@pytest.mark.parametrize("suite", SUITES)
def test_the_suite_passes_there(outcomes: dict[str, tuple[int, str]], suite: str) -> None:
    status, printed = outcomes[suite]
    if status:
        pytest.fail(printed, pytrace=False)
    assert " passed" in printed
