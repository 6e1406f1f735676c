"""Applying layers: the same tree as other tools make, and nothing outside of it whatever the layer says."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloche.errors import ClocheError, DataLoss, InvalidArgument, ResourceExhausted
from cloche.image import layer
from cloche.image.layer import LayerLimits, LayerResult
from cloche.image.layertree import remove
from cloche.image.tarentry import Limits
from tests.image.tars import TIME, Tar, tree

if TYPE_CHECKING:
    from cloche.image.layer import Style

pytestmark = pytest.mark.usefixtures("root")


class Place:
    """A directory to apply layers to, beside a secret that no layer may reach."""

    def __init__(self, directory: Path) -> None:
        self.outside = directory / "outside"
        self.outside.mkdir()
        (self.outside / "secret").write_text("untouched")
        self.root = directory / "a" / "b" / "root"
        self.root.mkdir(parents=True)
        self._before = self._seen()

    def _seen(self) -> object:
        return (
            tree(self.outside),
            sorted(os.listdir(self.root.parent)),
            sorted(os.listdir(self.outside.parent)),
        )

    def apply(
        self, data: bytes, whiteouts: Style = "overlay", *, limits: LayerLimits | None = None,
        diff_id: str | None = None,
    ) -> LayerResult:  # fmt: skip
        """Apply one layer and check that nothing outside changed, nor a descriptor stayed open."""
        fd = os.open(self.root, os.O_RDONLY)
        descriptors = os.listdir("/proc/self/fd")
        umask = os.umask(0o022)
        try:
            return layer.apply(io.BytesIO(data), fd, whiteouts=whiteouts, limits=limits, diff_id=diff_id)
        finally:
            assert os.umask(umask) == 0o022
            # The collector may close what earlier tests dropped; nothing may have come.
            assert set(os.listdir("/proc/self/fd")) <= set(descriptors)
            os.close(fd)
            assert self._seen() == self._before


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    (tmp_path / "place").mkdir()
    place = Place(tmp_path / "place")
    yield place
    fd = os.open(place.root.parent, os.O_RDONLY)
    remove(fd, b"root")  # deeper than shutil can go
    os.close(fd)


def one_line(error: ClocheError) -> None:
    """Messages are one line, whatever bytes the names in them have."""
    assert "\n" not in str(error)


def rich() -> bytes:
    archive = Tar()
    archive.directory("d", mode=0o2755, gid=50).directory("d/private", mode=0o700, uid=1000, gid=1000)
    archive.add("d/private/file", data=b"x" * 100_000, uid=1000, gid=1000, mode=0o600)
    archive.add("d/setuid", data=b"#!", mode=0o4755).add("d/setgid", data=b"", mode=0o2711, uid=5, gid=6)
    archive.add("world", mode=0o666, data=b"w").add("none", mode=0)
    archive.hardlink("d/hard", "world").symlink("abs", "/etc/passwd").symlink("up", "d/../world")
    archive.symlink("owned-link", "nowhere", uid=9, gid=10)
    archive.add("fifo", "fifo", mode=0o622).add("null", "character", devmajor=1, devminor=3, mode=0o666)
    archive.add("disk", "block", devmajor=8, devminor=1, mode=0o660, gid=6)
    archive.directory("sticky", mode=0o1777).directory("readonly", mode=0o555)
    archive.add("readonly/inside", data=b"1", mode=0o444)
    archive.add("n" * 120 + "/" + "m" * 200, data=b"long")
    archive.add("fractions", pax_headers={"mtime": "1600000000.123456789"})
    return archive.bytes()


def test_the_tree_is_the_one_that_gnu_tar_extracts(
    place: Place, tmp_path: Path, peer: Callable[[str], str]
) -> None:
    data = rich()
    reference = tmp_path / "reference"
    reference.mkdir()
    command = [
        peer("tar"),
        "--numeric-owner",
        "--delay-directory-restore",
        "-p",
        "-C",
        str(reference),
        "-xf",
        "-",
    ]
    subprocess.run(command, input=data, check=True)
    result = place.apply(data)
    implied = os.fsdecode(result.implied[0])
    assert result.implied == (("n" * 120).encode(), b"")
    os.utime(place.root / implied, ns=(0, 0))
    os.utime(reference / implied, ns=(0, 0))
    assert tree(place.root) == tree(reference)
    assert result.size == len(data)
    assert result.diff_id == f"sha256:{hashlib.sha256(data).hexdigest()}"


def test_extended_attributes_and_capabilities_are_set(place: Place) -> None:
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    text = capability.decode("utf-8", "surrogateescape")
    headers = {"SCHILY.xattr.security.capability": text, "SCHILY.xattr.user.note": "hello"}
    archive = Tar().add("ping", data=b"x", uid=3, mode=0o755, pax_headers=headers)
    archive.directory("d", pax_headers={"SCHILY.xattr.user.note": "dir"})
    archive.symlink("l", "ping", pax_headers={"SCHILY.xattr.trusted.note": "link"})
    place.apply(archive.bytes())
    assert os.getxattr(place.root / "ping", "security.capability") == capability
    assert os.getxattr(place.root / "ping", "user.note") == b"hello"
    assert os.getxattr(place.root / "d", "user.note") == b"dir"
    assert os.getxattr(place.root / "l", "trusted.note", follow_symlinks=False) == b"link"


def test_a_layer_cannot_set_the_marks_of_overlayfs(place: Place) -> None:
    headers = {
        "SCHILY.xattr.trusted.overlay.opaque": "y",
        "SCHILY.xattr.trusted.overlay.redirect": "/etc",
        "SCHILY.xattr.user.overlay.opaque": "y",
    }
    place.apply(Tar().directory("d", pax_headers=headers).bytes())
    assert os.listxattr(place.root / "d") == []


@pytest.mark.parametrize("form", [gzip.compress, zstandard.compress, bytes])
def test_every_compression_gives_the_same(place: Place, form: Callable[[bytes], bytes]) -> None:
    data = rich()
    result = place.apply(form(data))
    assert (result.diff_id, result.size) == (f"sha256:{hashlib.sha256(data).hexdigest()}", len(data))
    assert (place.root / "world").read_bytes() == b"w"


def test_sparse_files_stay_sparse(place: Place, tmp_path: Path, peer: Callable[[str], str]) -> None:
    source = tmp_path / "sparse"
    with source.open("wb") as file:
        file.seek(40 << 20)
        file.write(b"end")
        file.truncate(64 << 20)
    for form in (["--format=gnu"], ["--format=posix"]):
        command = [peer("tar"), "--sparse", *form, "-C", str(tmp_path), "-cf", "-", "sparse"]
        place.apply(subprocess.run(command, check=True, capture_output=True).stdout)
        status = (place.root / "sparse").stat()
        assert status.st_size == 64 << 20
        assert status.st_blocks * 512 < 1 << 20
        assert (place.root / "sparse").read_bytes() == source.read_bytes()


def test_of_duplicate_names_the_last_one_wins(place: Place) -> None:
    archive = Tar().add("a", data=b"first").add("a", data=b"second", mode=0o600)
    archive.directory("b").add("b/inside", data=b"x").add("b", data=b"file now")
    archive.add("c", data=b"file").directory("c", mode=0o700).add("c/inside", data=b"in")
    archive.symlink("d", "a").add("d", data=b"no link")
    archive.add("e", data=b"e").symlink("e", "a").add("f", "fifo").add("f", "fifo", mode=0o600)
    archive.directory("g", mode=0o711).add("g/kept").directory("g", mode=0o700)
    place.apply(archive.bytes())
    root = place.root
    assert (root / "a").read_bytes() == b"second"
    assert stat.S_IMODE((root / "a").stat().st_mode) == 0o600
    assert (root / "b").read_bytes() == b"file now"
    assert (root / "c" / "inside").read_bytes() == b"in"
    assert stat.S_IMODE((root / "c").stat().st_mode) == 0o700
    assert (root / "d").read_bytes() == b"no link"
    assert not (root / "d").is_symlink()
    assert os.readlink(root / "e") == "a"
    assert stat.S_IMODE((root / "f").lstat().st_mode) == 0o600
    assert (root / "g" / "kept").exists()
    assert stat.S_IMODE((root / "g").stat().st_mode) == 0o700


# Bad input: each kind of escape is a test of its own; Place.apply checks that nothing got out.


def test_names_with_dot_dot_stay_inside(place: Place) -> None:
    archive = Tar().add("../../../outside/secret", data=b"stolen").add("x/../../../../y", data=b"y")
    archive.add("../../outside-too", data=b"z").directory("../../..").symlink("../link", "target")
    place.apply(archive.bytes())
    assert (place.root / "outside" / "secret").read_bytes() == b"stolen"
    assert (place.root / "y").read_bytes() == b"y"
    assert (place.root / "link").is_symlink()


def test_absolute_names_stay_inside(place: Place) -> None:
    place.apply(Tar().add(f"{place.outside}/secret", data=b"stolen").add("//etc//x", data=b"x").bytes())
    assert (place.root / str(place.outside).lstrip("/") / "secret").read_bytes() == b"stolen"
    assert (place.root / "etc" / "x").read_bytes() == b"x"


@pytest.mark.parametrize("target", ["absolute", "relative", "root", "chain"])
def test_names_through_symbolic_links_stay_inside(place: Place, target: str) -> None:
    links = {
        "absolute": [("link", str(place.outside))],
        "relative": [("link", "../../../outside")],
        "root": [("link", "/")],
        "chain": [("one", ".."), ("two", "one/../.."), ("link", "two/../one/outside")],
    }
    archive = Tar()
    for name, where in links[target]:
        archive.symlink(name, where)
    archive.add("link/secret", data=b"stolen").directory("link/new", mode=0o777)
    archive.add("link/new/deep/file", data=b"x")
    place.apply(archive.bytes())
    found = [path for path in place.root.rglob("secret") if not path.is_symlink()]
    assert len(found) == 1
    assert found[0].read_bytes() == b"stolen"


def test_a_directory_swapped_for_a_link_does_not_lead_out(place: Place) -> None:
    """The class of CVE-2021-30465 within one archive: a name that was checked becomes a link."""
    archive = Tar().directory("d", mode=0o755).add("d/first", data=b"1")
    archive.symlink("d", str(place.outside)).add("d/secret", data=b"stolen").directory("d", mode=0o777)
    place.apply(archive.bytes())
    assert (place.root / "d").is_dir()
    assert not (place.root / "d").is_symlink()


def test_directory_metadata_is_not_applied_through_a_link(place: Place) -> None:
    archive = Tar().directory("d", mode=0o777, uid=1000).symlink("d", "../../../outside")
    place.apply(archive.bytes())
    assert (place.root / "d").is_symlink()


def test_links_in_circles_are_refused(place: Place) -> None:
    with pytest.raises(InvalidArgument, match="too many symbolic links"):
        place.apply(Tar().symlink("a", "b").symlink("b", "a").add("a/file").bytes())


@pytest.mark.parametrize("target", ["../../../outside/secret", "/../../outside/secret", "link/secret"])
def test_hard_links_out_of_the_root_are_refused(place: Place, target: str) -> None:
    archive = Tar().symlink("link", str(place.outside)).hardlink("stolen", target)
    with pytest.raises(InvalidArgument, match=r"stolen: a hard link to .* which is not in the layer"):
        place.apply(archive.bytes())


def test_a_hard_link_to_a_symbolic_link_does_not_follow_it(place: Place) -> None:
    archive = Tar().symlink("link", f"{place.outside}/secret").hardlink("same", "link")
    archive.add("same", data=b"replaced")
    place.apply(archive.bytes())
    assert (place.root / "link").is_symlink()
    assert (place.root / "same").read_bytes() == b"replaced"


def test_a_hard_link_to_itself_changes_nothing(place: Place) -> None:
    place.apply(Tar().add("a", data=b"1").hardlink("a", "a").hardlink("a", "./b/../a").bytes())
    assert (place.root / "a").read_bytes() == b"1"


def test_a_hard_link_to_a_directory_is_refused(place: Place) -> None:
    with pytest.raises(InvalidArgument, match="hard link to a directory"):
        place.apply(Tar().directory("d").hardlink("h", "d").bytes())


def test_a_file_in_the_place_of_a_parent_is_refused(place: Place) -> None:
    with pytest.raises(InvalidArgument, match="file is not a directory"):
        place.apply(Tar().add("file").add("file/below").bytes())


def test_the_root_cannot_be_replaced(place: Place) -> None:
    for name in (".", "..", "/", "a/.."):
        with pytest.raises(InvalidArgument, match="is the root"):
            place.apply(Tar().symlink(name, "/etc").bytes())


def test_device_nodes_are_made_as_told_and_impossible_ones_refused(place: Place) -> None:
    place.apply(Tar().add("zero", "character", devmajor=1, devminor=5, mode=0o640).bytes())
    assert (place.root / "zero").stat().st_rdev == os.makedev(1, 5)
    with pytest.raises(InvalidArgument, match="not a device number"):
        place.apply(Tar().add("odd", "character", devmajor=5000, devminor=5).bytes())


def test_names_of_4096_bytes_are_made_and_longer_ones_refused(place: Place) -> None:
    longest = "/".join(["d" * 15] * 255) + "/" + "f" * 16
    assert len(longest) == 4096
    place.apply(Tar().add(longest, data=b"deep").directory("e/" * 2046 + "ee").bytes())
    fd = os.open(place.root, os.O_RDONLY)
    for part in longest.split("/")[:-1]:
        following = os.open(part, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = following
    assert os.listdir(fd) == ["f" * 16]
    os.close(fd)
    with pytest.raises(InvalidArgument, match="more than 4096 bytes"):
        place.apply(Tar().add(longest + "f").bytes())


def test_a_component_that_no_file_can_have_is_refused(place: Place) -> None:
    with pytest.raises(InvalidArgument, match="File name too long"):
        place.apply(Tar().add("n" * 256).bytes())


def test_a_whiteout_of_nothing_is_fine(place: Place) -> None:
    place.apply(Tar().add(".wh.nothing").add("no/such/.wh.file").add("d/.wh..wh..opq").bytes())
    assert (place.root / "nothing").stat().st_rdev == 0
    place_two = Tar().add(".wh.nothing-else").add("none/.wh.file").add(".wh..wh.plnk/x").bytes()
    with pytest.raises(InvalidArgument, match="nothing below"):
        place.apply(place_two, "remove")


@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "d/.wh.", "d/.wh..wh.x", ".wh.d/file"])
def test_whiteouts_of_what_cannot_be_are_refused(place: Place, name: str) -> None:
    with pytest.raises(InvalidArgument):
        place.apply(Tar().add(name).bytes())


def test_a_decompression_bomb_ends_at_the_limit(place: Place) -> None:
    archive = Tar().add("zeros", data=bytes(64 << 20))
    limits = LayerLimits(floor_bytes=4 << 20, ratio=100)
    with pytest.raises(ResourceExhausted, match="more than may come out"):
        place.apply(gzip.compress(archive.bytes()), limits=limits)
    assert (place.root / "zeros").stat().st_size <= 24 << 20
    with pytest.raises(ResourceExhausted):
        place.apply(zstandard.compress(archive.bytes()), limits=LayerLimits(bytes=8 << 20))


def test_too_many_entries_are_refused(place: Place) -> None:
    archive = Tar().add("a").add("b").add("c")
    with pytest.raises(ResourceExhausted):
        place.apply(archive.bytes(), limits=LayerLimits(archive=Limits(entries=2)))


def test_a_wrong_diff_id_is_data_loss(place: Place) -> None:
    with pytest.raises(DataLoss, match=r"the uncompressed bytes are sha256:.*, not sha256:0"):
        place.apply(rich(), diff_id="sha256:" + "0" * 64)


def test_bytes_after_the_end_of_the_archive_count_for_the_diff_id(place: Place) -> None:
    data = Tar().add("a").bytes() + bytes(100_000)
    result = place.apply(data, diff_id=f"sha256:{hashlib.sha256(data).hexdigest()}")
    assert result.size == len(data)


@pytest.mark.parametrize("form", [gzip.compress, zstandard.compress, bytes])
def test_a_truncated_stream_is_data_loss(place: Place, form: Callable[[bytes], bytes]) -> None:
    data = form(Tar().add("a", data=os.urandom(300_000)).bytes())
    with pytest.raises(DataLoss, match=r"^layer: "):
        place.apply(data[: len(data) // 2])


def test_a_stream_that_fails_ends_the_extraction(place: Place) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            data = super().read(min(size or 1000, 1000))
            if self.tell() > 5000:
                raise ConnectionResetError("gone")
            return data

    fd = os.open(place.root, os.O_RDONLY)
    with pytest.raises(ConnectionResetError):
        layer.apply(Broken(rich()), fd)
    os.close(fd)


# Whiteouts: as overlayfs wants them, or done at once.


def whiteout_layer() -> bytes:
    archive = Tar().directory("dir").add("dir/.wh.gone").add("dir/new", data=b"new")
    archive.directory("opaque").add("opaque/.wh..wh..opq").add("opaque/mine", data=b"mine")
    archive.add("both", data=b"here").add(".wh.both").add(".wh.again").directory("again").add("again/x")
    return archive.bytes()


def test_whiteouts_are_what_overlayfs_wants(place: Place) -> None:
    place.apply(whiteout_layer())
    root = place.root
    gone = (root / "dir" / "gone").stat()
    assert stat.S_ISCHR(gone.st_mode)
    assert gone.st_rdev == 0
    assert os.getxattr(root / "opaque", "trusted.overlay.opaque") == b"y"
    assert (root / "both").read_bytes() == b"here"
    assert os.getxattr(root / "again", "trusted.overlay.opaque") == b"y"
    assert not list(root.rglob(".wh.*"))


def test_whiteouts_remove_what_the_layers_below_brought(place: Place) -> None:
    below = Tar().add("dir/gone", data=b"1").add("dir/kept").add("opaque/old").add("opaque/deep/er")
    below.add("both", data=b"old").add("again/old").add("tree/a/b/c").symlink("tree/link", "/etc")
    place.apply(below.bytes(), "remove")
    archive = whiteout_layer()
    place.apply(archive, "remove")
    place.apply(Tar().add(".wh.tree").bytes(), "remove")
    found = sorted(str(path.relative_to(place.root)) for path in place.root.rglob("*"))
    assert found == [
        "again", "again/x", "both", "dir", "dir/kept", "dir/new", "opaque", "opaque/mine",
    ]  # fmt: skip
    assert (place.root / "both").read_bytes() == b"here"


@pytest.mark.parametrize("first", ["opq", "file"])
def test_an_opaque_whiteout_keeps_its_own_layers_files_whatever_the_order(place: Place, first: str) -> None:
    place.apply(Tar().add("d/old").add("d/sub/old").bytes(), "remove")
    archive = Tar()
    if first == "opq":
        archive.add("d/.wh..wh..opq")
    archive.add("d/sub/new", data=b"new")
    if first == "file":
        archive.add("d/.wh..wh..opq")
    place.apply(archive.bytes(), "remove")
    assert sorted(path.name for path in place.root.rglob("*")) == ["d", "new", "sub"]


def test_files_through_a_link_of_the_layer_land_where_it_points(place: Place) -> None:
    archive = Tar().symlink("lib", "usr/lib").add("lib/libc.so", data=b"c").add("var/run/x", data=b"x")
    place.apply(archive.bytes())
    assert (place.root / "usr" / "lib" / "libc.so").read_bytes() == b"c"
    assert (place.root / "lib").is_symlink()


SEEDS = [rich(), whiteout_layer()]


@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 40000), st.binary(min_size=1, max_size=4)), min_size=1, max_size=6),
)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_layers_raise_nothing_but_our_errors(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, flips: list[tuple[int, bytes]]
) -> None:
    damaged = bytearray(data)
    for where, value in flips:
        at = where % len(damaged)
        damaged[at : at + len(value)] = value
        start = at - at % 512
        block = damaged[start : start + 512]
        block[148:156] = b"        "
        damaged[start + 148 : start + 156] = b"%06o\0 " % sum(block)
    place = Place(tmp_path_factory.mktemp("damaged"))
    try:
        place.apply(bytes(damaged), "remove")
    except ClocheError as error:
        one_line(error)


NAMES = st.sampled_from(
    ["a", "b", "a/b", "a/b/c", "b/a", "../a", "/b", "a/../b", ".wh.a", "a/.wh.b", "a/.wh..wh..opq"]
)
ENTRY = st.tuples(
    NAMES,
    st.sampled_from(["file", "directory", "symlink", "hardlink", "fifo"]),
    st.sampled_from(["a", "b", "../..", "/", "a/b", "../../../outside", "/outside/secret"]),
)


@given(st.lists(ENTRY, max_size=8), st.sampled_from(["overlay", "remove", "none"]))
@settings(max_examples=150, deadline=None)
def test_no_order_of_entries_leads_out_of_the_root(
    tmp_path_factory: pytest.TempPathFactory, entries: list[tuple[str, str, str]], style: Style
) -> None:
    archive = Tar()
    for name, kind, target in entries:
        archive.add(
            name, kind, data=b"data" if kind == "file" else b"", linkname=target if "link" in kind else ""
        )
    place = Place(tmp_path_factory.mktemp("order"))
    try:
        place.apply(archive.bytes(), style)
    except InvalidArgument:
        return


def test_times_are_those_of_the_archive(place: Place) -> None:
    place.apply(Tar().directory("d").add("d/f", data=b"x").symlink("d/l", "f").bytes())
    for name in ("d", "d/f", "d/l"):
        assert (place.root / name).lstat().st_mtime == TIME


def test_tarfile_writes_no_umask_into_modes(place: Place) -> None:
    place.apply(Tar(tarfile.GNU_FORMAT).add("open", mode=0o777).directory("d", mode=0o777).bytes())
    assert stat.S_IMODE((place.root / "open").stat().st_mode) == 0o777
    assert stat.S_IMODE((place.root / "d").stat().st_mode) == 0o777


def test_what_was_to_happen_to_a_replaced_directory_does_not_happen_to_its_successor(place: Place) -> None:
    archive = Tar().directory("d").directory("d/s", mode=0o777, uid=5).add("d", data=b"file")
    archive.symlink("d", "e").directory("d").add("d/s/file")
    result = place.apply(archive.bytes())
    assert (place.root / "d" / "s").stat().st_uid == 0
    assert result.implied == (b"d/s", b"")


def test_replacing_many_directories_takes_no_longer_the_more_there_are(place: Place) -> None:
    archive = Tar()
    for number in range(3000):
        archive.directory(f"d{number}").directory(f"d{number}/s")
    for number in range(3000):
        archive.add(f"d{number}")
    place.apply(archive.bytes())
    assert all(path.is_file() for path in place.root.iterdir())


def test_the_whole_thing_works_without_openat2(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("cloche.kernel.syscalls.openat2", missing)
    place.apply(rich())
    place.apply(Tar().directory("x/y", mode=0o700).bytes())
    assert stat.S_IMODE((place.root / "x" / "y").stat().st_mode) == 0o700


def test_modes_are_right_where_a_thread_cannot_have_its_own_umask(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cloche.image.layer._own_umask", lambda: False)
    archive = Tar().add("open", mode=0o777).add("fifo", "fifo", mode=0o666).add("set", mode=0o4711)
    place.apply(archive.bytes())
    for name, mode in (("open", 0o777), ("fifo", 0o666), ("set", 0o4711)):
        assert stat.S_IMODE((place.root / name).lstat().st_mode) == mode
