"""What a run logs stays whole: against a model of the rows, under SIGKILL, and as TensorBoard reads it."""

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from bnexp.protocols import Histogram, Measurement
from bnexp.telemetry.event_file import EventFile
from bnexp.telemetry.jsonl import MetricsFile
from bnexp.telemetry.run_writer import RunWriter

SAVED = 40
LAST = 120
HISTOGRAM = Histogram(
    limits=[0.0, 1.0, 2.0], counts=[1.0, 0.0, 3.0], minimum=-0.5, maximum=1.5, total=3.5, sum_squares=6.0
)
EMPTY = Histogram(limits=[0.0], counts=[0.0], minimum=0.0, maximum=0.0, total=0.0, sum_squares=0.0)


def open_writer(folder: Path, resume_step: int | None = None) -> RunWriter:
    return RunWriter(
        MetricsFile(folder / "metrics.jsonl", resume_step), EventFile(folder, start=resume_step or 0)
    )


def train(writer: RunWriter, first: int, last: int) -> None:
    """Log as an engine does: at each step an evaluation if one is due, a save, then the training part."""
    for step in range(first, last + 1, 10):
        place = {"epoch": step / 40, "examples": 8 * step}
        resumed_here = step == first and first > 0
        if step % 40 == 0 and not resumed_here:
            writer.write(step, Measurement({"loss/val": 1 / (step + 3)}), **place)
            writer.flush()
        if step % 20 == 0:
            scalars = {"loss/train": 1 / (step + 7), "grad_norm": math.inf if step == 60 else 0.1 * step}
            writer.write(step, Measurement(scalars, {"gradient/weight": HISTOGRAM}), **place)


def train_and_die(folder: Path) -> None:
    writer = open_writer(folder)
    train(writer, 0, 100)
    writer.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def read_board(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"scalars": 0, "histograms": 0}).Reload()


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    board = read_board(folder)
    return {
        tag: [(event.step, event.value) for event in board.Scalars(tag)] for tag in board.Tags()["scalars"]
    }


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    with open_writer(folder) as writer:
        train(writer, 0, LAST)
    return folder


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """The folder of a run that was saved at step 40 and killed at step 100."""
    folder = tmp_path_factory.mktemp("killed")
    done = subprocess.run([sys.executable, __file__, str(folder)])
    assert done.returncode == -signal.SIGKILL
    return folder


def copy_of(folder: Path, to: Path) -> Path:
    for file in folder.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    return to


def test_tensorboard_finds_every_scalar_of_every_row_from_step_0(whole):
    expected: dict[str, list] = {"loss/val": [], "loss/train": [], "grad_norm": []}
    for step in range(0, LAST + 1, 20):
        if step % 40 == 0:
            expected["loss/val"].append((step, 1 / (step + 3)))
        expected["loss/train"].append((step, 1 / (step + 7)))
        expected["grad_norm"].append((step, math.inf if step == 60 else 0.1 * step))
    stored = {tag: [(step, float(np.float32(value))) for step, value in expected[tag]] for tag in expected}
    assert scalars(whole) == stored


def test_the_metrics_file_has_the_same_scalars_in_one_object_a_step(whole):
    found = rows(whole)
    assert [row["step"] for row in found] == list(range(0, LAST + 1, 20))
    assert found[0] == {
        "step": 0,
        "epoch": 0.0,
        "examples": 0,
        "loss/val": 1 / 3,
        "loss/train": 1 / 7,
        "grad_norm": 0.0,
    }
    assert found[3] == {"step": 60, "epoch": 1.5, "examples": 480, "loss/train": 1 / 67, "grad_norm": None}


def test_a_run_is_one_run_in_tensorboards_list(whole):
    assert len(list(whole.glob("events.out.tfevents.*"))) == 1
    assert not [path for path in whole.iterdir() if path.is_dir()]


def test_a_kill_loses_nothing_that_was_flushed(whole, killed):
    assert rows(killed) == rows(whole)[:6]
    assert scalars(killed) == {
        tag: [e for e in events if e[0] <= 100] for tag, events in scalars(whole).items()
    }


