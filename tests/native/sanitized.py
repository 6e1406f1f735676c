"""Programs of native/ built against libc, with the sanitizers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

NATIVE = Path(__file__).resolve().parents[2] / "native"
SANITIZERS = "-fsanitize=address,undefined"
FUZZ_SECONDS = 5


def build(clang: str, directory: Path, source: str, *flags: str) -> Path:
    """Compile a program of native/ against libc with the sanitizers."""
    subprocess.run([sys.executable, NATIVE / "generate.py", directory / "operations.h"], check=True)
    program = directory / Path(source).stem
    common = ["-g", "-O1", "-std=gnu11", "-fno-sanitize-recover=all", f"-I{directory}", f"-I{NATIVE}"]
    command: list[str | Path] = [
        clang,
        *common,
        *flags,
        "-DCLOCHE_HOSTED",
        "-Wno-macro-redefined",
        NATIVE / source,
        "-o",
        program,
    ]
    subprocess.run(command, check=True)
    return program


def fuzz(clang: str, directory: Path, source: str, seeds: dict[str, bytes]) -> None:
    """Run a harness of libFuzzer's for a few seconds, from these inputs on; fail where it finds anything."""
    fuzzer = build(clang, directory, source, "-fsanitize=fuzzer,address,undefined")
    corpus = directory / "corpus"
    corpus.mkdir()
    for name, data in seeds.items():
        (corpus / name).write_bytes(data)
    command: list[str | Path] = [fuzzer, f"-max_total_time={FUZZ_SECONDS}", "-max_len=32768", corpus]
    done = subprocess.run(command, cwd=directory, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:].decode(errors="replace")
