"""The writable root file systems of `Engine.run`, used again where a run has changed nothing.

A stage is an overlay of an image's layers with directories of its own on top. Making one and
removing it again costs a dozen operations on the disk. Most commands write nothing outside of
their mounts, so their stage is as good as new: the overlay stays, detached and seen by nobody, and
the next run gets a clone of the mount. What decides is the kernel's word, not the container's: the
change times (st_ctime cannot be set) of the upper directory and of the /etc files.
"""

from __future__ import annotations

import os
import stat
from _thread import allocate_lock
from errno import EINVAL

from cloche.engine import rootfs
from cloche.kernel.syscalls import AT_EMPTY_PATH, OPEN_TREE_CLONE, open_tree
from cloche.spec.mount import Mount
from cloche.store.snapshots import trash

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_KEPT = 8


class Stage:
    """One writable root file system, for one run at a time.

    directory: for whatever else the run needs; `upper` and `work` in it are the overlay's.
    """

    def __init__(self, directory: str, lower: tuple[str, ...]) -> None:
        """lower: the directories of the layers, the nearest first. Raises OSError, FailedPrecondition."""
        self.directory = directory
        self.lower = lower
        self._mount = -1
        self._files: dict[str, tuple[str, int]] = {}
        os.mkdir(directory, 0o700)
        try:
            self._assemble(f"{directory}/upper", f"{directory}/work")
        except BaseException:
            self.remove()
            raise

    def _assemble(self, upper: str, work: str) -> None:
        os.mkdir(upper, 0o755)
        os.mkdir(work, 0o700)
        facts = os.stat(self.lower[0])
        os.chown(upper, facts.st_uid, facts.st_gid)
        os.chmod(upper, stat.S_IMODE(facts.st_mode))
        words = (f"upperdir={upper}", f"workdir={work}", "lowerdir=" + ":".join(self.lower), *overlay_words())
        self._mount = rootfs.assemble((Mount("overlay", "overlay", words),))
        self._facts = _facts(upper)

    def root(self) -> int:
        """A detached mount for a run; the caller closes it."""
        try:
            return open_tree(self._mount, "", OPEN_TREE_CLONE | AT_EMPTY_PATH)
        except OSError as error:
            if error.errno != EINVAL:
                raise
            # Before Linux 6.15 what is detached cannot be cloned: this stage is for one run only.
            mount, self._mount = self._mount, -1
            return mount

    def write(self, texts: Mapping[str, str]) -> dict[str, str]:
        """Files for the run to mount, as if they were new; their paths by name."""
        paths = {}
        for name, text in texts.items():
            paths[name] = path = f"{self.directory}/{name}"
            known = self._files.get(name)
            if known is None or not _unchanged(path, known[1]):
                _create(path, text)
            elif known[0] != text:
                _overwrite(path, known[0], text)
            else:
                continue
            self._files[name] = text, os.stat(path).st_ctime_ns
        return paths

    def reusable(self) -> bool:
        """Whether nothing was changed since it was made, and nothing but our own files is there."""
        if self._mount < 0 or _facts(f"{self.directory}/upper") != self._facts:
            return False
        return set(os.listdir(self.directory)) == {"upper", "work", *self._files} and not os.listdir(
            f"{self.directory}/upper"
        )

    def remove(self) -> None:
        """Unmount it and delete its files. Can be repeated."""
        if self._mount >= 0:
            os.close(self._mount)
            self._mount = -1
        trash.empty(self.directory)
        os.rmdir(self.directory)


def _facts(path: str) -> tuple[object, ...]:
    status = os.stat(path)
    return status.st_ctime_ns, status.st_mode, status.st_uid, status.st_gid, tuple(sorted(os.listxattr(path)))


def _unchanged(path: str, ctime_ns: int) -> bool:
    try:
        return os.stat(path, follow_symlinks=False).st_ctime_ns == ctime_ns and not os.listxattr(path)
    except FileNotFoundError:
        return False


def _create(path: str, text: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        os.fchmod(descriptor, 0o644)
        os.write(descriptor, text.encode("utf-8", "surrogateescape"))
    finally:
        os.close(descriptor)


def _overwrite(path: str, before: str, text: str) -> None:
    """Change a file in place: truncating it first would free and take blocks for nothing."""
    data = text.encode("utf-8", "surrogateescape")
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.pwrite(descriptor, data, 0)
        if len(before.encode("utf-8", "surrogateescape")) > len(data):
            os.ftruncate(descriptor, len(data))
    finally:
        os.close(descriptor)


class Stages:
    """The stages of a process: those in use, and a few that wait for the next run."""

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._waiting: list[Stage] = []

    def take(self, base: str, name: str, lower: tuple[str, ...]) -> Stage:
        """A stage as good as new over these layers; a new one is made in `base`, called `name`."""
        with self._lock:
            for stage in self._waiting:
                if stage.lower == lower:
                    self._waiting.remove(stage)
                    return stage
        return Stage(f"{base}/{name}", lower)

    def give_back(self, stage: Stage, *, trusted: bool) -> None:
        """Take a stage whose container has ended; what it changed is removed with it.

        trusted: false for containers whose rights reach beyond what is looked at here.
        """
        if trusted and stage.reusable():
            with self._lock:
                if len(self._waiting) < _KEPT:
                    self._waiting.append(stage)
                    return
        stage.remove()

    def close(self) -> None:
        """Remove those that wait."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for stage in waiting:
            stage.remove()


_overlay_words: list[str] = []


def overlay_words() -> tuple[str, ...]:
    """Options of overlays whose upper directory is deleted afterwards."""
    if not _overlay_words:
        # An index would refuse a lower layer that another overlay has as its upper one.
        if os.path.exists("/sys/module/overlay/parameters/index"):
            _overlay_words.append("index=off")
        # What will be deleted need not be on disk when it is unmounted.
        _overlay_words.append("volatile")
    return tuple(_overlay_words)
