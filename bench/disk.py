"""A file system of the benchmark's own: an ext4 with a journal, as most machines have, in a file.

What others write or delete meanwhile then costs neither side anything. It matters on machines whose
own ext4 has no journal: there the kernel will not use an inode again for minutes after it was
deleted, and looks at each such inode whenever it makes a file, so that every pull after the removal
of the last one takes several times as long, whoever pulls.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

SIZE_BYTES = 8 << 30


class Disk:
    """A directory with an empty file system mounted there; a plain directory where that is impossible."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "mounted"
        self.path.mkdir()
        backing = directory / "backing"
        with backing.open("wb") as file:
            file.truncate(SIZE_BYTES)
        subprocess.run(["mkfs.ext4", "-q", str(backing)], check=True, stdin=subprocess.DEVNULL)
        mount = ["mount", "-o", "loop", str(backing), str(self.path)]
        self._mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0

    def close(self) -> None:
        """Unmount it; the file goes with its directory."""
        if self._mounted:
            subprocess.run(["umount", str(self.path)], check=True)
            self._mounted = False
