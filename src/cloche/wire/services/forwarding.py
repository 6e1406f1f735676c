"""`containerd.services.events.ttrpc.v1.Events`: where containerd takes its shims' events."""

from __future__ import annotations

from cloche.wire.messages.events import ForwardRequest
from cloche.wire.messages.google import Empty
from cloche.wire.service import Method, Service

FORWARDING = Service("containerd.services.events.ttrpc.v1.Events", Method("Forward", ForwardRequest, Empty))
