"""What is shown of a transfer: a tree of what it brings, drawn again and again on a terminal.

Where nobody looks, only how it ended is printed.
"""

from __future__ import annotations

import os
from time import monotonic

from cloche.cli.ctr import values
from cloche.cli.output import write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloche.wire.messages.transfer import Progress

_MOVING = ("downloading", "uploading", "extracting")
_WAITING = ("resolving", "waiting")
_WHOLE = ("complete", "extracted")
_NAME_WIDTH = 40
_BAR_WIDTH = 38
_SHORT = 12
_INTERVAL_S = 0.1


class Display:
    """Draws the news of one transfer. quiet: not at all, since the standard output is for something else."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._status = ""
        self._nodes: dict[str, Progress] = {}
        self._began = self._drawn = monotonic()
        self._lines = 0
        self._live = not quiet and os.isatty(1)

    def show(self, news: Progress) -> None:
        """Something has happened."""
        if news.name:
            self._nodes[news.name] = news
        else:
            self._status = news.event
        if self._live and monotonic() - self._drawn > _INTERVAL_S:
            self._draw()

    def close(self) -> None:
        """Draw it as it is at the end."""
        if not self._quiet:
            self._draw()

    def _draw(self) -> None:
        lines = list(self._tree("", ""))
        for name, node in self._nodes.items():
            if not self._parents(node) and (desc := self._described(name)):
                lines.append(desc)
        elapsed_s = monotonic() - self._began
        total = sum(node.progress for node in self._nodes.values())
        rate = f"({values.size(total / max(elapsed_s, 0.001))}/s)"
        lines.append(
            f"{self._status}\telapsed: {elapsed_s:<4.1f}s\ttotal: {values.size(total)[:6]:>7}\t{rate}\t"
        )
        again = f"\x1b[{self._lines}A\x1b[J" if self._live and self._lines else ""
        write(again + "".join(f"{line}\n" for line in lines))
        self._lines = len(lines)
        self._drawn = monotonic()

    def _parents(self, node: Progress) -> list[str]:
        return [name for name in node.parents if name in self._nodes]

    def _described(self, name: str) -> str:
        node = self._nodes[name]
        if node.desc is not None and node.desc.media_type:
            return f"{node.desc.media_type} {node.desc.digest}"
        below = (self._described(key) for key, each in self._nodes.items() if name in each.parents)
        return next((found for found in below if found), "")

    def _tree(self, parent: str, indent: str) -> Iterator[str]:
        below = [
            (name, node)
            for name, node in self._nodes.items()
            if (parent in node.parents if parent else not self._parents(node))
        ]
        for number, (name, node) in enumerate(below):
            last = number == len(below) - 1
            own, further = ("└──", "   ") if last else ("├──", "│  ")
            if not parent:
                own = further = ""
            yield f"{indent + own + _shortened(name):<{_NAME_WIDTH}.{_NAME_WIDTH}}\t{_state(node)}\t"
            yield from self._tree(name, indent + further)


def _state(node: Progress) -> str:
    if node.event in _MOVING:
        share = node.progress / node.total if node.total else 0.0
        size = f"{values.size(node.progress)[:8]:>8}/{values.size(node.total)}"
        return f"{node.event:<11}\t{_bar(share)}\t{size}"
    if node.event in _WAITING or node.event in _WHOLE:
        return f"{node.event:<11}\t{_bar(float(node.event in _WHOLE))}"
    return node.event


def _bar(share: float) -> str:
    filled = int(_BAR_WIDTH * min(share, 1.0))
    return f"|{'+' * filled}{'-' * (_BAR_WIDTH - filled)}|"


def _shortened(name: str) -> str:
    """A name with the digests in it cut short: "layer (5f0eca28fc82)"."""
    words = []
    for word in name.split("-"):
        short = word.startswith("sha256:") and len(word) == 71
        words.append(f"({word[7 : 7 + _SHORT]})" if short else word)
    return " ".join(words) if any(word.startswith("(") for word in words) else name
