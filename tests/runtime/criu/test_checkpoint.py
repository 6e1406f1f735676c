"""Containers written into files and made again from them, by a criu that can read this kernel.

On the host that may be none (see conftest.py); the guest of tests/vm runs all of these too.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cloche.errors import FailedPrecondition
from cloche.kernel.mounts import assemble
from cloche.runtime.container import Container, Process
from cloche.runtime.criu.options import CheckpointOptions, RestoreOptions
from cloche.runtime.criu.restore import restore
from cloche.spec.config import Config
from cloche.spec.mount import Mount
from tests.bundles import Bundle
from tests.runtime.containers import Runtime, pipe
from tests.waiting import wait_until

ECHO = "while read word; do echo pong $word; done; exit 7"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Where a checkpoint goes."""
    return tmp_path / "image"


def read_line(descriptor: int) -> str:
    """The next line of a pipe."""
    text = b""
    while not text.endswith(b"\n"):
        assert select.select([descriptor], [], [], 20)[0], f"nothing after {text!r}"
        part = os.read(descriptor, 1)
        assert part, f"the end after {text!r}"
        text += part
    return text.decode()


def restored(
    runtime: Runtime,
    bundle: Bundle,
    images: Path,
    stdio: tuple[int, int, int] = (0, 1, 2),
    rootfs: int | None = None,
) -> tuple[Container, Process]:
    """A new container made of a checkpoint."""
    bundle.linux["cgroupsPath"] = f"{runtime.cgroup_parent}/restored"
    options = RestoreOptions(str(images))
    config: Config = bundle.config  # type: ignore[assignment]  # what a test wrote
    place = str(bundle.path)
    return restore(
        runtime.root, "restored", config, bundle=place, options=options, stdio=stdio, rootfs=rootfs
    )


@contextmanager
def running(runtime: Runtime, bundle: Bundle, *args: str, rootfs: int | None = None) -> Iterator[Container]:
    """A container that has no streams of the test's: those are files that criu would have to bring along."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    try:
        streams = (nowhere, nowhere, nowhere)
        container, process = runtime.create(bundle.command(*args), stdio=streams, rootfs=rootfs)
    finally:
        os.close(nowhere)
    with process:
        try:
            container.start()
            yield container
        finally:
            container.delete(force=True)
            process.wait()


@contextmanager
def skipped_without(feature: str) -> Iterator[None]:
    """Not every kernel has all that criu can make use of."""
    try:
        yield
    except FailedPrecondition as error:
        if feature in str(error):
            pytest.skip(str(error))
        raise


def end(container: Container, process: Process, status: int = 137) -> None:
    """Kill and remove a container; its process is this one's child."""
    with process:
        container.delete(force=True)
        assert process.wait() == status


def counting(bundle: Bundle) -> Path:
    """Have the container count, in a file, which is the answer."""
    counter = bundle.rootfs / "tmp" / "count"
    bundle.command("sh", "-c", "i=0; while :; do i=$((i+1)); echo $i > /tmp/count; sleep 0.05; done")
    return counter


def count(counter: Path) -> int:
    """How far it has counted; -1 while the file is being written."""
    try:
        return int(counter.read_text() or -1)
    except FileNotFoundError:
        return -1


def test_a_process_goes_on_where_it_was(criu: str, runtime: Runtime, bundle: Bundle, images: Path) -> None:
    counter = counting(bundle)
    with running(runtime, bundle, *bundle.process["args"]) as container:
        wait_until(lambda: count(counter) > 3)
        container.checkpoint(CheckpointOptions(str(images)))
        wait_until(lambda: container.status() == "stopped")
        reached = count(counter)
    again, process = restored(runtime, bundle, images)
    assert again.status() == "running"
    assert again.pid == process.pid
    assert Path(f"/proc/{process.pid}/status").read_text().count(f"PPid:\t{os.getpid()}\n") == 1
    assert again.processes()[0] == process.pid
    wait_until(lambda: count(counter) > reached)
    # Had it begun again, it would be there by now only after as many rounds.
    assert count(counter) <= reached + 3
    end(again, process)
    assert not list(Path(runtime.root).glob("restored*"))


