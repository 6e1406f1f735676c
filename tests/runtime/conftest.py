"""Fixtures of the runtime's tests."""

from tests.runtime.containers import runtime

__all__ = ["runtime"]
