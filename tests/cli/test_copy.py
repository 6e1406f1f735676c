"""`cloche cp` in both directions, as files and as tar streams."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from tests.cli.machine import IMAGE, Machine


@pytest.fixture
def container(machine: Machine, name: str) -> str:
    """A running container."""
    machine.ok("run", "-d", "--name", name, IMAGE, "sleep", "100")
    return name


def cat(machine: Machine, container: str, path: str) -> str:
    return machine.ok("exec", container, "cat", path)


def test_a_file_goes_in_and_comes_out(machine: Machine, container: str, tmp_path: Path) -> None:
    source = tmp_path / "file"
    source.write_text("content")
    source.chmod(0o640)
    machine.ok("cp", "-q", str(source), f"{container}:/renamed")
    assert cat(machine, container, "/renamed") == "content"
    assert machine.ok("exec", container, "stat", "-c", "%a", "/renamed") == "640\n"
    machine.ok("cp", "-q", str(source), f"{container}:/tmp/")
    assert cat(machine, container, "/tmp/file") == "content"
    machine.ok("cp", "-q", f"{container}:/renamed", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "content"
    machine.ok("cp", "-q", f"{container}:/renamed", str(tmp_path))
    assert (tmp_path / "renamed").read_text() == "content"


def test_a_folder_goes_as_a_whole_or_as_its_contents(
    machine: Machine, container: str, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "file").write_text("x")
    os.symlink("sub/file", source / "link")
    machine.ok("cp", str(source), f"{container}:/new")
    assert cat(machine, container, "/new/link") == "x"
    machine.ok("cp", str(source), f"{container}:/new")
    assert cat(machine, container, "/new/source/sub/file") == "x"
    machine.ok("cp", f"{source}/.", f"{container}:/tmp")
    assert cat(machine, container, "/tmp/sub/file") == "x"
    machine.ok("cp", f"{container}:/new", str(tmp_path / "out"))
    assert (tmp_path / "out/sub/file").read_text() == "x"
    assert os.readlink(tmp_path / "out/link") == "sub/file"


def test_tar_streams_pass_through_a_dash(machine: Machine, container: str) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("streamed")
        entry.size = 4
        archive.addfile(entry, io.BytesIO(b"text"))
    machine.ok("cp", "-", f"{container}:/tmp", typed=buffer.getvalue())
    assert cat(machine, container, "/tmp/streamed") == "text"
    data = machine.run("cp", f"{container}:/tmp/streamed", "-").stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert archive.getnames() == ["streamed"]


def test_a_stopped_container_is_copied_from_and_into(machine: Machine, name: str, tmp_path: Path) -> None:
    machine.ok("create", "--name", name, IMAGE, "cat", "/put")
    (tmp_path / "put").write_text("put before")
    machine.ok("cp", str(tmp_path / "put"), f"{name}:/put")
    assert machine.ok("start", "-a", name) == "put before"
    machine.ok("cp", f"{name}:/put", str(tmp_path / "got"))
    assert (tmp_path / "got").read_text() == "put before"


@pytest.mark.parametrize("words", [["a", "b"], ["{c}:/a", "{c}:/b"]])
def test_one_side_must_be_a_container(machine: Machine, container: str, words: list[str]) -> None:
    machine.refused("cp", *(word.format(c=container) for word in words))


def test_what_is_not_there_is_told(machine: Machine, container: str, tmp_path: Path) -> None:
    assert "/none" in machine.refused("cp", f"{container}:/none", str(tmp_path))
    assert "none" in machine.refused("cp", str(tmp_path / "none"), f"{container}:/")
    assert "no-such" in machine.refused("cp", "no-such:/x", str(tmp_path))


def test_a_link_inside_does_not_lead_outside(machine: Machine, container: str, tmp_path: Path) -> None:
    target = tmp_path / "outside"
    target.mkdir()
    machine.ok("exec", container, "ln", "-s", str(target), "/trap")
    (tmp_path / "file").write_text("x")
    machine.run("cp", str(tmp_path / "file"), f"{container}:/trap/file")
    assert list(target.iterdir()) == []
    machine.ok("exec", container, "ln", "-s", "/etc/shadow", "/secret")
    machine.run("cp", "-L", f"{container}:/secret", str(tmp_path / "got"))
    assert not (tmp_path / "got").is_file()


def test_export_writes_the_whole_file_system(machine: Machine, container: str, tmp_path: Path) -> None:
    machine.ok("exec", container, "touch", "/marker")
    archive = tmp_path / "all.tar"
    machine.ok("export", "-o", str(archive), container)
    with tarfile.open(archive) as exported:
        assert {"marker", "etc"} <= {name.rstrip("/") for name in exported.getnames()}
