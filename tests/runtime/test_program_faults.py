"""A program that cannot be executed: the reason is found in the container, on each way to execute it."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cloche.runtime.container import ExecFailed
from cloche.runtime.program_faults import Wanted, fault
from tests.bundles import Bundle
from tests.runtime.containers import Runtime

Way = Callable[[Runtime, Bundle, tuple[str, ...]], ExecFailed]
OTHER = {"x86_64": (183, "aarch64"), "aarch64": (62, "x86_64")}[os.uname().machine]


def by_start(runtime: Runtime, bundle: Bundle, args: tuple[str, ...]) -> ExecFailed:
    """Through the gate: some programs fail the create, others the start."""
    bundle.command(*args)
    with pytest.raises(ExecFailed) as caught:
        _create_and_start(runtime, bundle)
    return caught.value


def _create_and_start(runtime: Runtime, bundle: Bundle) -> None:
    container, process = runtime.create(bundle)
    with process:
        try:
            container.start()
        finally:
            process.wait()


def by_run(runtime: Runtime, bundle: Bundle, args: tuple[str, ...]) -> ExecFailed:
    """Without a gate."""
    with pytest.raises(ExecFailed) as caught:
        runtime.run(bundle, *args)
    return caught.value


def by_exec(runtime: Runtime, bundle: Bundle, args: tuple[str, ...]) -> ExecFailed:
    """In a container that runs."""
    process: Any = bundle.process | {"args": list(args)}
    with runtime.running(bundle) as container:
        with pytest.raises(ExecFailed) as caught:
            container.execute(process)
        return caught.value


@pytest.fixture
def way() -> Way:
    """Tries every way; what is said must not depend on it."""

    def every_way(runtime: Runtime, bundle: Bundle, args: tuple[str, ...]) -> ExecFailed:
        error = by_start(runtime, bundle, args)
        for other in (by_run(runtime, bundle, args), by_exec(runtime, bundle, args)):
            assert (str(other), other.errno) == (str(error), error.errno)
        return error

    return every_way


def write(bundle: Bundle, name: str, content: bytes, mode: int = 0o755) -> str:
    """A file in the container's root; returns its path there."""
    path = bundle.rootfs / name
    path.write_bytes(content)
    path.chmod(mode)
    return f"/{name}"


def program(machine: int, interpreter: bytes) -> bytes:
    """An ELF program of 64 bits with nothing but a loader."""
    header = struct.pack("<4sBBBB8sHHI", b"\x7fELF", 2, 1, 1, 0, bytes(8), 2, machine, 1)
    header += struct.pack("<QQQIHHHHHH", 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 3, 4, 120, 120, 120, len(interpreter) + 1, len(interpreter) + 1, 1)
    return header + segment + interpreter + b"\0"


def test_a_missing_program_is_looked_for_along_the_path(runtime: Runtime, bundle: Bundle, way: Way) -> None:
    error = way(runtime, bundle, ("nowhere",))
    assert 'exec: "nowhere": executable file not found in $PATH: it is in none of /' in str(error)
    assert error.errno == 2


def test_another_shell_is_offered_where_there_is_one(runtime: Runtime, bundle: Bundle) -> None:
    assert str(by_start(runtime, bundle, ("bash",))).endswith(", but there is '/bin/sh'")
    for name in ("sh", "ash"):
        (bundle.rootfs / "bin" / name).unlink()
    assert str(by_start(runtime, bundle, ("sh",))).endswith(": this image has no shell")


def test_the_part_of_a_path_that_is_missing_is_named(runtime: Runtime, bundle: Bundle, way: Way) -> None:
    error = way(runtime, bundle, ("/bin/app/run",))
    assert 'exec: "/bin/app/run": stat /bin/app/run: no such file or directory: there is no' in str(error)
    assert "there is no '/bin/app' in the container" in str(error)


def test_a_link_to_nothing_is_named_with_its_target(runtime: Runtime, bundle: Bundle, way: Way) -> None:
    (bundle.rootfs / "bin" / "python").symlink_to("/opt/python/bin/python3")
    said = str(way(runtime, bundle, ("python",)))
    assert "executable file not found in $PATH: '/bin/python' is a link to '/opt/python/bin/python3'" in said


def test_links_in_a_circle_are_named(runtime: Runtime, bundle: Bundle, way: Way) -> None:
    (bundle.rootfs / "a").symlink_to("/b")
    (bundle.rootfs / "b").symlink_to("/a")
    error = way(runtime, bundle, ("/a",))
    assert "'/a' leads through links that turn in circles" in str(error)


def test_a_whole_command_line_in_one_word_is_recognised(runtime: Runtime, bundle: Bundle, way: Way) -> None:
    assert "words of their own" in str(way(runtime, bundle, ("sleep 5",)))