def test_pipes_that_were_standard_streams_are_the_new_callers(
    criu: str, runtime: Runtime, bundle: Bundle, images: Path
) -> None:
    bundle.command("sh", "-c", ECHO)
    with pipe() as (stdin, to), pipe() as (out, stdout):
        container, process = runtime.create(bundle, stdio=(stdin, stdout, stdout))
        container.start()
        os.write(to, b"one\n")
        assert read_line(out) == "pong one\n"
        container.checkpoint(CheckpointOptions(str(images)))
        end(container, process)
    assert all(name.startswith("pipe:[") for name in json.loads((images / "descriptors.json").read_text()))
    with pipe() as (stdin, to), pipe() as (out, stdout):
        container, process = restored(runtime, bundle, images, (stdin, stdout, stdout))
        os.close(stdin)
        os.write(to, b"two\n")
        assert read_line(out) == "pong two\n"
        # What was restored can be checkpointed again, under the names of its new pipes.
        container.checkpoint(CheckpointOptions(str(images), leave_running=True))
        os.close(to)
        with process:
            assert process.wait() == 7
        container.delete()


def test_a_container_that_is_to_go_on_does(criu: str, runtime: Runtime, bundle: Bundle, images: Path) -> None:
    counter = counting(bundle)
    with running(runtime, bundle, *bundle.process["args"]) as container:
        wait_until(lambda: count(counter) > 0)
        reached = count(counter)
        container.pause()
        container.checkpoint(CheckpointOptions(str(images), leave_running=True))
        assert container.status() == "paused"
        container.resume()
        wait_until(lambda: count(counter) > reached + 2)


