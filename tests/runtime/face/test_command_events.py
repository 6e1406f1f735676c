"""`events` and `features`; runc is asked the same."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from cloche.errors import InvalidArgument
from cloche.runtime.face.statistics import numbers_of
from cloche.runtime.face.watching import duration_s
from tests.bundles import Bundle
from tests.runtime.face.runtimes import Runtime, last_line, unique


def run_detached(runtime: Runtime, bundle: Bundle) -> str:
    container_id = unique("event")
    assert runtime.start_detached("run", "--detach", "--bundle", str(bundle.path), container_id) == 0
    return container_id


def kinds(value: Any) -> Any:
    """The shape of a document: the types of what may be anywhere in it."""
    if isinstance(value, dict):
        return {key: kinds(each) for key, each in value.items()}
    return type(value).__name__


def test_statistics_have_the_members_of_runcs(ours: Runtime, theirs: Runtime, bundle: Bundle) -> None:
    bundle.linux["resources"] = {"memory": {"limit": 64 << 20}, "pids": {"limit": 30}}
    bundle.command("sleep", "300")
    documents = []
    for runtime in (ours, theirs):
        container_id = run_detached(runtime, bundle)
        result = runtime("events", "--stats", container_id)
        assert result.returncode == 0, result.stderr
        (line,) = result.stdout.splitlines()
        event = json.loads(line)
        assert (event["type"], event["id"]) == ("stats", container_id)
        assert event["data"]["memory"]["usage"]["limit"] == 64 << 20
        assert event["data"]["pids"] == {"current": 1, "limit": 30}
        documents.append(event["data"])
    assert kinds(documents[0]["cpuset"]) == kinds(documents[1]["cpuset"])
    assert set(documents[1]) <= set(documents[0])
    # Without a page in the cache the member is left out, by both: which of them has one is chance.
    assert set(documents[1]["memory"]) - {"cache"} <= set(documents[0]["memory"])
    assert set(documents[1]["memory"]["raw"]) == set(documents[0]["memory"]["raw"])


def test_events_come_at_intervals_until_the_end(runtime: Runtime, bundle: Bundle) -> None:
    container_id = run_detached(runtime, bundle.command("sleep", "300"))
    words = runtime.words("events", "--interval", "50ms", container_id)
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as events:
        assert events.stdout is not None
        for _ in range(3):
            assert json.loads(events.stdout.readline())["type"] == "stats"
        assert runtime("delete", "--force", container_id).returncode == 0
        events.communicate(timeout=10)
        assert events.returncode == 0


def test_memory_that_runs_out_is_told(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["resources"] = {"memory": {"limit": 16 << 20, "swap": 16 << 20}}
    # A file in memory is what no process can give back; the shell that waits outlives the one that is killed.
    eat = "read go; head -c 64m /dev/zero | tail -c 64m > /dev/null; sleep 300"
    bundle.command("sh", "-c", f"mkfifo /tmp/gate; while :; do ( {eat} ) < /tmp/gate; done")
    container_id = run_detached(runtime, bundle)
    words = runtime.words("events", "--interval", "100ms", container_id)
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as events:
        assert events.stdout is not None
        # The first statistics show that it listens.
        assert json.loads(events.stdout.readline())["type"] == "stats"
        assert runtime("exec", container_id, "sh", "-c", "echo go > /tmp/gate").returncode == 0
        while (event := json.loads(events.stdout.readline()))["type"] != "oom":
            assert event["type"] == "stats"
        assert event == {"type": "oom", "id": container_id}
        assert runtime("delete", "--force", container_id).returncode == 0
        events.communicate(timeout=10)


@pytest.mark.parametrize("interval", ["0s", "-5s", "5", "soon"])
def test_intervals_that_are_none(ours: Runtime, bundle: Bundle, interval: str) -> None:
    container_id = run_detached(ours, bundle.command("sleep", "300"))
    result = ours("events", "--interval", interval, container_id)
    assert result.returncode == 1
    assert "interval" in last_line(result)


def test_a_stopped_container_has_no_events(runtime: Runtime, bundle: Bundle) -> None:
    bundle.command("true")
    container_id = unique("event")
    assert runtime("run", "--keep", "--bundle", str(bundle.path), container_id).returncode == 0
    result = runtime("events", "--stats", container_id)
    assert result.returncode == 1
    assert "not running" in last_line(result)


@pytest.mark.parametrize(("text", "seconds"), [("5s", 5), ("1h30m", 5400), ("1.5s", 1.5), ("250ms", 0.25)])
def test_durations(text: str, seconds: float) -> None:
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["5", "s", "1..s", "5 s", "1d"])
def test_words_that_are_no_durations(text: str) -> None:
    with pytest.raises(InvalidArgument):
        duration_s(text)


def test_lists_of_processors() -> None:
    assert numbers_of("0-2,5") == [0, 1, 2, 5]
    assert numbers_of("") == []


def test_features_are_what_runc_has_and_true(ours: Runtime, theirs: Runtime) -> None:
    mine, reference = (json.loads(runtime("features").stdout) for runtime in (ours, theirs))
    assert mine["ociVersionMin"] == reference["ociVersionMin"] == "1.0.0"
    assert mine["hooks"] == reference["hooks"]
    # Whether there are access control lists is each file system's own affair.
    assert set(reference["mountOptions"]) - set(mine["mountOptions"]) <= {"acl", "noacl"}
    for name in ("namespaces", "capabilities"):
        assert set(reference["linux"][name]) <= set(mine["linux"][name])
    for name in ("actions", "operators", "archs"):
        assert set(reference["linux"]["seccomp"][name]) <= set(mine["linux"]["seccomp"][name])
    assert mine["linux"]["cgroup"]["systemd"] is True
