"""What is published: a source archive that builds, and a wheel that has all it needs."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def source_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source archive, built from a copy of the tree that leaves the tree itself alone."""
    copy = tmp_path_factory.mktemp("tree")
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    for name in names:
        if name and (ROOT / name).is_file():
            target = copy / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", "dist"],
        cwd=copy,
        check=True,
        capture_output=True,
    )
    return next((copy / "dist").glob("cloche-*.tar.gz"))


@pytest.fixture(scope="module")
def wheel(source_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as it comes out of the source archive."""
    place = tmp_path_factory.mktemp("wheel")
    subprocess.run(["tar", "--extract", "--file", source_archive, "--directory", place], check=True)
    source = next(place.glob("cloche-*"))
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(place)]
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", *options, str(source)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return next(place.glob("cloche-*.whl"))


def test_the_wheel_belongs_to_a_machine_and_to_any_python(wheel: Path) -> None:
    assert wheel.name.endswith(f"-py3-none-linux_{os.uname().machine}.whl")


def test_the_wheel_has_the_programs_and_they_may_be_executed(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        version = next(iter(wheel.name.split("-")[1:2]))
        scripts = f"cloche-{version}.data/scripts"
        programs = ["cloche/native/cloche-init", f"{scripts}/cloche", f"{scripts}/cloche-runc"]
        for program in programs:
            assert archive.read(program)[:4] == b"\x7fELF"
            assert entries[program].external_attr >> 16 & 0o111 == 0o111
        assert "cloche/py.typed" in entries
        assert not [name for name in entries if name.startswith("tests") or name.endswith(".pyc")]


def test_an_editable_installation_is_refused_with_the_reason(source_archive: Path) -> None:
    tree = source_archive.parents[1]
    code = "import hatchling.build; hatchling.build.build_editable('dist')"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tree, capture_output=True, text=True, check=False
    )
    assert result.returncode != 0
    assert "cannot be installed in editable mode: use `make install`" in result.stderr
