"""Images of the machine's own programs: whole, the same every time, and quick."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloche.errors import InvalidArgument, NotFound
from cloche.image import from_host, libraries
from cloche.image.from_host import Built
from cloche.image.libraries import open_elf
from tests.image.stores import NAMESPACE, Stores
from tests.image.tars import tree


def build(stores: Stores, *programs: str, unpacked: bool = False) -> Built:
    return from_host.build(
        "tools", programs, content=stores.content, metadata=stores.metadata, namespace=NAMESPACE,
        snapshotter=stores.snapshotter if unpacked else None,
    )  # fmt: skip


def layer_of(stores: Stores, built: Built) -> tarfile.TarFile:
    return tarfile.open(stores.content.path(built.manifest.layers[0].digest))


def test_what_is_in_it_runs(root: None, tmp_path: Path) -> None:
    stores = Stores(tmp_path)
    built = build(stores, "sh", "/bin/cat", "ls", unpacked=True)
    assert built.missing == ()
    with stores.show(built.config.diff_ids[0], tmp_path / "shown") as shown:
        command = ["chroot", str(shown), "/bin/sh", "-c", "ls -d /tmp && cat /etc/passwd"]
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        assert result.stdout.startswith("/tmp\nroot:x:0:0:")
        assert oct((shown / "tmp").stat().st_mode) == "0o41777"
        assert tree(shown)


def test_the_same_files_give_the_same_digests(tmp_path: Path) -> None:
    first = build(Stores(tmp_path / "one"), "sh", "cat")
    second = build(Stores(tmp_path / "two"), "sh", "cat")
    assert first.image.target == second.image.target
    assert first.image.name == "docker.io/library/tools:latest"


def test_everything_that_ldd_names_is_in_it(tmp_path: Path, peer: Callable[[str], str]) -> None:
    stores = Stores(tmp_path)
    programs = ["/bin/sh", "/usr/bin/sort", "/usr/bin/tar", "/usr/bin/find", "/usr/bin/python3"]
    with layer_of(stores, build(stores, *programs)) as archive:
        names = set(archive.getnames())
    for program in programs:
        listed = subprocess.run([peer("ldd"), program], capture_output=True, text=True, check=True).stdout
        for word in listed.split():
            if word.startswith("/"):
                assert os.path.realpath(word).lstrip("/") in names, f"{program} needs {word}"


def test_links_are_kept_and_parents_come_first(tmp_path: Path) -> None:
    stores = Stores(tmp_path)
    seen: set[str] = set()
    with layer_of(stores, build(stores, "sh")) as archive:
        for entry in archive:
            assert (entry.mtime, entry.uid, entry.gid) == (0, 0, 0)
            parent = os.path.dirname(entry.name)
            assert not parent or parent in seen
            seen.add(entry.name)
            if entry.issym():
                assert entry.linkname == os.readlink(f"/{entry.name}")
    assert {"tmp", "proc", "sys", "dev", "etc/passwd", "etc/group"} <= seen


def test_the_configuration_runs_a_shell_where_there_is_one(tmp_path: Path) -> None:
    stores = Stores(tmp_path)
    config = build(stores, "cat", "sh").config.document["config"]
    assert config["Cmd"][0].endswith("/sh")
    assert config["Env"] == ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
    assert build(stores, "/bin/cat").config.document["config"]["Cmd"] == ["/bin/cat"]


def test_scripts_bring_their_interpreters(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("#!/bin/bash -e\necho\n")
    through_env = tmp_path / "through-env"
    through_env.write_text("#!/usr/bin/env -S perl -w\n")
    stores = Stores(tmp_path / "root")
    with layer_of(stores, build(stores, str(plain), str(through_env))) as archive:
        names = set(archive.getnames())
    assert {"usr/bin/bash", "usr/bin/env", "usr/bin/perl"} <= names
    lost = tmp_path / "lost"
    lost.write_text("#!/no/such/interpreter\n")
    with pytest.raises(NotFound, match="lost: its interpreter /no/such/interpreter is not on this machine"):
        build(stores, str(lost))


def test_libraries_are_found_by_rpath_runpath_and_origin(tmp_path: Path, peer: Callable[[str], str]) -> None:
    source = tmp_path / "s.c"
    source.write_text("int answer(void) { return 42; }")
    main = tmp_path / "main.c"
    main.write_text("int answer(void); int main(void) { return answer(); }")
    (tmp_path / "app" / "lib").mkdir(parents=True)
    compiler = peer("cc")
    library = tmp_path / "app" / "lib" / "libanswer.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-Wl,-soname,libanswer.so", "-o", library, source], check=True
    )
    for tag in ("--enable-new-dtags", "--disable-new-dtags"):
        program = tmp_path / "app" / f"prog{tag}"
        search = f"-Wl,{tag},-rpath,$ORIGIN/lib"
        subprocess.run([compiler, "-o", program, main, library, search], check=True)
        stores = Stores(tmp_path / "root")
        built = build(stores, str(program))
        assert built.missing == ()
        with layer_of(stores, built) as archive:
            assert str(library).lstrip("/") in archive.getnames()
    library.unlink()
    (line,) = build(stores, str(program)).missing
    assert line == f"{program}: needs libanswer.so, which is not on this machine"


def test_a_directory_goes_in_whole(tmp_path: Path) -> None:
    (tmp_path / "data" / "deep").mkdir(parents=True)
    (tmp_path / "data" / "deep" / "file").write_text("contents")
    (tmp_path / "data" / "dangling").symlink_to("nowhere")
    stores = Stores(tmp_path / "root")
    with layer_of(stores, build(stores, "sh", str(tmp_path / "data"))) as archive:
        member = archive.extractfile(str(tmp_path / "data" / "deep" / "file").lstrip("/"))
        assert member is not None
        assert member.read() == b"contents"
        assert archive.getmember(str(tmp_path / "data" / "dangling").lstrip("/")).issym()


@pytest.mark.parametrize("program", ["/no/such/program", "no-such-program", ""])
def test_a_missing_program_is_one_clear_line_and_nothing_is_stored(program: str, tmp_path: Path) -> None:
    stores = Stores(tmp_path)
    with pytest.raises(NotFound, match=r"^program ") as caught:
        build(stores, "sh", program)
    assert "\n" not in str(caught.value)
    assert list(stores.content.walk()) == []
    assert list(stores.content.ingests()) == []
    with pytest.raises(InvalidArgument, match="no programs"):
        build(stores)


def test_set_user_id_is_kept_for_root_alone(root: None, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_bytes(b"data")
    theirs = tmp_path / "theirs"
    theirs.write_bytes(b"data")
    os.chown(theirs, 1000, 1000)
    for path in (mine, theirs):
        path.chmod(0o4755)
    stores = Stores(tmp_path / "root")
    with layer_of(stores, build(stores, str(mine), str(theirs))) as archive:
        assert archive.getmember(str(mine).lstrip("/")).mode == 0o4755
        assert archive.getmember(str(theirs).lstrip("/")).mode == 0o755


def test_the_loaders_cache_is_read_as_ldconfig_prints_it(peer: Callable[[str], str]) -> None:
    printed = subprocess.run([peer("ldconfig"), "-p"], capture_output=True, text=True, check=True).stdout
    expected = [line.split()[0] for line in printed.splitlines() if " => " in line and "hwcap" not in line]
    found = libraries.read_cache(libraries.CACHE)
    assert sorted(name.decode() for name, paths in found.items() for _ in paths) == sorted(expected)
    assert libraries.read_cache("/no/such/cache") == {}


PROGRAM = Path(sys.executable).resolve().read_bytes()[:20_000]


@given(st.lists(st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=8)), max_size=6))
@settings(max_examples=200, deadline=None)
def test_damaged_elf_files_need_nothing(
    tmp_path_factory: pytest.TempPathFactory, flips: list[tuple[int, bytes]]
) -> None:
    damaged = bytearray(PROGRAM)
    for place, value in flips:
        damaged[place : place + len(value)] = value
    path = tmp_path_factory.getbasetemp() / "damaged.elf"
    path.write_bytes(damaged)
    headers = open_elf(str(path))
    assert headers is None or all(isinstance(name, bytes) for name in headers.needed)


def test_the_history_says_how_it_was_made(tmp_path: Path) -> None:
    document = build(Stores(tmp_path), "sh").config.document
    assert "from-host" in document["history"][0]["created_by"]
    assert json.dumps(document)
