"""Counting what the validation programs say."""

from __future__ import annotations

from tests.conformance.tap import Outcome, outcome


def test_all_that_was_asserted_must_hold() -> None:
    assert outcome("TAP version 13\nok 1 - first\nok 2 # SKIP third\n1..2\n", "", 0) == Outcome(
        1, 0, 1, 0, ""
    )
    failed = outcome("ok 1 - first\nnot ok 2 - second\n", "", 0)
    assert (failed.verdict, failed.first_failure) == ("fail", "second")


def test_a_program_that_asserts_nothing_does_not_pass() -> None:
    assert outcome("TAP version 13\n1..0\n", "", 0).verdict == "empty"


def test_results_within_diagnostics_do_not_count() -> None:
    text = 'ok 1 - outer\n  ---\n  {"stdout": "x"}\n  not ok 7 - inner\n  ...\n1..1\n'
    assert outcome(text, "", 0).verdict == "pass"


def test_an_exit_status_a_timeout_and_missing_results_are_failures() -> None:
    assert outcome("ok 1 - first\n", "it broke\n", 1).first_failure == "it broke"
    assert outcome("ok 1 - first\n", "", None).first_failure == "its time was over"
    assert outcome("1..2\nok 1 - first\n", "", 0).first_failure == "2 results planned, 1 given"
