"""Images and content, as the real ctr sees them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.api.conftest import IMAGE
from tests.daemons import Cloched, Registry

pytestmark = pytest.mark.usefixtures("either_ctr")


def digest_of(cloched: Cloched, image: str) -> str:
    line = next(line for line in cloched.ok("images", "ls").splitlines() if line.startswith(image))
    return next(word for word in line.split() if word.startswith("sha256:"))


def test_an_imported_image_is_listed_complete_and_unpacked(cloched: Cloched) -> None:
    assert IMAGE in cloched.ok("images", "ls", "--quiet").split()
    line = next(line for line in cloched.ok("images", "check").splitlines() if line.startswith(IMAGE))
    assert "complete (2/2)" in line
    assert line.split()[-1] == "true"


def test_filters_choose_images(cloched: Cloched) -> None:
    assert cloched.ok("images", "ls", "-q", f"name=={IMAGE}").split() == [IMAGE]
    assert cloched.ok("images", "ls", "-q", "name~=/^test[.]example/").split() == [IMAGE]
    assert cloched.ok("images", "ls", "-q", "name==other").split() == []


def test_a_filter_that_makes_no_sense_is_refused(cloched: Cloched) -> None:
    done = cloched.run("images", "ls", "name=wrong")
    assert done.returncode == 1
    assert 'unsupported operator "="' in done.stderr


def test_an_image_gets_another_name_and_loses_it(cloched: Cloched) -> None:
    cloched.ok("images", "tag", IMAGE, "other.example/name:1")
    assert digest_of(cloched, "other.example/name:1") == digest_of(cloched, IMAGE)
    # Through the transfer service, which ctr 2.x and ours prefer, a name that is taken changes hands.
    strictly = ("--local",) if cloched.client else ()
    assert cloched.run("images", "tag", *strictly, IMAGE, "other.example/name:1").returncode == 1
    cloched.ok("images", "label", "other.example/name:1", "tier=gold")
    assert "tier=gold" in cloched.ok("images", "ls", "name==other.example/name:1")
    cloched.ok("images", "rm", "other.example/name:1")
    assert "other.example/name:1" not in cloched.ok("images", "ls", "-q")
    assert IMAGE in cloched.ok("images", "ls", "-q")


def test_what_is_not_there_is_said_to_be_not_there(cloched: Cloched) -> None:
    done = cloched.run("images", "rm", "no.example/such:image")
    assert "not found" in done.stderr
    absent = "sha256:" + "0" * 64
    assert "not found" in cloched.run("content", "get", absent).stderr


def test_content_is_listed_labelled_and_read(cloched: Cloched) -> None:
    digest = digest_of(cloched, IMAGE)
    assert digest in cloched.ok("content", "ls", "--quiet").split()
    manifest = cloched.ok("content", "get", digest)
    assert '"layers"' in manifest
    cloched.ok("content", "label", digest, "note=read")
    assert "note=read" in cloched.ok("content", "ls", f"digest=={digest}")
    cloched.ok("content", "label", digest, "note=")
    assert "note=" not in cloched.ok("content", "ls", f"digest=={digest}")


def test_a_blob_is_ingested_and_deleted(cloched: Cloched, tmp_path: Path) -> None:
    import hashlib
    import subprocess

    data = b"some bytes" * 100_000
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    words = cloched.ctr("content", "ingest", "--expected-digest", digest, "ref-of-test")
    done = subprocess.run(words, input=data, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    again = subprocess.run(words, input=data, capture_output=True, check=False)
    assert again.returncode == 0 or b"already exists" in again.stderr
    read = subprocess.run(cloched.ctr("content", "get", digest), capture_output=True, check=True)
    assert read.stdout == data
    cloched.ok("content", "rm", digest)
    assert "not found" in cloched.run("content", "get", digest).stderr


def test_a_blob_with_another_digest_than_said_is_refused(cloched: Cloched) -> None:
    import subprocess

    wrong = "sha256:" + "1" * 64
    words = cloched.ctr("content", "ingest", "--expected-digest", wrong, "ref-of-wrong")
    done = subprocess.run(words, input=b"data", capture_output=True, check=False)
    assert done.returncode == 1
    assert wrong not in cloched.ok("content", "ls", "--quiet")
    assert "ref-of-wrong" not in cloched.ok("content", "active")


def test_an_image_is_exported_and_imported_again(cloched: Cloched, tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    cloched.ok("images", "export", str(archive), IMAGE)
    cloched.ok("--namespace", "second", "images", "import", str(archive))
    assert IMAGE in cloched.ok("--namespace", "second", "images", "ls", "-q").split()
    cloched.ok("--namespace", "second", "images", "rm", "--sync", IMAGE)
    assert IMAGE in cloched.ok("images", "ls", "-q").split()


def test_a_namespace_sees_its_own_names_and_content_alone(cloched: Cloched) -> None:
    assert cloched.ok("--namespace", "empty", "images", "ls", "-q") == ""
    assert cloched.ok("--namespace", "empty", "content", "ls", "-q") == ""


def test_an_image_is_pulled_pushed_and_removed_with_its_content(
    cloched: Cloched, registry: Registry, archive: Path
) -> None:
    reference = registry.push(f"oci-archive:{archive}", "busybox:pulled")
    cloched.ok("images", "rm", "--sync", IMAGE)
    cloched.ok("images", "pull", "--plain-http", reference)
    assert reference in cloched.ok("images", "ls", "-q").split()
    cloched.ok("images", "push", "--plain-http", f"{registry.address}/pushed:1", reference)
    pulled = digest_of(cloched, reference)
    cloched.ok("images", "rm", "--sync", reference)
    assert pulled not in cloched.ok("content", "ls", "-q")
    cloched.ok("images", "import", str(archive))
    assert cloched.ok("images", "pull", "--plain-http", f"{registry.address}/pushed:1")
    cloched.ok("images", "rm", "--sync", f"{registry.address}/pushed:1")


def test_an_image_is_mounted(cloched: Cloched, tmp_path: Path) -> None:
    target = tmp_path / "mounted"
    target.mkdir()
    cloched.ok("images", "mount", IMAGE, str(target))
    try:
        assert (target / "bin" / "busybox").exists()
    finally:
        cloched.ok("images", "unmount", "--rm", str(target))
    assert not list(target.iterdir())
