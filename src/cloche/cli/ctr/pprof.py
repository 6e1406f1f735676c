"""`ctr pprof`: profiles of a Go program, which this daemon and its shim are not."""

from __future__ import annotations

from cloche.cli.ctr.command import CtrCommand, Invocation
from cloche.errors import Unimplemented

_FLAGS = (
    ("debug", "", "int", "How much to tell"),
    ("seconds", "s", "int", "How long to watch"),
)


def _refuse(_: Invocation) -> None:
    raise Unimplemented(
        "pprof looks into programs written in Go, and this daemon is none: use `py-spy` or `perf` on its pid"
    )


PPROF = CtrCommand("", _refuse, groups=(("Options", _FLAGS),), maximum=None)