def test_a_missing_interpreter_is_named(runtime: Runtime, bundle: Bundle, way: Way) -> None:
    path = write(bundle, "run.sh", b"#!/usr/local/bin/bash -e\necho hello\n")
    error = way(runtime, bundle, (path,))
    assert error.errno == 2
    assert 'exec: "/run.sh": no such file or directory: it is there, but its interpreter' in str(error)
    assert "(#!/usr/local/bin/bash -e) is not: there is no '/usr/local'" in str(error)


def test_the_line_ends_of_windows_are_recognised(runtime: Runtime, bundle: Bundle, way: Way) -> None:
    path = write(bundle, "run.sh", b"#!/bin/sh\r\necho hello\r\n")
    said = str(way(runtime, bundle, (path,)))
    assert "its first line ends with a carriage return" in said
    assert "sed -i" in said


def test_a_missing_loader_is_named_with_its_library(runtime: Runtime, bundle: Bundle, way: Way) -> None:
    machine = {"x86_64": 62, "aarch64": 183}[os.uname().machine]
    path = write(bundle, "app", program(machine, b"/lib64/ld-linux-x86-64.so.2"))
    said = str(way(runtime, bundle, (path,)))
    assert "its loader '/lib64/ld-linux-x86-64.so.2' is not: it was linked for glibc" in said


def test_a_program_for_another_machine_is_told_from_one_for_this(
    runtime: Runtime, bundle: Bundle, way: Way
) -> None:
    path = write(bundle, "app", program(OTHER[0], b"/lib/ld.so"))
    error = way(runtime, bundle, (path,))
    assert error.errno == 8
    assert f'exec: "/app": exec format error: it is there, but it is a program for {OTHER[1]}' in str(error)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (b"echo hello\n", "it is text without an interpreter"),
        (b"\xef\xbb\xbf#!/bin/sh\n", "after a byte order mark"),
        (b"MZ\x90\0\x03", "for Windows"),
        (b"\0\1\2\3", r"it begins with 00 01 02 03"),
        (b"\x7fELF", "damaged"),
    ],
)
def test_what_is_no_program_is_said_to_be_none(
    runtime: Runtime, bundle: Bundle, content: bytes, words: str
) -> None:
    path = write(bundle, "app", content)
    error = by_start(runtime, bundle, (path,))
    assert error.errno == 8
    assert words in str(error)


def test_a_file_without_the_bit_and_a_directory_are_told_apart(
    runtime: Runtime, bundle: Bundle, way: Way
) -> None:
    path = write(bundle, "app", b"#!/bin/sh\n", mode=0o644)
    error = way(runtime, bundle, (path,))
    assert error.errno == 13
    assert 'exec: "/app": permission denied: it is there, but it is not executable (mode 0644)' in str(error)
    assert "it is a directory" in str(way(runtime, bundle, ("/etc",)))


def test_an_interpreter_that_may_not_be_executed_is_named(runtime: Runtime, bundle: Bundle, way: Way) -> None:
    write(bundle, "inner", b"#!/bin/sh\n", mode=0o600)
    path = write(bundle, "outer", b"#!/inner\n")
    said = str(way(runtime, bundle, (path,)))
    assert "its interpreter '/inner' does not work: it is not executable (mode 0600)" in said


def test_a_mount_without_execution_is_named(
    runtime: Runtime, bundle: Bundle, tmp_path: Path, way: Way
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "app").write_bytes(b"#!/bin/sh\n")
    (shared / "app").chmod(0o755)
    mount = {"destination": "/mnt/tools", "source": str(shared), "options": ["bind", "noexec"]}
    bundle.config["mounts"].append(mount)
    said = str(way(runtime, bundle, ("/mnt/tools/app",)))
    assert "it is on the mount '/mnt/tools', which has noexec" in said


def test_a_directory_that_the_user_may_not_enter_is_named(runtime: Runtime, bundle: Bundle, way: Way) -> None:
    closed = bundle.rootfs / "closed"
    closed.mkdir(mode=0o700)
    (closed / "app").write_bytes(b"#!/bin/sh\n")
    (closed / "app").chmod(0o755)
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    assert "user 1000 may not enter '/closed' (mode 0700)" in str(way(runtime, bundle, ("/closed/app",)))


def test_nothing_outside_the_container_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "secret").write_bytes(b"#!/no/such/interpreter\n")
    (tmp_path / "root" / "app").symlink_to("../secret")
    root = os.open(tmp_path / "root", os.O_PATH)
    try:
        wanted = Wanted("/app", ("/app",), "/", 0, (0,))
        assert fault(root, wanted, 2) == "'/app' is a link to '../secret', which is not in the container"
    finally:
        os.close(root)
