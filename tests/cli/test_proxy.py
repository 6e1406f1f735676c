"""Signals that are passed on."""

from __future__ import annotations

import os
import signal

from cloche.cli.proxy import SignalProxy


def test_signals_before_the_container_is_there_are_delivered_once_it_is() -> None:
    got: list[int] = []
    with SignalProxy() as proxy:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert got == []
        proxy.connect(got.append)
        os.kill(os.getpid(), signal.SIGTERM)
    assert got == [signal.SIGUSR1, signal.SIGTERM]


def test_former_handlers_come_back() -> None:
    before = [signal.getsignal(number) for number in range(1, 32)]
    with SignalProxy():
        assert signal.getsignal(signal.SIGTERM) != before[signal.SIGTERM - 1]
        assert signal.getsignal(signal.SIGCHLD) == before[signal.SIGCHLD - 1]
    assert [signal.getsignal(number) for number in range(1, 32)] == before


def test_what_the_caller_ignores_stays_ignored() -> None:
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with SignalProxy():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, former)
