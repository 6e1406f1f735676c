from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.errors import InvalidArgument, NotFound
from cloche.kernel import passwd

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
# a comment
daemon:x:1:1::/usr/sbin
broken
bad:x:one:1::/:
alice:x:1000:100:Alice:/home/alice:/bin/sh
1234:x:77:78::/odd:
nohome:x:5:5:::
"""
GROUP = """\
root:x:0:
users:x:100:
staff:x:50:alice,bob
wheel:x:10:alice
broken
90:x:91:
"""

Lookup = Callable[..., passwd.Identity]


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    (tmp_path / "root" / "etc").mkdir(parents=True)
    (tmp_path / "root" / "etc" / "passwd").write_text(PASSWD)
    (tmp_path / "root" / "etc" / "group").write_text(GROUP)
    return tmp_path / "root"


@pytest.fixture
def lookup(rootfs: Path) -> Iterator[Lookup]:
    descriptor = os.open(rootfs, os.O_PATH | os.O_DIRECTORY)
    yield lambda user, *more: passwd.lookup(descriptor, user, *more)
    os.close(descriptor)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("", (0, 0, (), "/root", "root")),
        ("root", (0, 0, (), "/root", "root")),
        ("alice", (1000, 100, (50, 10), "/home/alice", "alice")),
        ("1000", (1000, 100, (50, 10), "/home/alice", "alice")),
        ("alice:staff", (1000, 50, (), "/home/alice", "alice")),
        ("alice:7", (1000, 7, (), "/home/alice", "alice")),
        ("alice:", (1000, 100, (50, 10), "/home/alice", "alice")),
        (":staff", (0, 50, (), "/root", "root")),
        ("4321", (4321, 0, (), "/", "")),
        ("4321:8765", (4321, 8765, (), "/", "")),
        ("1234", (77, 78, (), "/odd", "1234")),
        ("0:90", (0, 91, (), "/root", "root")),
        ("nohome", (5, 5, (), "/", "nohome")),
        ("2147483647", (2147483647, 0, (), "/", "")),
    ],
)
def test_a_user_is_found_as_docker_finds_it(
    lookup: Lookup, spec: str, expected: tuple[int, int, tuple[int, ...], str, str]
) -> None:
    assert lookup(spec).values() == expected


def test_groups_can_be_added_by_name_and_number(lookup: Lookup) -> None:
    assert lookup("alice", ("users", "4", "wheel")).additional_gids == (50, 10, 100, 4)


@pytest.mark.parametrize(
    ("spec", "error", "says"),
    [
        ("bob", NotFound, "no user 'bob'"),
        ("alice:bobs", NotFound, "no group 'bobs'"),
        ("-1", InvalidArgument, "from 0 to"),
        ("2147483648", InvalidArgument, "from 0 to"),
        ("0:99999999999", InvalidArgument, "from 0 to"),
        ("٣", NotFound, "no user"),
    ],
)
def test_what_the_container_does_not_have_is_refused(
    lookup: Lookup, spec: str, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        lookup(spec)


def test_a_container_without_the_files_has_numbers_only(tmp_path: Path) -> None:
    root = os.open(tmp_path, os.O_PATH)
    assert passwd.lookup(root, "").values() == (0, 0, (), "/", "")
    assert passwd.lookup(root, "12:34").values() == (12, 34, (), "/", "")
    with pytest.raises(NotFound):
        passwd.lookup(root, "root")
    os.close(root)


def test_a_link_to_the_hosts_shadow_stays_inside(rootfs: Path, lookup: Lookup) -> None:
    (rootfs.parent / "secret").write_text("hostuser:x:4242:4242::/host:\n")
    target = rootfs / "etc" / "passwd"
    for link in (
        str(rootfs.parent / "secret"),
        "../../secret",
        "../../../../../../etc/shadow",
        "/etc/shadow",
    ):
        target.unlink()
        target.symlink_to(link)
        with pytest.raises(NotFound):
            lookup("hostuser")
        with pytest.raises(NotFound):
            lookup("root")
    (rootfs / "etc" / "shadow").write_text("inner:x:3:3::/inner:\n")
    assert lookup("inner").uid == 3


def test_a_linked_directory_stays_inside(rootfs: Path, lookup: Lookup) -> None:
    (rootfs / "etc").rename(rootfs / "usr-etc")
    (rootfs / "etc").symlink_to("/usr-etc")
    assert lookup("alice").uid == 1000
    (rootfs / "etc").unlink()
    (rootfs / "etc").symlink_to("/etc")
    with pytest.raises(InvalidArgument, match="not an ordinary file"):
        lookup("alice")


def test_a_fifo_or_a_device_does_not_hold_us_up(rootfs: Path, lookup: Lookup) -> None:
    target = rootfs / "etc" / "passwd"
    target.unlink()
    os.mkfifo(target)
    with pytest.raises(InvalidArgument, match="not an ordinary file"):
        lookup("root")
    target.unlink()
    target.mkdir()
    with pytest.raises(InvalidArgument, match="not an ordinary file"):
        lookup("root")


def test_a_file_without_end_is_refused(rootfs: Path, lookup: Lookup) -> None:
    os.truncate(rootfs / "etc" / "passwd", passwd.LIMIT_BYTES + 1)
    with pytest.raises(InvalidArgument, match="larger than"):
        lookup("root")


def test_home_is_looked_up_by_number(rootfs: Path) -> None:
    root = os.open(rootfs, os.O_PATH)
    assert [passwd.home(root, uid) for uid in (0, 1000, 5, 999)] == ["/root", "/home/alice", "/", "/"]
    os.close(root)


@given(st.binary())
def test_any_bytes_are_read_without_an_error(text: bytes) -> None:
    for user in passwd.parse_passwd(text):
        assert user.name
        assert 0 <= user.uid <= passwd.LAST_ID
    for group in passwd.parse_group(text):
        assert group.name
        assert 0 <= group.gid <= passwd.LAST_ID


NAME = st.text(st.characters(codec="utf-8", exclude_characters=":\n,\0#"), min_size=1).filter(
    lambda name: name == name.strip()
)


@given(name=NAME, uid=st.integers(0, passwd.LAST_ID), gid=st.integers(0, passwd.LAST_ID))
def test_a_written_line_is_read_back(name: str, uid: int, gid: int) -> None:
    (user,) = passwd.parse_passwd(f"{name}:x:{uid}:{gid}:gecos:/home:/bin/sh\n".encode())
    assert user == passwd.User(name, uid, gid, "/home", "/bin/sh")
    (group,) = passwd.parse_group(f"{name}:x:{gid}:a,b\n".encode())
    assert group == passwd.Group(name, gid, ("a", "b"))
