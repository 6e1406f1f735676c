"""Sends spans to a collector: OTLP over HTTP, in a thread of its own; loaded where configured."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from urllib.parse import urlsplit

import urllib3

from cloche import __version__
from cloche.errors import InvalidArgument
from cloche.spec.record import Record
from cloche.wire.messages import trace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_log = logging.getLogger("cloche.tracing")

_AT_ONCE = 512
_WAITING = 4096
"""Spans that may wait for the collector: more are dropped, and that is said."""
_PERIOD_S = 1.0
_TIMEOUT_S = 10.0
_FAREWELL_S = 3.0


class TraceSettings(Record):
    """Where traces go. url: of the collector. headers: for it. service: what we are called there.

    ratio: how many of the calls whose clients do not say are traced.
    """

    url: str
    headers: Mapping[str, str] = {}
    service: str = "cloched"
    ratio: float = 1.0


class Exporter:
    """One collector. `put` may be called from any thread."""

    def __init__(self, settings: TraceSettings) -> None:
        self._settings = settings
        self._waiting: deque[bytes] = deque()
        self._dropped = 0
        self._failing = False
        self._wake = threading.Event()
        self._closing = False
        self._pool = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(_TIMEOUT_S))
        self._thread = threading.Thread(target=self._run, name="cloche-traces", daemon=True)
        self._thread.start()

    def put(self, span: bytes) -> None:
        """Send a span, soon."""
        if len(self._waiting) >= _WAITING:
            self._dropped += 1
            return
        self._waiting.append(span)
        if len(self._waiting) >= _AT_ONCE:
            self._wake.set()

    def close(self) -> None:
        """Send what waits, unless that takes too long."""
        self._closing = True
        self._wake.set()
        self._thread.join(_FAREWELL_S)

    def _run(self) -> None:
        while not self._closing or self._waiting:
            self._wake.wait(_PERIOD_S)
            self._wake.clear()
            while self._waiting:
                spans = [self._waiting.popleft() for _ in range(min(len(self._waiting), _AT_ONCE))]
                self._send(spans)
            if self._dropped:
                _log.warning("%d spans were dropped: the collector is too slow", self._dropped)
                self._dropped = 0

    def _send(self, spans: list[bytes]) -> None:
        """Once: traces are not worth a second try, nor more than one line in the log while it fails."""
        attributes: dict[str, str | int] = {
            "service.name": self._settings.service,
            "service.version": __version__,
        }
        attributes |= {"host.name": os.uname().nodename, "process.pid": os.getpid()}
        scope = trace.InstrumentationScope(name="cloche", version=__version__)
        batch = trace.ResourceSpans(
            resource=trace.Resource(attributes=trace.attributes_of(attributes)),
            scope_spans=[trace.ScopeSpans(scope=scope, spans=spans)],
        )
        body = trace.ExportTraceServiceRequest(resource_spans=[batch]).encode()
        headers = {"Content-Type": "application/x-protobuf", **self._settings.headers}
        try:
            answer = self._pool.request("POST", self._settings.url, body=body, headers=headers)
            problem = "" if answer.status < 300 else f"it answers {answer.status}"
        except urllib3.exceptions.HTTPError as error:
            problem = str(error)
        if problem and not self._failing:
            _log.warning("traces are lost: %s: %s", self._settings.url, problem)
        self._failing = bool(problem)


def settings_of(
    plugin: Mapping[str, object], tracing: Mapping[str, object], environment: Mapping[str, str]
) -> TraceSettings | None:
    """What config.toml and OpenTelemetry's variables say; None where nothing is to be traced.

    Raises InvalidArgument for a protocol other than http/protobuf, and for what is no URL.
    """
    exact = environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "")
    base = str(plugin.get("endpoint") or "") or environment.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or not (exact or base):
        return None
    protocol = plugin.get("protocol") or environment.get("OTEL_EXPORTER_OTLP_PROTOCOL") or "http/protobuf"
    if protocol != "http/protobuf":
        raise InvalidArgument(f"tracing: protocol {protocol!r}: only http/protobuf is spoken")
    url = exact or _with_path(base, insecure=bool(plugin.get("insecure")))
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise InvalidArgument(f"tracing: endpoint {url!r}: write it as http://HOST:PORT")
    service = tracing.get("service_name") or environment.get("OTEL_SERVICE_NAME") or "cloched"
    ratio = tracing.get("sampling_ratio")
    if ratio is None:
        ratio = 1.0
    if not isinstance(ratio, int | float) or not 0 <= ratio <= 1:
        raise InvalidArgument(f"tracing: sampling_ratio {ratio!r}: a number from 0 to 1 is needed")
    pairs = (
        pair.partition("=") for pair in environment.get("OTEL_EXPORTER_OTLP_HEADERS", "").split(",") if pair
    )
    headers = {name.strip(): value.strip() for name, _, value in pairs}
    return TraceSettings(url, headers, str(service), float(ratio))


def _with_path(base: str, *, insecure: bool) -> str:
    if "://" not in base:
        base = f"{'http' if insecure else 'https'}://{base}"
    return base.rstrip("/") + "/v1/traces"
