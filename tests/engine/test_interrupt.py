"""Signals ask a run to stop; a second one insists."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from bnexp.engine.interrupt import stoppable


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_a_wish_and_a_second_one_an_end(number: signal.Signals) -> None:
    with stoppable() as asked:
        assert not asked()
        os.kill(os.getpid(), number)
        assert asked() and asked()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_handlers_are_put_back_even_after_an_error() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(ZeroDivisionError), stoppable():
        assert signal.getsignal(signal.SIGINT) is not before[0]
        raise ZeroDivisionError
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_wish_does_not_outlive_its_run() -> None:
    with stoppable() as first:
        os.kill(os.getpid(), signal.SIGTERM)
        assert first()
    with stoppable() as second:
        assert not second()


def test_outside_the_main_thread_nobody_asks() -> None:
    found = []

    def run() -> None:
        with stoppable() as asked:
            found.append(asked())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [False]
