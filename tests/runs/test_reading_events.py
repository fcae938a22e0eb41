"""Histograms come back as TensorBoard's own loader reads them, after resumes and kills too."""

import struct

import numpy as np
import pytest
from synthetic_runs import config, histogram, write_run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from bnexp.errors import CheckpointError
from bnexp.protocols import Measurement
from bnexp.runs.directory import RunDirectory
from bnexp.runs.events import read_histograms

LIMITS = [-1.0, 0.0, 0.5, 2.0]


def values_at(step, scale=1.0):
    return scale * np.random.default_rng(step).standard_normal(100)


def add(writer, step, values, tag="activation/conv1.norm/in"):
    found = histogram(values, LIMITS)
    writer.add_histogram_raw(
        tag,
        min=found.minimum,
        max=found.maximum,
        num=len(values),
        sum=found.total,
        sum_squares=found.sum_squares,
        bucket_limits=found.limits,
        bucket_counts=found.counts,
        global_step=step,
    )


def write_file(folder, steps, scale, purge_step=None):
    """Write one event file, as one process does."""
    writer = SummaryWriter(str(folder), purge_step=purge_step)
    for step in steps:
        add(writer, step, values_at(step, scale))
    writer.close()
    return next(file for file in folder.glob("events.*") if file.stat().st_ino == newest(folder))


def newest(folder):
    return max(folder.glob("events.*"), key=lambda file: file.stat().st_mtime_ns).stat().st_ino


def by_tensorboard(folder):
    board = EventAccumulator(str(folder), size_guidance={"histograms": 0}).Reload()
    return {
        tag: [(event.step, event.histogram_value) for event in board.Histograms(tag)]
        for tag in board.Tags()["histograms"]
    }


def assert_as_tensorboard_reads(folder):
    ours, theirs = read_histograms(RunDirectory(folder), ""), by_tensorboard(folder)
    assert ours.keys() == theirs.keys()
    for tag, expected in theirs.items():
        assert [step for step, _ in ours[tag]] == [step for step, _ in expected]
        for (_, found), (_, value) in zip(ours[tag], expected, strict=True):
            assert list(found.counts) == [count for count in value.bucket if count]
            assert found.total == value.num and found.mean == value.sum / value.num
            assert (found.edges[0], found.edges[-1]) == (value.min, value.max)


def test_every_step_is_read_as_tensorboard_reads_it(tmp_path):
    write_file(tmp_path, range(0, 1500, 2), 1.0)
    assert_as_tensorboard_reads(tmp_path)
    assert len(read_histograms(RunDirectory(tmp_path), "")["activation/conv1.norm/in"]) == 750


def test_a_resumed_run_forgets_what_came_after_its_checkpoint(tmp_path):
    first = write_file(tmp_path, [0, 50, 100, 150], 1.0)
    first.rename(tmp_path / "events.out.tfevents.1000.host.1.0")
    write_file(tmp_path, [100, 200], 3.0, purge_step=100)
    found = read_histograms(RunDirectory(tmp_path), "activation/")["activation/conv1.norm/in"]
    assert [step for step, _ in found] == [0, 50, 100, 200]
    assert found[2][1].std == pytest.approx(values_at(100, 3.0).std(), rel=1e-12)
    assert_as_tensorboard_reads(tmp_path)


def test_files_of_one_second_count_in_the_order_of_their_beginning(tmp_path):
    first = write_file(tmp_path, [0, 50, 100], 1.0)
    first.rename(tmp_path / "events.out.tfevents.1000.host.999.0")
    second = write_file(tmp_path, [50], 3.0, purge_step=50)
    second.rename(tmp_path / "events.out.tfevents.1000.host.1000.0")
    found = read_histograms(RunDirectory(tmp_path), "")["activation/conv1.norm/in"]
    assert [step for step, _ in found] == [0, 50]
    assert found[1][1].std == pytest.approx(values_at(50, 3.0).std(), rel=1e-12)


def test_only_tags_of_the_prefix_are_read(tmp_path):
    row = Measurement({}, {f"{kind}/a": histogram([1.0]) for kind in ("gradient", "gradients", "activation")})
    run = write_run(tmp_path / "run", {0: row}, config=config())
    assert list(read_histograms(run, "gradient/")) == ["gradient/a"]
    assert list(read_histograms(run, "activation/")) == ["activation/a"]


def test_a_run_without_event_files_has_no_histograms(tmp_path):
    assert read_histograms(RunDirectory(tmp_path), "") == {}


def test_a_file_cut_anywhere_gives_what_is_whole(tmp_path):
    file = write_file(tmp_path, range(5), 1.0)
    content = file.read_bytes()
    lengths = []
    for end in range(0, len(content), 7):
        file.write_bytes(content[:end])
        found = read_histograms(RunDirectory(tmp_path), "").get("activation/conv1.norm/in", [])
        lengths.append(len(found))
        assert [step for step, _ in found] == list(range(len(found)))
    assert lengths == sorted(lengths) and set(lengths) == set(range(6))


def test_a_damaged_file_is_named(tmp_path):
    file = write_file(tmp_path, [0], 1.0)
    content = bytearray(file.read_bytes())
    length = struct.unpack_from("<Q", content)[0]
    content[12 : 12 + length] = b"\xff" * length
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{file.name} must hold TensorBoard's events"):
        read_histograms(RunDirectory(tmp_path), "")


def test_an_unreadable_file_is_named(tmp_path):
    (tmp_path / "events.out.tfevents.1.host.1.0").mkdir()
    with pytest.raises(CheckpointError, match=r"events\.out\.tfevents\.1\.host\.1\.0 cannot be read"):
        read_histograms(RunDirectory(tmp_path), "")
