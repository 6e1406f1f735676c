"""Why a program cannot be executed: what is missing, looked up inside the container's own root.

execve(2) answers ENOENT for a program that is missing, and for one whose interpreter or loader is;
EACCES for a file without permission, a directory, or a mount with noexec; ENOEXEC for another
machine's program and for text. Everything here is found through descriptors below the container's
root, never by a path of the host. Loaded only when a program was refused.
"""

from __future__ import annotations

import os
import posixpath
import stat
from errno import EACCES, ELIBBAD, ELOOP, ENOENT, ENOEXEC, ENOTDIR, ETXTBSY

from cloche.kernel import elf
from cloche.kernel.paths import open_in_root
from cloche.runtime.failures import ExecFailed
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.kernel.elf import Elf
    from cloche.spec.config import Process

# What the kernel reads of a file to find out how to execute it (BINPRM_BUF_SIZE).
_HEAD_BYTES = 256
# Scripts whose interpreter is a script; the kernel gives up after some.
_MOST_SCRIPTS = 5
_MACHINES = {
    3: "i386",
    8: "mips",
    20: "ppc",
    21: "ppc64",
    22: "s390x",
    40: "arm",
    62: "x86_64",
    183: "aarch64",
    243: "riscv64",
    258: "loongarch64",
}
_SHELLS = ("sh", "bash", "ash", "dash", "zsh")
_TEXT = frozenset(range(0x20, 0x7F)) | {0x09, 0x0A, 0x0D} | frozenset(range(0x80, 0x100))


class Wanted(Record):
    """A program that was to be executed.

    command: args[0]. candidates: the paths that were tried, in order. cwd: what relative ones count from.
    uid, gids: with whose permissions. where: what paths are said to be in.
    """

    command: str
    candidates: tuple[str, ...]
    cwd: str
    uid: int
    gids: tuple[int, ...]
    where: str = "in the container"

    @classmethod
    def of_process(cls, process: Process) -> Wanted:
        """As config.json's `process` says."""
        from cloche.runtime.plan_process import candidates

        user = process.get("user", {})
        groups = (user.get("gid", 0), *user.get("additionalGids", ()))
        return cls(process["args"][0], candidates(process), process["cwd"], user.get("uid", 0), groups)

    @classmethod
    def of_attempt(cls, pid: int, command: str, candidates: tuple[str, ...]) -> Wanted:
        """As a process that tried, and is there still, has it. Raises OSError when it is gone."""
        with open(f"/proc/{pid}/status", "rb", buffering=0) as file:
            lines = dict(line.partition(b":")[::2] for line in file.readall().splitlines())
        groups = (lines[b"Gid"].split()[1], *lines[b"Groups"].split())
        return cls(
            command,
            candidates,
            os.readlink(f"/proc/{pid}/cwd"),
            int(lines[b"Uid"].split()[1]),
            tuple(int(group) for group in groups),
        )

    def paths(self) -> list[str]:
        """The candidates from the container's root."""
        return [posixpath.join(self.cwd, path) for path in self.candidates]


def refusal(command: str, errno: int, why: str = "") -> ExecFailed:
    """The error for a program that cannot be executed.

    It begins with the words that engines above look for to tell 126 from 127. why: what `fault` found.
    """
    message = f'config.json: process.args[0]: exec: "{command}": {_reason(command, errno, why)}'
    return ExecFailed(f"{message}: {why}" if why else message, errno)


def _reason(command: str, errno: int, why: str) -> str:
    if errno == ENOENT and "/" not in command:
        return "executable file not found in $PATH"
    if errno == ENOENT and not why.startswith("it is there"):
        return f"stat {command}: no such file or directory"
    return os.strerror(errno).lower()


def fault(root: int, wanted: Wanted, errno: int) -> str:
    """What is wrong with a program, and what to do; empty where that cannot be told. Raises nothing.

    root: a descriptor of the container's root directory, as the program would have seen it.
    """
    try:
        return _Search(root, wanted, errno).explain()
    except OSError:
        return ""


