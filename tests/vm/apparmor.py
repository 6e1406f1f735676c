"""What a guest needs to load profiles of AppArmor's: the compiler of Debian's package."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.vm.initramfs import Initramfs
from tests.vm.packages import cached

PARSER = "apparmor_parser"


def add_apparmor(archive: Initramfs) -> None:
    """apparmor_parser, which writes to securityfs what it made of a profile."""
    archive.program(cached(PARSER, "apparmor", _keep) / PARSER, f"/usr/local/sbin/{PARSER}")


def _keep(content: Path, wanted: Path) -> None:
    shutil.move(content / "sbin" / PARSER, wanted)
