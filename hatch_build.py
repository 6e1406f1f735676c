"""Builds native/ with the machine's C compiler and puts the results into the wheel.

`cloche-init` goes inside the package, the launcher becomes the wheel's commands. Both are static
programs without a C library, so that the wheel depends on the architecture and on nothing else.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

COMMANDS = ("cloche", "cloche-runc", "cloched", "containerd-shim-cloche-v1")
# Programs that run in containers: installed inside the package, and never on anybody's PATH.
PACKAGED = ("init", "reaper", "pause")

MACHINES = {"x86_64": "linux_x86_64", "aarch64": "linux_aarch64"}

COMPILE = (
    "-std=gnu11",
    "-O2",
    "-fno-pie",
    "-ffreestanding",
    "-fno-strict-aliasing",
    "-fno-asynchronous-unwind-tables",
    "-fno-unwind-tables",
    # native/guard.h has what a C library would: the guard, and what happens where it has changed.
    "-fstack-protector-strong",
    "-mstack-protector-guard=global",
    "-fstack-clash-protection",
    # The checked calls of _FORTIFY_SOURCE are a C library's, which these programs do not have.
    "-U_FORTIFY_SOURCE",
    "-ffunction-sections",
    "-fdata-sections",
    "-Wall",
    "-Wextra",
    "-Werror",
)
# Marks on the targets of indirect jumps, for processors and kernels that look at them.
BRANCHES = {"x86_64": "-fcf-protection=full", "aarch64": "-mbranch-protection=standard"}
LINK = (
    "-nostdlib",
    "-static",
    "-no-pie",
    "-Wl,-z,noexecstack",
    "-Wl,-z,relro",
    "-Wl,-z,now",
    "-Wl,-z,separate-code",
    "-Wl,--gc-sections",
    "-Wl,--build-id=none",
    "-s",
)


class NativeBuildHook(BuildHookInterface):  # type: ignore[type-arg]  # hatchling leaves it open
    """Compiles the programs of native/ before a wheel is put together."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and tell hatchling where the programs go.

        version: "standard", or "editable", which is refused: the launcher runs without `site`,
            and so without the .pth files that an editable installation consists of.
        """
        if version == "editable":
            raise RuntimeError("cloche cannot be installed in editable mode: use `make install`")
        machine = os.uname().machine
        if machine not in MACHINES:
            raise RuntimeError(f"cloche builds on {', '.join(MACHINES)}, not on {machine}")
        native = Path(self.root, "native")
        output = Path(self.root, "build", "native")
        output.mkdir(parents=True, exist_ok=True)
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{MACHINES[machine]}"
        launcher = str(compile_program(native / "launcher.c", output / "launcher"))
        # One copy a command: hatchling keys the files by their source.
        for command in COMMANDS:
            copy = output / command
            shutil.copy2(launcher, copy)
            build_data["shared_scripts"][str(copy)] = command
        if (native / "init.c").exists():
            generate_operations(native, output)
            for name in PACKAGED:
                program = compile_program(native / f"{name}.c", output / f"cloche-{name}")
                build_data["force_include"][str(program)] = f"cloche/native/cloche-{name}"
                # Beside the sources too, for tests that import them from where they are.
                beside = Path(self.root, "src", "cloche", "native", f"cloche-{name}")
                beside.parent.mkdir(exist_ok=True)
                shutil.copy2(program, beside.with_suffix(".new"))
                beside.with_suffix(".new").replace(beside)


def generate_operations(native: Path, output: Path) -> None:
    """Write operations.h, the C side of the table in src/cloche/runtime/operations.py."""
    generator = native / "generate.py"
    if generator.exists():
        subprocess.run([sys.executable, generator, output / "operations.h"], check=True)


def compile_program(source: Path, program: Path) -> Path:
    """Compile one C file into one static program. CC and CFLAGS of the environment are used."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    extra = shlex.split(os.environ.get("CFLAGS", ""))
    includes = [f"-I{program.parent}", f"-I{source.parent}"]
    unfinished = program.with_suffix(".new")
    command = [
        *compiler,
        *COMPILE,
        BRANCHES[os.uname().machine],
        *extra,
        *includes,
        *LINK,
        "-o",
        str(unfinished),
        str(source),
    ]
    if shutil.which(compiler[0]) is None:
        raise RuntimeError(f"no C compiler: {compiler[0]} is not in PATH (on Debian: apt-get install gcc)")
    subprocess.run(command, check=True)
    unfinished.replace(program)
    return program
