"""The words for running statistics, on gaps of a known cause."""

import numpy as np
import pytest

from bnexp.analysis.staleness import judge
from bnexp.runs.reading import Series

STEPS = 200
CHANNELS = 32


def gaps(mean, var, batch_size, seed=0):
    """Return both gap curves of a layer of Gaussian channels whose running statistics are given by step."""
    random = np.random.default_rng(seed)
    rows = []
    for running_mean, running_var in zip(mean, var, strict=True):
        batch = random.standard_normal((batch_size, CHANNELS))
        by_mean = np.abs(running_mean - batch.mean(0)) / batch.std(0)
        by_var = np.abs(np.log(running_var / batch.var(0, ddof=1)))
        rows.append((by_mean.mean(), by_var.mean()))
    steps = np.arange(len(rows))
    return [Series(steps, np.asarray(column)) for column in zip(*rows, strict=True)]


@pytest.mark.parametrize("batch_size", [2, 3, 4, 8, 64, 512])
def test_exact_statistics_are_close_whatever_the_batch(batch_size):
    assert judge(*gaps(np.zeros(STEPS), np.ones(STEPS), batch_size), batch_size) == "close"


@pytest.mark.parametrize("batch_size", [8, 64])
@pytest.mark.parametrize("mean, var", [(2.0, 1.0), (0.0, 12.0), (0.0, 1 / 12)])
def test_statistics_that_stay_wrong_are_stale(mean, var, batch_size):
    assert judge(*gaps(np.full(STEPS, mean), np.full(STEPS, var), batch_size), batch_size) == "stale"


def test_statistics_on_their_way_are_catching_up():
    mean = 9 * 0.99 ** np.arange(STEPS)
    assert judge(*gaps(mean, np.ones(STEPS), 64), 64) == "catching up"
    assert judge(*gaps(9 * 0.9 ** np.arange(STEPS), np.ones(STEPS), 64), 64) == "close"


def test_one_row_says_how_far_but_not_whither():
    assert judge(*gaps([0.0], [1.0], 64), 64) == "close"
    assert judge(*gaps([5.0], [1.0], 64), 64) == "stale"


def test_a_gap_that_is_no_number_is_told():
    mean, var = gaps(np.zeros(5), np.ones(5), 8)
    mean.values[-1] = np.nan
    assert judge(mean, var, 8) == "not finite"


def test_rows_of_one_gap_alone_are_left_out():
    mean, var = gaps(np.zeros(5), np.ones(5), 8)
    assert judge(mean, Series(np.asarray([9]), np.asarray([0.1])), 8) == "not finite"
    assert judge(Series(np.arange(1, 5), mean.values[1:]), var, 8) == "close"
