"""Fixtures of the tests with other projects' daemons."""

from __future__ import annotations

from tests.interop.places import place

__all__ = ["place"]
