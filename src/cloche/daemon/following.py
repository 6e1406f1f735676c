"""Seeing what other processes put into the journal of events: embedded engines, in this state directory."""

from __future__ import annotations

import asyncio

from cloche.kernel import inotify

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.api.host import Host


class Following:
    """Announces to a host's followers that somebody wrote to the journal."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._watch = inotify.Watch()
        self._watch.add(host.journal.log_path, inotify.IN_MODIFY)
        asyncio.get_running_loop().add_reader(self._watch.descriptor, self._changed)

    def _changed(self) -> None:
        self._watch.drain()
        self._host.announce()

    def close(self) -> None:
        """Follow no longer."""
        asyncio.get_running_loop().remove_reader(self._watch.descriptor)
        self._watch.close()


def follow_others(host: Host) -> Following:
    """Begin; the journal is made where it is not there yet."""
    host.journal.last()
    return Following(host)
