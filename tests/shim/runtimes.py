"""Other projects' runtimes as tests execute them: as they are, or behind a script that helps them here."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.peers import peer, unavailable

NAMES = ("runc", "crun", "runsc", "youki")
# No distribution's package has it: where tests/install-crates puts it, or on PATH.
_CRATES = {"youki": "cargo install --features v1 youki"}


def runtime(name: str, directory: Path) -> str:
    """The program to execute for a runtime; the test ends here where it is missing.

    directory: for the script, where there has to be one.
    """
    if name in _CRATES:
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        path = f"{os.environ.get('PATH', os.defpath)}:{cache}/cloche-peers/bin"
        return shutil.which(name, path=path) or unavailable(f"needs {name}: {_CRATES[name]}")
    program = peer(name)
    if name == "crun" and Path("/sys/fs/cgroup/unified").is_dir():
        return _script(directory / name, hide_unified(program))
    if name == "runsc":
        # KVM and systrap need what a machine may not have; ptrace runs anywhere. And it gives the host's
        # /dev/null, where that is a container's stdin, to the user of its sandbox.
        return _script(
            directory / name,
            f'{program} --platform=ptrace --network=none --ignore-cgroups=false "$@"\n'
            "status=$?; chown root:root /dev/null; exit $status\n",
        )
    return program


def hide_unified(program: str) -> str:
    """crun takes a machine with v1 hierarchies and a cgroup2 for one that has cgroup2 alone, in part."""
    return (
        "exec unshare --mount --propagation slave sh -c "
        f'\'umount /sys/fs/cgroup/unified; exec {program} "$@"\' {program} "$@"\n'
    )


def _script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}")
    path.chmod(0o755)
    return str(path)
