"""Small files that are replaced whole, and survive a power cut where that matters."""

from __future__ import annotations

import os


def write(path: str, data: bytes, *, durable: bool) -> None:
    """Replace a file, readable by its owner alone. durable: it is on disk when this returns."""
    staging = f"{path}.new"
    descriptor = os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        while data:
            data = data[os.write(descriptor, data) :]
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.rename(staging, path)
    if durable:
        sync(os.path.dirname(path))


def sync(directory: str) -> None:
    """Have the names in a directory on disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
