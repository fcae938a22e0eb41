"""Curves of several seeds are averaged where all of them have finite values, and nowhere else."""

import numpy as np
import pytest

from bnexp.analysis.averages import averages
from bnexp.runs.reading import Series


def series(**values):
    """Return a scalar with the values of keys such as `at10`."""
    steps = [int(key.removeprefix("at")) for key in values]
    return Series(np.array(steps, dtype=np.int64), np.array(list(values.values()), dtype=np.float64))


def test_only_steps_that_all_runs_logged_count():
    found = averages([{"loss": series(at0=1, at10=2, at20=9)}, {"loss": series(at0=3, at20=5, at30=7)}])
    assert found["loss"].steps.tolist() == [0, 20]
    assert found["loss"].mean.tolist() == [2.0, 7.0]
    assert found["loss"].std.tolist() == [2**0.5, 8**0.5]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e308])
def test_a_step_without_a_finite_mean_and_std_is_left_out(value):
    found = averages([{"loss": series(at0=1, at10=value)}, {"loss": series(at0=1, at10=1e308)}])
    assert found["loss"].steps.tolist() == [0]


def test_a_scalar_that_one_run_lacks_is_left_out_and_so_is_one_without_steps():
    runs = [{"lr": series(at0=1), "loss": series(at0=1, at2=1), "epoch": series(at0=1)}, {}]
    assert averages([runs[0], {"loss": series(at1=1, at3=1), "epoch": series(at0=1)}]) == {}
    assert averages(runs) == {}


def test_final_scalars_are_averaged_though_the_runs_ended_at_different_steps():
    found = averages([{"accuracy/test": series(at80=0.5)}, {"accuracy/test": series(at50=0.75)}])
    assert found["accuracy/test"].steps.tolist() == [80]
    assert found["accuracy/test"].mean.tolist() == [0.625]


def test_one_run_has_no_spread():
    with pytest.raises(ValueError, match="two runs or more, got 1"):
        averages([{"loss": series(at0=1)}])
