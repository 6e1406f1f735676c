"""What containerd's clients may ask of a runtime that is not runc's kind: `runtimeoptions.v1`."""

from __future__ import annotations

from cloche.wire.protobuf import Message, binary, string


class Options(Message, package="runtimeoptions.v1"):
    """The runtime's own configuration: a file, or a text; type_url: what kind of one it is."""

    type_url: str = string(1)
    config_path: str = string(2)
    config_body: bytes = binary(3)
