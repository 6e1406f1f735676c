"""Containers in a mount namespace that others live in: the caller's, or one joined by its path."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloche.kernel import pidfd
from tests.bundles import Bundle
from tests.peers import peer
from tests.runtime.containers import Runtime, pipe, read_all
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(
    tuple(int(part) for part in os.uname().release.split(".")[:2]) < (6, 15),
    reason="needs Linux 6.15 to mount in trees that are attached nowhere",
)


def share(bundle: Bundle, path: str = "") -> None:
    """Leave the mount namespace out of the configuration, or have it joined by its path."""
    others = [n for n in bundle.linux["namespaces"] if n["type"] != "mount"]
    bundle.linux["namespaces"] = others + ([{"type": "mount", "path": path}] if path else [])


@pytest.fixture
def neighbour() -> Iterator[int]:
    """A process with a mount namespace of its own."""
    with subprocess.Popen([peer("unshare"), "--mount", "sleep", "1000"]) as process:
        ours = os.readlink("/proc/self/ns/mnt")
        wait_until(lambda: os.readlink(f"/proc/{process.pid}/ns/mnt") != ours)
        yield process.pid
        handle = pidfd.open(process.pid)
        pidfd.send_signal(handle, signal.SIGKILL)
        os.close(handle)


def test_the_callers_mount_namespace_is_inherited_and_its_mounts_stay_as_they_were(
    runtime: Runtime, bundle: Bundle, tmp_path: Path
) -> None:
    share(bundle)
    (tmp_path / "file").touch()
    bundle.config["mounts"].append({"destination": "/data", "source": str(tmp_path), "options": ["rbind"]})
    before = Path("/proc/self/mountinfo").read_text()
    with runtime.running(bundle) as container:
        assert os.readlink(f"/proc/{container.pid}/ns/mnt") == os.readlink("/proc/self/ns/mnt")
        assert Path("/proc/self/mountinfo").read_text() == before
        root = Path(f"/proc/{container.pid}/root")
        assert (root / "data" / "file").exists()
        assert (root / "proc" / "1").exists()
        assert (root / "bin").is_dir()
    assert Path("/proc/self/mountinfo").read_text() == before


def test_masks_and_a_read_only_root_hold_there_too(runtime: Runtime, bundle: Bundle) -> None:
    share(bundle)
    bundle.config["root"]["readonly"] = True
    script = "touch /file; wc -c < /proc/keys; echo 1 > /proc/sys/kernel/hostname; true"
    text = runtime.output(bundle, script)
    assert text.count("Read-only file system") == 2
    assert "\n0\n" in text


def test_the_root_cannot_be_left_with_a_second_chroot(runtime: Runtime, bundle: Bundle) -> None:
    share(bundle)
    (bundle.rootfs / "below").mkdir()
    for kind in bundle.process["capabilities"].values():
        kind.append("CAP_SYS_CHROOT")
    # The shell keeps its directory outside of the root that its child changes to.
    script = "cd /; chroot /below /nothing; cd ../../../../..; ls"
    assert set(os.listdir(bundle.rootfs)) >= set(runtime.output(bundle, script).split()[-5:])


def test_a_mount_namespace_is_joined_by_its_path(runtime: Runtime, bundle: Bundle, neighbour: int) -> None:
    share(bundle, f"/proc/{neighbour}/ns/mnt")
    before = Path(f"/proc/{neighbour}/mountinfo").read_text()
    with runtime.running(bundle) as container:
        assert os.readlink(f"/proc/{container.pid}/ns/mnt") == os.readlink(f"/proc/{neighbour}/ns/mnt")
        assert Path(f"/proc/{neighbour}/mountinfo").read_text() == before
        assert sorted(os.listdir(f"/proc/{container.pid}/root")) == sorted(os.listdir(bundle.rootfs))


@pytest.mark.parametrize("how", ["the caller's", "joined"])
def test_exec_sees_the_containers_files_and_no_others(
    runtime: Runtime, bundle: Bundle, neighbour: int, tmp_path: Path, how: str
) -> None:
    share(bundle, f"/proc/{neighbour}/ns/mnt" if how == "joined" else "")
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "file").touch()
    shared = {"destination": "/data", "source": str(tmp_path / "shared"), "options": ["rbind"]}
    bundle.config["mounts"].append(shared)
    # A second chroot does not lead out, nor does what a container's process was given.
    script = "cat /proc/1/comm; ls /data; cd /; chroot /bin /no; cd ../..; ls -d bin data; ls /proc/self/fd"
    for kind in bundle.process["capabilities"].values():
        kind.append("CAP_SYS_CHROOT")
    with runtime.running(bundle) as container, pipe() as (reader, writer):
        settings = {**bundle.config["process"], "args": ["sh", "-c", script]}
        process = container.execute(settings, stdio=(writer, writer, writer))  # type: ignore[arg-type]  # a literal
        os.close(writer)
        said = read_all(reader).split("\n")
        with process:
            assert process.wait() == 0, said
    assert [line for line in said if "chroot" not in line] == [
        "sleep",
        "file",
        "bin",
        "data",
        "0",
        "1",
        "2",
        "3",
        "",
    ]
