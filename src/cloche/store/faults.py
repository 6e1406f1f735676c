"""Named places where a test can make the process die, to show that nothing is lost or leaked.

`CLOCHE_FAULT=NAME` in the environment kills the process (as SIGKILL does) when it reaches that
place; `NAME:3` the third time. Without the variable a place costs one comparison.
"""

from __future__ import annotations

import os

_name, _, _count = os.environ.get("CLOCHE_FAULT", "").partition(":")
_left = int(_count) if _count.isdigit() else 1


def point(name: str) -> None:
    """Die here if a test asked for it."""
    if name == _name:
        _strike()


def _strike() -> None:
    global _left
    _left -= 1
    if _left == 0:
        os.kill(os.getpid(), 9)
