"""Compiled filters on disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cloche.engine.seccomp_profile import default
from cloche.kernel import filter_cache, seccomp

PROFILES: dict[str, dict[str, Any]] = {
    name: {
        "defaultAction": "SCMP_ACT_ERRNO",
        "flags": ["SECCOMP_FILTER_FLAG_LOG"],
        "syscalls": [{"names": [name], "action": "SCMP_ACT_ALLOW"}],
    }
    for name in ("read", "openat", "statx")
}


def test_a_cached_filter_is_the_compiled_one_and_needs_no_library(tmp_path: Path) -> None:
    document = default(["CAP_CHOWN", "CAP_SETUID"])
    directory = str(tmp_path / "seccomp")
    first = filter_cache.cached(document, directory)
    assert first == seccomp.compile(document)
    assert os.stat(directory).st_mode & 0o777 == 0o700
    assert [os.stat(entry).st_mode & 0o777 for entry in os.scandir(directory)] == [0o600]
    code = (
        "import json, sys; from cloche.kernel import filter_cache;"
        "program, flags = filter_cache.cached(json.load(sys.stdin), sys.argv[1]);"
        "assert 'libseccomp' not in open('/proc/self/maps').read();"
        "sys.stdout.buffer.write(program)"
    )
    child = subprocess.run(
        [sys.executable, "-c", code, directory],
        input=json.dumps(document).encode(),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        check=True,
    )
    assert child.stdout == first[0]


@pytest.mark.parametrize("damage", ["truncated", "flipped", "readable by others", "a link", "empty"])
def test_a_damaged_entry_of_the_cache_is_compiled_again(tmp_path: Path, damage: str) -> None:
    document = PROFILES["read"]
    program, _ = filter_cache.cached(document, str(tmp_path))
    (entry,) = tmp_path.iterdir()
    data = entry.read_bytes()
    entry.unlink()
    if damage == "a link":
        (tmp_path / "other").write_bytes(data)
        (tmp_path / "other").chmod(0o600)
        entry.symlink_to("other")
    else:
        changed = {"truncated": data[:-8], "flipped": data[:-1] + bytes([data[-1] ^ 1]), "empty": b""}
        entry.write_bytes(changed.get(damage, data))
        entry.chmod(0o644 if damage == "readable by others" else 0o600)
    assert filter_cache.cached(document, str(tmp_path))[0] == program
    assert not entry.is_symlink()
    assert entry.stat().st_mode & 0o777 == 0o600
    assert entry.read_bytes() == data


def test_profiles_do_not_share_an_entry(tmp_path: Path) -> None:
    programs = {filter_cache.cached(PROFILES[name], str(tmp_path))[0] for name in ("read", "openat", "statx")}
    assert len(programs) == len(list(tmp_path.iterdir())) == 3


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert filter_cache.cached(PROFILES["read"], str(tmp_path / "file"))[0]


def test_the_flags_come_from_the_cache_with_the_program(tmp_path: Path) -> None:
    compiled = seccomp.compile(PROFILES["read"])
    assert compiled[1]
    assert [filter_cache.cached(PROFILES["read"], str(tmp_path)) for _ in range(2)] == [compiled] * 2
