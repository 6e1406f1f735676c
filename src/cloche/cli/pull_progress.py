"""What a pull or push shows while it works: docker's lines, or bars where a person is looking."""

from __future__ import annotations

import threading

from cloche.cli.output import write
from cloche.image.progress import (
    DONE,
    DOWNLOADING,
    EXISTS,
    EXTRACTING,
    UPLOADING,
    WAITING,
    BlobStatus,
    Progress,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.progress import TaskID

PULLING = {
    WAITING: "Pulling fs layer",
    DOWNLOADING: "Downloading",
    EXTRACTING: "Extracting",
    DONE: "Pull complete",
    EXISTS: "Already exists",
}
PUSHING = {
    WAITING: "Preparing",
    UPLOADING: "Pushing",
    DONE: "Pushed",
    EXISTS: "Layer already exists",
}
# Without a terminal only these are told, each once, as docker does.
_TOLD = (WAITING, EXTRACTING, DONE, EXISTS)
_SHORT = 12


def _short(blob: BlobStatus) -> str:
    return blob.digest.partition(":")[2][:_SHORT]


class Lines(Progress):
    """One line for each step of each layer."""

    def __init__(self, descriptor: int, words: Mapping[str, str] = PULLING) -> None:
        """words: PULLING or PUSHING."""
        self._descriptor = descriptor
        self._words = words
        self._lock = threading.Lock()
        self._seen: set[tuple[str, str]] = set()

    def update(self, blob: BlobStatus) -> None:
        """Print the step unless it was printed before."""
        with self._lock:
            key = (blob.digest, blob.status)
            known = key in self._seen or (blob.digest, EXISTS) in self._seen
            if blob.kind != "layer" or blob.status not in _TOLD or known:
                return
            self._seen.add(key)
            words = "Download complete" if blob.status == EXTRACTING else self._words[blob.status]
            write(f"{_short(blob)}: {words}\n", self._descriptor)

    def finish(self) -> None:
        """The image is whole: layers that were not heard of again were here before."""
        waiting = [digest for digest, status in self._seen if status == WAITING]
        for digest in sorted(waiting):
            if not self._seen & {(digest, DONE), (digest, EXISTS)}:
                self.update(BlobStatus(digest, "layer", EXISTS, 0, 0))

    def close(self) -> None:
        """Nothing is open."""


class Bars(Progress):
    """A bar for each layer, drawn with rich; needs a terminal."""

    def __init__(self, descriptor: int, words: Mapping[str, str] = PULLING) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TransferSpeedColumn,
        )

        self._words = words
        self._lock = threading.Lock()
        self._tasks: dict[str, TaskID] = {}
        self._ended: set[str] = set()
        self._display = Progress(
            TextColumn("{task.fields[name]}: {task.description:<17}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=Console(stderr=descriptor == 2),
        )
        self._display.start()

    def update(self, blob: BlobStatus) -> None:
        """Draw how far the layer is."""
        if blob.kind != "layer":
            return
        with self._lock:
            task = self._tasks.get(blob.digest)
            if task is None:
                task = self._display.add_task(
                    self._words[WAITING], total=blob.size or None, name=_short(blob)
                )
                self._tasks[blob.digest] = task
            if blob.status in (DONE, EXISTS):
                self._ended.add(blob.digest)
        done = blob.size if blob.status in (DONE, EXISTS, EXTRACTING) else blob.offset
        self._display.update(task, description=self._words.get(blob.status, blob.status), completed=done)

    def finish(self) -> None:
        """The image is whole: layers that were not heard of again were here before."""
        for digest, task in self._tasks.items():
            if digest not in self._ended:
                total = self._display.tasks[task].total
                self._display.update(task, description=self._words[EXISTS], completed=total)

    def close(self) -> None:
        """Leave the last state on the screen and give the terminal back."""
        self._display.stop()
