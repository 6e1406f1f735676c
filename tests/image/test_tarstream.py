"""The tar reader, against Python's tarfile, GNU tar, hypothesis and damaged input."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloche.errors import ClocheError, DataLoss, InvalidArgument, ResourceExhausted
from cloche.image.tarentry import FILE, SYMLINK, Entry, Limits
from cloche.image.tarfields import pax_record
from cloche.image.tarstream import Reader
from cloche.image.tarwriter import Writer
from tests.image.tars import Tar


def read_all(data: bytes, *, limits: Limits | None = None, step: int = 1 << 20) -> list[tuple[Entry, bytes]]:
    """All entries with their stored bytes, the source giving at most `step` bytes at a time."""
    source = io.BytesIO(data)
    reader = Reader(lambda size: source.read(min(size, step)), limits=limits)
    return [(entry, reader.contents(1 << 30)) for entry in reader]


def facts(entry: Entry) -> tuple[object, ...]:
    return (
        entry.name.rstrip(b"/"),
        entry.kind,
        entry.mode,
        entry.uid,
        entry.gid,
        entry.size,
        entry.mtime_ns // 10**9,
        entry.link,
        entry.major,
        entry.minor,
    )


def facts_of_tarfile(data: bytes) -> list[tuple[object, ...]]:
    found: list[tuple[object, ...]] = []
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for info in archive:
            size = info.size if info.isreg() else 0
            device = (info.devmajor, info.devminor) if info.isdev() and not info.isfifo() else (0, 0)
            kind = FILE if info.isreg() else info.type
            found.append(
                (
                    os.fsencode(info.name), kind, info.mode, info.uid, info.gid, size,
                    int(info.mtime), os.fsencode(info.linkname), *device,
                )
            )  # fmt: skip
    return found


def one_line(error: ClocheError) -> None:
    """Messages are one line, whatever bytes the names in them have."""
    assert "\n" not in str(error)


def varied(kind: int) -> bytes:
    archive = Tar(kind)
    archive.directory("d", mode=0o1777, uid=7, gid=8)
    archive.add("d/empty").add("d/file", data=b"x" * 1000, mode=0o4755)
    archive.symlink("d/link", "../" + "t" * 90).hardlink("d/hard", "d/file")
    archive.add("d/fifo", "fifo").add("d/null", "character", devmajor=1, devminor=3)
    archive.add("d/sda", "block", devmajor=8, devminor=0)
    if kind != tarfile.USTAR_FORMAT:
        archive.add("n" * 300 + "/" + "m" * 200, data=b"long").symlink("l" * 120, "t" * 300)
        archive.add("big-ids", uid=3_000_000, gid=4_000_000_000)
    else:
        archive.add("p" * 90 + "/" + "m" * 90, data=b"prefix")
    return archive.bytes()


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_format_reads_as_pythons_tarfile_reads_it(kind: int) -> None:
    data = varied(kind)
    assert [facts(entry) for entry, _ in read_all(data)] == facts_of_tarfile(data)


@pytest.mark.parametrize("step", [1, 7, 511, 512, 513, 5000])
def test_the_sizes_of_reads_do_not_matter(step: int) -> None:
    data = varied(tarfile.PAX_FORMAT)
    expected = [(facts(entry), content) for entry, content in read_all(data)]
    assert [(facts(entry), content) for entry, content in read_all(data, step=step)] == expected


@pytest.mark.parametrize("kind", ["v7", "oldgnu", "gnu", "ustar", "posix"])
def test_gnu_tars_formats_read_as_tarfile_reads_them(
    kind: str, tmp_path: Path, peer: Callable[[str], str]
) -> None:
    source = tmp_path / "source"
    (source / "directory").mkdir(parents=True)
    (source / "directory" / "file").write_bytes(b"contents")
    (source / "link").symlink_to("directory/file")
    os.link(source / "directory" / "file", source / "hard")
    command = [peer("tar"), "--sort=name", f"--format={kind}", "-C", str(source), "-cf", "-", "."]
    data = subprocess.run(command, check=True, capture_output=True).stdout
    expected = [(name if name != b"" else b".", *rest) for name, *rest in facts_of_tarfile(data)]
    assert [facts(entry) for entry, _ in read_all(data)] == expected


@pytest.mark.parametrize("version", ["gnu", "0.0", "0.1", "1.0"])
def test_every_form_of_sparse_file_has_its_map(
    version: str, tmp_path: Path, peer: Callable[[str], str]
) -> None:
    path = tmp_path / "sparse"
    pieces = {0: b"begin", 1 << 20: b"x" * 5000, 3 << 20: b"y", 7 << 20: b"z" * 4096}
    for number in range(30):
        pieces[(10 + number) << 20] = b"%d" % number
    with path.open("wb") as file:
        for offset, data in pieces.items():
            file.seek(offset)
            file.write(data)
        file.truncate(64 << 20)
    form = ["--format=gnu"] if version == "gnu" else ["--format=posix", f"--sparse-version={version}"]
    command = [peer("tar"), "--sparse", *form, "-C", str(tmp_path), "-cf", "-", "sparse"]
    ((entry, stored),) = read_all(subprocess.run(command, check=True, capture_output=True).stdout)
    assert (entry.name, entry.kind, entry.size) == (b"sparse", FILE, 64 << 20)
    assert entry.sparse is not None
    assert len(stored) == entry.stored
    assert len(stored) < 1 << 20
    rebuilt = bytearray(entry.size)
    at = 0
    for offset, length in entry.sparse:
        rebuilt[offset : offset + length] = stored[at : at + length]
        at += length
    assert bytes(rebuilt) == path.read_bytes()


def test_pax_records_override_the_header() -> None:
    headers = {
        "mtime": "1234567890.123456789",
        "atime": "-5.25",
        "SCHILY.xattr.user.name": "value",
        "LIBARCHIVE.xattr.user.%6fther": "dmFsdWU",
        "comment": "ignored",
    }
    ((entry, _),) = read_all(Tar().add("file", pax_headers=headers).bytes())
    assert entry.mtime_ns == 1234567890123456789
    assert entry.atime_ns == -5_250_000_000
    assert entry.xattrs == {b"user.name": b"value", b"user.other": b"value"}


def test_global_pax_headers_hold_until_they_are_replaced() -> None:
    buffer = io.BytesIO()
    with tarfile.open(
        fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"uid": "77", "comment": "x"}
    ) as archive:
        archive.addfile(tarfile.TarInfo("a"))
        own = tarfile.TarInfo("b")
        own.pax_headers = {"uid": "78"}
        archive.addfile(own)
    assert [entry.uid for entry, _ in read_all(buffer.getvalue())] == [77, 78]


def header(**fields: bytes) -> bytes:
    """A ustar header made by hand, with a right checksum."""
    places = {
        "name": (0, 100), "mode": (100, 8), "uid": (108, 8), "gid": (116, 8), "size": (124, 12),
        "mtime": (136, 12), "kind": (156, 1), "link": (157, 100), "magic": (257, 8), "prefix": (345, 155),
    }  # fmt: skip
    block = bytearray(512)
    defaults = {"name": b"file", "mode": b"0000644", "size": b"0", "kind": b"0", "magic": b"ustar\x0000"}
    for name, value in (defaults | fields).items():
        at, length = places[name]
        block[at : at + length] = value.ljust(length, b"\0")
    block[148:156] = b"        "
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


END = bytes(1024)


def test_numbers_in_base_256_are_read() -> None:
    size = b"\x80" + (5).to_bytes(11, "big")
    mtime = b"\xff" + (-10).to_bytes(11, "big", signed=True)
    data = header(size=size, mtime=mtime, uid=b"\x80" + (1 << 24).to_bytes(7, "big"))
    ((entry, content),) = read_all(data + b"hello".ljust(512, b"\0") + END)
    assert (content, entry.mtime_ns, entry.uid) == (b"hello", -10 * 10**9, 1 << 24)


MALFORMED = {
    "a wrong checksum": header()[:148] + b"000000\0 " + header()[156:],
    "text for a size": header(size=b"12x4"),
    "a negative size": header(size=b"\xff" + (-512).to_bytes(11, "big", signed=True)),
    "a size beyond 63 bits": header(size=b"\x80\x00\x00\x01" + bytes(8)),
    "underscores in a number": header(mode=b"0_644"),
    "a minus sign in a number": header(uid=b"-1"),
    "a negative owner": header(uid=b"\xff" + (-1).to_bytes(7, "big", signed=True)),
    "an unknown type": header(kind=b"Z"),
    "a giant extended header": header(kind=b"x", size=b"7777777777"),
    "a giant long name": header(kind=b"L", size=b"7777777777"),
    "data after an empty header": bytes(512) + header(),
    "a name of 5,000 bytes": header(kind=b"L", size=b"%o" % 5000)
    + b"n" * 5000 + bytes(120) + header(),
    "a pax record without length": header(kind=b"x", size=b"10")
    + b"path=abcd\n".ljust(512, b"\0") + header(),
    "a pax record that is too long": header(kind=b"x", size=b"10")
    + b"99 path=a\n".ljust(512, b"\0") + header(),
    "a pax record without an end": header(kind=b"x", size=b"10") + b"10 path=ab".ljust(512, b"\0") + header(),
    "a pax record of length 0": header(kind=b"x", size=b"10") + b"0 path=ab\n".ljust(512, b"\0") + header(),
    "a NUL in a pax path": header(kind=b"x", size=b"12") + b"12 path=a\0b\n".ljust(512, b"\0") + header(),
    "a pax size of text": header(kind=b"x", size=b"12") + b"12 size=abc\n".ljust(512, b"\0") + header(),
    "a pax size of minus one": header(kind=b"x", size=b"11") + b"11 size=-1\n".ljust(512, b"\0") + header(),
    "a pax time of text": header(kind=b"x", size=b"13") + b"13 mtime=abc\n".ljust(512, b"\0") + header(),
    "a pax owner of 2**32-1": header(kind=b"x", size=b"18")
    + b"18 uid=4294967295\n".ljust(512, b"\0") + header(),
}  # fmt: skip


@pytest.mark.parametrize("what", MALFORMED)
def test_malformed_archives_are_refused_by_name(what: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^tar archive: .") as caught:
        read_all(MALFORMED[what] + END)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def pax(records: dict[bytes, bytes], follow: bytes) -> bytes:
    data = b"".join(pax_record(key, value) for key, value in records.items())
    return header(kind=b"x", size=b"%o" % len(data)) + data + bytes(-len(data) % 512) + follow


SPARSE = {
    "a map that overlaps": {b"GNU.sparse.map": b"0,10,5,10", b"GNU.sparse.size": b"100"},
    "a map beyond the file": {b"GNU.sparse.map": b"0,10,95,10", b"GNU.sparse.size": b"100"},
    "a map with an odd count": {b"GNU.sparse.map": b"0,10,20", b"GNU.sparse.size": b"100"},
    "a map of text": {b"GNU.sparse.map": b"a,b", b"GNU.sparse.size": b"100"},
    "a map of other lengths than the stored bytes": {b"GNU.sparse.map": b"0,5", b"GNU.sparse.size": b"100"},
    "an endless map in the contents": {b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0"},
}


@pytest.mark.parametrize("what", SPARSE)
def test_malformed_sparse_maps_are_refused(what: str) -> None:
    contents = b"1" * 512
    with pytest.raises(InvalidArgument):
        read_all(pax(SPARSE[what], header(size=b"1000") + contents) + END)


@pytest.mark.parametrize("cut", [1, 100, 511, 513, 1000, 1535])
def test_an_archive_that_ends_too_early_is_data_loss(cut: int) -> None:
    data = Tar().add("file", data=b"x" * 600).bytes()
    with pytest.raises(DataLoss):
        read_all(data[:cut])


def test_an_archive_without_its_end_marker_is_whole() -> None:
    data = Tar().add("file", data=b"x" * 600).bytes()
    assert len(read_all(data[: 512 + 1024])) == 1
    assert read_all(b"") == []


def test_an_extended_header_with_nothing_after_it_is_data_loss() -> None:
    with pytest.raises(DataLoss):
        read_all(pax({b"path": b"x"}, b"") + END)


def test_the_number_of_entries_is_limited() -> None:
    archive = Tar()
    for number in range(10):
        archive.add(str(number))
    with pytest.raises(ResourceExhausted):
        read_all(archive.bytes(), limits=Limits(entries=9))


names = st.binary(min_size=1, max_size=400).filter(lambda name: b"\0" not in name and name[-1:] != b"/")


@st.composite
def entries(draw: st.DrawFn) -> tuple[Entry, bytes]:
    kind = draw(st.sampled_from([FILE, SYMLINK]))
    entry = Entry(
        draw(names), kind, draw(st.integers(0, 0o7777)),
        draw(st.integers(0, 2**32 - 2)), draw(st.integers(0, 2**32 - 2)),
    )  # fmt: skip
    entry.mtime_ns = draw(st.integers(-(10**20), 10**20))
    entry.atime_ns = draw(st.none() | st.integers(-(10**20), 10**20))
    if kind == SYMLINK:
        entry.link = draw(names)
    attribute = st.binary(min_size=1, max_size=40).filter(lambda key: b"\0" not in key and b"=" not in key)
    entry.xattrs = draw(
        st.none() | st.dictionaries(attribute, st.binary(max_size=40), min_size=1, max_size=3)
    )
    if entry.xattrs:
        entry.xattrs = {key: value for key, value in entry.xattrs.items() if value} or None
    return entry, draw(st.binary(max_size=1500)) if kind == FILE else b""


@given(st.lists(entries(), max_size=5))
@settings(max_examples=150, deadline=None)
def test_what_the_writer_wrote_the_reader_reads(written: list[tuple[Entry, bytes]]) -> None:
    buffer = io.BytesIO()
    writer = Writer(buffer.write)
    for entry, data in written:
        writer.add(entry, data)
    writer.close()
    found = read_all(buffer.getvalue())
    for (expected, data), (entry, content) in zip(written, found, strict=True):
        assert facts(entry)[1:] == facts(expected)[1:]
        assert (entry.name, entry.mtime_ns, entry.atime_ns) == (
            expected.name, expected.mtime_ns, expected.atime_ns,
        )  # fmt: skip
        assert (entry.xattrs, content) == (expected.xattrs, data)


def test_tarfile_reads_what_the_writer_wrote() -> None:
    buffer = io.BytesIO()
    writer = Writer(buffer.write)
    long = Entry(b"d/" + b"n" * 250, FILE, 0o640, 3_000_000, 5)
    long.mtime_ns = 1_700_000_000_500_000_000
    long.xattrs = {b"user.a": b"b"}
    writer.add(long, b"contents")
    writer.add(Entry(b"p" * 120 + b"/" + b"m" * 90, FILE), b"")
    writer.close()
    with tarfile.open(fileobj=io.BytesIO(buffer.getvalue())) as archive:
        first, second = archive.getmembers()
    assert (first.name, first.uid, first.size, first.mtime) == (
        "d/" + "n" * 250, 3_000_000, 8, 1_700_000_000.5,
    )  # fmt: skip
    assert first.pax_headers["SCHILY.xattr.user.a"] == "b"
    assert second.name == "p" * 120 + "/" + "m" * 90
    assert len(buffer.getvalue()) % 512 == 0


VARIED = [varied(tarfile.PAX_FORMAT), varied(tarfile.GNU_FORMAT)]


@given(
    st.sampled_from(VARIED),
    st.lists(st.tuples(st.integers(0, 20000), st.integers(0, 255)), min_size=1, max_size=8),
    st.booleans(),
)
@settings(max_examples=400, deadline=None)
def test_damaged_archives_raise_nothing_but_our_errors(
    data: bytes, flips: list[tuple[int, int]], repair: bool
) -> None:
    damaged = bytearray(data)
    for place, value in flips:
        at = place % len(damaged)
        damaged[at] = value
        if repair:
            start = at - at % 512
            block = damaged[start : start + 512]
            block[148:156] = b"        "
            damaged[start + 148 : start + 156] = b"%06o\0 " % sum(block)
    try:
        read_all(bytes(damaged))
    except ClocheError as error:
        one_line(error)


@given(st.binary(max_size=3000))
@settings(max_examples=200, deadline=None)
def test_noise_raises_nothing_but_our_errors(data: bytes) -> None:
    try:
        read_all(data)
    except ClocheError:
        return
