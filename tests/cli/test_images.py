"""Commands on images."""

from __future__ import annotations

import io
import json
import re
import signal
import socket
import tarfile
from pathlib import Path

import pytest

from tests.cli.machine import IMAGE, Machine
from tests.daemons import Registry


def test_images_has_dockers_columns(machine: Machine) -> None:
    head, *rows = machine.ok("images").splitlines()
    assert re.split(r" {2,}", head) == ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"]
    cells = re.split(r" {2,}", next(row for row in rows if row.startswith(IMAGE)))
    assert cells[:2] == [IMAGE, "latest"]
    assert re.fullmatch(r"[0-9a-f]{12}", cells[2])
    assert cells[3].endswith(" ago")
    assert re.fullmatch(r"[\d.]+[kMG]?B", cells[4])


def test_images_can_be_chosen_and_formatted(machine: Machine) -> None:
    (identifier,) = machine.ok("images", "-q", IMAGE).split()
    assert (
        machine.ok("images", "-q", "--no-trunc", f"{IMAGE}:latest").strip().startswith(f"sha256:{identifier}")
    )
    assert (
        machine.ok("images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}", IMAGE)
        == f"{IMAGE}:latest {identifier}\n"
    )
    assert machine.ok("image", "ls", "-q", "no-such-image") == ""
    assert machine.ok("images", "--digests", IMAGE).splitlines()[0].split()[2] == "DIGEST"


def test_tag_and_rmi(machine: Machine) -> None:
    machine.ok("tag", IMAGE, "other:v1")
    assert "other:v1" in machine.ok("images", "--format", "{{.Repository}}:{{.Tag}}")
    assert machine.ok("rmi", "other:v1") == "Untagged: other:v1\n"
    assert "no-such" in machine.refused("rmi", "no-such")
    assert "no-such" in machine.refused("tag", "no-such", "x")


def test_an_image_in_use_is_not_removed(machine: Machine, name: str) -> None:
    machine.ok("create", "--name", name, IMAGE, "true")
    assert "container" in machine.refused("rmi", IMAGE)


def test_image_inspect_and_history(machine: Machine) -> None:
    (document,) = json.loads(machine.ok("image", "inspect", IMAGE))
    assert document["RepoTags"] == [f"{IMAGE}:latest"]
    assert document["Os"] == "linux"
    assert document["RootFS"]["Layers"]
    assert machine.ok("image", "inspect", "-f", "{{.Id}}", IMAGE) == f"{document['Id']}\n"
    head = machine.ok("history", IMAGE).splitlines()[0]
    assert re.split(r" {2,}", head) == ["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"]


