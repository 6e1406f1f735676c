"""Traces, as a collector gets them: read with OpenTelemetry's own messages."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from cloche.daemon.otlp import TraceSettings, settings_of
from cloche.errors import InvalidArgument
from cloche.wire import tracing
from tests import leftovers, peers
from tests.bundles import make_rootfs
from tests.daemons import WITHOUT_NRI, Cloched
from tests.layouts import Layout, tar_directory
from tests.waiting import wait_until

IMAGE = "test.example/busybox:latest"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector:
    """What an exporter sends to. spans: all that came. resource: of the last batch. answer: its status."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.resource: dict[str, str] = {}
        self.headers: dict[str, str] = {}
        self.answer = 200
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.path == "/v1/traces"
                collector.headers = dict(self.headers)
                for batch in ExportTraceServiceRequest.FromString(body).resource_spans:
                    attributes = batch.resource.attributes
                    collector.resource = {each.key: each.value.string_value for each in attributes}
                    for scope in batch.scope_spans:
                        collector.spans += scope.spans
                self.send_response(collector.answer)
                self.end_headers()

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - its name there
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def wait_for(self, name: str) -> list[Span]:
        return wait_until(lambda: self.named(name), what=f"a span called {name}")

    def named(self, name: str, kind: int = Span.SPAN_KIND_SERVER) -> list[Span]:
        return [span for span in self.spans if span.name == name and span.kind == kind]


class Traced(Cloched):
    """cloched that sends its traces to a collector."""

    def __init__(self, directory: Path, port: int) -> None:
        self.port = port
        super().__init__(directory)

    def command(self) -> list[str]:
        config = self.directory / "config.toml"
        config.write_text(
            f"""version = 2
[plugins."io.containerd.tracing.processor.v1.otlp"]
endpoint = "http://127.0.0.1:{self.port}"
[plugins."io.containerd.internal.v1.tracing"]
service_name = "node-7"
{WITHOUT_NRI}"""
        )
        return [*super().command(), "--config", str(config)]


@pytest.fixture(scope="module")
def running() -> Iterator[Collector]:
    found = Collector()
    yield found
    found.close()


@pytest.fixture
def collector(running: Collector) -> Collector:
    """What has been sent before is another test's."""
    running.spans.clear()
    running.answer = 200
    return running


@pytest.fixture(scope="module")
def cloched(running: Collector) -> Iterator[Traced]:
    peers.require_root()
    directory = tempfile.mkdtemp(prefix="d-")
    with Traced(Path(directory), running.port) as daemon:
        yield daemon
    leftovers.remove_tree(directory)


def ask_version(daemon: Cloched, traceparent: str) -> None:
    with grpc.insecure_channel(f"unix:{daemon.address}") as channel:
        call = channel.unary_unary("/containerd.services.version.v1.Version/Version")
        call(b"", metadata=[("traceparent", traceparent)], timeout=20)


def test_a_call_is_a_part_of_its_clients_trace(cloched: Traced, collector: Collector) -> None:
    ask_version(cloched, f"00-{TRACE}-{PARENT}-00")
    ask_version(cloched, f"00-{TRACE}-{PARENT}-01")
    name = "containerd.services.version.v1.Version/Version"
    (span,) = collector.wait_for(name)
    assert span.trace_id.hex() == TRACE
    assert span.parent_span_id.hex() == PARENT
    assert span.start_time_unix_nano < span.end_time_unix_nano
    assert {each.key: each.value.string_value for each in span.attributes}["rpc.system"] == "grpc"
    assert span.status.code == 0
    assert collector.resource["service.name"] == "node-7"
    assert len(collector.named(name)) == 1, "the client did not trace the other one"


def test_what_a_shim_does_for_a_call_is_in_the_same_trace(
    cloched: Traced, collector: Collector, tmp_path: Path
) -> None:
    layout = Layout(tmp_path / "layout")
    layout.image(IMAGE, [tar_directory(make_rootfs(tmp_path / "tree"))])
    cloched.ok("images", "import", str(layout.archive(tmp_path / "image.tar")))
    cloched.ok("run", "--rm", IMAGE, "traced", "true")
    for method in ("Create", "Start", "Delete"):
        (call,) = collector.wait_for(f"containerd.services.tasks.v1.Tasks/{method}")
        asked = [
            span
            for span in collector.spans
            if span.parent_span_id == call.span_id and span.name.endswith(f"Task/{method}")
        ]
        assert [span.kind for span in asked] == [Span.SPAN_KIND_CLIENT]
        done = [span for span in collector.spans if span.parent_span_id == asked[0].span_id]
        assert [(span.name, span.kind) for span in done] == [(asked[0].name, Span.SPAN_KIND_SERVER)]
        assert {call.trace_id} == {asked[0].trace_id, done[0].trace_id}
        runtime = [span.name for span in collector.spans if span.parent_span_id == done[0].span_id]
        assert method == "Delete" or runtime == [f"runtime {method.lower()}"]


def test_traces_that_nobody_takes_are_one_line_in_the_log(cloched: Traced, collector: Collector) -> None:
    collector.answer = 503
    for count in (1, 2):
        ask_version(cloched, f"00-{TRACE}-{PARENT}-01")
        wait_until(lambda count=count: len(collector.spans) >= count)  # type: ignore[misc]  # bound at once
    wait_until(lambda: "traces are lost" in cloched.log_path.read_text())
    assert cloched.log_path.read_text().count("traces are lost") == 1


@pytest.mark.parametrize(
    ("header", "known"),
    [
        (f"00-{TRACE}-{PARENT}-01", True),
        (f"cc-{TRACE}-{PARENT}-01-what-comes-later", True),
        (f"00-{TRACE}-{PARENT}-01-more", False),
        (f"ff-{TRACE}-{PARENT}-01", False),
        (f"00-{'0' * 32}-{PARENT}-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (f"00-{TRACE.upper()}-{PARENT}-01", False),
        ("", False),
    ],
)
def test_parents_are_read_as_w3c_has_them(header: str, known: bool) -> None:
    assert (tracing.parse(header) is not None) == known


@given(st.text(alphabet="0123456789abcdef-", max_size=70) | st.text())
def test_no_header_whatsoever_upsets_us(header: str) -> None:
    tracing.parse(header)


def test_without_anybody_who_traces_a_span_is_nothing() -> None:
    with tracing.span("nothing") as span:
        assert span is tracing.NOTHING
        assert span.metadata == {}


def test_the_usual_variables_are_known() -> None:
    assert settings_of({}, {}, {}) is None
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318/", "OTEL_EXPORTER_OTLP_HEADERS": "a=b, c=d"}
    expected = TraceSettings("http://c:4318/v1/traces", {"a": "b", "c": "d"})
    assert settings_of({}, {}, environment) == expected
    assert settings_of({}, {}, environment | {"OTEL_SDK_DISABLED": "true"}) is None
    exact = settings_of({}, {}, environment | {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://d/x"})
    assert exact is not None
    assert exact.url == "https://d/x"
    bare = settings_of(
        {"endpoint": "c:1", "insecure": True}, {"service_name": "s", "sampling_ratio": 0.5}, {}
    )
    assert bare == TraceSettings("http://c:1/v1/traces", {}, "s", 0.5)
    for plugin, other in (
        ({"endpoint": "ftp://c"}, {}),
        ({"endpoint": "http://c", "protocol": "grpc"}, {}),
        ({"endpoint": "http://c"}, {"sampling_ratio": 2}),
    ):
        with pytest.raises(InvalidArgument):
            settings_of(plugin, other, {})
