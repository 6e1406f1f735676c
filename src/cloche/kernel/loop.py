"""Loop devices: a file as a block device (loop(4))."""

from __future__ import annotations

import errno
import os
from fcntl import ioctl

_CONTROL = "/dev/loop-control"
_LOOP_SET_FD, _LOOP_CLR_FD, _LOOP_CTL_GET_FREE = 0x4C00, 0x4C01, 0x4C82
_ATTEMPTS = 64


def attach(path: str, *, read_only: bool = False) -> str:
    """Make a file a block device, until `detach`; the device's path. Raises OSError."""
    flags = (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC
    backing = os.open(path, flags)
    try:
        for _ in range(_ATTEMPTS):
            control = os.open(_CONTROL, os.O_RDWR | os.O_CLOEXEC)
            try:
                device = f"/dev/loop{ioctl(control, _LOOP_CTL_GET_FREE)}"
            finally:
                os.close(control)
            descriptor = os.open(device, flags)
            try:
                ioctl(descriptor, _LOOP_SET_FD, backing)
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
                continue  # somebody else took the one that was free
            finally:
                os.close(descriptor)
            return device
        raise OSError(errno.EBUSY, "no loop device is free", _CONTROL)
    finally:
        os.close(backing)


def detach(device: str) -> None:
    """Let go of the file; one that is in use goes when it is closed. Nothing where it has none. OSError."""
    descriptor = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    try:
        ioctl(descriptor, _LOOP_CLR_FD, 0)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
    finally:
        os.close(descriptor)
