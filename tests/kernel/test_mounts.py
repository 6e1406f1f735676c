from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.errors import InvalidArgument
from cloche.kernel import mountinfo, mounts, overlay
from cloche.kernel.syscalls import AT_FDCWD, move_mount
from cloche.spec.mount import Mount

pytestmark = pytest.mark.usefixtures("root")


class Layers:
    """Lower directories, an upper and a work directory for an overlay."""

    def __init__(self, path: Path, count: int = 2) -> None:
        self.lower = [path / f"lower{i}" for i in range(count)]
        self.upper, self.work = path / "upper", path / "work"
        for directory in (*self.lower, self.upper, self.work):
            directory.mkdir(parents=True)
        for i, directory in enumerate(self.lower):
            (directory / "name").write_text(f"layer {i}")
            (directory / f"only{i}").write_text("")

    def mount(self, *more: str) -> Mount:
        lower = ":".join(str(path).replace("\\", "\\\\").replace(":", "\\:") for path in self.lower)
        return Mount(
            "overlay",
            "overlay",
            (f"lowerdir={lower}", f"upperdir={self.upper}", f"workdir={self.work}", *more),
        )

    def view(self) -> Mount:
        return Mount("overlay", "overlay", self.mount().options[:1])


@pytest.fixture
def layers(tmp_path: Path) -> Layers:
    return Layers(tmp_path)


def read(root: int, path: str) -> str:
    descriptor = os.open(path, os.O_RDONLY, dir_fd=root)
    with open(descriptor) as file:
        return file.read()


def write(root: int, path: str, text: str) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, dir_fd=root), "w") as file:
        file.write(text)


@pytest.fixture(autouse=True)
def host_mounts() -> Iterator[None]:
    """No test here may change what the host has mounted below a temporary directory."""
    before = {mount.point for mount in mountinfo.mounts()}
    yield
    assert {mount.point for mount in mountinfo.mounts()} - before == set()


def test_an_overlay_is_read_and_written_through_its_descriptor(layers: Layers) -> None:
    root = mounts.assemble([layers.mount()])
    try:
        assert sorted(os.listdir(f"/proc/self/fd/{root}")) == ["name", "only0", "only1"]
        assert read(root, "name") == "layer 0"
        write(root, "name", "changed")
        assert read(root, "name") == "changed"
    finally:
        os.close(root)
    assert (layers.upper / "name").read_text() == "changed"
    assert (layers.lower[0] / "name").read_text() == "layer 0"


def test_the_host_never_sees_the_mount(layers: Layers) -> None:
    before = len(mountinfo.mounts())
    root = mounts.assemble([layers.mount()])
    try:
        assert len(mountinfo.mounts()) == before
    finally:
        os.close(root)


def test_an_overlay_without_an_upper_directory_is_read_only(layers: Layers) -> None:
    root = mounts.assemble([layers.view()])
    try:
        assert read(root, "name") == "layer 0"
        with pytest.raises(OSError, match="Read-only"):
            write(root, "name", "changed")
    finally:
        os.close(root)


@pytest.mark.parametrize(
    "name", ["with:colon", "with\\backslash", "with,comma", "with space", "ü" * 60, "x" * 200]
)
def test_odd_and_long_paths_are_layers_like_any(tmp_path: Path, name: str) -> None:
    layers = Layers(tmp_path / name / name)
    root = mounts.assemble([layers.mount()])
    try:
        assert read(root, "name") == "layer 0"
        write(root, "new", "here")
    finally:
        os.close(root)
    assert (layers.upper / "new").read_text() == "here"


@pytest.mark.parametrize("count", [2, 12, 100])
@pytest.mark.parametrize("appending", [True, False])
def test_many_layers_work_on_new_and_on_old_kernels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, appending: bool
) -> None:
    monkeypatch.setattr(overlay, "_appends", [appending])
    layers = Layers(tmp_path / ("long" * 10), count)
    root = mounts.assemble([layers.mount()])
    try:
        assert len(os.listdir(f"/proc/self/fd/{root}")) == count + 1
        assert read(root, "name") == "layer 0"
        write(root, "new", "here")
    finally:
        os.close(root)
    assert (layers.upper / "new").read_text() == "here"


