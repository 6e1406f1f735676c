"""Mount propagation between host and container, both ways."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bundles import Bundle
from tests.runtime.containers import Runtime


@pytest.fixture
def shared(tmp_path: Path, root: None) -> Iterator[Path]:
    """A directory of the host on a mount that is shared."""
    place = tmp_path / "shared"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    subprocess.run(["mount", "--make-shared", place], check=True)
    (place / "sub").mkdir()
    yield place
    subprocess.run(["umount", "-R", place], check=True)


def may_mount(bundle: Bundle) -> None:
    for kind in ("bounding", "effective", "permitted"):
        bundle.process["capabilities"][kind].append("CAP_SYS_ADMIN")


@pytest.mark.parametrize(
    ("of_root", "option", "reaches"),
    [
        ("shared", "rshared", True),
        ("rshared", "rshared", True),
        ("", "rshared", False),
        ("", "rslave", False),
    ],
)
def test_a_mount_made_inside_reaches_the_host_only_where_both_say_so(
    runtime: Runtime, bundle: Bundle, shared: Path, *, of_root: str, option: str, reaches: bool
) -> None:
    may_mount(bundle)
    if of_root:
        bundle.linux["rootfsPropagation"] = of_root
    mount = {"destination": "/shared", "source": str(shared), "options": ["rbind", option]}
    bundle.config["mounts"].append(mount)
    runtime.output(bundle, "mount -t tmpfs none /shared/sub && touch /shared/sub/made-inside")
    assert os.listdir(shared / "sub") == (["made-inside"] if reaches else [])


def test_a_mount_made_on_the_host_comes_in_by_a_slave(runtime: Runtime, bundle: Bundle, shared: Path) -> None:
    mount = {"destination": "/shared", "source": str(shared), "options": ["rbind", "rslave"]}
    bundle.config["mounts"].append(mount)
    with runtime.running(bundle) as container:
        subprocess.run(["mount", "-t", "tmpfs", "none", shared / "sub"], check=True)
        (shared / "sub" / "made-outside").touch()
        assert os.listdir(f"/proc/{container.pid}/root/shared/sub") == ["made-outside"]


@pytest.mark.parametrize(
    "kind", ["private", "slave", "shared", "unbindable", "rprivate", "rslave", "rshared"]
)
def test_the_root_is_what_the_configuration_says(runtime: Runtime, bundle: Bundle, kind: str) -> None:
    bundle.linux["rootfsPropagation"] = kind
    line = runtime.output(bundle, "grep ' / / \\| / ro\\| / rw' /proc/self/mountinfo | head -1")
    assert ("shared:" in line) == kind.endswith("shared")
    assert ("unbindable" in line) == (kind == "unbindable")
