"""Fixtures that all tests share. What they give is in the modules beside this one."""

from __future__ import annotations

import os
import signal
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from tests import leftovers, peers
from tests.bundles import Bundle, make_rootfs
from tests.daemons import Containerd, Registry

# No deadline: a busy machine is no error. The same examples each time where a change is decided on.
hypothesis.settings.register_profile("cloche", deadline=None, derandomize=peers.in_ci())
hypothesis.settings.load_profile("cloche")

# A shell has what it runs in the background ignore it, and so would every program that a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ[leftovers.SESSION_VARIABLE] = uuid.uuid4().hex[:12]
# A bridge is the machine's: tests/network has namespaces in which it may be made.
os.environ["CLOCHE_NETWORK"] = "none"

# A test that asks for one of these is part of the system's tests.
SYSTEM_FIXTURES = {
    *("bundle", "busybox_rootfs", "cgroup_parent", "containerd", "guest", "peer", "registry", "root"),
}

_first_seen: dict[str, str] = {}
_network = leftovers.network()


def pytest_configure(config: pytest.Config) -> None:
    """Give the session a directory of its own: sessions at the same time clean up each other's else.

    Its name is short, since a socket's path may have no more than 108 bytes.
    """
    place = os.environ["PYTEST_DEBUG_TEMPROOT"] = tempfile.mkdtemp(prefix="t-")
    config.add_cleanup(lambda: leftovers.remove_tree(place))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs root or other programs, so that `make unit` can leave it out."""
    for item in items:
        if SYSTEM_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.system)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Remember after which test a thing was first there, to name it if it stays.

    The machine's network must not change at all: without it nothing after this would work.
    """
    for thing in leftovers.quick():
        _first_seen.setdefault(thing, item.nodeid)
    if missing := _network - leftovers.network():
        _network.difference_update(missing)
        pytest.fail(f"the machine lost {', '.join(sorted(missing))}", pytrace=False)


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fail the session where it leaves a process, mount, cgroup, namespace or file behind.

    On a machine where others are at work too, what they make in the meantime looks the same: so
    outside CI it is a warning, but for processes, which are known to be ours.
    """
    before = leftovers.everything(all_owners=True)
    _first_seen.update(dict.fromkeys(before, "before"))
    yield
    left = leftovers.after_settling(before)
    if not peers.in_ci():
        left = {thing for thing in left if not thing.startswith("namespace")}
    if not left:
        return
    lines = [f"{thing}  [{_first_seen.get(thing, 'unknown test')}]" for thing in sorted(left)]
    report = "left behind:\n" + "\n".join(lines)
    if peers.in_ci() or any(thing.startswith("process") for thing in left):
        pytest.fail(report, pytrace=False)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(report, stacklevel=1)


@pytest.fixture
def peer() -> Callable[[str], str]:
    """peer("runc"): the path of another project's program; skips where it is missing."""
    return peers.peer


@pytest.fixture
def root() -> None:
    """The test needs to be root of the machine."""
    peers.require_root()


@pytest.fixture(scope="session")
def cloche() -> str:
    """The installed `cloche` command."""
    return peers.command("cloche")


@pytest.fixture(scope="session")
def cloche_runc() -> str:
    """The installed `cloche-runc` command."""
    return peers.command("cloche-runc")


@pytest.fixture(scope="session")
def busybox_rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root filesystem of busybox, shared: not to be written to."""
    return make_rootfs(tmp_path_factory.mktemp("busybox"))


@pytest.fixture
def bundle(tmp_path: Path, busybox_rootfs: Path) -> Bundle:
    """A bundle of the test's own around busybox."""
    return Bundle(tmp_path / "bundle", busybox_rootfs)


@pytest.fixture
def cgroup_parent(root: None) -> Iterator[str]:
    """A cgroupsPath prefix of the test's own; what is left below it afterwards is an error."""
    name = f"/cloche-test-{uuid.uuid4().hex[:8]}"
    yield name
    left = [line for line in leftovers.quick() if name in line]
    for line in sorted(left, reverse=True):
        try:
            os.rmdir(line.removeprefix("cgroup "))
        except FileNotFoundError:
            continue  # the same one, at another place where its hierarchy is mounted
    # The parent itself is the test's, and may stay until here.
    assert not [line for line in left if not line.endswith(name)], left


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A real registry on a loopback port, shared by the session."""
    with Registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="session")
def containerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containerd]:
    """Debian's containerd on files of its own, shared by the session."""
    peers.require_root()
    with Containerd(tmp_path_factory.mktemp("containerd")) as running:
        yield running
