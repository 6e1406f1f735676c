"""Platforms of images (`linux/arm64/v8`): reading, normalising and preferring them.

The normal form is Go's: `amd64` and not `x86_64`, `arm/v7` and not `armhf`, and no variant where
it is the architecture's first (`arm64` alone means v8).
"""

from __future__ import annotations

from cloche.errors import InvalidArgument
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_OTHER_NAMES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "i386": ("386", ""),
    "i486": ("386", ""),
    "i586": ("386", ""),
    "i686": ("386", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv8l": ("arm", "v8"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "armv5tel": ("arm", "v5"),
    "loongarch64": ("loong64", ""),
}
_KNOWN = """386 amd64 amd64p32 arm arm64 arm64be armbe loong64 mips mips64 mips64le mips64p32 mips64p32le
    mipsle ppc ppc64 ppc64le riscv riscv64 s390 s390x sparc sparc64 wasm"""
_ARCHITECTURES = frozenset(_KNOWN.split())
_ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_.-")


class Platform(Record):
    """What a program needs to run: as in the image spec's index."""

    os: str = "linux"
    architecture: str = ""
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    def normalised(self) -> Platform:
        """The same platform in the names that Go uses."""
        system = {"macos": "darwin"}.get(self.os.lower(), self.os.lower())
        architecture, variant = self.architecture.lower(), self.variant.lower()
        if architecture in _OTHER_NAMES:
            architecture, implied = _OTHER_NAMES[architecture]
            variant = variant or implied
        if variant.isdigit():
            variant = f"v{variant}"
        if (architecture, variant) in (("amd64", "v1"), ("arm64", "v8")):
            variant = ""
        elif (architecture, variant) == ("arm", ""):
            variant = "v7"
        return self.replace(os=system, architecture=architecture, variant=variant)

    def acceptable(self) -> Iterator[Platform]:
        """The normal forms of what also runs on this platform, best first, itself included."""
        wanted = self.normalised()
        yield wanted
        level = int(wanted.variant[1:]) if wanted.variant[1:].isdigit() else 0
        match wanted.architecture:
            case "amd64":
                yield from _levels(wanted, level - 1, 1)
                yield wanted.replace(architecture="386", variant="")
            case "arm":
                yield from _levels(wanted, level - 1, 5)
            case "arm64":
                yield from _levels(wanted, (level or 8) - 1, 8)
                yield from _levels(wanted.replace(architecture="arm"), 8, 5)

    def rank(self, offered: Platform) -> int | None:
        """How good `offered` is for this platform: 0 is best, None does not run.

        A version or features of the operating system count only where this platform asks for them.
        """
        other = offered.normalised()
        if self.os_version and other.os_version and self.os_version != other.os_version:
            return None
        key = (other.os, other.architecture, other.variant)
        for index, candidate in enumerate(self.acceptable()):
            if (candidate.os, candidate.architecture, candidate.variant) == key:
                return index
        return None


def parse(text: str) -> Platform:
    """Read `os[/architecture[/variant]]`, or an architecture alone, which then means Linux.

    The architecture stays empty where only a system was given. Raises InvalidArgument.
    """
    parts = text.split("/")
    if not 1 <= len(parts) <= 3 or not all(part and set(part.lower()) <= _ALLOWED for part in parts):
        raise InvalidArgument(f"platform {text[:100]!r}: must be os/architecture or os/architecture/variant")
    if len(parts) == 1:
        name = parts[0].lower()
        if name in _ARCHITECTURES or name in _OTHER_NAMES:
            return Platform("linux", name).normalised()
        if name in ("linux", "windows", "darwin", "freebsd"):
            return Platform(name)
        raise InvalidArgument(f"platform {text[:100]!r}: neither a known system nor a known architecture")
    variant = parts[2] if len(parts) == 3 else ""
    return Platform(parts[0], parts[1], variant).normalised()


def of_machine(machine: str) -> Platform:
    """The Linux platform of `uname -m`'s word for the machine."""
    return Platform("linux", machine).normalised()


def _levels(platform: Platform, first: int, last: int) -> Iterator[Platform]:
    for level in range(first, last - 1, -1):
        yield platform.replace(variant=f"v{level}").normalised()