def test_a_resumed_run_leaves_the_files_of_an_undisturbed_one(whole, killed, tmp_path):
    folder = copy_of(killed, tmp_path)
    with open_writer(folder, resume_step=SAVED) as writer:
        train(writer, SAVED, LAST)
    assert (folder / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    assert scalars(folder) == scalars(whole)
    board, undisturbed = read_board(folder), read_board(whole)
    steps = [event.step for event in board.Histograms("gradient/weight")]
    assert steps == [event.step for event in undisturbed.Histograms("gradient/weight")]


def test_a_resumed_run_that_is_interrupted_at_once_has_lost_and_doubled_nothing(whole, killed, tmp_path):
    folder = copy_of(killed, tmp_path)
    open_writer(folder, resume_step=SAVED).close()
    assert rows(folder) == rows(whole)[:3]
    assert scalars(folder) == {
        tag: [e for e in events if e[0] <= SAVED] for tag, events in scalars(whole).items()
    }
    with open_writer(folder, resume_step=SAVED) as writer:
        writer.flush()
        train(writer, SAVED, LAST)
    assert (folder / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    assert scalars(folder) == scalars(whole)


def test_a_run_killed_right_after_it_was_saved_resumes_the_half_row_of_that_step(whole, tmp_path):
    (tmp_path / "first").mkdir()
    (tmp_path / "copy").mkdir()
    with open_writer(tmp_path / "first") as writer:
        train(writer, 0, SAVED - 1)
        writer.write(SAVED, Measurement({"loss/val": 1 / (SAVED + 3)}), epoch=SAVED / 40, examples=8 * SAVED)
        writer.flush()
        folder = copy_of(tmp_path / "first", tmp_path / "copy")
    with open_writer(folder, resume_step=SAVED) as writer:
        train(writer, SAVED, LAST)
    assert (folder / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    assert scalars(folder) == scalars(whole)


def test_the_event_file_of_a_resumed_run_is_read_after_the_one_before(tmp_path):
    earlier = tmp_path / f"events.out.tfevents.{int(time.time())}.zzz.99999.9"
    earlier.touch()
    EventFile(tmp_path, start=0).close()
    assert sorted(tmp_path.iterdir())[0] == earlier


def test_histograms_are_read_as_they_were_counted(tmp_path):
    with open_writer(tmp_path) as writer:
        writer.write(
            0, Measurement({}, {"activation/a/in": HISTOGRAM, "empty": EMPTY}), epoch=0.0, examples=0
        )
    board = read_board(tmp_path)
    assert board.Tags()["histograms"] == ["activation/a/in"]
    (event,) = board.Histograms("activation/a/in")
    assert event.step == 0
    value = event.histogram_value
    assert (value.min, value.max, value.num, value.sum, value.sum_squares) == (-0.5, 1.5, 4.0, 3.5, 6.0)
    assert (list(value.bucket_limit), list(value.bucket)) == ([0.0, 1.0, 2.0], [1.0, 0.0, 3.0])


def test_not_a_number_is_null_in_one_file_and_itself_in_the_other(tmp_path):
    with open_writer(tmp_path) as writer:
        writer.write(0, Measurement({"loss/train": math.nan, "big": 1e300}), epoch=0.0, examples=0)
    assert rows(tmp_path)[0]["loss/train"] is None
    assert math.isnan(scalars(tmp_path)["loss/train"][0][1])


def test_an_exception_does_not_lose_the_row_it_interrupted(tmp_path):
    with pytest.raises(ZeroDivisionError), open_writer(tmp_path) as writer:
        writer.write(7, Measurement({"loss/train": 1.0}), epoch=0.5, examples=56)
        raise ZeroDivisionError
    assert rows(tmp_path) == [{"step": 7, "epoch": 0.5, "examples": 56, "loss/train": 1.0}]
    assert scalars(tmp_path) == {"loss/train": [(7, 1.0)]}


def test_a_run_that_logged_nothing_closes(tmp_path):
    writer = open_writer(tmp_path)
    writer.flush()
    writer.close()
    writer.close()
    assert rows(tmp_path) == []


class RecordingBoard:
    """Stands for TensorBoard's writer: keeps (step, tag) as they come."""

    def __init__(self):
        self.events = []

    def write(self, step, measurement):
        self.events += [(step, tag) for tag in (*measurement.scalars, *measurement.histograms)]

    def flush(self):
        pass

    def close(self):
        pass


actions = st.lists(
    st.one_of(
        st.just("flush"),
        st.tuples(
            st.integers(0, 2), st.dictionaries(st.sampled_from("abcd"), st.floats(width=32), max_size=3)
        ),
    ),
    max_size=12,
)


@given(actions=actions)
@settings(max_examples=150, deadline=None)
def test_whatever_is_written_and_flushed_the_file_is_one_merged_row_a_step(actions):
    merged: dict[int, dict] = {}
    step = 0
    with tempfile.TemporaryDirectory() as folder:
        board = RecordingBoard()
        writer = RunWriter(MetricsFile(Path(folder) / "metrics.jsonl"), board)
        for action in actions:
            if action == "flush":
                writer.flush()
                assert rows(Path(folder)) == list(merged.values())
            else:
                step += action[0]
                writer.write(step, Measurement(dict(action[1])), epoch=step / 3, examples=step)
                row = merged.setdefault(step, {"step": step, "epoch": step / 3, "examples": step})
                row |= {tag: value if math.isfinite(value) else None for tag, value in action[1].items()}
        writer.close()
        assert rows(Path(folder)) == list(merged.values())
    assert len(board.events) == len(set(board.events))
    assert set(board.events) == {(at, tag) for at, row in merged.items() for tag in row.keys() & set("abcd")}


if __name__ == "__main__":
    train_and_die(Path(sys.argv[1]))
