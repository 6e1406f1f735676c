"""Fixtures of the runtime's tests."""

from __future__ import annotations

from tests.runtime.containers import runtime

__all__ = ["runtime"]
