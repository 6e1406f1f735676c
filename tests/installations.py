"""Further installations of Cloche, made of the one that runs the tests."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

PACKAGES = Path("lib", f"python{sys.version_info[0]}.{sys.version_info[1]}", "site-packages")


def beside(there: Path, *, copied: bool) -> Path:
    """The same commands in another place; returns its site-packages. copied: Cloche itself, to be changed."""
    here = Path(sys.prefix)
    (there / "bin").mkdir(parents=True)
    (there / PACKAGES).mkdir(parents=True)
    shutil.copy(here / "pyvenv.cfg", there)
    for name in ("cloche", "cloche-runc", "cloched", "containerd-shim-cloche-v1"):
        shutil.copy(here / "bin" / name, there / "bin")
    for each in (here / PACKAGES).iterdir():
        if each.name == "cloche" and copied:
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(each, there / PACKAGES / "cloche", ignore=ignored)
        else:
            (there / PACKAGES / each.name).symlink_to(each)
    return there / PACKAGES