def test_memory_can_be_written_ahead(criu: str, runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    counter = counting(bundle)
    with running(runtime, bundle, *bundle.process["args"]) as container:
        with skipped_without("mem_track"):
            container.checkpoint(CheckpointOptions(str(tmp_path / "first"), pre_dump=True))
        assert container.status() == "running"
        container.checkpoint(CheckpointOptions(str(tmp_path / "second"), parent_path="../first"))
    with pytest.raises(FailedPrecondition, match=r"holds no checkpoint to restore: .* is missing"):
        restored(runtime, bundle, tmp_path / "first")
    again, process = restored(runtime, bundle, tmp_path / "second")
    reached = count(counter)
    wait_until(lambda: count(counter) > reached)
    end(again, process)


def test_what_is_mounted_from_outside_is_there_again(
    criu: str, runtime: Runtime, bundle: Bundle, images: Path, tmp_path: Path
) -> None:
    """In a fresh copy of the image too, where the places for the mounts have never been made."""
    shared = tmp_path / "shared"
    shared.mkdir()
    (tmp_path / "file").write_text("told\n")
    (bundle.rootfs / "var" / "link").symlink_to("/srv/real")
    (bundle.rootfs / "srv" / "real").mkdir(parents=True)
    binds = [
        {"type": "bind", "source": str(shared), "destination": "/data/deep", "options": ["rbind"]},
        {"type": "bind", "source": "file", "destination": "/data/deep/file", "options": ["bind", "ro"]},
        {
            "type": "bind",
            "source": str(tmp_path / "file"),
            "destination": "/var/link/it",
            "options": ["bind"],
        },
    ]
    (bundle.path / "file").write_text("told\n")
    bundle.config["mounts"] += binds
    with running(runtime, bundle, "sh", "-c", "read x < /data/deep/fifo; cat /var/link/it > /data/deep/out"):
        wait_until(lambda: (shared / "file").exists())
    (shared / "file").unlink()
    subprocess.run(["rm", "-r", bundle.rootfs / "data", bundle.rootfs / "srv/real/it"], check=True)
    script = (
        "while [ ! -e /data/deep/go ]; do sleep 0.05; done; cat /var/link/it /data/deep/file > /data/deep/out"
    )
    with running(runtime, bundle, "sh", "-c", script) as container:
        container.checkpoint(CheckpointOptions(str(images)))
    subprocess.run(["rm", "-r", bundle.rootfs / "data", bundle.rootfs / "srv/real/it"], check=True)
    (shared / "file").unlink()
    again, process = restored(runtime, bundle, images)
    (shared / "go").touch()
    with process:
        assert process.wait() == 0
    again.delete()
    assert (shared / "out").read_text() == "told\ntold\n"
    assert str(bundle.rootfs) not in Path("/proc/self/mountinfo").read_text()


def test_masks_and_limits_hold_after_a_restore(
    criu: str, runtime: Runtime, bundle: Bundle, images: Path
) -> None:
    bundle.linux["resources"]["pids"] = {"limit": 23}
    with running(runtime, bundle, "sleep", "1000") as container:
        container.checkpoint(CheckpointOptions(str(images)))
    again, process = restored(runtime, bundle, images)
    inside = f"/proc/{process.pid}/root"
    assert os.stat(f"{inside}/proc/timer_list").st_rdev == os.makedev(1, 3)
    assert os.statvfs(f"{inside}/proc/sys").f_flag & os.ST_RDONLY
    assert again.cgroup.metrics().pids is not None
    assert again.cgroup.metrics().pids.limit == 23  # type: ignore[union-attr]  # just seen
    assert "Seccomp:\t2" in Path(f"/proc/{process.pid}/status").read_text() or "seccomp" not in bundle.linux
    settings = bundle.process | {"args": ["sh", "-c", "exit 3"]}
    with again.execute(settings) as second:  # type: ignore[arg-type]  # the bundle's own
        assert second.wait() == 3
    end(again, process)


def test_hooks_see_the_restored_process(
    criu: str, runtime: Runtime, bundle: Bundle, images: Path, tmp_path: Path
) -> None:
    with running(runtime, bundle, "sleep", "1000") as container:
        container.checkpoint(CheckpointOptions(str(images)))
    seen = tmp_path / "seen"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"cat > {seen}"]}
    bundle.config["hooks"] = {"createRuntime": [hook]}
    again, process = restored(runtime, bundle, images)
    state = json.loads(seen.read_text())
    assert (state["id"], state["pid"]) == ("restored", process.pid)
    end(again, process)
    hook["args"] = ["sh", "-c", "exit 5"]
    with pytest.raises(FailedPrecondition, match=r"hooks.createRuntime\[0\].*exit status 5"):
        restored(runtime, bundle, images)
    assert os.listdir(runtime.root) in ([], ["@filters"])


def test_a_network_namespace_from_outside_is_kept(
    criu: str, runtime: Runtime, bundle: Bundle, images: Path
) -> None:
    holder = subprocess.Popen(["unshare", "--net", "sleep", "1000"])
    try:
        path = f"/proc/{holder.pid}/ns/net"
        wait_until(lambda: os.readlink(path) != os.readlink("/proc/self/ns/net"))
        for namespace in bundle.linux["namespaces"]:
            if namespace["type"] == "network":
                namespace["path"] = path
        with running(runtime, bundle, "sleep", "1000") as container:
            container.checkpoint(CheckpointOptions(str(images)))
        again, process = restored(runtime, bundle, images)
        assert os.readlink(f"/proc/{process.pid}/ns/net") == os.readlink(path)
        end(again, process)
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with pytest.raises(FailedPrecondition, match="a restore needs the namespace"):
        restored(runtime, bundle, images)


def test_only_what_runs_is_checkpointed(criu: str, runtime: Runtime, bundle: Bundle, images: Path) -> None:
    container, process = runtime.create(bundle.command("sleep", "1000"))
    with pytest.raises(FailedPrecondition, match="cannot be checkpointed in created state"):
        container.checkpoint(CheckpointOptions(str(images)))
    end(container, process)
    assert not images.exists()


