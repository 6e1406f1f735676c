"""Fixtures of the security tests."""

from __future__ import annotations

from tests.runtime.containers import runtime

__all__ = ["runtime"]
