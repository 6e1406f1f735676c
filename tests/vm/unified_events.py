"""What `events` and `update` do where cgroup2 is all there is; run inside the guest (see test_unified.py)."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.bundles import Bundle
from tests.peers import command
from tests.runtime.face.runtimes import Runtime, unique

_EAT = "read go; head -c 64m /dev/zero | tail -c 64m > /dev/null; sleep 300"


def test_memory_that_runs_out_is_told(root: None, bundle: Bundle, tmp_path: Path) -> None:
    bundle.linux["resources"] = {"memory": {"limit": 16 << 20, "swap": 16 << 20}}
    bundle.command("sh", "-c", f"mkfifo /tmp/gate; while :; do ( {_EAT} ) < /tmp/gate; done")
    container_id = unique("event")
    with Runtime(command("cloche-runc"), tmp_path / "state") as runtime:
        assert runtime.start_detached("run", "--detach", "--bundle", str(bundle.path), container_id) == 0
        words = runtime.words("events", "--interval", "200ms", container_id)
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as events:
            assert events.stdout is not None
            first = json.loads(events.stdout.readline())
            assert first["data"]["memory"]["usage"]["limit"] == 16 << 20
            assert runtime("exec", container_id, "sh", "-c", "echo go > /tmp/gate").returncode == 0
            while (event := json.loads(events.stdout.readline()))["type"] != "oom":
                assert event["type"] == "stats"
            assert runtime("delete", "--force", container_id).returncode == 0
            events.communicate(timeout=30)
            assert events.returncode == 0


def test_limits_are_changed(root: None, bundle: Bundle, tmp_path: Path) -> None:
    bundle.linux["resources"] = {"cpu": {"quota": 20000, "period": 100000}}
    bundle.command("sleep", "300")
    container_id = unique("limit")
    with Runtime(command("cloche-runc"), tmp_path / "state") as runtime:
        assert runtime.start_detached("run", "--detach", "--bundle", str(bundle.path), container_id) == 0
        flags = ["--memory", "64m", "--memory-swap", "96m", "--pids-limit", "30", "--cpu-period", "50000"]
        result = runtime("update", *flags, container_id)
        assert result.returncode == 0, result.stderr
        line = Path(f"/proc/{runtime.state(container_id)['pid']}/cgroup").read_text().strip()
        directory = Path("/sys/fs/cgroup" + line.removeprefix("0::"))
        assert (directory / "memory.max").read_text() == f"{64 << 20}\n"
        assert (directory / "memory.swap.max").read_text() == f"{32 << 20}\n"
        assert (directory / "pids.max").read_text() == "30\n"
        assert (directory / "cpu.max").read_text() == "20000 50000\n"
