"""Idmapped mounts: what a container sees of the owners of files, and what it leaves on the disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from cloche.errors import ClocheError, InvalidArgument
from cloche.runtime import idmap
from tests.bundles import Bundle
from tests.runtime.containers import Runtime, pipe, read_all

SHIFT = 100_000
MAP = [{"containerID": 0, "hostID": SHIFT, "size": 65536}]


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A folder of the host with a file of root's and one of user 1000's, and a mount below it."""
    directory = tmp_path / "shared"
    (directory / "below").mkdir(parents=True)
    (directory / "roots").write_text("x")
    (directory / "alices").write_text("x")
    os.chown(directory / "alices", 1000, 1000)
    return directory


def bind(source: Path, *options: str, **more: Any) -> dict[str, Any]:
    return {"destination": "/data", "type": "bind", "source": str(source), "options": list(options), **more}


def in_user_namespace(bundle: Bundle) -> None:
    bundle.linux["namespaces"].append({"type": "user"})
    bundle.linux["uidMappings"] = bundle.linux["gidMappings"] = MAP
    os.chown(bundle.rootfs, SHIFT, SHIFT)


OWNERS = "stat -c %u:%g /data/roots /data/alices"


def test_files_appear_with_the_owners_of_the_mounts_own_mappings(
    runtime: Runtime, bundle: Bundle, shared: Path
) -> None:
    bundle.config["mounts"].append(bind(shared, "rbind", "idmap", uidMappings=MAP, gidMappings=MAP))
    assert runtime.output(bundle, OWNERS).split() == [f"{SHIFT}:{SHIFT}", f"{SHIFT + 1000}:{SHIFT + 1000}"]


def test_mappings_count_without_the_word_idmap(runtime: Runtime, bundle: Bundle, shared: Path) -> None:
    bundle.config["mounts"].append(bind(shared, "bind", uidMappings=MAP, gidMappings=MAP))
    assert runtime.output(bundle, OWNERS).split()[0] == f"{SHIFT}:{SHIFT}"


def test_without_mappings_those_of_the_containers_user_namespace_hold(
    runtime: Runtime, bundle: Bundle, shared: Path
) -> None:
    in_user_namespace(bundle)
    bundle.config["mounts"].append(bind(shared, "bind", "idmap"))
    text = runtime.output(bundle, f"{OWNERS}; touch /data/new")
    assert text.split() == ["0:0", "1000:1000"]
    assert (shared / "new").stat().st_uid == 0


def test_a_command_can_be_executed_in_a_container_with_a_user_namespace(
    runtime: Runtime, bundle: Bundle, shared: Path
) -> None:
    in_user_namespace(bundle)
    bundle.config["mounts"].append(bind(shared, "bind", "idmap"))
    with runtime.running(bundle) as container, pipe() as (reader, writer):
        process = {**bundle.process, "args": ["sh", "-c", OWNERS]}
        with container.execute(process, stdio=(0, writer, writer)) as started:  # type: ignore[arg-type]  # as in config.json
            os.close(writer)
            assert read_all(reader).split() == ["0:0", "1000:1000"]
            assert started.wait() == 0


def test_a_joined_user_namespace_gives_its_own_mapping(
    runtime: Runtime, bundle: Bundle, shared: Path
) -> None:
    namespace = idmap.user_namespace(((0, SHIFT, 1000),), ((0, SHIFT, 1000),))
    try:
        in_user_namespace(bundle)
        del bundle.linux["uidMappings"], bundle.linux["gidMappings"]
        bundle.linux["namespaces"][-1]["path"] = f"/proc/{os.getpid()}/fd/{namespace}"
        bundle.config["mounts"].append(bind(shared, "bind", "idmap"))
        assert runtime.output(bundle, OWNERS).split()[0] == "0:0"
    finally:
        os.close(namespace)


@pytest.mark.parametrize(("word", "owner"), [("idmap", "0"), ("ridmap", str(SHIFT))])
def test_ridmap_reaches_the_mounts_below_and_idmap_does_not(
    runtime: Runtime, bundle: Bundle, shared: Path, tmp_path: Path, word: str, owner: str
) -> None:
    from cloche.kernel.mounts import temporary_mount
    from cloche.kernel.syscalls import AT_FDCWD, OPEN_TREE_CLONE, open_tree

    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("x")
    tree = open_tree(AT_FDCWD, str(tmp_path / "other"), OPEN_TREE_CLONE)
    try:
        with temporary_mount(tree, str(shared)) as place:
            name = Path(place).name
            bundle.config["mounts"].append(bind(shared, "rbind", word, uidMappings=MAP, gidMappings=MAP))
            text = runtime.output(bundle, f"stat -c %u /data /data/{name}/file")
            assert text.split() == [str(SHIFT), owner]
    finally:
        os.close(tree)


def test_a_file_system_that_cannot_be_idmapped_is_named(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config["mounts"].append(bind(Path("/proc/sys"), "bind", "idmap", uidMappings=MAP, gidMappings=MAP))
    index = len(bundle.config["mounts"]) - 1
    with pytest.raises(ClocheError, match=rf"mounts\[{index}\]: cannot be idmapped: .*'/proc/sys'"):
        runtime.output(bundle, "true")


@pytest.mark.parametrize(
    "mount",
    [
        bind(Path("/tmp"), "bind", "idmap"),
        bind(Path("/tmp"), "bind", uidMappings=MAP),
        {"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["idmap"]},
        bind(Path("/tmp"), "bind", "idmap", uidMappings=MAP * 2, gidMappings=MAP),
    ],
)
def test_what_has_no_meaning_is_refused_with_the_place(
    runtime: Runtime, bundle: Bundle, mount: dict[str, Any]
) -> None:
    bundle.config["mounts"].append(mount)
    with pytest.raises(InvalidArgument):
        runtime.output(bundle, "true")
