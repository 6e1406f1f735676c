from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.kernel import mount_options
from cloche.kernel.mount_options import MountOptions, known_options, parse_options

# What runc's `features` lists for its current version.
WORDS = """
async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev nodiratime
noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev
rdiratime relatime remount rexec rnoatime rnodev rnodiratime rnoexec rnorelatime rnostrictatime rnosuid
rnosymfollow ro rprivate rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow runbindable rw
shared silent slave strictatime suid symfollow sync tmpcopyup unbindable idmap ridmap
"""
RUNC = WORDS.split()


def test_every_option_that_runc_knows_is_known() -> None:
    assert known_options() == sorted(RUNC)


def test_no_known_word_is_mistaken_for_the_file_systems_own() -> None:
    for word in RUNC:
        assert parse_options([word]).data == (), word


@pytest.mark.parametrize(
    ("words", "set_", "clear"),
    [
        ("ro nosuid nodev noexec", 0x1 | 0x2 | 0x4 | 0x8, 0),
        ("nosymfollow nodiratime", 0x200000 | 0x80, 0),
        ("rw suid dev exec diratime symfollow", 0, 0x1 | 0x2 | 0x4 | 0x8 | 0x80 | 0x200000),
        ("ro rw", 0, 0x1),
        ("rw ro", 0x1, 0),
        ("noatime", 0x10, 0x70),
        ("strictatime", 0x20, 0x70),
        ("relatime", 0, 0x70),
        ("atime", 0, 0x70),
        ("noatime strictatime", 0x20, 0x70),
        ("strictatime noatime", 0x10, 0x70),
        ("noatime atime", 0, 0x70),
        ("norelatime defaults silent loud iversion noiversion", 0, 0),
    ],
)
def test_attributes_of_a_mount_and_of_all_below_it(words: str, set_: int, clear: int) -> None:
    here = parse_options(words.split())
    assert (here.set_attributes, here.clear_attributes) == (set_, clear)
    assert (here.recursive_set, here.recursive_clear) == (0, 0)
    known = [f"r{word}" for word in words.split() if f"r{word}" in RUNC]
    if len(known) == len(words.split()):
        below = parse_options(known)
        assert (below.recursive_set, below.recursive_clear) == (set_, clear)
        assert (below.set_attributes, below.clear_attributes) == (0, 0)


def test_propagation_keeps_its_order() -> None:
    options = parse_options(["rslave", "shared", "unbindable", "rprivate"])
    kinds = (
        (mount_options.MS_SLAVE, True),
        (mount_options.MS_SHARED, False),
        (mount_options.MS_UNBINDABLE, False),
        (mount_options.MS_PRIVATE, True),
    )
    assert options.propagation == kinds


def test_the_file_systems_flags_and_data() -> None:
    options = parse_options(["sync", "dirsync", "mand", "lazytime", "mode=755", "newinstance", "x=a,b"])
    assert options.flags == ("sync", "dirsync", "mand", "lazytime")
    assert options.data == ("mode=755", "newinstance", "x=a,b")


def test_of_contradicting_flags_the_last_holds() -> None:
    assert parse_options(["sync", "async"]).flags == ("async",)
    assert parse_options(["nolazytime", "sync", "lazytime"]).flags == ("sync", "lazytime")


def test_words_that_are_no_flags_of_the_kernel() -> None:
    assert parse_options(["rbind"]) == MountOptions(bind=True, recursive=True)
    assert parse_options(["bind"]) == MountOptions(bind=True)
    assert parse_options(["remount", "tmpcopyup"]) == MountOptions(remount=True, copy_up=True)
    assert parse_options(["idmap"]) == MountOptions(idmap=True)
    assert parse_options(["ridmap"]) == MountOptions(idmap=True, recursive_idmap=True)


def test_read_only_is_seen_in_both_forms() -> None:
    assert parse_options(["ro"]).read_only
    assert parse_options(["rro"]).read_only
    assert not parse_options(["ro", "rw"]).read_only


@given(st.lists(st.one_of(st.sampled_from(RUNC), st.text(max_size=12))))
def test_any_words_give_what_the_kernel_could_take(words: list[str]) -> None:
    options = parse_options(words)
    for set_, clear in (
        (options.set_attributes, options.clear_attributes),
        (options.recursive_set, options.recursive_clear),
    ):
        # mount_setattr(2) wants the access time cleared as a whole, and only one kind of it set.
        assert clear & mount_options.MOUNT_ATTR__ATIME in (0, mount_options.MOUNT_ATTR__ATIME)
        if set_ & mount_options.MOUNT_ATTR__ATIME:
            assert clear & mount_options.MOUNT_ATTR__ATIME
        assert set_ & mount_options.MOUNT_ATTR__ATIME in (
            0,
            mount_options.MOUNT_ATTR_NOATIME,
            mount_options.MOUNT_ATTR_STRICTATIME,
        )
        assert not set_ & clear & ~mount_options.MOUNT_ATTR__ATIME
    assert set(options.data).isdisjoint(RUNC)
    assert len(set(options.flags)) == len(options.flags)
