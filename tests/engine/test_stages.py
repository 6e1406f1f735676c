"""A writable root is used again only where a run can have left nothing for the next."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloche.engine.engine import Engine
from cloche.engine.images import Image
from cloche.engine.options import MountOption, Options
from cloche.engine.stages import Stage

pytestmark = pytest.mark.system


@pytest.fixture
def stage(tmp_path: Path, root: None) -> Iterator[Stage]:
    lower = tmp_path / "lower"
    lower.mkdir()
    made = Stage(str(tmp_path / "stage"), (str(lower),))
    os.close(made.root())
    yield made
    made.remove()


def _waiting(engine: Engine) -> list[str]:
    return [stage.directory for stage in engine._ephemeral._stages._waiting]  # type: ignore[union-attr]  # it is there, or the test fails


def test_a_run_that_writes_nothing_leaves_its_root_for_the_next(engine: Engine, tools: Image) -> None:
    engine.run(tools, ["true"], timeout_s=20)
    (first,) = _waiting(engine)
    engine.run(tools, ["sh", "-c", "echo x > /tmp-is-not-touched 2>/dev/null"], read_only=True, timeout_s=20)
    assert _waiting(engine) == [first]
    engine.run(tools, ["touch", "/dev/shm/x"], timeout_s=20)
    assert _waiting(engine) == [first]


@pytest.mark.parametrize(
    "script",
    [
        "touch /x",
        "touch /x; rm /x",
        "chmod 700 /; chmod 755 /",
        "rm /bin/cat",
        "touch /etc/mine",
        "mkdir -p /var/deep",
    ],
)
def test_a_run_that_wrote_takes_its_root_with_it(engine: Engine, tools: Image, script: str) -> None:
    engine.run(tools, ["sh", "-c", script], timeout_s=20)
    assert _waiting(engine) == []


def test_rights_beyond_a_containers_make_a_root_unfit(engine: Engine, tools: Image) -> None:
    engine.run(tools, ["true"], options=Options(privileged=True), timeout_s=20)
    engine.run(tools, ["true"], options=Options(userns="private"), timeout_s=20)
    assert _waiting(engine) == []


def test_an_own_volume_makes_a_root_unfit(engine: Engine, tools: Image) -> None:
    engine.run(tools, ["true"], options=Options(mounts=(MountOption("volume", "/etc"),)), timeout_s=20)
    assert _waiting(engine) == []


def test_what_a_run_did_to_its_etc_files_is_undone(engine: Engine, tools: Image) -> None:
    spoil = "for f in hosts hostname resolv.conf; do echo spoilt >> /etc/$f; chmod 600 /etc/$f; done"
    engine.run(tools, ["sh", "-c", spoil], timeout_s=20)
    ask = "cat /etc/hosts /etc/hostname /etc/resolv.conf; stat -c %a /etc/hosts /etc/hostname; hostname"
    *_, hosts_mode, hostname_mode, name = lines = (
        engine.run(tools, ["sh", "-c", ask], timeout_s=20).stdout.decode().split("\n")[:-1]
    )
    assert "spoilt" not in lines
    assert (hosts_mode, hostname_mode) == ("644", "644")
    assert name in lines[:-1]


def test_each_run_has_a_host_name_of_its_own_in_the_file_too(engine: Engine, tools: Image) -> None:
    names = set()
    for hostname in ("", "a-much-longer-name-than-usual", "x", ""):
        options = Options(hostname=hostname)
        out = engine.run(tools, ["sh", "-c", "hostname; cat /etc/hostname"], options=options, timeout_s=20)
        first, second = out.stdout.decode().split()
        assert first == second
        names.add(first)
    assert len(names) == 4


def test_the_upper_directorys_own_facts_count(stage: Stage) -> None:
    upper = f"{stage.directory}/upper"
    assert stage.reusable()
    os.setxattr(upper, "user.left", b"for you")
    os.removexattr(upper, "user.left")
    assert not stage.reusable()


def test_a_file_beside_the_upper_directory_counts(stage: Stage) -> None:
    stage.write({"hosts": "text"})
    assert stage.reusable()
    Path(stage.directory, "volume-0").mkdir()
    assert not stage.reusable()


def test_files_are_as_new_for_each_run(stage: Stage) -> None:
    (path,) = stage.write({"hosts": "some longer text"}).values()
    inode = os.stat(path).st_ino
    stage.write({"hosts": "short"})
    assert (Path(path).read_text(), os.stat(path).st_ino) == ("short", inode)
    os.setxattr(path, "user.left", b"for you")
    os.chmod(path, 0o777)
    stage.write({"hosts": "short"})
    assert Path(path).read_text() == "short"
    assert os.stat(path).st_mode & 0o777 == 0o644
    assert os.listxattr(path) == []
