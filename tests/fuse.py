"""A FUSE file system whose server answers the first message and then no more: whoever asks waits for ever."""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path
from typing import Self

from tests.peers import unavailable

_HEADER = struct.Struct("=IIQQIIII")
_INIT = 26
_MNT_FORCE, _MNT_DETACH = 1, 2
_libc = ctypes.CDLL(None, use_errno=True)


class DeafMount:
    """Mounted for as long as a `with` block lasts. At its end every wait on it fails with ENOTCONN."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __enter__(self) -> Self:
        try:
            self._device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            unavailable(f"needs /dev/fuse: {error.strerror}")
        self.place.mkdir(exist_ok=True)
        options = f"fd={self._device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
        if _libc.mount(b"deaf", bytes(self.place), b"fuse.deaf", 0, options) != 0:
            raise OSError(ctypes.get_errno(), "mount of fuse")
        self._answer_init()
        return self

    def _answer_init(self) -> None:
        request = os.read(self._device, 1 << 17)
        _, opcode, unique, *_ = _HEADER.unpack_from(request)
        assert opcode == _INIT
        # Version 7.31, as little of everything as can be.
        body = struct.pack("=IIIIHHIIHHI7I", 7, 31, 4096, 0, 1, 1, 4096, 1, 1, 0, 0, *[0] * 7)
        os.write(self._device, struct.pack("=IiQ", 16 + len(body), 0, unique) + body)

    def swallow(self) -> None:
        """Take one request and keep the answer: who asked cannot even be killed any more."""
        os.read(self._device, 1 << 17)

    def __exit__(self, *_: object) -> None:
        os.close(self._device)
        _libc.umount2(bytes(self.place), _MNT_FORCE | _MNT_DETACH)
