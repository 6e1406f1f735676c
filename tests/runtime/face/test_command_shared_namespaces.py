"""Containers in namespaces that others live in: sysctls, kill and delete; runc is asked the same."""

from __future__ import annotations

import os
from pathlib import Path

from tests.bundles import Bundle
from tests.runtime.face.runtimes import Runtime, last_line, unique
from tests.waiting import wait_until


def without(bundle: Bundle, kind: str, path: str = "") -> None:
    """No namespace of this type, or one to join."""
    namespaces = [each for each in bundle.linux["namespaces"] if each["type"] != kind]
    bundle.linux["namespaces"] = [*namespaces, *([{"type": kind, "path": path}] if path else [])]


def test_a_sysctl_never_reaches_the_hosts_network(runtime: Runtime, bundle: Bundle) -> None:
    place = Path("/proc/sys/net/ipv4/ip_default_ttl")
    before = place.read_text()
    without(bundle, "network", f"/proc/{os.getpid()}/ns/net")
    bundle.linux["sysctl"] = {"net.ipv4.ip_default_ttl": "77"}
    bundle.command("true")
    result = runtime("run", "--bundle", str(bundle.path), unique("shared"))
    assert result.returncode == 1
    assert "not allowed in " in last_line(result)
    assert "net.ipv4.ip_default_ttl" in last_line(result)
    assert place.read_text() == before


def test_a_sysctl_of_another_containers_network(runtime: Runtime, bundle: Bundle) -> None:
    first = unique("shared")
    bundle.command("sleep", "300")
    assert runtime.start_detached("run", "--detach", "--bundle", str(bundle.path), first) == 0
    without(bundle, "network", f"/proc/{runtime.state(first)['pid']}/ns/net")
    bundle.linux["sysctl"] = {"net.ipv4.ip_default_ttl": "77"}
    bundle.command("cat", "/proc/sys/net/ipv4/ip_default_ttl")
    result = runtime("run", "--bundle", str(bundle.path), unique("shared"))
    assert (result.returncode, result.stdout) == (0, "77\n"), result.stderr


def left_alive(runtime: Runtime, bundle: Bundle) -> tuple[str, int]:
    """A container in the host's pid namespace whose first process ended: its id, and who is left."""
    without(bundle, "pid")
    bundle.command("sh", "-c", "sleep 300 & echo $! > /pid")
    container_id = unique("shared")
    assert runtime.start_detached("run", "--detach", "--bundle", str(bundle.path), container_id) == 0
    wait_until(lambda: runtime.status(container_id) == "stopped", what="the end of the first process")
    return container_id, int((bundle.rootfs / "pid").read_text())


def test_delete_ends_what_the_first_process_left(runtime: Runtime, bundle: Bundle) -> None:
    container_id, other = left_alive(runtime, bundle)
    assert Path(f"/proc/{other}").exists()
    assert runtime("delete", container_id).returncode == 0
    wait_until(lambda: not Path(f"/proc/{other}/exe").exists(), what="the end of the other process")


def test_kill_all_reaches_what_the_first_process_left(runtime: Runtime, bundle: Bundle) -> None:
    container_id, other = left_alive(runtime, bundle)
    assert runtime("kill", "--all", container_id, "KILL").returncode == 0
    wait_until(lambda: not Path(f"/proc/{other}/exe").exists(), what="the end of the other process")
    assert runtime("delete", container_id).returncode == 0
