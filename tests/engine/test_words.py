"""The small vocabularies: names, signals, durations, network files."""

from __future__ import annotations

import pytest

from cloche.engine import etcfiles, names, signals
from cloche.engine.names import validate_name
from cloche.engine.options import Options
from cloche.engine.status import Status
from cloche.errors import InvalidArgument
from cloche.shim import timestamps


def test_ids_are_64_digits_and_never_all_numbers_in_short() -> None:
    found = {names.new_id() for _ in range(200)}
    assert len(found) == 200
    assert all(names.is_hexadecimal(each) and len(each) == 64 and not each[:12].isdigit() for each in found)


def test_names_are_valid_and_differ() -> None:
    found = {names.new_name() for _ in range(100)}
    assert len(found) > 50
    for name in found:
        validate_name(name)
    assert names.new_name(2)[-1].isdigit()


@pytest.mark.parametrize("name", ["", "a", "-ab", "a/b", "a b", "é1", "a" * 300, ".."])
def test_a_wrong_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument):
        validate_name(name)


@pytest.mark.parametrize(
    ("text", "number"), [("KILL", 9), ("sigterm", 15), ("9", 9), (15, 15), ("RTMIN+3", 37), ("RTMAX-1", 63)]
)
def test_signals_go_by_name_or_number(text: str | int, number: int) -> None:
    assert signals.number_of(text) == number


@pytest.mark.parametrize("text", ["", "NOPE", "0", "65", "_DFL", "RTMIN+x", -1, "99999999999"])
def test_a_signal_that_is_none_is_refused(text: str | int) -> None:
    with pytest.raises(InvalidArgument):
        signals.number_of(text)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "Up Less than a second"),
        (1, "Up 1 second"),
        (59, "Up 59 seconds"),
        (61, "Up About a minute"),
        (240, "Up 4 minutes"),
        (3700, "Up About an hour"),
        (7 * 3600, "Up 7 hours"),
        (3 * 86400, "Up 3 days"),
        (15 * 86400, "Up 2 weeks"),
        (70 * 86400, "Up 2 months"),
        (800 * 86400, "Up 2 years"),
    ],
)
def test_a_duration_is_said_as_docker_says_it(seconds: int, words: str) -> None:
    begin = 1_700_000_000_000_000_000
    status = Status("running", started_at=timestamps.rfc3339(begin))
    assert status.text(begin + seconds * 10**9) == words


def test_an_ended_container_says_its_code() -> None:
    begin = 1_700_000_000_000_000_000
    status = Status("exited", exit_code=3, finished_at=timestamps.rfc3339(begin))
    assert status.text(begin + 120 * 10**9) == "Exited (3) 2 minutes ago"
    assert (
        Status("paused", started_at=timestamps.rfc3339(begin)).text(begin) == "Up Less than a second (Paused)"
    )


def test_added_hosts_and_name_servers_are_written() -> None:
    texts = etcfiles.contents(
        Options(hosts=("db:10.0.0.1", "six=[::1]"), dns=("9.9.9.9",), dns_search=("example.org",)), "box"
    )
    assert texts["hostname"] == "box\n"
    assert "10.0.0.1\tdb\n" in texts["hosts"]
    assert "::1\tsix\n" in texts["hosts"]
    assert "nameserver 9.9.9.9\n" in texts["resolv.conf"]
    assert texts["resolv.conf"].count("nameserver") == 1
    for wrong in (Options(hosts=("db",)), Options(hosts=("db:here",)), Options(dns=("dns.example",))):
        with pytest.raises(InvalidArgument):
            etcfiles.contents(wrong, "box")
