"""Event files of our own writer, as TensorBoard reads them."""

import math
import time

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary

from bnexp.protocols import Measurement
from bnexp.telemetry.event_file import EventFile


def events(folder):
    """Read the records with TensorBoard's reader, which checks the checksums."""
    return [
        Event.FromString(record)
        for file in sorted(folder.iterdir())
        for record in RawEventFileLoader(str(file)).Load()
    ]


def test_scalars_come_back_at_their_steps(tmp_path):
    file = EventFile(tmp_path, start=None, flush_s=10)
    rows = {
        0: {"loss": 1.5, "accuracy": 0.25},
        1: {"loss": 0.5, "accuracy": 0.75},
        5: {"lr": 0.125},
        300: {"loss": 0.0, "accuracy": 1.0},
    }
    for step, row in rows.items():
        file.write(step, Measurement(row))
    file.close()
    read = EventAccumulator(str(tmp_path)).Reload()
    for tag in ("loss", "accuracy", "lr"):
        wanted = [(step, row[tag]) for step, row in rows.items() if tag in row]
        assert [(event.step, event.value) for event in read.Scalars(tag)] == wanted


def test_a_row_is_one_event_with_its_time(tmp_path):
    before = time.time()
    file = EventFile(tmp_path, start=None, flush_s=10)
    file.write(7, Measurement({"a": 1.0, "b": 2.0}))
    file.close()
    version, row = events(tmp_path)
    assert version.file_version == "brain.Event:2"
    assert [(value.tag, value.simple_value) for value in row.summary.value] == [("a", 1.0), ("b", 2.0)]
    assert row.step == 7
    assert before <= version.wall_time <= row.wall_time <= time.time()


def test_numbers_that_are_not_finite_or_too_large_are_kept_as_float32_has_them(tmp_path):
    file = EventFile(tmp_path, start=None, flush_s=10)
    file.write(
        0, Measurement({"nan": math.nan, "inf": math.inf, "minus": -math.inf, "large": 1e39, "zero": -0.0})
    )
    file.close()
    values = {value.tag: value.simple_value for value in events(tmp_path)[1].summary.value}
    assert math.isnan(values["nan"])
    assert (values["inf"], values["minus"], values["large"]) == (math.inf, -math.inf, math.inf)
    assert math.copysign(1, values["zero"]) == -1


def test_summaries_of_other_kinds_come_back_whole(tmp_path):
    summary = Summary(
        value=[Summary.Value(tag="weights", histo=HistogramProto(min=-1, max=2, num=3, bucket=[1, 2]))]
    )
    file = EventFile(tmp_path, start=None, flush_s=10)
    file.add(summary, 4)
    file.close()
    assert events(tmp_path)[1].summary == summary and events(tmp_path)[1].step == 4


@pytest.mark.parametrize("size", [1, 5_000, 100_000])
def test_long_records_have_valid_checksums(tmp_path, size):
    file = EventFile(tmp_path, start=None, flush_s=10)
    file.write(0, Measurement({"t" * size: 1.0}))
    file.close()
    assert events(tmp_path)[1].summary.value[0].tag == "t" * size


def test_steps_from_the_purged_one_on_are_forgotten(tmp_path):
    first = EventFile(tmp_path, start=None, flush_s=10)
    for step in range(6):
        first.write(step, Measurement({"loss": 1.0}))
    first.close()
    second = EventFile(tmp_path, start=3, flush_s=10)
    for step in range(3, 5):
        second.write(step, Measurement({"loss": 2.0}))
    second.close()
    assert [event.session_log.status for event in events(tmp_path) if event.HasField("session_log")] == [
        SessionLog.START
    ]
    read = EventAccumulator(str(tmp_path)).Reload()
    assert [(event.step, event.value) for event in read.Scalars("loss")] == [
        (0, 1),
        (1, 1),
        (2, 1),
        (3, 2),
        (4, 2),
    ]


def test_two_files_of_one_second_do_not_overwrite_each_other(tmp_path):
    for value in (1.0, 2.0):
        file = EventFile(tmp_path, start=None, flush_s=10, suffix=".end")
        file.write(0, Measurement({"loss": value}))
        file.close()
    assert len(list(tmp_path.glob("events.out.tfevents.*.end"))) == 2


@pytest.mark.parametrize(("flush_s", "on_disk"), [(0, True), (3600, False)])
def test_records_reach_the_disk_after_the_given_time_without_being_asked(tmp_path, flush_s, on_disk):
    file = EventFile(tmp_path, start=None, flush_s=flush_s)
    assert len(events(tmp_path)) == 1
    file.write(0, Measurement({"loss": 1.0}))
    assert (len(events(tmp_path)) == 2) is on_disk
    file.flush()
    assert len(events(tmp_path)) == 2
    file.close()
