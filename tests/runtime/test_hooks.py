"""Hooks: which kind runs when, where, with what on its standard input."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from cloche.errors import FailedPrecondition
from cloche.runtime.container import containers
from tests.bundles import Bundle
from tests.runtime.containers import Runtime

KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


def hook(script: str, **more: Any) -> dict[str, Any]:
    return {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"], **more}


def test_each_kind_runs_at_its_point_and_in_its_place(
    runtime: Runtime, bundle: Bundle, tmp_path: Path
) -> None:
    log, inside = tmp_path / "log", bundle.rootfs / "inside"
    inside.mkdir()
    bundle.config["hooks"] = {kind: [hook(f"echo {kind} >> {log}")] for kind in KINDS}
    bundle.config["hooks"]["startContainer"] = [hook("echo startContainer > /inside/log")]
    bundle.command("sleep", "1000")
    container, process = runtime.create(bundle)
    with process:
        assert log.read_text().split() == ["prestart", "createRuntime", "createContainer"]
        assert not (inside / "log").exists()
        container.start()
        assert (inside / "log").read_text() == "startContainer\n"
        assert log.read_text().split()[3:] == ["poststart"]
        container.kill(signal.SIGKILL)
        process.wait()
        assert container.delete() == []
        assert log.read_text().split()[4:] == ["poststop"]


def test_the_state_on_standard_input_has_the_pid_as_that_side_sees_it(
    runtime: Runtime, bundle: Bundle, tmp_path: Path
) -> None:
    bundle.config["annotations"] = {"a": "b"}
    bundle.config["hooks"] = {
        "prestart": [hook(f"cat > {tmp_path}/prestart")],
        "createRuntime": [hook(f"cat > {tmp_path}/createRuntime")],
        "createContainer": [hook(f"cat > {tmp_path}/createContainer")],
        "startContainer": [hook("cat > /startContainer")],
    }
    bundle.command("sleep", "1000")
    container, process = runtime.create(bundle)
    with process:
        container.start()
        pid = process.pid
        states = [
            json.loads(path.read_text())
            for path in (
                tmp_path / "prestart",
                tmp_path / "createRuntime",
                tmp_path / "createContainer",
                bundle.rootfs / "startContainer",
            )
        ]
        container.delete(force=True)
        process.wait()
    assert [state["pid"] for state in states] == [pid, pid, 1, 1]
    assert [state["status"] for state in states] == ["created", "creating", "creating", "created"]
    assert all(state["id"] == container.id and state["annotations"] == {"a": "b"} for state in states)


def test_hooks_run_in_the_namespaces_that_are_due(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    script = f"readlink /proc/self/ns/net /proc/self/ns/mnt > {tmp_path}"
    bundle.config["hooks"] = {
        "createRuntime": [hook(f"{script}/createRuntime")],
        # The host's procfs is what is mounted there, so `self` is not to be found in it.
        "createContainer": [hook(f"cat /sys/class/net/*/address | wc -l > {tmp_path}/createContainer")],
    }
    bundle.command("true")
    container, process = runtime.create(bundle)
    with process:
        ours = [os.readlink(f"/proc/self/ns/{kind}") for kind in ("net", "mnt")]
        container.delete(force=True)
        process.wait()
    assert (tmp_path / "createRuntime").read_text().split() == ours


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer"])
def test_a_hook_that_fails_fails_the_create_and_leaves_nothing(
    runtime: Runtime, bundle: Bundle, kind: str
) -> None:
    bundle.config["hooks"] = {kind: [hook("true"), hook("exit 3")]}
    with pytest.raises(FailedPrecondition, match=rf"hooks\.{kind}\[1\]"):
        runtime.create(bundle)
    assert containers(runtime.root) == []


@pytest.mark.parametrize("kind", ["createRuntime", "createContainer"])
def test_a_hook_that_takes_too_long_is_killed(runtime: Runtime, bundle: Bundle, kind: str) -> None:
    bundle.config["hooks"] = {kind: [hook("sleep 1000", timeout=1)]}
    with pytest.raises(FailedPrecondition, match=r"after 1 s|timed out"):
        runtime.create(bundle)


def test_a_hook_that_cannot_be_executed_is_told_why(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    script = tmp_path / "hook"
    script.write_text("#!/bin/sh\r\n")
    script.chmod(0o755)
    bundle.config["hooks"] = {"createRuntime": [{"path": str(script)}]}
    with pytest.raises(FailedPrecondition, match=r"createRuntime\[0\].*ends with a carriage return"):
        runtime.create(bundle)
    bundle.config["hooks"] = {"createRuntime": [{"path": f"{tmp_path}/nowhere"}]}
    with pytest.raises(FailedPrecondition, match=r"there is no '.*/nowhere' on the host"):
        runtime.create(bundle)


def test_a_start_hook_that_fails_fails_the_start(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config["hooks"] = {"startContainer": [hook("exit 1")]}
    container, process = runtime.create(bundle.command("sleep", "1000"))
    with process:
        with pytest.raises(FailedPrecondition, match="startContainer"):
            container.start()
        process.wait()
    container.delete()


def test_a_poststart_hook_that_fails_ends_the_container(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config["hooks"] = {"poststart": [hook("exit 1")]}
    container, process = runtime.create(bundle.command("sleep", "1000"))
    with process:
        with pytest.raises(FailedPrecondition, match="poststart"):
            container.start()
        assert process.wait() == 128 + signal.SIGKILL
    container.delete()


def test_a_poststop_hook_that_fails_is_a_warning(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config["hooks"] = {"poststop": [hook("exit 1")]}
    container, process = runtime.create(bundle.command("true"), gate=False)
    with process:
        process.wait()
    (warning,) = container.delete()
    assert "hooks.poststop[0]" in warning
    assert containers(runtime.root) == []
