"""`start` and `delete` of the installed command, with and without a warm parent."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cloche.shim.bootstrap import encode_answer
from cloche.wire.messages.bootstrap import BootstrapParams, BootstrapResult, Extension, RuntimeInfo
from cloche.wire.messages.google import Any
from cloche.wire.messages.runc_options import Options
from tests.shim.starting import ADDRESS, NAME, Shims, alive, environment_at_birth, parent
from tests.waiting import wait_until

SOURCE = str(Path(__file__).parents[2] / "src")


@pytest.fixture
def shims(root: None, tmp_path: Path) -> Iterator[Shims]:
    """Shims of a state folder of the test's own."""
    with Shims(tmp_path) as starter:
        yield starter


def test_the_first_start_founds_a_warm_parent_and_the_next_are_forked_from_it(shims: Shims) -> None:
    _, address = shims.start("one", MARK="first")
    assert address == (shims.directory / "one" / "address").read_text()
    (warm,) = shims.warm_parents()
    _, other = shims.start("two", MARK="second")
    assert address != other
    assert shims.warm_parents() == [warm]
    # A fork shows the environment that its forebear was executed with.
    marks = {environment_at_birth(shims.worker(shim_id))["MARK"] for shim_id in ("one", "two")}
    assert marks == {"first"}
    assert parent(shims.worker("one")) == parent(shims.worker("two")) == parent(warm)


def test_ps_shows_which_shim_is_whose(shims: Shims) -> None:
    shims.start("one")
    pid, _ = shims.start("two")
    facts = ["-namespace", "test", "-id", "two", "-address", ADDRESS]
    line = Path(f"/proc/{pid}/cmdline")
    assert line.read_bytes().rstrip(b"\0").decode().split("\0") == [shims.program, *facts, "hold"]
    worker = shims.worker("two")
    line = Path(f"/proc/{worker}/cmdline")
    assert line.read_bytes().rstrip(b"\0").decode().split("\0") == [NAME, *facts]
    assert {Path(f"/proc/{each}/comm").read_text() for each in (pid, worker)} == {"containerd-shim\n"}


IN_SUBREAPER = """
import os, subprocess, sys
sys.path.insert(0, sys.argv[1])
from tests.shim.subreaper import become_subreaper
become_subreaper()
subprocess.run(sys.argv[2:], check=True, stdin=subprocess.DEVNULL)
print("\\n", os.getpid(), flush=True)
input()
"""


def test_the_parent_of_a_shim_is_the_nearest_subreaper(shims: Shims) -> None:
    bundle = shims.bundle("one")
    words = [sys.executable, "-c", IN_SUBREAPER, str(Path(SOURCE).parent), *shims.words("one", "start")]
    environment = shims.environment(PYTHONPATH=SOURCE)
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=bundle, env=environment
    ) as subreaper:
        assert subreaper.stdout
        assert subreaper.stdout.readline().startswith(b"unix:///")
        pid = shims.pid("one")
        assert parent(pid) == subreaper.pid
        subreaper.communicate(b"\n")


