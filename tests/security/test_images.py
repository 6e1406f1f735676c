"""Images that lie: links and files where the runtime is about to mount or to write."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import threading
from pathlib import Path

import pytest

from cloche.errors import ClocheError
from cloche.runtime.container import containers
from cloche.runtime.sealed import PROGRAM
from tests.bundles import Bundle
from tests.runtime.containers import Runtime, read_all

libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, RENAME_EXCHANGE = -100, 2
CORE_PATTERN = Path("/proc/sys/kernel/core_pattern")


@pytest.mark.parametrize("name", ["proc", "sys"])
def test_proc_and_sys_are_mounted_on_ordinary_directories_only(
    runtime: Runtime, bundle: Bundle, name: str
) -> None:
    """CVE-2019-19921, CVE-2023-27561, CVE-2023-28642: /proc is a link into a volume."""
    shutil.rmtree(bundle.rootfs / name)
    (bundle.rootfs / "elsewhere").mkdir()
    (bundle.rootfs / name).symlink_to("elsewhere")
    with pytest.raises(ClocheError, match=f"target='/{name}'"):
        runtime.create(bundle.command("true"))
    assert containers(runtime.root) == []


def test_a_null_device_of_the_image_is_not_what_masks(runtime: Runtime, bundle: Bundle) -> None:
    """CVE-2025-31133: /dev/null of the image is a link, and the mask becomes a door."""
    bundle.config["mounts"] = [m for m in bundle.config["mounts"] if not m["destination"].startswith("/dev")]
    (bundle.rootfs / "dev" / "null").symlink_to("/proc/sys/kernel/core_pattern")
    bundle.linux["maskedPaths"] = ["/proc/kcore", "/etc/passwd"]
    before = CORE_PATTERN.read_text()
    output = runtime.output(bundle, "stat -c %t:%T /etc/passwd; echo pwned > /etc/passwd; cat /etc/passwd")
    assert output == "1:3\n"
    assert CORE_PATTERN.read_text() == before


def test_a_console_of_the_image_is_not_written_through(runtime: Runtime, bundle: Bundle) -> None:
    """CVE-2025-52565: /dev/console, or the pty's name, is a link to a file of procfs."""
    bundle.config["mounts"] = [m for m in bundle.config["mounts"] if m["destination"] != "/dev"]
    (bundle.rootfs / "dev" / "pts").mkdir()
    (bundle.rootfs / "dev" / "console").symlink_to("/proc/sys/kernel/core_pattern")
    bundle.process["terminal"] = True
    before = CORE_PATTERN.read_text()
    bundle.command("sh", "-c", "echo pwned > /dev/console; echo pwned > /proc/sys/kernel/core_pattern; tty")
    container, process = runtime.create(bundle, gate=False)
    with process:
        text = read_all(process.take_console())
        process.wait()
    container.delete()
    assert "/dev/pts/0" in text
    assert CORE_PATTERN.read_text() == before


def test_a_procfs_that_is_none_gets_no_writes(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    """CVE-2019-16884, CVE-2025-52881: something is mounted over /proc, and writes go astray."""
    fake = tmp_path / "proc"
    (fake / "sys" / "net" / "ipv4").mkdir(parents=True)
    trap = fake / "sys" / "net" / "ipv4" / "ip_forward"
    trap.write_text("untouched")
    bundle.config["mounts"].insert(
        1, {"destination": "/proc", "source": str(fake), "type": "bind", "options": ["rbind"]}
    )
    bundle.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    bundle.linux["maskedPaths"] = bundle.linux["readonlyPaths"] = []
    bundle.config["mounts"].append(
        {"destination": "/real", "type": "proc", "source": "proc", "options": ["ro"]}
    )
    assert runtime.output(bundle, "cat /real/sys/net/ipv4/ip_forward").strip() == "1"
    assert trap.read_text() == "untouched"


def test_a_link_that_changes_under_the_mount_does_not_lead_out(
    runtime: Runtime, bundle: Bundle, tmp_path: Path
) -> None:
    """CVE-2021-30465: a volume shared with another container that swaps a directory for a link."""
    volume, target = tmp_path / "volume", tmp_path / "target"
    (volume / "place").mkdir(parents=True)
    target.mkdir()
    (volume / "link").symlink_to("../../../../../../../../" + str(target))
    stop = threading.Event()

    def swap() -> None:
        place, link = os.fsencode(volume / "place"), os.fsencode(volume / "link")
        while not stop.is_set():
            libc.renameat2(AT_FDCWD, place, AT_FDCWD, link, RENAME_EXCHANGE)

    bundle.config["mounts"] += [
        {"destination": "/volume", "source": str(volume), "options": ["rbind"]},
        {"destination": "/volume/place/deep", "type": "tmpfs", "source": "tmpfs", "options": []},
    ]
    bundle.command("true")
    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for _ in range(40):
            try:
                container, process = runtime.create(bundle, gate=False)
            except ClocheError:
                continue  # the race was noticed
            with process:
                process.wait()
            container.delete()
    finally:
        stop.set()
        swapper.join()
    # CVE-2024-45310: not so much as an empty directory is made outside.
    assert os.listdir(target) == []


def test_a_program_that_is_the_runtime_itself_changes_nothing(runtime: Runtime, bundle: Bundle) -> None:
    """CVE-2019-5736 and the class of CVE-2020-14298: run /proc/self/exe, then write to it."""
    before = hashlib.sha256(Path(PROGRAM).read_bytes()).digest()
    (bundle.rootfs / "evil").write_text("#!/proc/self/exe\n")
    (bundle.rootfs / "evil").chmod(0o755)
    runtime.run(bundle, "/proc/self/exe")
    try:
        runtime.run(bundle, "/evil")
    except ClocheError:
        pass
    for path in containers(runtime.root):
        path.delete(force=True)
    script = "for p in /proc/[0-9]*/exe; do (echo pwned > $p) 2>/dev/null && echo wrote $p; done; true"
    assert "wrote" not in runtime.output(bundle, script)
    assert hashlib.sha256(Path(PROGRAM).read_bytes()).digest() == before
