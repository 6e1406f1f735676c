"""Containers that clients want to run are started again."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloche.daemon import restarting
from tests.api.conftest import IMAGE
from tests.api.test_configuration import configured
from tests.api.test_tasks import column, finish
from tests.daemons import Cloched
from tests.waiting import wait_until

LABELS = ("--label", f"{restarting.STATUS}=running", "--label", f"{restarting.POLICY}=on-failure:5")


@pytest.mark.parametrize(
    ("policy", "exit_code", "count", "expected"),
    [
        ("", 0, "", True),
        ("always", 0, "7", True),
        ("no", 1, "", False),
        ("on-failure", 0, "", False),
        ("on-failure", 3, "100", True),
        ("on-failure:2", 3, "1", True),
        ("on-failure:2", 3, "2", False),
        ("unless-stopped", 0, "", True),
        ("nonsense", 1, "", False),
    ],
)
def test_policies(policy: str, exit_code: int, count: str, expected: bool) -> None:
    labels = {restarting.POLICY: policy, restarting.COUNT: count}
    assert restarting.due(labels, exit_code) is expected


def test_what_was_stopped_on_purpose_stays_so() -> None:
    labels = {restarting.POLICY: "unless-stopped", restarting.EXPLICITLY_STOPPED: "true"}
    assert not restarting.due(labels, 0)


def test_a_container_that_failed_is_started_again(archive: Path, name: str) -> None:
    with configured(
        '[plugins."io.containerd.monitor.container.v1.restart"]\ninterval = "200ms"\n'
    ) as cloched:
        cloched.ok("images", "import", str(archive))
        fails_and_is_started_again(cloched, name)


def fails_and_is_started_again(cloched: Cloched, name: str) -> None:
    cloched.ok("run", "-d", *LABELS, IMAGE, name, "sleep", "600")
    first = column(cloched.ok("tasks", "ls"), name, 1)
    cloched.ok("tasks", "kill", "--signal", "SIGKILL", name)

    def again() -> bool:
        listed = cloched.ok("tasks", "ls")
        return name in listed and column(listed, name, 2) == "RUNNING" and column(listed, name, 1) != first

    wait_until(again, timeout_s=0.9 * restarting.INTERVAL_S)
    assert f'"{restarting.COUNT}": "1"' in cloched.ok("containers", "info", name)
    cloched.ok("containers", "label", name, f"{restarting.STATUS}=")
    finish(cloched, name)
