"""libseccomp.so.2, one method a function, named as its man page."""

from __future__ import annotations

import errno
import os
from _ctypes import dlopen, dlsym

from cloche.errors import FailedPrecondition
from cloche.kernel.foreign import Bytes, Int, Pointer, ReturnsInt, ReturnsPointer, ReturnsUnsigned, Unsigned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

NAME = "libseccomp.so.2"

ATTRIBUTE_OPTIMIZE = 8
TREE = 2  # the value of ATTRIBUTE_OPTIMIZE for a binary tree instead of a list

_UNKNOWN_LIBRARY = (
    f"{NAME} was not found: install libseccomp (Debian: libseccomp2), or run without a seccomp profile"
)


class Library:
    """The loaded library. Raises FailedPrecondition where it is not installed."""

    def __init__(self) -> None:
        try:
            handle = dlopen(NAME, 0)
        except OSError:
            raise FailedPrecondition(_UNKNOWN_LIBRARY) from None
        self.init = ReturnsPointer(dlsym(handle, "seccomp_init"))
        self.release = ReturnsInt(dlsym(handle, "seccomp_release"))
        self._arch_add = ReturnsInt(dlsym(handle, "seccomp_arch_add"))
        self._arch_native = ReturnsUnsigned(dlsym(handle, "seccomp_arch_native"))
        self._attr_set = ReturnsInt(dlsym(handle, "seccomp_attr_set"))
        self._resolve = ReturnsInt(dlsym(handle, "seccomp_syscall_resolve_name_arch"))
        self._rule_add = ReturnsInt(dlsym(handle, "seccomp_rule_add_array"))
        self._export = ReturnsInt(dlsym(handle, "seccomp_export_bpf"))
        self._version = ReturnsPointer(dlsym(handle, "seccomp_version"))

    def version(self) -> tuple[int, int, int]:
        """The version at run time."""
        address = int(self._version())
        # struct scmp_version: three unsigned ints.
        words = [Unsigned.from_address(address + 4 * i).value for i in range(3)]
        return words[0], words[1], words[2]

    def arch_native(self) -> int:
        """This machine's SCMP_ARCH_*."""
        return int(self._arch_native())

    def syscall_resolve_name_arch(self, arch: int, name: str) -> int:
        """A system call's number; negative where the architecture lacks it, -1 for an unknown name."""
        return int(self._resolve(Unsigned(arch), Bytes(name.encode())))


class Filter:
    """A filter being built; use in a `with` statement, which releases it."""

    def __init__(self, library: Library, default_action: int) -> None:
        self._library = library
        self._context = Pointer(library.init(Unsigned(default_action)))
        if not self._context.value:
            raise OSError(errno.EINVAL, "seccomp_init refused the default action")

    def __enter__(self) -> Filter:
        return self

    def __exit__(self, *_: object) -> None:
        self._library.release(self._context)

    def arch_add(self, arch: int) -> None:
        """Let the rules hold for another architecture too; one that is there already is fine."""
        result = self._library._arch_add(self._context, Unsigned(arch))
        if result != -errno.EEXIST:
            _check(result, "seccomp_arch_add")

    def attr_set(self, attribute: int, value: int) -> None:
        """Set one of the library's SCMP_FLTATR_* switches."""
        _check(self._library._attr_set(self._context, Int(attribute), Unsigned(value)), "seccomp_attr_set")

    def rule_add(
        self, action: int, syscall: int, conditions: Sequence[tuple[int, int, int, int]] = ()
    ) -> None:
        """Add a rule; every one of its conditions (argument's index, SCMP_CMP_*, value, second) must hold."""
        array = b"".join(
            index.to_bytes(4, "little")
            + compare.to_bytes(4, "little")
            + (first & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "little")
            + (second & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "little")
            for index, compare, first, second in conditions
        )
        result = self._library._rule_add(
            self._context, Unsigned(action), Int(syscall), Unsigned(len(conditions)), Bytes(array)
        )
        _check(result, "seccomp_rule_add")

    def export_bpf(self) -> bytes:
        """The finished program: an array of struct sock_filter in the host's byte order."""
        descriptor = os.memfd_create("seccomp", os.MFD_CLOEXEC)
        try:
            _check(self._library._export(self._context, Int(descriptor)), "seccomp_export_bpf")
            return os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        finally:
            os.close(descriptor)


def _check(result: int, function: str) -> None:
    if result < 0:
        raise OSError(-result, f"{function}: {os.strerror(-result)}")
