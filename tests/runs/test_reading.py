"""What a run logged comes back as it was written, also while it is being written."""

import math

import numpy as np
import pytest
from synthetic_runs import config, write_run

from bnexp.errors import CheckpointError
from bnexp.protocols import Measurement
from bnexp.runs.directory import RunDirectory
from bnexp.runs.reading import read_config, read_metrics


@pytest.fixture
def run(tmp_path):
    rows = {
        0: Measurement({"loss/train": 2.5, "loss/val": 2.25}),
        20: Measurement({"loss/train": math.inf, "lr": 0.05}),
        40: Measurement({"loss/train": 1.5}),
    }
    return write_run(tmp_path / "run", rows, config=config())


def test_each_scalar_comes_back_with_its_steps(run):
    metrics = read_metrics(run)
    assert list(metrics["loss/val"].steps) == [0] and list(metrics["loss/val"].values) == [2.25]
    assert list(metrics["lr"].steps) == [20] and list(metrics["lr"].values) == [0.05]
    assert list(metrics["epoch"].values) == [0.0, 0.2, 0.4]
    assert list(metrics["examples"].values) == [0, 1280, 2560]
    assert "step" not in metrics


def test_null_becomes_not_a_number(run):
    np.testing.assert_array_equal(read_metrics(run)["loss/train"].values, [2.5, math.nan, 1.5])


def test_a_run_that_logged_nothing_has_no_scalars(tmp_path):
    assert read_metrics(RunDirectory(tmp_path)) == {}
    (tmp_path / "metrics.jsonl").touch()
    assert read_metrics(RunDirectory(tmp_path)) == {}


def test_a_line_torn_anywhere_costs_that_line_alone(run):
    whole = run.metrics_file.read_bytes()
    start = whole.rindex(b"\n", 0, -1) + 1
    for end in range(start, len(whole) - 2):
        run.metrics_file.write_bytes(whole[:end])
        assert list(read_metrics(run)["loss/train"].steps) == [0, 20]


@pytest.mark.parametrize("line", [b"{oops\n", b"[1]\n", b'{"loss/train": 1}\n', b'{"step": 1, "a": "b"}\n'])
def test_a_broken_line_before_the_last_is_named(run, line):
    first, _, rest = run.metrics_file.read_bytes().partition(b"\n")
    run.metrics_file.write_bytes(first + b"\n" + line + rest)
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl line 2 must be a row") as error:
        read_metrics(run)
    assert "\n" not in str(error.value)


def test_the_configuration_comes_back(run):
    assert read_config(run) == config()


@pytest.mark.parametrize("text", ["norm: [", "just words", "seed: 1", ""])
def test_a_damaged_configuration_is_one_line(run, text):
    run.config_file.write_text(text)
    with pytest.raises(CheckpointError, match=r"config\.yaml") as error:
        read_config(run)
    assert "\n" not in str(error.value)
