"""Mounts that the daemon makes for its clients."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloche.cli.ctr.daemon import Daemon
from cloche.errors import AlreadyExists, InvalidArgument, NotFound, Unimplemented
from cloche.wire.messages import leases as lease_messages
from cloche.wire.messages import mounts as messages
from cloche.wire.messages.google import FieldMask
from cloche.wire.messages.leases import LEASES
from cloche.wire.messages.mounts import MOUNTS
from cloche.wire.messages.types import ActivationInfo, Mount
from tests import peers
from tests.daemons import Cloched
from tests.waiting import wait_until


@pytest.fixture
def client(cloched: Cloched) -> Iterator[Daemon]:
    made = Daemon(cloched.address, "default")
    yield made
    made.close()


def activate(client: Daemon, name: str, mounts: list[Mount], *, temporary: bool = False) -> ActivationInfo:
    request = messages.ActivateRequest(name=name, mounts=mounts, temporary=temporary, labels={"tier": "gold"})
    found: ActivationInfo = client.ask(MOUNTS, "Activate", request).info
    return found


def deactivate(client: Daemon, name: str) -> None:
    client.ask(MOUNTS, "Deactivate", messages.DeactivateRequest(name=name))


def bind(source: Path) -> Mount:
    return Mount(type="bind", source=str(source), options=["rbind", "ro"])


def test_what_the_client_can_mount_by_itself_is_left_to_it(client: Daemon, name: str, tmp_path: Path) -> None:
    with pytest.raises(Unimplemented):
        activate(client, name, [bind(tmp_path)])
    with pytest.raises(NotFound):
        client.ask(MOUNTS, "Info", messages.InfoRequest(name=name))


def test_a_temporary_mount_is_made_listed_labelled_and_taken_away(
    client: Daemon, name: str, tmp_path: Path
) -> None:
    (tmp_path / "seen").touch()
    found = activate(client, name, [bind(tmp_path)], temporary=True)
    place = found.active[0].mount_point
    assert os.path.exists(f"{place}/seen")
    assert [(each.type, each.source) for each in found.system] == [("bind", place)]
    with pytest.raises(AlreadyExists):
        activate(client, name, [bind(tmp_path)], temporary=True)
    listed = client.stream(MOUNTS, "List", messages.ListRequest(filters=["labels.tier==gold"]))
    assert [each.info.name for each in listed] == [name]
    changed = messages.UpdateRequest(
        info=ActivationInfo(name=name, labels={"more": "yes"}), update_mask=FieldMask(paths=["labels.more"])
    )
    assert dict(client.ask(MOUNTS, "Update", changed).info.labels) == {"tier": "gold", "more": "yes"}
    assert client.ask(MOUNTS, "Info", messages.InfoRequest(name=name)).info.active[0].mount_point == place
    deactivate(client, name)
    assert not os.path.exists(place)
    assert (tmp_path / "seen").exists()
    with pytest.raises(NotFound):
        deactivate(client, name)


def test_words_before_the_type_say_what_is_done_first(client: Daemon, name: str, tmp_path: Path) -> None:
    lower, other = tmp_path / "lower", tmp_path / "other"
    for each in (lower, other):
        each.mkdir()
        (each / each.name).touch()
    overlay = Mount(type="format/overlay", source="overlay", options=["lowerdir={{ overlay 0 1 }}", "ro"])
    found = activate(client, name, [bind(lower), bind(other), overlay])
    places = [each.mount_point for each in found.active]
    assert [each.type for each in found.system] == ["overlay"]
    assert list(found.system[0].options) == [f"lowerdir={places[0]}:{places[1]}", "ro"]
    deactivate(client, name)
    for options in (["lowerdir={{ mount 7 }}"], ["lowerdir={{ whatever }}"]):
        with pytest.raises(InvalidArgument):
            activate(client, name, [bind(lower), Mount(type="format/overlay", source="o", options=options)])
    assert not list(client.stream(MOUNTS, "List", messages.ListRequest()))


def test_directories_are_made_below_the_daemons_own_alone(client: Daemon, name: str, tmp_path: Path) -> None:
    outside = Mount(type="mkdir/bind", source="/", options=[f"X-containerd.mkdir.path={tmp_path}/made"])
    with pytest.raises(Unimplemented):
        activate(client, name, [outside])
    assert not (tmp_path / "made").exists()


def test_a_file_becomes_a_device(client: Daemon, name: str, tmp_path: Path) -> None:
    if not os.path.exists("/dev/loop-control"):
        peers.unavailable("needs loop devices: modprobe loop")
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(8 << 20)
    subprocess.run([peers.peer("mkfs.ext4"), "-q", image], check=True)
    disk = Mount(type="format/ext4", source="{{ mount 0 }}", options=["ro"])
    found = activate(client, name, [Mount(type="loop", source=str(image)), disk], temporary=True)
    assert os.path.isdir(f"{found.system[0].source}/lost+found")
    device = os.readlink(found.active[0].mount_point)
    deactivate(client, name)

    def backing() -> bool:
        return os.path.exists(f"/sys/block/{os.path.basename(device)}/loop/backing_file")

    wait_until(lambda: not backing())


def test_a_mount_ends_with_its_lease(client: Daemon, name: str, tmp_path: Path) -> None:
    client.ask(LEASES, "Create", lease_messages.CreateRequest(id=name))
    client.lease = name
    place = activate(client, name, [bind(tmp_path)], temporary=True).active[0].mount_point
    assert os.path.exists(place)
    client.ask(LEASES, "Delete", lease_messages.DeleteRequest(id=name))
    wait_until(lambda: not os.path.exists(place))