class _Search:
    """One search for the reason."""

    def __init__(self, root: int, wanted: Wanted, errno: int) -> None:
        self.root = root
        self.wanted = wanted
        self.errno = errno

    def explain(self) -> str:
        paths = self.wanted.paths()
        found = [path for path in paths if self._exists(path)]
        if not paths:
            return "PATH is not set in process.env: set it, or name the program by its path"
        if not found:
            return self._absent(paths)
        return self._unusable(found[0], "it is there, but ", _MOST_SCRIPTS)

    def _exists(self, path: str) -> bool:
        try:
            os.close(open_in_root(self.root, path))
        except OSError as error:
            return error.errno not in (ENOENT, ENOTDIR, ELOOP)
        return True

    def _absent(self, paths: list[str]) -> str:
        command = self.wanted.command
        if " " in command.strip():
            return "it is one word with blanks in it: make the program and its arguments words of their own"
        if "/" in command:
            return self._break(paths[0])
        if dangling := next((path for path in paths if self._is_link(path)), ""):
            return self._break(dangling)
        directories = [posixpath.dirname(path) or "/" for path in paths]
        return f"it is in none of {', '.join(directories)}{self._other_shell(directories)}"

    def _other_shell(self, directories: list[str]) -> str:
        """Where a shell was asked for, which there is instead."""
        if self.wanted.command not in _SHELLS:
            return ""
        shells = (f"{directory}/{name}" for name in _SHELLS for directory in directories)
        found = next((path for path in shells if self._exists(path)), "")
        return f", but there is {found!r}" if found else ": this image has no shell"

    def _is_link(self, path: str) -> bool:
        try:
            link = open_in_root(self.root, path, os.O_PATH | os.O_NOFOLLOW)
        except OSError:
            return False
        try:
            return stat.S_ISLNK(os.fstat(link).st_mode)
        finally:
            os.close(link)

    def _break(self, path: str) -> str:
        """The first component of a path that leads nowhere."""
        at = ""
        for name in path.strip("/").split("/"):
            at = f"{at}/{name}"
            try:
                os.close(open_in_root(self.root, at))
            except OSError as error:
                if error.errno == ENOTDIR:
                    return f"{posixpath.dirname(at)!r} is a file and no directory"
                target = self._target(at)
                if error.errno == ELOOP:
                    return f"{at!r} leads through links that turn in circles"
                if target:
                    return f"{at!r} is a link to {target!r}, which is not {self.wanted.where}"
                return f"there is no {at!r} {self.wanted.where}"
        return ""

    def _target(self, path: str) -> str:
        """Where a link leads to; empty for what is none."""
        try:
            link = open_in_root(self.root, path, os.O_PATH | os.O_NOFOLLOW)
        except OSError:
            return ""
        try:
            return os.readlink("", dir_fd=link)
        except OSError:
            return ""
        finally:
            os.close(link)

    def _unusable(self, path: str, subject: str, depth: int) -> str:
        """What is wrong with a file that exists. subject: how the sentence begins."""
        place = open_in_root(self.root, path)
        try:
            forbidden = self._forbidden(path, place)
            if forbidden:
                return f"{subject}{forbidden}"
            return self._misread(path, place, subject, depth)
        finally:
            os.close(place)

    def _forbidden(self, path: str, place: int) -> str:
        """Why the file may not be executed, by what is known without reading it."""
        status = os.fstat(place)
        if stat.S_ISDIR(status.st_mode):
            return "it is a directory: name a program in it"
        if not stat.S_ISREG(status.st_mode):
            return "it is no regular file"
        if closed := self._closed_directory(path):
            return closed
        if not self._may(status, 1):
            mode = f"{stat.S_IMODE(status.st_mode):04o}"
            if not status.st_mode & 0o111:
                return f"it is not executable (mode {mode}): make it so (chmod +x)"
            owner = f"{status.st_uid}:{status.st_gid}"
            return f"user {self.wanted.uid} may not execute it (mode {mode}, owner {owner})"
        if os.statvfs(f"/proc/self/fd/{place}").f_flag & os.ST_NOEXEC:
            point = self._mount_point(path, place)
            return f"it is on the mount {point!r}, which has noexec: mount that without"
        return ""

    def _closed_directory(self, path: str) -> str:
        """The first directory on the way that the user may not enter."""
        at = "/"
        for name in ["", *posixpath.dirname(path).strip("/").split("/")]:
            at = posixpath.join(at, name) if name else at
            directory = open_in_root(self.root, at)
            try:
                status = os.fstat(directory)
            finally:
                os.close(directory)
            if not self._may(status, 1):
                mode = f"{stat.S_IMODE(status.st_mode):04o}"
                return f"user {self.wanted.uid} may not enter {at!r} (mode {mode}): open it to others"
        return ""

    def _may(self, status: os.stat_result, bit: int) -> bool:
        """Whether the mode lets the user through; root needs a bit of anybody's on a file."""
        mode = status.st_mode
        if self.wanted.uid == 0:
            return stat.S_ISDIR(mode) or bool(mode & 0o111)
        if status.st_uid == self.wanted.uid:
            return bool(mode >> 6 & bit)
        if status.st_gid in self.wanted.gids:
            return bool(mode >> 3 & bit)
        return bool(mode & bit)

    def _mount_point(self, path: str, place: int) -> str:
        """The highest directory on the way that is on the file's own mount."""
        own, at = _mount_id(place), path
        while at not in ("", "/"):
            above = open_in_root(self.root, posixpath.dirname(at) or "/")
            try:
                if _mount_id(above) != own:
                    return at
            finally:
                os.close(above)
            at = posixpath.dirname(at)
        return "/"

    def _misread(self, path: str, place: int, subject: str, depth: int) -> str:
        """Why the kernel cannot make a process of the file's contents."""
        if self.errno == ETXTBSY:
            return f"{subject}somebody has it open for writing"
        file = os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            head = os.pread(file, _HEAD_BYTES, 0)
            if head.startswith(b"#!"):
                return self._script(head, subject, depth)
            if head.startswith(b"\x7fELF"):
                return self._elf(head, elf.read(file), subject)
        finally:
            os.close(file)
        if self.errno == ENOEXEC:
            return f"{subject}{_no_program(head)}"
        if self.errno == EACCES:
            return f"{subject}no permission forbids it: a security profile (AppArmor, SELinux) may"
        return ""

    def _script(self, head: bytes, subject: str, depth: int) -> str:
        line = head[2:].partition(b"\n")[0]
        words = line.split(b" ") if b"\t" not in line else line.replace(b"\t", b" ").split(b" ")
        interpreter = os.fsdecode(next((word for word in words if word), b""))
        shown = line.decode(errors="replace").strip()
        if interpreter.endswith("\r"):
            return (
                f"{subject}its first line ends with a carriage return, so that its interpreter is "
                f"{interpreter!r}: give the file Unix line ends (sed -i 's/\\r$//' FILE)"
            )
        if not interpreter:
            return f"{subject}its first line names no interpreter: write #!/bin/sh, or another, there"
        if not depth:
            return f"{subject}its interpreter is a script, whose interpreter is one, and so on, too often"
        if not self._exists(interpreter):
            broken = self._break(posixpath.join(self.wanted.cwd, interpreter))
            return f"{subject}its interpreter (#!{shown}) is not: {broken}: install it, or name another"
        within = f"{subject}its interpreter {interpreter!r} does not work: "
        return self._unusable(interpreter, within, depth - 1)

    def _elf(self, head: bytes, program: Elf | None, subject: str) -> str:
        if program is None:
            return f"{subject}its ELF headers are damaged: it may have been copied in part"
        machine, ours = program.kind[2], os.uname().machine
        name = _MACHINES.get(machine, f"machine {machine}")
        if name != ours and self.errno in (ENOEXEC, ELIBBAD, EACCES):
            return (
                f"{subject}it is a program for {name}, and this machine is {ours}: take the image for "
                f"linux/{_PLATFORMS.get(ours, ours)}, or install qemu-user with binfmt_misc"
            )
        loader = os.fsdecode(program.interpreter)
        if loader and not self._exists(loader):
            return (
                f"{subject}its loader {loader!r} is not: it was linked for {_library(loader)}: "
                "use an image that has it, or link the program statically"
            )
        if loader and self.errno in (ELIBBAD, EACCES, ENOEXEC):
            return self._loader(loader, subject)
        return ""

    def _loader(self, loader: str, subject: str) -> str:
        place = open_in_root(self.root, loader)
        try:
            why = self._forbidden(loader, place)
        finally:
            os.close(place)
        return f"{subject}its loader {loader!r} cannot be executed: {why}" if why else ""


_PLATFORMS = {"x86_64": "amd64", "aarch64": "arm64"}


def _library(loader: str) -> str:
    """The C library that a loader belongs to, by its name."""
    name = posixpath.basename(loader)
    if name.startswith("ld-musl"):
        return "musl, which Alpine has"
    if name.startswith(("ld-linux", "ld64", "ld.so")):
        return "glibc, which Alpine and static images lack"
    return "another system"


def _no_program(head: bytes) -> str:
    if not head:
        return "it is empty"
    if head.startswith(b"\xef\xbb\xbf#!"):
        return "its #! comes after a byte order mark: save it without one"
    if head.startswith(b"MZ"):
        return "it is a program for Windows"
    if head[:4] in (b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe"):
        return "it is a program for macOS, or a Java class"
    if _TEXT.issuperset(head):
        return "it is text without an interpreter: make its first line #!/bin/sh, or another's path"
    return f"it is no program that the kernel knows (it begins with {head[:4].hex(' ')})"


def _mount_id(descriptor: int) -> str:
    with open(f"/proc/self/fdinfo/{descriptor}", encoding="ascii") as file:
        lines = dict(line.partition(":")[::2] for line in file)
    return lines.get("mnt_id", "").strip()
