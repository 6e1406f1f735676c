"""A test's body in a process of its own that is a subreaper, as a shim is."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
import threading
import traceback
from collections.abc import Callable
from typing import ParamSpec

from cloche.shim.claims import CLAIMS
from tests.leftovers import children

_PR_SET_CHILD_SUBREAPER = 36
_Parameters = ParamSpec("_Parameters")


def become_subreaper() -> None:
    """Orphans below this process become its children."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def in_a_subreaper(body: Callable[_Parameters, None]) -> Callable[_Parameters, None]:
    """Run a test in a forked subreaper, which reaps what is left; its failure is the test's."""

    @functools.wraps(body)
    def run(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> None:
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            _inside(writing, lambda: body(*args, **kwargs))
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            said = pipe.read()
        os.waitpid(child, 0)
        assert not said, said.decode()

    return run


def _inside(writing: int, body: Callable[[], None]) -> None:
    said = ""
    try:
        become_subreaper()
        over = threading.Event()
        reaper = threading.Thread(target=_reap_orphans, args=[over])
        reaper.start()
        try:
            body()
        finally:
            over.set()
            reaper.join()
    except BaseException:
        said = traceback.format_exc()
    os.write(writing, said.encode())
    sys.stdout.flush()
    _reap_all()
    os._exit(0)


def _reap_orphans(over: threading.Event) -> None:
    """runsc waits for its helpers to be gone, and a zombie is not."""
    while not over.wait(0.02):
        for pid in filter(CLAIMS.is_orphan, children()):
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                continue


def _reap_all() -> None:
    """Everything that is left and has ended; what has not is the session's to find."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
