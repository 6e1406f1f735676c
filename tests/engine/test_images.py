from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest

from cloche.engine.engine import Engine
from cloche.engine.images import Image
from cloche.engine.options import Options
from cloche.errors import ClocheError, FailedPrecondition, InvalidArgument, NotFound

pytestmark = pytest.mark.system


def test_an_image_is_found_by_name_and_by_the_beginning_of_its_id(engine: Engine, tools: Image) -> None:
    for reference in ("tools", "tools:latest", "docker.io/library/tools:latest", tools.id, tools.id[7:19]):
        assert engine.images.get(reference).id == tools.id
    for reference in ("nowhere", "tools:other", "0" * 12):
        with pytest.raises(NotFound, match=f"no such image: {reference}"):
            engine.images.get(reference)
    with pytest.raises(InvalidArgument):
        engine.images.get("UPPER//case")


def test_an_image_knows_its_size_and_config(engine: Engine, tools: Image) -> None:
    assert tools.name == "tools:latest"
    assert tools.size_bytes > 100_000
    assert tools.config.cmd is not None
    document = json.loads(json.dumps(tools.inspect()))
    assert document["Id"] == tools.id
    assert document["RepoTags"] == ["tools:latest"]
    assert document["Architecture"] in ("amd64", "arm64")


def test_a_tag_is_one_more_name_and_removing_it_leaves_the_image(engine: Engine, tools: Image) -> None:
    assert engine.images.tag("tools", "other/name:1").id == tools.id
    assert {image.name for image in engine.images.list()} >= {"tools:latest", "other/name:1"}
    assert engine.images.remove("other/name:1") == ["Untagged: other/name:1"]
    with pytest.raises(NotFound):
        engine.images.get("other/name:1")
    assert engine.images.get("tools").id == tools.id
    with pytest.raises(NotFound):
        engine.images.tag("nowhere", "x")


def test_an_image_that_a_container_uses_is_not_removed(engine: Engine) -> None:
    engine.images.from_host("used", ["/bin/true"])
    container = engine.containers.create("used", Options(args=("true",)))
    with pytest.raises(FailedPrecondition, match=container.id[:12]):
        engine.images.remove("used")
    container.remove()
    lines = engine.images.remove("used")
    assert lines[0] == "Untagged: used:latest"
    assert any(line.startswith("Deleted: sha256:") for line in lines)


def test_a_container_outlives_the_name_of_its_image(engine: Engine) -> None:
    engine.images.from_host("fleeting", ["/bin/true"])
    container = engine.containers.create("fleeting", Options(args=("true",)))
    engine.images.remove("fleeting", force=True)
    container.start()
    assert container.wait() == 0


def test_an_id_with_several_names_is_removed_only_by_force(engine: Engine) -> None:
    image = engine.images.from_host("several", ["/bin/true"])
    engine.images.tag("several", "more")
    with pytest.raises(FailedPrecondition, match="2 names"):
        engine.images.remove(image.id)
    lines = engine.images.remove(image.id, force=True)
    assert {"Untagged: several:latest", "Untagged: more:latest"} <= set(lines)


def test_an_image_is_saved_and_loaded(engine: Engine, tools: Image, tmp_path: Path) -> None:
    archive = io.BytesIO()
    engine.images.save(["tools"], archive)
    path = tmp_path / "tools.tar"
    path.write_bytes(archive.getvalue())
    with Engine(str(tmp_path / "root"), str(tmp_path / "state")) as other:
        (loaded,) = other.images.load(str(path))
        assert (loaded.id, loaded.name) == (tools.id, "tools:latest")
        assert other.run(loaded, ["sh", "-c", "echo loaded"], timeout_s=20).stdout == b"loaded\n"
        archive.seek(0)
        assert other.images.load(archive)[0].id == tools.id
        with pytest.raises(ClocheError):
            other.images.load(io.BytesIO(b"no archive"))


def test_two_snapshotters_run_the_same_image(places: tuple[str, str]) -> None:
    with Engine(*places, snapshotter="native") as engine:
        container = engine.containers.create(
            "tools", Options(args=("sh", "-c", "echo native > /file; rm /bin/cat"))
        )
        container.start()
        assert container.wait() == 0
        changes = {path: kind for kind, path in container.diff()}
        assert changes["/file"] == "A"
        assert any(path.endswith("bin/cat") and kind == "D" for path, kind in changes.items())
        result = engine.run("tools", ["sh", "-c", "echo run; touch /x"], timeout_s=20)
        assert result.stdout == b"run\n"
        container.remove()


def test_namespaces_do_not_see_each_others_images_and_containers(places: tuple[str, str]) -> None:
    with Engine(*places, namespace="elsewhere") as engine:
        with pytest.raises(NotFound):
            engine.images.get("tools")
        assert engine.containers.list(all=True) == []
        assert engine.images.list() == []


def test_making_an_engine_touches_nothing(tmp_path: Path) -> None:
    with Engine(str(tmp_path / "root"), str(tmp_path / "state")):
        pass
    assert os.listdir(tmp_path) == []
    with pytest.raises(InvalidArgument):
        Engine(str(tmp_path), str(tmp_path), namespace="../up")
