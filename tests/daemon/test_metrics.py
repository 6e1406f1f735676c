"""What Prometheus is told, beside what containerd tells it."""

from __future__ import annotations

import re
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.wire.prometheus import Family, Sample, encode
from tests import leftovers, peers
from tests.bundles import make_rootfs
from tests.daemons import WITHOUT_NRI, Cloched, Containerd, Ctrd, free_port
from tests.layouts import Layout, tar_directory

IMAGE = "test.example/busybox:latest"
SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\[n"\\])*",?)*)\})? (\S+)')


@given(st.text(), st.text(), st.floats(allow_nan=False, allow_infinity=False))
def test_whatever_a_label_says_the_text_stays_what_it_is(label: str, words: str, value: float) -> None:
    text = encode([Family("a_total", "counter", words, (Sample(value, {"name": label}),))]).decode()
    described, kind, sample = text.split("\n")[:3]
    assert text.count("\n") == 3
    assert described.startswith("# HELP a_total ")
    assert kind == "# TYPE a_total counter"
    found = SAMPLE.fullmatch(sample)
    assert found
    assert float(found[3]) == value


def test_families_of_one_name_are_one_and_empty_ones_none() -> None:
    one, two = Sample(1, {"a": "1"}), Sample(2.5, {"a": "2"})
    text = encode(
        [Family("x", "gauge", "", (one,)), Family("none", "gauge", "", ()), Family("x", "gauge", "", (two,))]
    )
    assert text == b'# HELP x \n# TYPE x gauge\nx{a="1"} 1\nx{a="2"} 2.5\n'


class Measured(Cloched):
    """cloched that can be asked."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        super().__init__(directory)

    def command(self) -> list[str]:
        config = self.directory / "config.toml"
        config.write_text(
            f'version = 2\n[metrics]\naddress = "127.0.0.1:{self.port}"\ngrpc_histogram = true\n{WITHOUT_NRI}'
        )
        return [*super().command(), "--config", str(config)]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("image")
    layout = Layout(place / "layout")
    layout.image(IMAGE, [tar_directory(make_rootfs(place / "root"))])
    return layout.archive(place / "image.tar")


@pytest.fixture(scope="module")
def cloched() -> Iterator[Measured]:
    peers.require_root()
    directory = tempfile.mkdtemp(prefix="d-")
    with Measured(Path(directory)) as running:
        yield running
    leftovers.remove_tree(directory)


def asked(port: int, path: str = "/v1/metrics") -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
        return str(answer.read().decode())


def kinds(text: str) -> dict[str, str]:
    return dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))


def of_containers(daemon: Ctrd, image: Path, port: int) -> str:
    """What it says while a container runs."""
    daemon.ok("images", "import", str(image))
    daemon.ok("run", "--detach", IMAGE, "metered", "sleep", "1000")
    try:
        return asked(port)
    finally:
        daemon.ok("tasks", "kill", "--signal", "KILL", "metered")
        daemon.ok("tasks", "rm", "--force", "metered")
        daemon.ok("containers", "rm", "metered")


def test_it_is_told_all_that_containerd_tells(
    cloched: Measured, image: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = of_containers(cloched, image, cloched.port)
    port = free_port()
    with Containerd(tmp_path_factory.mktemp("containerd"), metrics=f"127.0.0.1:{port}") as containerd:
        theirs = kinds(of_containers(containerd, image, port))
    wanted = {
        name: kind
        for name, kind in theirs.items()
        if name.startswith(("container_", "grpc_server_", "process_", "containerd_build"))
        and "kerneltcp" not in name  # kernels of today count no such thing
        and name not in ("process_virtual_memory_max_bytes", "process_network_receive_bytes_total")
        and name != "process_network_transmit_bytes_total"
    }
    assert len(wanted) > 15
    assert wanted.items() <= kinds(text).items()
    labels = re.search(r"^container_pids_current\{(.*)\} 1$", text, re.MULTILINE)
    assert labels
    assert 'container_id="metered",namespace="default",runtime="io.containerd.runc.v2"' in labels[1]


def test_calls_are_counted_by_how_they_end(cloched: Measured) -> None:
    cloched.run("containers", "info", "nobody")
    cloched.ok("leases", "ls")
    leases = labels_of("leases.v1.Leases", "List")
    missing = labels_of("containers.v1.Containers", "Get")
    lines = asked(cloched.port).splitlines()
    for line in (
        f"grpc_server_started_total{{{leases}}} 1",
        f"grpc_server_msg_received_total{{{leases}}} 1",
        f"grpc_server_msg_sent_total{{{leases}}} 1",
        f"grpc_server_handling_seconds_count{{{leases}}} 1",
        f'grpc_server_handled_total{{{missing},grpc_code="NotFound"}} 1',
        'containerd_gc_collections_total{status="fail"} 0',
    ):
        assert line in lines


def labels_of(service: str, method: str) -> str:
    return f'grpc_type="unary",grpc_service="containerd.services.{service}",grpc_method="{method}"'


def test_nothing_else_is_found_there(cloched: Measured) -> None:
    for path in ("/", "/v1/metricsx", "/debug/pprof"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            asked(cloched.port, path)
    request = urllib.request.Request(f"http://127.0.0.1:{cloched.port}/v1/metrics", b"x")
    with pytest.raises(urllib.error.HTTPError, match="405"):
        urllib.request.urlopen(request, timeout=20)


def test_calls_of_cri_have_containerds_names_too(cloched: Measured) -> None:
    with grpc.insecure_channel(f"unix:{cloched.address}") as channel:
        channel.unary_unary("/runtime.v1.RuntimeService/ListContainers")(b"", timeout=20)
        with pytest.raises(grpc.RpcError):
            channel.unary_unary("/runtime.v1.ImageService/PullImage")(b"", timeout=20)
    lines = asked(cloched.port).splitlines()
    assert "containerd_cri_container_list_seconds_count 1" in lines
    assert 'containerd_cri_sandboxed_image_pulls_total{status="failure"} 1' in lines
    assert "containerd_cri_sandboxed_in_progress_image_pulls_total 0" in lines
