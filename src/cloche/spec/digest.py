"""Digests as OCI writes them: `algorithm:hex`."""

from __future__ import annotations

import sys

from cloche.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hashlib import sha256 as _small_sha256
    from typing import Protocol, TypeAlias

    Buffer: TypeAlias = bytes | bytearray | memoryview

    class Hasher(Protocol):
        """What the hash objects of the standard library have in common."""

        def update(self, data: Buffer, /) -> None: ...
        def hexdigest(self) -> str: ...

else:
    try:
        from _sha256 import sha256 as _small_sha256
    except ImportError:  # Python 3.12 and newer
        from _sha2 import sha256 as _small_sha256


HEX_LENGTHS = {"sha256": 64, "sha512": 128}
"""The supported algorithms, each with the number of hexadecimal digits it has."""

_HEX_DIGITS = frozenset("0123456789abcdef")
# Up to here the interpreter's own SHA-256 is done before OpenSSL's would have been loaded.
_SMALL_BYTES = 1 << 20


def parse(text: str) -> tuple[str, str]:
    """Split a digest into its algorithm and its hexadecimal digits.

    Raises InvalidArgument for an unknown algorithm, a wrong length, or digits that are not
    lower-case hexadecimal: what comes back is safe as a path component.
    """
    algorithm, colon, digits = text.partition(":")
    if not colon:
        raise InvalidArgument(f"digest {text[:140]!r}: must be written algorithm:hex, such as sha256:…")
    length = HEX_LENGTHS.get(algorithm)
    if length is None:
        known = " and ".join(HEX_LENGTHS)
        raise InvalidArgument(f"digest {text[:140]!r}: unknown algorithm; {known} are supported")
    if len(digits) != length:
        raise InvalidArgument(f"digest {text[:140]!r}: {algorithm} has {length} digits, not {len(digits)}")
    if not _HEX_DIGITS.issuperset(digits):
        raise InvalidArgument(f"digest {text!r}: digits must be lower-case hexadecimal")
    return algorithm, digits


def validate(text: str) -> str:
    """Give back `text` when it is a digest; raises InvalidArgument as `parse` does."""
    parse(text)
    return text


def hasher(algorithm: str = "sha256") -> Hasher:
    """A hash object for data of any length (OpenSSL's, which is several times faster).

    algorithm: one of HEX_LENGTHS.
    """
    import hashlib

    return hashlib.new(algorithm)


def of(data: Buffer, algorithm: str = "sha256") -> str:
    """The digest of some bytes.

    Hashing a manifest or a configuration does not load OpenSSL, which takes longer to import
    than a container takes to start.
    """
    small = algorithm == "sha256" and memoryview(data).nbytes <= _SMALL_BYTES
    if small and "hashlib" not in sys.modules:
        return f"sha256:{_small_sha256(data).hexdigest()}"
    hashing = hasher(algorithm)
    hashing.update(data)
    return f"{algorithm}:{hashing.hexdigest()}"
