"""The journal of events."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from cloche.kernel import inotify
from cloche.store import clock
from cloche.store.journal import KEPT_EVENTS, Journal
from tests.waiting import wait_until


def test_events_are_given_in_the_order_in_which_they_were_noted(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path))
    journal.record((clock.now(), "n", f"/topic/{i}", "type", b"%d" % i) for i in range(3))
    journal.record((clock.now(), "n", f"/topic/{i}", "type", b"%d" % i) for i in range(3, 5))
    assert journal.last() == 5
    assert [event.value for event in journal.after(2)] == [b"2", b"3", b"4"]
    assert [event.topic for event in journal.after(0, limit=2)] == ["/topic/0", "/topic/1"]
    journal.close()


def test_an_empty_journal_has_no_last_event(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path))
    assert (journal.last(), journal.after(0), journal.since(0)) == (0, (), 0)
    journal.close()


def test_another_process_s_event_is_seen_and_changes_the_log(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path))
    journal.record([(1, "n", "/mine", "t", b"")])
    watch = inotify.Watch()
    watch.add(journal.log_path, inotify.IN_MODIFY)
    record = f"Journal({str(tmp_path)!r}).record([(2, 'n', '/other', 't', b'x')])"
    program = f"from cloche.store.journal import Journal; {record}"
    subprocess.run([sys.executable, "-c", program], check=True, env={"PYTHONPATH": "src"})
    assert wait_until(watch.drain)
    assert [event.topic for event in journal.after(0)] == ["/mine", "/other"]
    watch.close()
    journal.close()


def test_a_moment_is_found_again(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path))
    journal.record((at, "n", f"/at/{at}", "t", b"") for at in (10, 20, 30))
    assert [event.at for event in journal.after(journal.since(20))] == [20, 30]
    assert journal.after(journal.since(31)) == ()
    journal.close()


def test_old_events_are_dropped_and_numbers_never_come_again(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path))
    long_ago = clock.now() - 48 * clock.HOUR
    journal.record([(long_ago, "n", "/old", "t", b"")] * 499)
    assert journal.last() == 499
    journal.record([(clock.now(), "n", "/new", "t", b"")])
    assert [event.number for event in journal.after(0)] == [500]
    assert KEPT_EVENTS >= 500
    journal.close()