def test_whether_the_kernel_appends_layers_follows_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlay, "_appends", [])
    major, minor = (int(number) for number in os.uname().release.split(".")[:2])
    assert overlay.appends() == ((major, minor) >= (6, 7))


def test_a_missing_layer_is_named(layers: Layers) -> None:
    layers.lower[1] = layers.lower[1].parent / "gone"
    with pytest.raises(FileNotFoundError, match="gone"):
        mounts.assemble([layers.mount()])


def test_the_kernels_own_words_are_in_the_error(layers: Layers) -> None:
    with pytest.raises(OSError, match="indx") as caught:
        mounts.assemble([layers.mount("indx=off")])
    assert caught.value.errno == errno.EINVAL
    assert "Unknown parameter" in str(caught.value)


def test_nothing_to_mount_is_refused() -> None:
    with pytest.raises(InvalidArgument):
        mounts.assemble([])


def test_a_failed_assembly_keeps_no_descriptor(layers: Layers) -> None:
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        with pytest.raises(OSError):
            mounts.assemble([layers.mount(), Mount("bind", "/no/such/place", ("rbind",))])
    assert os.listdir("/proc/self/fd") == before


def test_of_stacked_mounts_the_last_is_seen(layers: Layers) -> None:
    root = mounts.assemble([layers.mount(), Mount("bind", str(layers.lower[1]), ("bind",))])
    try:
        assert read(root, "name") == "layer 1"
    finally:
        os.close(root)


def test_a_bind_mount_is_writable_or_not_as_asked(layers: Layers) -> None:
    for words, writable in ((("rbind", "rw"), True), (("rbind", "ro"), False), (("bind", "rro"), False)):
        root = mounts.assemble([Mount("bind", str(layers.lower[0]), words)])
        try:
            if writable:
                write(root, "name", "changed")
            else:
                with pytest.raises(OSError, match="Read-only"):
                    write(root, "name", "changed again")
        finally:
            os.close(root)
    assert (layers.lower[0] / "name").read_text() == "changed"


def test_a_tmpfs_gets_its_size_and_attributes(tmp_path: Path) -> None:
    words = ("nosuid", "nodev", "noexec", "noatime", "size=1m", "mode=700")
    with mounts.temporary_mount(mounts.assemble([Mount("tmpfs", "tmpfs", words)]), str(tmp_path)) as place:
        (mount,) = [mount for mount in mountinfo.mounts() if mount.point == place]
        assert {"nosuid", "nodev", "noexec", "noatime"} <= set(mount.options)
        assert "size=1024k" in mount.super_options
        assert os.stat(place).st_mode & 0o777 == 0o700


def test_a_temporary_mount_leaves_nothing(tmp_path: Path, layers: Layers) -> None:
    root = mounts.assemble([layers.mount()])
    before = sorted(os.listdir(tmp_path))
    try:
        with mounts.temporary_mount(root, str(tmp_path)) as place:
            assert Path(place, "name").read_text() == "layer 0"
    finally:
        os.close(root)
    assert sorted(os.listdir(tmp_path)) == before


def test_what_is_mounted_in_a_copy_stays_out_of_its_shared_source(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "inner").mkdir(parents=True)
    shared = mounts.assemble([Mount("tmpfs", "tmpfs", ("shared",))])
    with mounts.temporary_mount(shared, str(tmp_path)) as place:
        os.mkdir(f"{place}/inner")
        copy = mounts.assemble([Mount("bind", place, ("rbind",))])
        with mounts.temporary_mount(copy, str(tmp_path)) as copied:
            tmpfs = mounts.assemble([Mount("tmpfs", "tmpfs", ())])
            move_mount(tmpfs, AT_FDCWD, f"{copied}/inner")
            os.close(tmpfs)
            points = [mount.point for mount in mountinfo.mounts()]
            assert f"{copied}/inner" in points
            assert f"{place}/inner" not in points
        os.close(copy)
    os.close(shared)


@given(
    st.lists(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1), min_size=1
    )
)
def test_layers_with_any_names_are_split_again(names: list[str]) -> None:
    value = ":".join(name.replace("\\", "\\\\").replace(":", "\\:") for name in names)
    assert overlay.split_layers(value) == names
