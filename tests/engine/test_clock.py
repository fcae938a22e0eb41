"""Seconds of training, and examples a second."""

from __future__ import annotations

import pytest

from bnexp.engine.clock import Clock


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds, moved by hand."""
    time = [100.0]
    monkeypatch.setattr("bnexp.engine.clock.time.perf_counter", lambda: time[0])
    return time


def test_pauses_do_not_count(now: list[float]) -> None:
    clock = Clock(5.0)
    now[0] += 2
    with clock.paused():
        now[0] += 30
        assert clock.seconds == 7
    now[0] += 1
    assert clock.seconds == 8


def test_a_pause_that_ends_in_an_error_ends(now: list[float]) -> None:
    clock = Clock()
    with pytest.raises(ValueError), clock.paused():
        raise ValueError
    now[0] += 1
    assert clock.seconds == 1


def test_the_rate_is_over_the_time_since_the_last_reading(now: list[float]) -> None:
    clock = Clock()
    now[0] += 2
    assert clock.rate(64) == 32
    now[0] += 4
    with clock.paused():
        now[0] += 9
    assert clock.rate(64 + 400) == 100


def test_the_first_rate_after_a_resume_counts_from_the_resume(now: list[float]) -> None:
    clock = Clock(1000.0, 50_000)
    now[0] += 10
    assert clock.rate(51_000) == 100


def test_no_time_is_no_division_by_zero(now: list[float]) -> None:
    assert Clock().rate(64) == 0
