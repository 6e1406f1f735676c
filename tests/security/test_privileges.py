"""Privileges that containers had by mistake elsewhere."""

from __future__ import annotations

import pytest

from cloche.spec.default import default_config
from tests.bundles import Bundle
from tests.runtime.containers import Runtime


def test_nothing_is_inheritable_by_default(runtime: Runtime, bundle: Bundle) -> None:
    """CVE-2022-29162: inheritable capabilities let file capabilities give more than was meant."""
    assert not default_config()["process"]["capabilities"].get("inheritable")
    text = runtime.output(bundle, "grep -E 'CapInh|CapAmb' /proc/self/status")
    assert {int(value, 16) for value in text.split()[1::2]} == {0}


@pytest.mark.parametrize("own_namespace", [True, False])
def test_cgroups_that_were_to_be_read_only_are(
    runtime: Runtime, bundle: Bundle, *, own_namespace: bool
) -> None:
    """CVE-2023-25809: with no cgroup namespace the host's cgroups were writable."""
    kinds = [n for n in bundle.linux["namespaces"] if n["type"] != "cgroup"]
    bundle.linux["namespaces"] = kinds + [{"type": "cgroup"}] * own_namespace
    script = (
        "find /sys/fs/cgroup -name cgroup.procs -maxdepth 3 | while read f; do (echo 0 > $f) 2>&1; done; true"
    )
    lines = runtime.output(bundle, script).splitlines()
    assert lines
    assert all("Read-only" in line for line in lines)


def test_a_container_without_capabilities_cannot_mount_trace_or_load(
    runtime: Runtime, bundle: Bundle
) -> None:
    script = "mount -t tmpfs none /tmp; hostname evil; mknod /d b 8 0; chroot / true; true"
    text = runtime.output(bundle, f"({script}) 2>&1")
    # busybox words them differently; none may be silent.
    assert len([line for line in text.splitlines() if "ermi" in line or "not permitted" in line]) >= 4


def test_the_hosts_devices_cannot_be_read(runtime: Runtime, bundle: Bundle) -> None:
    for kind in ("effective", "permitted", "bounding"):
        bundle.process["capabilities"][kind] += ["CAP_MKNOD", "CAP_DAC_OVERRIDE"]
    tries = "mknod /d b ${m%:*} ${m#*:} && head -c 1 /d && echo read; rm -f /d"
    script = f"for m in 8:0 254:0 253:0 259:0; do {tries}; done"
    text = runtime.output(bundle, f"({script}) 2>&1; true")
    assert "read\n" not in text.replace("head: /d: ", "")
