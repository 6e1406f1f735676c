"""Compiled seccomp filters on disk: most containers share a profile, and compiling takes tens of ms.

    DIRECTORY/<digest of profile, library and architecture>.bpf
        magic, digest of the rest, flags for seccomp(2) (4 bytes), program

A hit loads neither the compiler nor the library.
"""

from __future__ import annotations

import os
import sys

from cloche.spec import digest, document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_MAGIC = b"cloche seccomp 2"
_DIGEST_SIZE = 64 + len("sha256:")
_FLAGS_SIZE = 4
_LARGEST = 1 << 16  # the kernel takes 4,096 instructions of 8 bytes


def cached(
    profile: Mapping[str, Any], directory: str, warnings: list[str] | None = None
) -> tuple[bytes, int]:
    """`seccomp.compile`, remembered in a directory that only its owner may write to.

    directory: made with mode 0700 when it is missing. warnings: as for `compile`; a hit has none.
    A damaged entry is compiled again; one that cannot be stored is no error.
    """
    path = f"{directory}/{_key(profile)}.bpf"
    found = _load(path)
    if found is None:
        from cloche.kernel import seccomp

        found = seccomp.compile(profile, warnings)
        _store(directory, path, *found)
    return found


def _key(profile: Mapping[str, Any]) -> str:
    identity = f"{os.uname().machine} {sys.byteorder} {_library_identity()}".encode()
    return digest.of(identity + b"\0" + document.dumps(profile)).removeprefix("sha256:")


def _library_identity() -> str:
    """What tells one installed libseccomp from another, without loading it."""
    machine = os.uname().machine
    for folder in (f"/usr/lib/{machine}-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib"):
        path = f"{folder}/libseccomp.so.2"
        try:
            status = os.stat(path)
        except OSError:
            continue
        return f"{os.path.realpath(path)} {status.st_size} {status.st_mtime_ns}"
    from cloche.kernel.libseccomp import Library

    return repr(Library().version())


def _load(path: str) -> tuple[bytes, int] | None:
    """Program and flags, or None for what is missing, somebody else's, or damaged."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid() or status.st_mode & 0o077:
            return None
        data = os.read(descriptor, _LARGEST)
    finally:
        os.close(descriptor)
    head, content = data[: len(_MAGIC) + _DIGEST_SIZE], data[len(_MAGIC) + _DIGEST_SIZE :]
    if len(content) <= _FLAGS_SIZE or head != _head(content):
        return None
    return content[_FLAGS_SIZE:], int.from_bytes(content[:_FLAGS_SIZE], "little")


def _head(content: bytes) -> bytes:
    return _MAGIC + digest.of(content).encode()


def _store(directory: str, path: str, program: bytes, flags: int) -> None:
    new = f"{path}.{os.getpid()}.{os.urandom(4).hex()}"
    try:
        os.makedirs(directory, 0o700, exist_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError:
        return
    try:
        content = flags.to_bytes(_FLAGS_SIZE, "little") + program
        os.write(descriptor, _head(content) + content)
        os.rename(new, path)
    except OSError:
        os.unlink(new)
    finally:
        os.close(descriptor)
