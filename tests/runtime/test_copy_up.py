"""tmpcopyup: a tmpfs that starts with the image's files and keeps what is done to them to itself."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from cloche.errors import ClocheError, InvalidArgument
from tests.bundles import Bundle
from tests.runtime.containers import Runtime


def tmpfs(destination: str, *options: str) -> dict[str, Any]:
    return {
        "destination": destination,
        "type": "tmpfs",
        "source": "tmpfs",
        "options": ["tmpcopyup", *options],
    }


@pytest.fixture
def filled(bundle: Bundle) -> Bundle:
    """A bundle whose /data holds one of each kind of file."""
    data = bundle.rootfs / "data"
    (data / "sub").mkdir(parents=True)
    (data / "sub" / "file").write_text("content")
    os.chown(data / "sub" / "file", 1000, 50)
    (data / "sub" / "file").chmod(0o4755)
    os.setxattr(data / "sub" / "file", "security.capability", bytes.fromhex("0100000200040000") + bytes(12))
    os.link(data / "sub" / "file", data / "again")
    (data / "link").symlink_to("/etc/passwd")
    os.mkfifo(data / "fifo", 0o620)
    os.mknod(data / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.link(data / "null", data / "null2")
    data.chmod(0o750)
    os.utime(data / "sub", (1_000_000_000, 1_000_000_000))
    return bundle


def test_files_are_there_with_owner_mode_time_and_links(runtime: Runtime, filled: Bundle) -> None:
    filled.config["mounts"].append(tmpfs("/data"))
    script = (
        "stat -c '%a %u:%g %h' /data/sub/file; cat /data/again; readlink /data/link; stat -c %a /data; "
        "stat -c %F /data/fifo; stat -c %Y /data/sub; awk '$5==\"/data\"{print $9}' /proc/self/mountinfo"
    )
    assert runtime.output(filled, script).splitlines() == [
        "4755 1000:50 2",
        "content/etc/passwd",
        "750",
        "fifo",
        "1000000000",
        "tmpfs",
    ]


def test_no_device_comes_along(runtime: Runtime, filled: Bundle) -> None:
    filled.config["mounts"].append(tmpfs("/data"))
    assert "null" not in runtime.output(filled, "ls /data")


def test_what_is_written_stays_in_the_container(runtime: Runtime, filled: Bundle) -> None:
    filled.config["mounts"].append(tmpfs("/data"))
    runtime.output(filled, "rm -r /data/sub && touch /data/new")
    assert (filled.rootfs / "data" / "sub" / "file").read_text() == "content"
    assert not (filled.rootfs / "data" / "new").exists()


def test_a_read_only_one_is_filled_first(runtime: Runtime, filled: Bundle) -> None:
    filled.config["mounts"].append(tmpfs("/data", "ro", "mode=711", "uid=7"))
    text = runtime.output(filled, "cat /data/again; touch /data/new || stat -c ' %a %u' /data")
    assert text.startswith("content")
    assert text.endswith("Read-only file system\n 711 7\n")


def test_it_has_its_mounts_attributes(runtime: Runtime, filled: Bundle) -> None:
    filled.config["mounts"].append(tmpfs("/data", "noatime", "nosuid", "noexec"))
    assert "nosuid,noexec,noatime" in runtime.output(filled, "grep ' /data ' /proc/self/mounts")


def test_a_symlinked_destination_is_looked_up_in_the_root(
    runtime: Runtime, filled: Bundle, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("the host's")
    (filled.rootfs / "way").symlink_to(f"../../../../..{tmp_path}")
    filled.config["mounts"].append(tmpfs("/way"))
    assert "secret" not in runtime.output(filled, f"ls /way{tmp_path} /way; ls {tmp_path}")


def test_below_a_bind_mount_it_is_that_ones_files_that_count(
    runtime: Runtime, filled: Bundle, tmp_path: Path
) -> None:
    (tmp_path / "outer" / "sub").mkdir(parents=True)
    (tmp_path / "outer" / "sub" / "other").write_text("")
    filled.config["mounts"].append(
        {"destination": "/data", "source": f"{tmp_path}/outer", "options": ["bind"]}
    )
    filled.config["mounts"].append(tmpfs("/data/sub"))
    assert runtime.output(filled, "ls /data/sub; touch /data/sub/new").split() == ["other"]
    assert os.listdir(tmp_path / "outer" / "sub") == ["other"]


def test_below_a_new_file_system_it_is_empty(runtime: Runtime, filled: Bundle) -> None:
    filled.config["mounts"].append({"destination": "/data", "type": "tmpfs", "source": "tmpfs"})
    filled.config["mounts"].append(tmpfs("/data/sub"))
    assert runtime.output(filled, "ls /data/sub").split() == []


def test_a_missing_place_is_made_and_empty(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config["mounts"].append(tmpfs("/not/there"))
    assert runtime.output(bundle, "ls /not/there").split() == []


def test_what_does_not_fit_fails_the_create(runtime: Runtime, filled: Bundle) -> None:
    (filled.rootfs / "data" / "big").write_bytes(bytes(1 << 20))
    filled.config["mounts"].append(tmpfs("/data", "size=64k"))
    index = len(filled.config["mounts"]) - 1
    with pytest.raises(ClocheError, match=rf"mounts\[{index}\].*no space left"):
        runtime.output(filled, "true")


def test_only_a_tmpfs_can_have_it(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    mount = {"destination": "/data", "source": str(tmp_path), "options": ["bind", "tmpcopyup"]}
    bundle.config["mounts"].append(mount)
    with pytest.raises(InvalidArgument, match="is for mounts of type tmpfs"):
        runtime.output(bundle, "true")


def test_in_a_user_namespace_owners_are_those_of_the_root(runtime: Runtime, filled: Bundle) -> None:
    filled.linux["namespaces"].append({"type": "user"})
    maps = [{"containerID": 0, "hostID": 100_000, "size": 65536}]
    filled.linux["uidMappings"] = filled.linux["gidMappings"] = maps
    for path in (filled.rootfs, filled.rootfs / "data"):
        os.chown(path, 100_000, 100_000)
    (filled.rootfs / "data" / "mine").write_text("x")
    os.chown(filled.rootfs / "data" / "mine", 100_007, 100_000)
    filled.config["mounts"].append(tmpfs("/data"))
    assert runtime.output(filled, "stat -c %u:%g /data/mine").strip() == "7:0"
