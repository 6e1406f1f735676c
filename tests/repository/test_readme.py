"""What README.md shows works as it is written there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bundles import Bundle

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
# A line that stands for whatever is printed there.
ANYTHING = "…"


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def steps(block: str) -> list[tuple[str, list[str]]]:
    """A console block's commands, each with the lines it is shown to print."""
    found: list[tuple[str, list[str]]] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


@pytest.fixture
def environment(tmp_path: Path, cloche: str) -> Iterator[dict[str, str]]:
    """An environment in which the commands are found and work on places of the test's own."""
    environment = os.environ | {
        "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}",
        "CLOCHE_ROOT": str(tmp_path / "root"),
        "CLOCHE_STATE": str(tmp_path / "state"),
    }
    yield environment
    listing = subprocess.run(
        [cloche, "ps", "--all", "--quiet"], env=environment, capture_output=True, text=True, check=True
    )
    for container in listing.stdout.split():
        subprocess.run([cloche, "rm", "--force", container], env=environment, check=True)


def test_the_console_examples_print_what_is_shown(
    root: None, bundle: Bundle, environment: dict[str, str]
) -> None:
    (bundle.path / "config.json").unlink()
    for block in blocks("console"):
        for command, shown in steps(block):
            result = subprocess.run(
                ["sh", "-c", command],
                cwd=bundle.path.parent,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=60,
                check=False,
            )
            printed = result.stdout.splitlines()
            assert result.returncode == 0, f"{command}\n{result.stdout}"
            if shown and ANYTHING not in shown:
                assert printed == shown, command


def test_the_library_example_holds(root: None, environment: dict[str, str]) -> None:
    assert blocks("python")
    for block in blocks("python"):
        result = subprocess.run(
            [sys.executable, "-W", "error", "-c", block],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (result.returncode, result.stderr) == (0, "")


def test_every_link_leads_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
