"""What the launcher answers without Python: fuzzed, and a container's life under the sanitizers."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from tests.bundles import Bundle
from tests.native.sanitized import SANITIZERS, build, fuzz
from tests.runtime.face.runtimes import Runtime, unique

SUMMARY = (
    b"cloche summary 2",
    b"4711",
    b"12345",
    b"boot",
    b"",
    b"starts",
    b"/sys/a\n/sys/b",
    b"{",
    b",",
    b"}",
)
STAT = b"4711 (a) b) S " + b" ".join(b"%d" % number for number in range(17)) + b" 0 12345 1 2"


def test_nothing_that_is_read_leads_outside_of_it(peer: Callable[[str], str], tmp_path: Path) -> None:
    words = b"--root\n/run/x\n--log=l\n--log-format\njson\ndelete\n--force\nname"
    seeds = {"summary": b"".join(field + b"\0" for field in SUMMARY), "stat": STAT, "words": words}
    fuzz(peer("clang"), tmp_path, "fuzz_answering.c", seeds)


def test_a_containers_life_under_the_sanitizers(
    root: None, peer: Callable[[str], str], tmp_path: Path, bundle: Bundle
) -> None:
    """Beside the installed packages, so that Python has its part too."""
    shutil.copy(Path(sys.prefix, "pyvenv.cfg"), tmp_path)
    (tmp_path / "lib").symlink_to(Path(sys.prefix, "lib"))
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "cloche-runc"
    build(peer("clang"), tmp_path, "launcher.c", SANITIZERS).rename(program)
    bundle.command("sleep", "1000")
    with Runtime(str(program), tmp_path / "state") as runtime:
        for flags in (("--force",), ()):
            name = unique("sanitized")
            assert runtime.start_detached("create", "--bundle", str(bundle.path), name) == 0
            assert runtime.status(name) == "created"
            if flags:
                assert runtime("start", name).returncode == 0
                assert runtime.status(name) == "running"
                refused = runtime("delete", name)
                assert "that is not stopped" in refused.stderr
            done = runtime("delete", *flags, name)
            assert (done.returncode, done.stderr) == (0, "")
        assert os.listdir(runtime.root) == []