def test_a_root_that_is_mounted_nowhere_is_restored_on_another(
    criu: str, runtime: Runtime, bundle: Bundle, images: Path, tmp_path: Path
) -> None:
    """As images have it: their layers are mounted for the container alone."""
    counting(bundle)
    for name in ("upper", "work"):
        (tmp_path / name).mkdir()
    counter = tmp_path / "upper" / "tmp" / "count"
    options = (f"lowerdir={bundle.rootfs}", f"upperdir={tmp_path}/upper", f"workdir={tmp_path}/work")
    root = assemble([Mount("overlay", "overlay", options)])
    try:
        with running(runtime, bundle, *bundle.process["args"], rootfs=root) as container:
            wait_until(lambda: count(counter) > 0)
            container.checkpoint(CheckpointOptions(str(images)))
    finally:
        os.close(root)
    root = assemble([Mount("overlay", "overlay", options)])
    try:
        again, process = restored(runtime, bundle, images, rootfs=root)
    finally:
        os.close(root)
    reached = count(counter)
    wait_until(lambda: count(counter) > reached)
    end(again, process)


def test_an_idmapped_mount_is_not_lost_without_a_word(
    criu: str, runtime: Runtime, bundle: Bundle, images: Path, tmp_path: Path
) -> None:
    mapping = [{"containerID": 0, "hostID": 100000, "size": 10}]
    mapped = {"uidMappings": mapping, "gidMappings": mapping, "options": ["bind", "idmap"]}
    bundle.config["mounts"].append(
        {"type": "bind", "source": str(tmp_path), "destination": "/data", **mapped}
    )
    with (
        running(runtime, bundle, "sleep", "1000") as container,
        pytest.raises(FailedPrecondition, match=r"mounts\[7\]: is idmapped"),
    ):
        container.checkpoint(CheckpointOptions(str(images)))


def test_criu_says_what_it_cannot_write_down_and_the_container_goes_on(
    criu: str, runtime: Runtime, bundle: Bundle, images: Path
) -> None:
    outside, inside = socket.socketpair()
    with outside, inside:
        streams = (inside.fileno(),) * 3
        container, process = runtime.create(bundle.command("sleep", "1000"), stdio=streams)
        container.start()
        with pytest.raises(FailedPrecondition, match=r"criu .* cannot checkpoint .*unix.*dump\.log"):
            container.checkpoint(CheckpointOptions(str(images)))
        assert container.status() == "running"
        end(container, process)


def test_a_restore_that_fails_leaves_nothing(
    criu: str, runtime: Runtime, bundle: Bundle, images: Path
) -> None:
    with running(runtime, bundle, "sleep", "1000") as container:
        container.checkpoint(CheckpointOptions(str(images)))
    next(images.glob("mm-*.img")).unlink()
    descriptors = os.listdir("/proc/self/fd")
    with pytest.raises(
        FailedPrecondition, match=r"criu .* cannot restore container 'restored': .*restore\.log"
    ):
        restored(runtime, bundle, images)
    assert os.listdir(runtime.root) in ([], ["@filters"])
    assert runtime.root not in Path("/proc/self/mountinfo").read_text()
    assert len(os.listdir("/proc/self/fd")) == len(descriptors)


def test_a_user_namespace_comes_back(criu: str, runtime: Runtime, bundle: Bundle, images: Path) -> None:
    bundle.linux["namespaces"].append({"type": "user"})
    mapping = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    bundle.linux["uidMappings"] = bundle.linux["gidMappings"] = mapping
    os.chown(bundle.rootfs, 100000, 100000)
    with running(runtime, bundle, "sleep", "1000") as container:
        container.checkpoint(CheckpointOptions(str(images)))
    again, process = restored(runtime, bundle, images)
    assert os.stat(f"/proc/{process.pid}").st_uid == 100000
    about = images.stat()
    assert (about.st_mode & 0o777, about.st_gid) == (0o700, os.getegid())
    end(again, process)
