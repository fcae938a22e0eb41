"""Rows that wait before they are read and written."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from bnexp.engine import rows
from bnexp.engine.rows import MOST, SECONDS, Rows, read
from bnexp.protocols import Measurement, Reading


class Recorder:
    def __init__(self) -> None:
        self.written: list[tuple[int, dict[str, float], float, int]] = []

    def write(self, step: int, measurement: Measurement, *, epoch: float, examples: int) -> None:
        self.written.append((step, measurement.scalars, epoch, examples))

    def flush(self) -> None: ...
    def close(self) -> None: ...


def reading(*values: float, tag: str = "x") -> Reading:
    return Reading(
        torch.tensor(values), lambda numbers: Measurement({f"{tag}{i}": v for i, v in enumerate(numbers)})
    )


def add(waiting: Rows, step: int, **known: Any) -> Measurement:
    return waiting.add(step, [reading(step)], Measurement(known), epoch=step / 4, examples=8 * step)


def test_rows_come_out_in_order_with_what_was_known_of_each() -> None:
    recorder = Recorder()
    waiting = Rows(recorder)
    for step in (0, 3, 7):
        add(waiting, step, lr=0.5 * step)
    assert recorder.written == []
    latest = waiting.flush()
    assert recorder.written == [
        (step, {"x0": step, "lr": 0.5 * step}, step / 4, 8 * step) for step in (0, 3, 7)
    ]
    assert latest.scalars == {"x0": 7, "lr": 3.5}
    assert waiting.flush().scalars == {}
    assert len(recorder.written) == 3


def test_a_full_backlog_is_written_without_being_asked() -> None:
    recorder = Recorder()
    waiting = Rows(recorder)
    told = [add(waiting, step).scalars for step in range(MOST)]
    assert told == [{}] * (MOST - 1) + [{"x0": MOST - 1}]
    assert [row[0] for row in recorder.written] == list(range(MOST))


def test_rows_do_not_wait_longer_than_the_files_may_lag(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    waiting = Rows(recorder)
    add(waiting, 0)
    later = rows.time.monotonic() + SECONDS + 0.1
    monkeypatch.setattr(rows.time, "monotonic", lambda: later)
    add(waiting, 1)
    assert [row[0] for row in recorder.written] == [0, 1]


def test_each_reading_gets_its_own_numbers_as_float64() -> None:
    exact = Reading(torch.tensor([1 / 3], dtype=torch.float64), lambda n: Measurement({"third": n[0]}))
    first, second, none = read(
        [[reading(1, 2, tag="a"), exact], [reading(3, tag="b"), reading(math.nan, tag="c")], []]
    )
    assert first.scalars == {"a0": 1, "a1": 2, "third": 1 / 3}
    assert second.scalars["b0"] == 3
    assert math.isnan(second.scalars["c0"])
    assert none.scalars == {}