def test_a_shim_has_what_a_child_of_its_caller_would_have(shims: Shims) -> None:
    shims.start("one")
    bundle = shims.bundle("two")
    script = (
        "umask 027; ulimit -n 345; echo 55 > /proc/self/oom_score_adj; "
        f'exec taskset -c 0 nice -n 4 {shims.program} "$@"'
    )
    before = ("sh", "-c", script, "sh")
    words = shims.words("two", "start")[1:]
    done = subprocess.run(
        [*before, *words],
        cwd=bundle,
        env=shims.environment(WHOSE="two"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    )
    assert done.stdout
    pid = shims.pid("two")
    status = Path(f"/proc/{pid}/status").read_text()
    assert "Umask:\t0027" in status
    assert "Cpus_allowed_list:\t0\n" in status
    assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == (345, 345)
    assert os.getpriority(os.PRIO_PROCESS, pid) == 4
    # One more than its caller's: it is the shim that shall go first.
    assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "56\n"
    assert os.readlink(f"/proc/{pid}/cwd") == str(bundle)
    assert os.getsid(pid) == pid


def test_a_shim_holds_nothing_but_its_own(shims: Shims) -> None:
    shims.start("one")
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    subprocess.run(
        shims.words("two", "start"),
        cwd=shims.bundle("two"),
        env=shims.environment(),
        stdin=subprocess.DEVNULL,
        stdout=writing,
        stderr=writing,
        close_fds=False,
        check=True,
    )
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        # containerd reads both together, until nobody has the pipe open.
        address = pipe.read()
    assert address.decode() == (shims.directory / "two" / "address").read_text()
    pid = shims.pid("two")
    for each in (pid, *shims.warm_parents()):
        held = {name: os.readlink(f"/proc/{each}/fd/{name}") for name in os.listdir(f"/proc/{each}/fd")}
        assert {held[name] for name in "012"} == {"/dev/null"}
        assert not [target for target in held.values() if target.startswith(str(shims.directory / "one"))]


def test_what_a_shim_has_to_say_goes_into_containerds_fifo(shims: Shims) -> None:
    for shim_id in ("one", "two"):
        log = shims.bundle(shim_id) / "log"
        os.mkfifo(log)
        pid, _ = shims.start(shim_id)
        assert os.readlink(f"/proc/{pid}/fd/2") == str(log)
        assert os.readlink(f"/proc/{pid}/fd/1") == "/dev/null"


def test_another_mount_namespace_has_a_warm_parent_of_its_own(shims: Shims) -> None:
    shims.start("one", MARK="first")
    shims.start("two", before=("unshare", "--mount"), MARK="second")
    assert environment_at_birth(shims.worker("two"))["MARK"] == "second"
    assert len(shims.warm_parents()) == 2


@pytest.mark.parametrize(
    "before",
    [
        ("unshare", "--uts"),
        ("unshare", "--ipc"),
        ("setpriv", "--bounding-set", "-sys_boot"),
        ("setpriv", "--no-new-privs"),
    ],
)
def test_what_cannot_be_taken_over_makes_start_the_shim_itself(shims: Shims, before: tuple[str, ...]) -> None:
    shims.start("one", MARK="first")
    shims.start("two", before=before, MARK="second")
    assert environment_at_birth(shims.worker("two"))["MARK"] == "second"
    assert len(shims.warm_parents()) == 1


@pytest.mark.parametrize("place", ["/proc/nowhere", "others", "file"])
def test_without_a_folder_for_warm_parents_start_becomes_the_shim_itself(shims: Shims, place: str) -> None:
    """Whoever can write into that folder would get what `start` is told."""
    if place == "others":
        (shims.state / "warm").mkdir(parents=True)
        (shims.state / "warm").chmod(0o777)
    elif place == "file":
        shims.state.touch()
    else:
        shims.state = Path(place)
    pid, _ = shims.start("one")
    assert alive(pid)
    assert not shims.warm_parents()


def test_many_first_starts_at_once_found_one_warm_parent(shims: Shims) -> None:
    ids = [f"c{number}" for number in range(24)]
    with ThreadPoolExecutor(len(ids)) as pool:
        addresses = {address for _, address in pool.map(shims.start, ids)}
    assert len(addresses) == len(ids)
    assert len(shims.warm_parents()) == 1


def test_containers_of_a_group_share_a_shim(shims: Shims) -> None:
    for shim_id in ("pod", "side"):
        shims.bundle(shim_id, io_kubernetes_cri_sandbox__id="pod")
    _, address = shims.start("pod")
    assert shims.run("side").stdout.decode() == address
    assert (shims.directory / "side" / "address").read_text() == address
    assert not (shims.directory / "side" / "shim.pid").exists()
    # Another handler of the same pod: its program is not to be run by a shim that runs runc.
    shims.bundle("odd", io_kubernetes_cri_sandbox__id="pod")
    options = Any.pack(Options(binary_name="/usr/bin/crun")).encode()
    assert shims.start("odd", data=options)[1] != address
    # runc's own label goes first.
    shims.bundle("label", io_containerd_runc_v2_group="pod", io_kubernetes_cri_sandbox__id="other")
    assert shims.run("label").stdout.decode() == address


def test_both_protocols_are_answered_in_their_own_way(shims: Shims) -> None:
    shims.start("one")
    json_answer = json.loads(shims.start("two", MAX_SHIM_VERSION="2")[1])
    assert (json_answer["version"], json_answer["protocol"]) == (2, "ttrpc")
    socket_dir = Path(tempfile.mkdtemp(prefix="s-"))  # a socket's path has to be short
    params = BootstrapParams(
        instance_id="three",
        namespace="test",
        containerd_grpc_address=ADDRESS,
        socket_dir=str(socket_dir),
        extensions=[Extension(value=Any.pack(Options()))],
    )
    shims.bundle("three")
    result = BootstrapResult.decode(
        shims.start("three", data=params.encode(), MAX_SHIM_VERSION="2")[1].encode()
    )
    assert result.version == 3
    assert Path(result.address.removeprefix("unix://")).parent == socket_dir
    assert encode_answer("message", result.address) == result.encode()
    shims.kill(shims.pid("three"))
    shutil.rmtree(socket_dir)


@pytest.mark.parametrize("warm", [True, False])
def test_a_refused_start_says_why_and_leaves_nothing(shims: Shims, warm: bool) -> None:
    if warm:
        shims.start("one")
    (shims.bundle("two") / "config.json").write_text('{"annotations": {"io.kubernetes.cri.sandbox-id"')
    done = shims.run("two")
    assert done.returncode == 1
    assert done.stdout == b""
    assert done.stderr.startswith(f"{NAME}: config.json: not JSON".encode())
    assert sorted(path.name for path in (shims.directory / "two").iterdir()) == ["config.json"]


def test_a_shim_that_nobody_waits_for_any_more_ends(shims: Shims) -> None:
    shims.start("one")
    bundle = shims.bundle("two")
    reading, writing = os.pipe()
    start = subprocess.Popen(shims.words("two", "start"), cwd=bundle, env=shims.environment(), stdin=reading)
    os.close(reading)
    # It reads its input to the end, which does not come yet.
    link = f"pipe:[{os.fstat(writing).st_ino}]"
    wait_until(lambda: [pid for pid in holders(link) if pid not in (os.getpid(), start.pid)])
    start.kill()
    start.wait()
    os.close(writing)
    wait_until(
        lambda: not [pid for pid in of_state(shims) if pid not in (*shims.started, *shims.warm_parents())]
    )
    address = (bundle / "address").read_text() if (bundle / "address").exists() else ""
    assert not address or not Path(address.removeprefix("unix://")).exists()


def holders(link: str) -> list[int]:
    """Who has a pipe open."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            names = os.listdir(f"/proc/{entry}/fd")
            if any(os.readlink(f"/proc/{entry}/fd/{name}") == link for name in names):
                found.append(int(entry))
        except OSError:
            continue
    return found


def of_state(shims: Shims) -> list[int]:
    """The processes that were executed with this state folder."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            if environment_at_birth(int(entry)).get("CLOCHE_STATE") == str(shims.state) and alive(int(entry)):
                found.append(int(entry))
        except OSError:
            continue
    return found


def test_a_killed_warm_parent_is_replaced_and_its_shims_go_on(shims: Shims) -> None:
    first, _ = shims.start("one")
    second, _ = shims.start("two")
    shims.kill(*shims.warm_parents())
    third, _ = shims.start("three")
    assert all(alive(pid) for pid in (first, second, third))
    assert len(shims.warm_parents()) == 1
    shims.kill(first, *shims.warm_parents())
    fourth, _ = shims.start("one")
    assert alive(fourth)


def test_scheduling_cookies_are_made_or_their_lack_is_said(shims: Shims) -> None:
    shims.bundle("one")
    done = shims.run("one", SCHED_CORE="1")
    if done.returncode:
        assert b"SCHED_CORE is set, and the kernel says" in done.stderr
        assert not list((shims.directory / "one").glob("shim.pid"))
    else:
        shims.pid("one")


def cgroup_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return {controllers: path for _, controllers, path in (line.split(":", 2) for line in lines)}


@pytest.fixture
def memory_cgroup(cgroup_parent: str) -> Iterator[Path]:
    """A cgroup of the memory controller, or of the unified hierarchy."""
    place = Path("/sys/fs/cgroup/memory")
    place = place if place.exists() else Path("/sys/fs/cgroup")
    directory = Path(f"{place}{cgroup_parent}")
    directory.mkdir()
    yield directory
    wait_until(lambda: not (directory / "cgroup.procs").read_text())
    directory.rmdir()


def test_a_shim_is_in_the_cgroup_of_its_caller(shims: Shims, memory_cgroup: Path) -> None:
    warm_up, _ = shims.start("one")
    entered = ("sh", "-c", f'echo $$ > {memory_cgroup}/cgroup.procs; exec "$@"', "sh")
    pid, _ = shims.start("two", before=entered)
    assert f"/{memory_cgroup.name}" in cgroup_of(pid).values()
    assert f"/{memory_cgroup.name}" not in cgroup_of(warm_up).values()
    shims.kill(pid)


def test_the_shims_cgroup_is_entered_where_the_options_name_one(shims: Shims, memory_cgroup: Path) -> None:
    for shim_id in ("one", "two"):
        shims.bundle(shim_id)
        options = Any.pack(Options(shim_cgroup=f"/{memory_cgroup.name}")).encode()
        pid, _ = shims.start(shim_id, data=options)
        assert f"/{memory_cgroup.name}" in cgroup_of(pid).values()
        shims.kill(pid)
    options = Any.pack(Options(shim_cgroup="/cloche-no-such-cgroup")).encode()
    shims.bundle("three")
    done = shims.run("three", data=options)
    assert done.returncode == 1
    assert b"/cloche-no-such-cgroup" in done.stderr
    shims.kill(*shims.warm_parents())


@pytest.mark.parametrize("warm", [True, False])
def test_delete_after_nothing_says_killed_and_can_be_repeated(shims: Shims, warm: bool) -> None:
    if warm:
        shims.start("one")
    bundle = shims.bundle("two")
    (bundle / "init.pid").write_text("4194000")
    for _ in range(2):
        response = shims.delete("two")
        assert (response.pid, response.exit_status) == (4194000, 137)
        assert response.exited_at is not None
        assert response.exited_at.ns() > 1_700_000_000 * 10**9


def test_delete_without_an_id_is_refused(shims: Shims) -> None:
    bundle = shims.bundle("one")
    done = subprocess.run(
        [shims.program, "-namespace", "x", "delete"], cwd=bundle, capture_output=True, check=False
    )
    assert done.returncode == 1
    assert b"no id of a task" in done.stderr


def test_information_is_about_the_runtime_that_the_options_name() -> None:
    from tests.peers import command

    done = subprocess.run([command(NAME), "-info"], input=b"", capture_output=True, check=True)
    info = RuntimeInfo.decode(done.stdout)
    assert info.name == "io.containerd.cloche.v1"
    assert info.features is not None
    assert json.loads(info.features.value)["ociVersionMin"] == "1.0.0"
    missing = Any.pack(Options(binary_name="/no/such/runtime")).encode()
    done = subprocess.run([command(NAME), "-info"], input=missing, capture_output=True, check=False)
    assert done.returncode == 1
    assert b"options.binary_name" in done.stderr


def test_the_version_is_for_people() -> None:
    from tests.peers import command

    done = subprocess.run([command(NAME), "-v"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{NAME}:\n  Version:")


def test_what_is_neither_start_nor_delete_is_refused() -> None:
    from tests.peers import command

    done = subprocess.run([command(NAME), "stop"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        1,
        f"{NAME}: what to do? say start or delete, not 'stop': containerd does\n",
    )


BRIEF = """
import sys
sys.path.insert(0, sys.argv[1])
from cloche.shim.place import Place
from cloche.shim.warm import WarmParent
place = Place(sys.argv[2])
listener = place.found()
print("ready", flush=True)
WarmParent(listener, place.directory, place.name, idle_s=0.2).run()
"""


def test_a_warm_parent_without_descriptors_left_sends_callers_away_at_once(shims: Shims) -> None:
    fill = "import os, resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (80, 80))\n"
    fill += "while os.open('/dev/null', 0) < 50: pass\n"
    words = [sys.executable, "-c", fill + BRIEF, SOURCE, shims.program]
    with subprocess.Popen(words, env=shims.environment(MARK="warm"), stdout=subprocess.PIPE) as warm:
        assert warm.stdout
        warm.stdout.readline()
        marks = []
        for number in range(24):
            # With the same limits: to raise them again would need a capability of its own.
            limited = ("sh", "-c", 'ulimit -n 80; exec "$@"', "sh")
            shims.start(f"c{number}", before=limited, MARK="own")
            marks.append(environment_at_birth(shims.worker(f"c{number}"))["MARK"])
        assert set(marks) == {"warm", "own"}
        assert warm.poll() is None
        shims.kill(*shims.started)
        assert warm.wait(10) == 0


def test_a_warm_parent_leaves_some_time_after_its_last_shim(shims: Shims) -> None:
    words = [sys.executable, "-c", BRIEF, SOURCE, shims.program]
    with subprocess.Popen(words, env=shims.environment(), stdout=subprocess.PIPE) as warm:
        assert warm.stdout
        warm.stdout.readline()
        pid, _ = shims.start("one")
        assert environment_at_birth(pid)["CLOCHE_STATE"] == str(shims.state)
        with pytest.raises(subprocess.TimeoutExpired):
            warm.wait(0.6)
        os.kill(pid, signal.SIGKILL)
        assert warm.wait(10) == 0
    assert not list((shims.state / "warm").iterdir())


def test_a_warm_parent_answers_nobody_else(shims: Shims) -> None:
    """Its folder and its socket keep others away; it looks at who comes all the same."""
    shims.start("one")
    (socket_path,) = (shims.state / "warm").iterdir()
    assert (socket_path.stat().st_mode & 0o777, socket_path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    for path in (*shims.state.parents, shims.state, socket_path.parent):
        if str(path).startswith("/tmp/"):
            path.chmod(0o755)
    socket_path.chmod(0o666)
    ask = (
        "import os, socket, sys\n"
        "os.setgroups([]); os.setresgid(*[65534] * 3); os.setresuid(*[65534] * 3)\n"
        "s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
        "s.connect(sys.argv[1])\n"
        "try:\n"
        "    socket.send_fds(s, [b'1'], [os.open('/proc/self', os.O_PATH), 0])\n"
        "    print(s.recv(100))\n"
        "except ConnectionError: print(b'')\n"
    )
    words = [sys.executable, "-c", ask, socket_path.name]
    place = socket_path.parent
    done = subprocess.run(
        words, cwd=place, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    assert (done.stdout, done.stderr) == ("b''\n", "")
