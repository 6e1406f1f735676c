"""The runtime's tests once more where openat2(2) is filtered out, as some sandboxes have it."""

from __future__ import annotations

import os
import platform
import struct
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent

# Loads a filter that answers openat2 with ENOSYS, then becomes the command given.
FILTERED = """
import ctypes, os, sys
program = bytes.fromhex(sys.argv[1])
class Filter(ctypes.Structure):
    _fields_ = [("count", ctypes.c_ushort), ("program", ctypes.c_char_p)]
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Filter(len(program) // 8, program))) == 0, ctypes.get_errno()
os.execv(sys.argv[2], sys.argv[2:])
"""


def instruction(code: int, true: int, false: int, value: int) -> bytes:
    return struct.pack("=HBBI", code, true, false, value)


def program() -> bytes:
    """Load the number; ENOSYS for openat2, else allow."""
    assert platform.machine() in ("x86_64", "aarch64")
    openat2, enosys = 437, 38
    return b"".join(
        (
            instruction(0x20, 0, 0, 0),
            instruction(0x15, 0, 1, openat2),
            instruction(0x06, 0, 0, 0x00050000 | enosys),
            instruction(0x06, 0, 0, 0x7FFF0000),
        )
    )


def filtered(*command: str) -> subprocess.CompletedProcess[str]:
    whole = [sys.executable, "-c", FILTERED, program().hex(), *command]
    return subprocess.run(whole, capture_output=True, text=True, check=False)


def test_the_filter_does_what_it_says() -> None:
    script = "from cloche.kernel.syscalls import openat2; openat2(-100, '/', 0)"
    assert "Function not implemented" in filtered(sys.executable, "-c", script).stderr


def test_containers_are_as_isolated_without_openat2(root: None) -> None:
    files = [str(HERE / name) for name in ("test_isolation.py", "test_container.py")]
    done = filtered(sys.executable, "-m", "pytest", "-q", *files)
    assert done.returncode == 0, done.stdout[-4000:] + os.linesep + done.stderr[-2000:]
