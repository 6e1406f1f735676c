"""Debian's dockerd with cloched in containerd's place: the guide's third exercise."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import leftovers, peers
from tests.api.conftest import IMAGE
from tests.daemons import Cloched, Dockerd
from tests.shim.starting import parent
from tests.waiting import wait_until

RUN = ("run", "--network", "none")


@pytest.fixture(scope="module")
def docker(
    running: Cloched, cloche_runc: str, archive: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Dockerd]:
    """A dockerd that has the image."""
    place = tmp_path_factory.mktemp("docker")
    with Dockerd(place, cloche_runc, containerd=running.address) as daemon:
        source, target = f"oci-archive:{archive}", f"docker-daemon:{IMAGE}"
        copy = [peers.peer("skopeo"), "copy", "--quiet", "--insecure-policy"]
        host = ["--dest-daemon-host", daemon.address]
        subprocess.run([*copy, *host, source, target], check=True, capture_output=True)
        yield daemon
    leftovers.remove_parent_cgroup("docker")


@pytest.fixture
def web(docker: Dockerd) -> Iterator[str]:
    """A container that says a word a second."""
    script = "while true; do echo tick; sleep 0.2; done"
    yield docker.ok(*RUN, "--detach", "--name", "web", "--memory", "64m", IMAGE, "sh", "-c", script)
    docker.ok("rm", "--force", "web")


def test_output_input_and_exit_codes_arrive(docker: Dockerd) -> None:
    done = docker.docker(*RUN, "--rm", IMAGE, "sh", "-c", "echo inside; exit 5")
    assert (done.returncode, done.stdout) == (5, "inside\n")
    assert docker.ok(*RUN, "--rm", "--tty", IMAGE, "tty") == "/dev/pts/0"


def test_a_missing_program_is_127(docker: Dockerd) -> None:
    done = docker.docker(*RUN, "--rm", IMAGE, "missing")
    assert done.returncode == 127
    assert "executable file not found in $PATH" in done.stderr


def test_the_shim_is_the_parent_and_pid_1_the_shim_s(docker: Dockerd, web: str) -> None:
    pid = int(docker.ok("inspect", "--format", "{{.State.Pid}}", web))
    shim = parent(pid)
    assert b"containerd-shim" in Path(f"/proc/{shim}/cmdline").read_bytes()
    # PID 1, or the nearest subreaper, which a machine's session manager may be; above the shim that would
    # take this one's place.
    grandparent = parent(parent(shim))
    assert grandparent == 1 or b"cloche" not in Path(f"/proc/{grandparent}/cmdline").read_bytes()


def test_a_container_is_looked_into_stopped_and_restarted(docker: Dockerd, web: str) -> None:
    wait_until(lambda: "tick" in docker.ok("logs", web))
    assert docker.ok("exec", web, "echo", "more") == "more"
    assert "64MiB" in docker.ok("stats", "--no-stream", web)
    assert "sh -c" in docker.ok("top", web)
    docker.ok("pause", web)
    assert docker.ok("inspect", "--format", "{{.State.Status}}", web) == "paused"
    docker.ok("unpause", web)
    docker.ok("restart", "--time", "0", web)
    assert docker.ok("inspect", "--format", "{{.State.Status}}", web) == "running"
    docker.ok("stop", "--time", "0", web)
    assert docker.ok("inspect", "--format", "{{.State.ExitCode}}", web) == "137"


def test_a_runtime_of_docker_s_own_is_executed_by_our_shim(docker: Dockerd) -> None:
    assert docker.ok(*RUN, "--rm", "--runtime", "cloche", IMAGE, "echo", "through the binary")
    assert docker.ok(*RUN, "--rm", "--runtime", "runc", IMAGE, "echo", "built in")


def test_a_container_survives_the_death_of_the_daemon(docker: Dockerd, web: str, running: Cloched) -> None:
    running.kill()
    running.start()
    wait_until(lambda: docker.docker("exec", web, "true").returncode == 0, timeout_s=30)
    assert docker.ok("inspect", "--format", "{{.State.Status}}", web) == "running"
