"""What a service offers, said once for every transport that carries it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.wire.protobuf import Message


class Method:
    """One call. request, response: the classes of its messages; the flags say who sends many.

    lasting: it ends when something happens, which may be never: a server that stops does not wait for it.
    """

    __slots__ = ("client_streaming", "lasting", "name", "request", "response", "server_streaming")

    def __init__(
        self,
        name: str,
        request: type[Message],
        response: type[Message],
        *,
        client_streaming: bool = False,
        server_streaming: bool = False,
        lasting: bool = False,
    ) -> None:
        self.name = name
        self.request = request
        self.response = response
        self.client_streaming = client_streaming
        self.server_streaming = server_streaming
        self.lasting = lasting


class Service:
    """Calls under one full name, such as `containerd.task.v2.Task`."""

    __slots__ = ("full_name", "methods")

    def __init__(self, full_name: str, *methods: Method) -> None:
        self.full_name = full_name
        self.methods = {method.name: method for method in methods}
