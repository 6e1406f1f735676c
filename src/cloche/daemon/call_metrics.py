"""Calls counted, under the names that go-grpc-prometheus has made common."""

from __future__ import annotations

from collections import Counter
from time import perf_counter

from cloche.daemon.histogram import Histogram
from cloche.wire.prometheus import Family, Sample

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cloche.daemon.services import Route

_CODES = (
    *("OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists"),
    *("PermissionDenied", "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange"),
    *("Unimplemented", "Internal", "Unavailable", "DataLoss", "Unauthenticated"),
)


class MethodMetrics:
    """What is known of one method.

    started, received, sent: calls, and messages of and for clients. handled: calls that are over, by code.
    took: how long they took.
    """

    def __init__(self, route: Route) -> None:
        method = route.method
        kinds = {(False, False): "unary", (True, False): "client_stream", (False, True): "server_stream"}
        self.labels = {
            "grpc_type": kinds.get((method.client_streaming, method.server_streaming), "bidi_stream"),
            "grpc_service": route.service.full_name,
            "grpc_method": method.name,
        }
        self.started = self.received = self.sent = 0
        self.handled: Counter[int] = Counter()
        self.took = Histogram()


class _Counting:
    """One call that is counted."""

    __slots__ = ("_began", "_method", "span")

    def __init__(self, method: MethodMetrics) -> None:
        self._method = method
        self.span = None
        self._began = perf_counter()
        method.started += 1

    def received(self) -> None:
        self._method.received += 1

    def sent(self) -> None:
        self._method.sent += 1

    def ended(self, code: int, message: str) -> None:
        self._method.handled[code] += 1
        self._method.took.add(perf_counter() - self._began)


class CallMetrics:
    """An Observer. histogram: whether to say how long calls took."""

    def __init__(self, *, histogram: bool) -> None:
        self._histogram = histogram
        self._methods: dict[tuple[str, str], MethodMetrics] = {}

    def began(self, route: Route, metadata: Mapping[str, Sequence[str]]) -> _Counting:
        """See Observer."""
        key = (route.service.full_name, route.method.name)
        method = self._methods.get(key)
        if method is None:
            method = self._methods[key] = MethodMetrics(route)
        return _Counting(method)

    def of(self, service: str, method: str) -> MethodMetrics | None:
        """What is known of a method; None where nobody has called it."""
        return self._methods.get((service, method))

    def families(self) -> Iterator[Family]:
        """The counters as they are now."""
        methods = list(self._methods.values())
        for name, attribute, what in (
            ("grpc_server_started_total", "started", "Calls that have come."),
            ("grpc_server_msg_received_total", "received", "Messages of clients."),
            ("grpc_server_msg_sent_total", "sent", "Messages for clients."),
        ):
            samples = tuple(Sample(getattr(method, attribute), method.labels) for method in methods)
            yield Family(name, "counter", what, samples)
        handled = tuple(
            Sample(count, method.labels | {"grpc_code": _CODES[code]})
            for method in methods
            for code, count in method.handled.items()
        )
        yield Family(
            "grpc_server_handled_total", "counter", "Calls that are over, by how they ended.", handled
        )
        if self._histogram:
            took = tuple(sample for method in methods for sample in method.took.samples(method.labels))
            yield Family("grpc_server_handling_seconds", "histogram", "How long calls took.", took)
