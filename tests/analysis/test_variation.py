"""Which knobs were swept, and a metric over two of them."""

from dataclasses import replace

import pytest
from synthetic_runs import config

from bnexp.analysis.records import Record
from bnexp.analysis.variation import crossed, knobs, two_swept
from bnexp.runs.directory import RunDirectory
from bnexp.shorthand import as_norms_have


def record(path, norm="custom", *, status="finished", accuracy=None, **changed):
    result = {"accuracy/test": accuracy}
    return Record(RunDirectory(path), status, 0.0, config(norm, **changed), result)


@pytest.fixture
def grid(tmp_path):
    """norm x batch_size x two seeds; one cell with a run that diverged, one run with another activation."""
    found = [
        record(tmp_path, norm, batch_size=size, seed=seed, accuracy=size + seed)
        for norm in ("none", "custom")
        for size in (64, 8)
        for seed in (0, 1)
    ]
    found.append(record(tmp_path, "none", status="diverged", batch_size=8, seed=2))
    found.append(record(tmp_path, "none", batch_size=8, activation="relu", accuracy=2.0))
    return found


def test_knobs_are_what_differs_without_the_seed(grid):
    found = {knob.title: knob.values for knob in knobs(grid)}
    assert found == {"norm": ("none", "custom"), "activation": ("sigmoid", "relu"), "batch_size": (8, 64)}


def test_the_pair_that_is_crossed_most_completely_is_taken(grid):
    assert [knob.title for knob in two_swept(grid)] == ["norm", "batch_size"]


def test_one_swept_knob_is_no_pair(tmp_path):
    assert two_swept([record(tmp_path, "none"), record(tmp_path, "custom")]) is None
    assert two_swept([record(tmp_path)]) is None


def test_a_knob_that_only_some_runs_have_is_no_axis(tmp_path):
    runs = [record(tmp_path, "custom", norm__eps=eps, eps=eps, seed=0) for eps in (1e-5, 1e-3)]
    runs += [record(tmp_path, "custom", norm__affine=flag) for flag in (True, False)]
    assert two_swept(runs) is None


def test_cells_average_over_all_else(grid):
    rows, columns = two_swept(grid)
    found = crossed(grid, rows, columns, "accuracy/test")
    (none_8, none_64), (custom_8, _) = found.cells
    assert (none_8.runs, none_8.diverged) == (4, 1)
    assert none_8.estimate.mean == (8 + 9 + 2) / 3 and none_8.estimate.n == 3
    assert none_64.estimate.mean == 64.5 and (custom_8.runs, custom_8.diverged) == (2, 0)


def test_a_combination_without_a_run_is_empty(tmp_path):
    runs = [record(tmp_path, "none", batch_size=8), record(tmp_path, "custom", batch_size=64)]
    rows, columns = two_swept(runs)
    cells = crossed(runs, rows, columns, "accuracy/test").cells
    assert [[cell.runs for cell in row] for row in cells] == [[1, 0], [0, 1]]
    assert cells[0][0].estimate is None


def test_norms_without_a_momentum_stand_nowhere_among_momenta(tmp_path):
    momenta = (0.1, None)
    runs = [
        record(tmp_path, "custom", choices__norm=name, momentum=each, norm__momentum=each, accuracy=0.5)
        for name in ("custom", "builtin")
        for each in momenta
    ]
    without = record(tmp_path, "none", accuracy=1.0)
    runs.append(replace(without, config=as_norms_have(without.config)))
    rows, columns = two_swept(runs)
    assert (rows.values, columns.title, columns.values) == (("custom", "builtin"), "momentum", momenta)
    cells = crossed(runs, rows, columns, "accuracy/test").cells
    assert [[cell.runs for cell in row] for row in cells] == [[1, 1], [1, 1]]
    assert two_swept([runs[0], runs[1], runs[-1]]) is None
