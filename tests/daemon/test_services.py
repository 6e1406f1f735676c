"""The registry of services."""

from __future__ import annotations

import pytest

from cloche.daemon.services import Services, snake_case
from tests.daemon.service import ECHO, Echo


@pytest.mark.parametrize(
    ("name", "expected"),
    [("List", "list"), ("ListStream", "list_stream"), ("CloseIO", "close_io"), ("ResizePty", "resize_pty")],
)
def test_methods_are_named_in_snake_case(name: str, expected: str) -> None:
    assert snake_case(name) == expected


def test_what_nobody_carries_out_has_no_route_and_a_reason() -> None:
    services = Services()
    services.add(Echo())
    assert [service.full_name for service in services] == [ECHO.full_name]
    assert services.find(ECHO.full_name, "Say") is not None
    assert services.find(ECHO.full_name, "Missing") is None
    reason = f"unknown method Missing for service {ECHO.full_name}"
    assert services.missing(ECHO.full_name, "Missing") == reason
    assert services.missing("x.Y", "Z") == "unknown service x.Y"
