from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from cloche.errors import DataLoss
from cloche.spec.mount import Mount
from cloche.store.metadata import Metadata
from cloche.store.snapshots.overlayfs import Overlayfs
from tests.store.snapshots.mounting import layer, shown


@pytest.fixture
def overlay(tmp_path: Path) -> Overlayfs:
    return Overlayfs(str(tmp_path / "overlayfs"))


INDEX = ("index=off",) if os.path.exists("/sys/module/overlay/parameters/index") else ()


def test_the_mounts_are_those_of_containerd(metadata: Metadata, overlay: Overlayfs) -> None:
    base = f"{overlay.root}/snapshots"
    with metadata.write() as tx:
        assert overlay.prepare(tx, "a") == (Mount("bind", f"{base}/1/fs", ("rw", "rbind")),)
        overlay.commit(tx, "one", "a")
        assert overlay.prepare(tx, "b", "one") == (
            Mount(
                "overlay",
                "overlay",
                (f"workdir={base}/2/work", f"upperdir={base}/2/fs", f"lowerdir={base}/1/fs", *INDEX),
            ),
        )
        overlay.commit(tx, "two", "b")
        assert overlay.view(tx, "v0") == (Mount("bind", f"{base}/3/fs", ("ro", "rbind")),)
        assert overlay.view(tx, "v1", "one") == (Mount("bind", f"{base}/1/fs", ("ro", "rbind")),)
        assert overlay.view(tx, "v2", "two") == (
            Mount("overlay", "overlay", (f"lowerdir={base}/2/fs:{base}/1/fs", *INDEX)),
        )


def test_snapshots_are_closed_to_others_and_upper_directories_are_the_containers_roots(
    metadata: Metadata, overlay: Overlayfs
) -> None:
    with metadata.write() as tx:
        overlay.prepare(tx, "key")
    modes = {
        path: stat.S_IMODE(os.stat(f"{overlay.root}/{path}").st_mode)
        for path in ("", "snapshots", "snapshots/1", "snapshots/1/fs", "snapshots/1/work")
    }
    assert modes == {
        "": 0o700,
        "snapshots": 0o700,
        "snapshots/1": 0o700,
        "snapshots/1/fs": 0o755,
        "snapshots/1/work": 0o711,
    }


def test_a_view_of_layers_needs_no_directory(metadata: Metadata, overlay: Overlayfs) -> None:
    with layer(metadata, overlay, "one"):
        pass
    with metadata.write() as tx:
        overlay.view(tx, "view", "one")
        assert os.listdir(f"{overlay.root}/snapshots") == ["1"]
        assert overlay.usage(tx, "view").inodes == 0
        overlay.remove(tx, "view")


def test_deleting_in_a_layer_makes_a_whiteout(metadata: Metadata, overlay: Overlayfs) -> None:
    with layer(metadata, overlay, "one") as root:
        (root / "file").touch()
    with layer(metadata, overlay, "two", "one") as root:
        (root / "file").unlink()
    status = os.stat(f"{overlay.root}/snapshots/2/fs/file", follow_symlinks=False)
    assert stat.S_ISCHR(status.st_mode)
    assert status.st_rdev == 0


def test_a_hundred_layers_are_still_one_tree(metadata: Metadata, overlay: Overlayfs) -> None:
    with metadata.write() as tx:
        for number in range(100):
            overlay.prepare(tx, "key", f"n{number - 1}" if number else None)
            overlay.commit(tx, f"n{number}", "key")
            Path(f"{overlay.root}/snapshots/{number + 1}/fs/file{number}").touch()
    with shown(metadata, overlay, "n99") as root:
        assert len(os.listdir(root)) == 100


def test_a_layer_that_is_gone_is_told_plainly(metadata: Metadata, overlay: Overlayfs) -> None:
    with layer(metadata, overlay, "one"):
        pass
    shutil.rmtree(f"{overlay.root}/snapshots/1")
    with metadata.write() as tx, pytest.raises(DataLoss, match="pull it again"):
        overlay.prepare(tx, "key", "one")


def test_in_a_user_namespace_the_xattrs_are_the_users_own(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path = sys.argv[2:]; from cloche.store.snapshots.overlayfs import Overlayfs;"
        "print(*Overlayfs(sys.argv[1])._kernel_options())"
    )
    command = [
        "unshare",
        "--user",
        "--map-root-user",
        sys.executable,
        "-I",
        "-c",
        code,
        str(tmp_path),
        *sys.path,
    ]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert output.split() == [*INDEX, "userxattr"]
    assert Overlayfs(str(tmp_path))._kernel_options() == INDEX
