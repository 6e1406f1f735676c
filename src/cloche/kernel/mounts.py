"""Mounts that exist as a descriptor only: made, combined and described, never seen by the host.

A snapshotter says what to mount; `assemble` makes that a detached mount. Whoever holds the
descriptor can attach it in a container's mount namespace, or look into it; when the last
descriptor is closed the mount is gone, so that a failed create leaves nothing mounted.
"""

from __future__ import annotations

import errno
import os

from cloche.errors import InvalidArgument
from cloche.kernel import overlay
from cloche.kernel.mount_options import MS_PRIVATE, MountOptions, known_options, parse_options
from cloche.kernel.syscalls import (
    AT_FDCWD,
    AT_RECURSIVE,
    MNT_DETACH,
    OPEN_TREE_CLONE,
    filesystem_messages,
    fsconfig_create,
    fsconfig_flag,
    fsconfig_string,
    fsmount,
    fsopen,
    mount_setattr,
    move_mount,
    open_tree,
    umount2,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloche.spec.mount import Mount

__all__ = ["MountOptions", "TemporaryMount", "assemble", "known_options", "parse_options", "temporary_mount"]


_USERS = "userns="


def assemble(mounts: Sequence[Mount]) -> int:
    """Make the mounts a snapshotter returned and give back one detached mount's descriptor.

    Several mounts are meant to be stacked on one place, so the last one is what is seen; those
    before it are made too, that a broken one is noticed. The mount is private: nothing mounted in
    it later shows up at its source. The caller owns the descriptor.
    Raises InvalidArgument for an empty list and OSError, with the kernel's own words on what it
    did not like, when a mount cannot be made.
    """
    if not mounts:
        raise InvalidArgument("there is nothing to mount: the snapshotter returned no mounts")
    top = -1
    for mount in mounts:
        try:
            made = _make(mount)
        finally:
            if top >= 0:
                os.close(top)
        top = made
    return top


def _make(mount: Mount) -> int:
    if any(word.startswith(_USERS) for word in mount.options):
        return _mapped(mount)
    options = parse_options(mount.options)
    if options.bind or mount.type in ("bind", "rbind"):
        return bind(mount.source, options.replace(recursive=options.recursive or mount.type == "rbind"))
    return filesystem(mount.type, mount.source, options)


def _mapped(mount: Mount) -> int:
    """The same, with the owners that files have in a user namespace."""
    from cloche.kernel import mapped_layers

    words, users = mapped_layers.separated(mount.options)
    mount = mount.replace(options=words)
    if mount.type == "overlay":
        with mapped_layers.MappedLayers(mount.options, users) as words:
            return _make(mount.replace(options=words))
    made = _make(mount)
    try:
        mapped_layers.map_mount(made, users)
    except OSError:
        os.close(made)
        raise
    return made


def bind(source: str, options: MountOptions) -> int:
    """A detached, private bind mount of a path; returns its descriptor.

    Attributes that are not named stay those of the source's mount.
    """
    tree = open_tree(AT_FDCWD, source, OPEN_TREE_CLONE | (AT_RECURSIVE if options.recursive else 0))
    try:
        # A copy of a shared mount is a member of the same peer group until it is told otherwise.
        mount_setattr(tree, "", propagation=MS_PRIVATE, recursive=options.recursive)
        set_attributes(tree, options)
    except OSError:
        os.close(tree)
        raise
    return tree


def set_attributes(mount: int, options: MountOptions) -> None:
    """Give the mount behind a descriptor the attributes and the propagation its options ask for."""
    if options.set_attributes or options.clear_attributes:
        mount_setattr(mount, "", add=options.set_attributes, clear=options.clear_attributes)
    if options.recursive_set or options.recursive_clear:
        mount_setattr(mount, "", add=options.recursive_set, clear=options.recursive_clear, recursive=True)
    for kind, recursive in options.propagation:
        mount_setattr(mount, "", propagation=kind, recursive=recursive)


def filesystem(kind: str, source: str, options: MountOptions) -> int:
    """A detached mount of a new file system (`overlay`, `tmpfs`, …); returns its descriptor.

    source: the device, or a mere name where the file system has none.
    Only the mount becomes read-only by `ro`; a block device's file system is opened so too.
    """
    try:
        mount = _new(kind, source, options)
    except OSError as error:
        if kind != "overlay" or error.errno != errno.E2BIG:
            raise
        mount = overlay.mount_by_page(options.data)
    try:
        set_attributes(mount, options)
    except OSError:
        os.close(mount)
        raise
    return mount


def _new(kind: str, source: str, options: MountOptions) -> int:
    context = fsopen(kind)
    try:
        if source:
            fsconfig_string(context, "source", source)
        if options.read_only and source.startswith("/dev/"):
            fsconfig_flag(context, "ro")
        for flag in options.flags:
            fsconfig_flag(context, flag)
        if kind == "overlay":
            overlay.create(context, options.data)
        else:
            _create(context, options.data)
        return fsmount(context, options.set_attributes)
    except OSError as error:
        raise _explained(error, context, kind) from None
    finally:
        os.close(context)


def _create(context: int, data: tuple[str, ...]) -> None:
    for word in data:
        key, has_value, value = word.partition("=")
        if has_value:
            fsconfig_string(context, key, value)
        else:
            fsconfig_flag(context, key)
    fsconfig_create(context)


def _explained(error: OSError, context: int, kind: str) -> OSError:
    """The same error, with what the kernel logged about it and which option was refused."""
    refused = f"option {error.filename!r}: " if error.filename and error.filename != kind else ""
    said = filesystem_messages(context) or error.strerror
    return OSError(error.errno, f"mount of a new {kind}: {refused}{said}")


class TemporaryMount:
    """A detached mount attached at a new, private directory for as long as a `with` block lasts."""

    def __init__(self, mount: int, parent: str) -> None:
        self._mount = mount
        self._path = os.path.join(parent, f".mount-{os.urandom(8).hex()}")

    def __enter__(self) -> str:
        os.mkdir(self._path, 0o700)
        try:
            move_mount(self._mount, AT_FDCWD, self._path)
        except OSError:
            os.rmdir(self._path)
            raise
        return self._path

    def __exit__(self, *_: object) -> None:
        umount2(self._path, MNT_DETACH)
        os.rmdir(self._path)


def temporary_mount(mount: int, parent: str) -> TemporaryMount:
    """Attach a detached mount at a new directory in `parent` for programs that need a path.

    Use it in a `with` statement, which gives the path. The descriptor stays the caller's. The
    mount is visible in this process's mount namespace meanwhile: a descriptor is better where it will do.
    """
    return TemporaryMount(mount, parent)
