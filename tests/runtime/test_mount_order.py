"""Mounts are listed in the order of the configuration, whoever makes them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cloche.errors import ClocheError
from cloche.runtime.sealed import sealed_init
from tests.bundles import Bundle
from tests.runtime.containers import Runtime

OWNERS = [{"containerID": 0, "hostID": 100_000, "size": 65536}]


def bind(source: Path | str, destination: str, *options: str) -> dict[str, object]:
    return {"destination": destination, "type": "bind", "source": str(source), "options": ["rbind", *options]}


def tmpfs(destination: str, *options: str) -> dict[str, object]:
    return {"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": list(options)}


def listed(runtime: Runtime, bundle: Bundle, below: str) -> list[str]:
    lines = runtime.output(bundle, "cat /proc/self/mountinfo").splitlines()
    return [line.split()[4] for line in lines if line.split()[4].startswith(below)]


def test_bind_mounts_stand_where_the_configuration_has_them(
    runtime: Runtime, bundle: Bundle, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("content")
    added = [
        bind(tmp_path, "/m/1"),
        tmpfs("/m/2"),
        bind(tmp_path, "/m/3", "ro"),
        bind(file, "/m/4"),
        tmpfs("/m/5", "tmpcopyup"),
        {**bind(tmp_path, "/m/6", "idmap"), "uidMappings": OWNERS, "gidMappings": OWNERS},
        tmpfs("/m/7"),
        bind(tmp_path, "/m/8"),
    ]
    bundle.config["mounts"] += added
    assert listed(runtime, bundle, "/m/") == [mount["destination"] for mount in added]


def test_in_a_user_namespace_too_and_from_below_a_private_directory(
    runtime: Runtime, bundle: Bundle, tmp_path: Path
) -> None:
    private = tmp_path / "private"
    (private / "data").mkdir(parents=True)
    private.chmod(0o700)
    bundle.linux["namespaces"].append({"type": "user"})
    bundle.linux["uidMappings"] = bundle.linux["gidMappings"] = OWNERS
    bundle.config["mounts"] = [mount for mount in bundle.config["mounts"] if mount["type"] != "cgroup"]
    os.chown(bundle.rootfs, 100_000, 100_000)
    bundle.config["mounts"] += [tmpfs("/m/1"), bind(private / "data", "/m/2"), tmpfs("/m/3")]
    assert listed(runtime, bundle, "/m/") == ["/m/1", "/m/2", "/m/3"]


def test_hundreds_of_bind_mounts_are_sent_one_after_another(
    runtime: Runtime, bundle: Bundle, tmp_path: Path
) -> None:
    places = [f"/m/{number:03}" for number in range(300)]
    bundle.config["mounts"] += [bind(tmp_path, place) for place in places]
    assert listed(runtime, bundle, "/m/") == places


def test_a_missing_source_is_told_and_no_descriptor_stays_open(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config["mounts"] += [bind("/", "/m/1"), bind("/no/such/directory", "/m/2")]
    sealed_init()  # stays open, once it is
    before = os.listdir("/proc/self/fd")
    number = len(bundle.config["mounts"]) - 1
    with pytest.raises(ClocheError, match=rf"mounts\[{number}\]: find tree source='/no/such/directory'"):
        runtime.run(bundle, "true")
    assert os.listdir("/proc/self/fd") == before


def test_a_mount_that_cannot_be_attached_ends_the_conversation_about_the_others(
    runtime: Runtime, bundle: Bundle, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    bundle.config["mounts"] += [bind(tmp_path / "file", "/tmp"), *(bind("/", f"/m/{n}") for n in range(500))]
    sealed_init()  # stays open, once it is
    before = os.listdir("/proc/self/fd")
    with pytest.raises(ClocheError, match=r"attach mount target='/tmp'.*both be directories"):
        runtime.run(bundle, "true")
    assert os.listdir("/proc/self/fd") == before
