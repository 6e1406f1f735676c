from __future__ import annotations

from cloche.engine.kept import Kept
from cloche.engine.options import DeviceOption, MountOption, Options, Ulimit, from_document, to_document
from cloche.spec.image_config import ImageConfig

_FULL = Options(
    args=("sh", "-c", "true"),
    entrypoint=(),
    env=("A=b",),
    labels={"a": "b"},
    memory=64 << 20,
    cpus=1.5,
    ulimits=(Ulimit("nofile", 1, 2),),
    devices=(DeviceOption("/dev/null", "/dev/x"),),
    mounts=(MountOption("tmpfs", "/t", tmpfs_options=("size=1m",)),),
)


def test_settings_survive_being_stored() -> None:
    assert from_document(to_document(_FULL)) == _FULL
    assert to_document(Options()) == {}


def test_settings_of_a_newer_version_are_left_out() -> None:
    assert from_document({"memory": 1, "from_the_future": True}) == Options(memory=1)


def test_what_is_kept_with_a_container_survives_being_stored() -> None:
    config = ImageConfig({"architecture": "amd64", "config": {"Cmd": ["sh"], "Env": ["A=1"]}, "history": []})
    kept = Kept(_FULL, config, "sha256:a", "sha256:b", "sha256:c", {"/v": "name"}, ("name",))
    again = Kept.from_bytes(kept.to_bytes())
    assert again.image_config.cmd == ("sh",)
    assert again.replace(image_config=config) == kept
