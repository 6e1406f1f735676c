"""Debian packages for guests only: fetched, taken apart and kept in a cache, never installed."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.peers import peer, unavailable


def cached(name: str, package: str, keep: Callable[[Path, Path], None]) -> Path:
    """The directory of this name in the cache; the test ends here where neither it nor Debian has it.

    keep: moves what is wanted of the package's content (the first path) into an empty directory.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "cloche-vm")
    place = cache / name
    if not place.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as directory:
            wanted = Path(directory, "wanted")
            wanted.mkdir()
            keep(_content(package, Path(directory)), wanted)
            try:
                wanted.rename(place)
            except OSError:  # somebody else was faster
                if not place.exists():
                    raise
    return place


def _content(package: str, directory: Path) -> Path:
    """What a package has in it, below the directory."""
    command = [peer("apt-get"), "--quiet=2", "download", package]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    archives = list(directory.glob("*.deb"))
    if done.returncode or not archives:
        unavailable(f"needs Debian's package {package}: apt-get download {package}: {done.stderr.strip()}")
    content = directory / "content"
    subprocess.run([peer("dpkg-deb"), "--extract", archives[0], content], check=True)
    return content
