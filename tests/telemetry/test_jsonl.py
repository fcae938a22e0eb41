"""metrics.jsonl: one object a step, whatever was flushed, killed and resumed."""

import json
import math
import time
from contextlib import closing

import pytest

from bnexp.errors import CheckpointError
from bnexp.telemetry.jsonl import FLUSH_S, MetricsFile


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def put_all(path, *given, resume_step=None):
    file = MetricsFile(path, resume_step)
    for row in given:
        file.put(row)
    file.close()
    return file


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.jsonl"


def test_flushed_rows_are_on_disk(path):
    with closing(MetricsFile(path)) as file:
        file.put({"step": 0, "loss/train": 0.1})
        file.flush()
        assert rows(path) == [{"step": 0, "loss/train": 0.1}]


def test_rows_are_on_disk_soon_without_a_flush(path, monkeypatch):
    with closing(MetricsFile(path)) as file:
        file.put({"step": 0})
        later = time.monotonic() + FLUSH_S + 0.1
        monkeypatch.setattr("bnexp.telemetry.jsonl.time.monotonic", lambda: later)
        file.put({"step": 1})
        assert rows(path) == [{"step": 0}, {"step": 1}]


def test_non_finite_numbers_are_null(path):
    put_all(path, {"step": 0, "a": math.nan, "b": math.inf, "c": -math.inf, "d": 1e308})
    assert rows(path) == [{"step": 0, "a": None, "b": None, "c": None, "d": 1e308}]
    assert "N" not in path.read_text()


@pytest.mark.parametrize("second", [{"step": 20, "a": 1, "b": 2}, {"step": 20}])
def test_a_row_put_again_takes_the_place_of_the_first(path, second):
    file = MetricsFile(path)
    for row in ({"step": 0}, {"step": 20, "a": 123456}, second):
        file.put(row)
    file.flush()
    assert rows(path) == [{"step": 0}, second]
    file.put({"step": 40})
    file.flush()
    assert rows(path) == [{"step": 0}, second, {"step": 40}]
    file.close()


def test_steps_do_not_go_back(path):
    file = MetricsFile(path)
    file.put({"step": 20})
    with pytest.raises(ValueError, match="must not go back, got 19 after 20"):
        file.put({"step": 19})
    file.close()


def test_a_new_run_does_not_overwrite_another(path):
    put_all(path, {"step": 0})
    with pytest.raises(FileExistsError):
        MetricsFile(path)
    assert rows(path) == [{"step": 0}]


def test_resuming_forgets_later_rows_and_offers_that_of_its_step(path):
    put_all(path, {"step": 0}, {"step": 20, "loss/val": 0.1, "bad": math.nan}, {"step": 40}, {"step": 60})
    file = MetricsFile(path, resume_step=20)
    assert file.pending == {"step": 20, "loss/val": 0.1, "bad": None}
    assert rows(path) == [{"step": 0}, file.pending]
    file.put({"step": 20, "loss/train": 3})
    file.put({"step": 40, "loss/train": 4})
    file.close()
    assert rows(path) == [{"step": 0}, {"step": 20, "loss/train": 3}, {"step": 40, "loss/train": 4}]


def test_resuming_between_two_rows_keeps_the_one_before(path):
    put_all(path, {"step": 0}, {"step": 20}, {"step": 40})
    assert put_all(path, {"step": 30}, resume_step=30).pending is None
    assert rows(path) == [{"step": 0}, {"step": 20}, {"step": 30}]


def test_resuming_without_rows_starts_anew(path):
    assert put_all(path, {"step": 0}, resume_step=0).pending is None
    assert rows(path) == [{"step": 0}]


@pytest.mark.parametrize(
    "torn", [b"{", b'{"step": 40, "loss', b'{"step": 40}', b'56, "a": 1}\n', b"\xff\xfe\n", b"4\n"]
)
def test_a_line_torn_by_a_kill_is_dropped(path, torn):
    put_all(path, {"step": 0}, {"step": 20})
    with path.open("ab") as file:
        file.write(torn)
    put_all(path, {"step": 60}, resume_step=60)
    assert rows(path) == [{"step": 0}, {"step": 20}, {"step": 60}]


def test_a_broken_line_before_the_last_is_not_passed_over(path):
    text = '{"step": 0}\nbroken\n{"step": 20}\n'
    path.write_text(text)
    with pytest.raises(CheckpointError, match="line 2 must be a row of metrics: delete that line"):
        MetricsFile(path, resume_step=20)
    assert path.read_text() == text