def test_an_image_survives_save_and_load(machine: Machine, tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    machine.ok("tag", IMAGE, "saved:1")
    machine.ok("save", "-o", str(archive), "saved:1")
    data = machine.run("save", "saved:1").stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as saved:
        assert {"oci-layout", "index.json", "manifest.json"} <= set(saved.getnames())
    machine.ok("rmi", "saved:1")
    assert machine.ok("load", "-i", str(archive)) == "Loaded image: saved:1\n"
    assert machine.ok("run", "--rm", "saved:1", "echo", "loaded") == "loaded\n"
    machine.ok("rmi", "saved:1")
    assert machine.ok("import", "-", typed=data) == "Loaded image: saved:1\n"
    machine.ok("rmi", "saved:1")


@pytest.mark.parametrize("data", [b"", b"not a tar archive", b"\0" * 10240])
def test_what_is_no_archive_is_refused(machine: Machine, tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "x.tar"
    file.write_bytes(data)
    before = machine.ok("images", "-q")
    machine.refused("load", "-i", str(file))
    assert machine.ok("images", "-q") == before
    assert "no such" in machine.refused("load", "-i", str(tmp_path / "none")).lower()


def test_from_host_tells_what_it_made(machine: Machine) -> None:
    out = machine.ok("image", "from-host", "small", "/bin/true")
    assert re.search(r"sha256:[0-9a-f]{64}", out)
    assert machine.ok("run", "--rm", "small", "true") == ""
    machine.ok("rmi", "small")
    assert "no-such-program" in machine.refused("image", "from-host", "x", "/no-such-program")


def test_pull_tells_dockers_lines(machine: Machine, registry: Registry, tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    machine.ok("save", "-o", str(archive), IMAGE)
    reference = registry.push(f"oci-archive:{archive}", "cli/tools:1")
    lines = machine.ok("pull", reference).splitlines()
    repository = reference.rpartition(":")[0].partition("/")[2]
    assert lines[0] == f"1: Pulling from {repository}"
    assert any(re.fullmatch(r"[0-9a-f]{12}: (Pull complete|Already exists)", line) for line in lines)
    assert re.fullmatch(r"Digest: sha256:[0-9a-f]{64}", lines[-3])
    assert lines[-2] == f"Status: Downloaded newer image for {reference}"
    assert lines[-1] == reference
    assert machine.ok("pull", reference).splitlines()[-2] == f"Status: Image is up to date for {reference}"
    assert machine.ok("pull", "-q", reference) == f"{reference}\n"
    machine.ok("rmi", reference)
    result = machine.run("run", "--rm", reference, "echo", "pulled")
    assert (result.stdout, result.returncode) == (b"pulled\n", 0)
    assert b"Unable to find image" in result.stderr
    machine.ok("rmi", reference)
    assert "none" in machine.refused("pull", f"{registry.address}/none/none:1")


def test_image_prune_takes_only_what_has_no_name(machine: Machine) -> None:
    machine.ok("image", "prune", "-f")
    assert IMAGE in machine.ok("images")


def test_info_and_version(machine: Machine) -> None:
    info = machine.ok("info")
    assert "Images: " in info
    assert " Storage Driver: overlayfs\n" in info
    assert machine.ok("info", "-f", "{{.Driver}}") == "overlayfs\n"
    assert "Version:" in machine.ok("version")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_pull_is_interrupted_at_once_and_quietly(machine: Machine, number: signal.Signals) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        reference = f"127.0.0.1:{silent.getsockname()[1]}/silent:1"
        with machine.start("pull", reference) as process:
            connection, _ = silent.accept()
            process.send_signal(number)
            _, errors = process.communicate(timeout=20)
            connection.close()
    assert (process.returncode, errors) == (-number, b"")


def test_import_makes_an_image_of_a_root_file_system(machine: Machine, name: str, tmp_path: Path) -> None:
    machine.ok("create", "--name", name, IMAGE, "true")
    archive = tmp_path / "root.tar"
    machine.ok("export", "-o", str(archive), name)
    words = ("-c", 'ENTRYPOINT ["/bin/sh", "-c"]', "-c", "CMD echo $WHO", "-c", "ENV WHO=me", "-m", "by hand")
    identifier = machine.ok("import", *words, str(archive), "imported:1").strip()
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", identifier)
    assert machine.ok("image", "inspect", "-f", "{{.Id}}", "imported:1").strip() == identifier
    assert machine.ok("run", "--rm", "imported:1", "echo $WHO") == "me\n"
    assert "by hand" in machine.ok("history", "imported:1")
    machine.ok("import", "-", "imported:2", typed=archive.read_bytes())
    assert machine.ok("run", "--rm", "imported:2", "echo", "piped") == "piped\n"
    assert machine.run("run", "--rm", "imported:2").returncode == 125
    machine.ok("rmi", "imported:1", "imported:2")


def test_import_refuses_what_it_cannot_do(machine: Machine, tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    machine.ok("save", "-o", str(archive), IMAGE)
    assert "archive of images" in machine.refused("import", "-c", "USER me", str(archive))
    assert "pipe it in" in machine.refused("import", "https://example.com/root.tar")
    assert "no such file" in machine.refused("import", str(tmp_path / "none.tar"))
    (tmp_path / "text").write_text("no archive" * 100)
    machine.refused("import", str(tmp_path / "text"), "text:1")
    assert "text" not in machine.ok("images")
