"""Schedules against torch's own and against values worked out by hand."""

import math

import pytest
import torch

from bnexp.errors import ConfigError
from bnexp.optimization import schedules

ALL = [schedules.constant, schedules.step, schedules.cosine, schedules.onecycle]


def values(schedule, num_steps):
    return [schedule(step) for step in range(num_steps)]


def torchs(make, num_steps):
    """Return the factors that one of torch's schedulers gives to a base learning rate of 1."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(optimizer)
    found = [optimizer.param_groups[0]["lr"]]
    for _ in range(num_steps - 1):
        optimizer.step()
        scheduler.step()
        found.append(optimizer.param_groups[0]["lr"])
    return found


def assert_equal(actual, expected):
    assert actual == pytest.approx(expected, rel=1e-12, abs=1e-14)


def test_constant_is_one():
    assert values(schedules.constant(total_steps=5), 5) == [1.0] * 5


@pytest.mark.parametrize(("total", "milestones", "at"), [(100, [0.5, 0.75], [50, 75]), (10, [0.7], [7])])
def test_step_is_torchs_multistep(total, milestones, at):
    expected = torchs(lambda o: torch.optim.lr_scheduler.MultiStepLR(o, at, gamma=0.2), total)
    schedule = schedules.step(total_steps=total, milestones=milestones, gamma=0.2)
    assert_equal(values(schedule, total), expected)


def test_step_defaults_by_hand():
    schedule = schedules.step(total_steps=8)
    assert_equal(values(schedule, 8), [1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize("final", [0.0, 0.1])
@pytest.mark.parametrize("total", [1, 7, 60])
def test_cosine_is_torchs_annealing(total, final):
    make = torch.optim.lr_scheduler.CosineAnnealingLR
    expected = torchs(lambda o: make(o, total, eta_min=final), total)
    assert_equal(values(schedules.cosine(total_steps=total, final=final), total), expected)


@pytest.mark.parametrize("total", [10, 13, 60])
@pytest.mark.parametrize("knobs", [{}, {"pct_start": 0.5, "div_factor": 10.0, "final_div_factor": 3.0}])
def test_onecycle_is_torchs(total, knobs):
    make = torch.optim.lr_scheduler.OneCycleLR
    expected = torchs(lambda o: make(o, max_lr=1.0, total_steps=total, cycle_momentum=False, **knobs), total)
    assert_equal(values(schedules.onecycle(total_steps=total, **knobs), total), expected)


@pytest.mark.parametrize("pct_start", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("total", [1, 2, 10])
def test_onecycle_stays_within_its_bounds_at_the_edges(pct_start, total):
    schedule = schedules.onecycle(total_steps=total, pct_start=pct_start)
    assert all(1 / 250_000 * (1 - 1e-9) <= value <= 1 for value in values(schedule, total + 2))


def test_warmup_is_torchs_linear_rise():
    make = torch.optim.lr_scheduler.LinearLR
    expected = torchs(lambda o: make(o, start_factor=1 / 5, total_iters=4), 12)
    assert_equal(values(schedules.constant(total_steps=12, warmup_steps=5), 12), expected)


def test_cosine_falls_over_the_steps_after_the_warmup():
    warmed = schedules.cosine(total_steps=15, final=0.2, warmup_steps=5)
    assert_equal(values(warmed, 5), [0.2, 0.4, 0.6, 0.8, 1.0])
    plain = schedules.cosine(total_steps=10, final=0.2)
    assert_equal([warmed(5 + step) for step in range(10)], values(plain, 10))


@pytest.mark.parametrize("schedule", [schedules.step, schedules.onecycle])
def test_warmup_multiplies_the_curve(schedule):
    warmed, plain = schedule(total_steps=12, warmup_steps=8), schedule(total_steps=12)
    expected = [plain(step) * min(1, (step + 1) / 8) for step in range(12)]
    assert_equal(values(warmed, 12), expected)


@pytest.mark.parametrize("schedule", ALL)
@pytest.mark.parametrize("warmup_steps", [0, 1, 3, 12])
def test_no_update_of_the_run_has_a_factor_of_zero(schedule, warmup_steps):
    made = schedule(total_steps=12, warmup_steps=warmup_steps)
    assert all(0 < value <= 1 for value in values(made, 12))


@pytest.mark.parametrize("schedule", ALL)
def test_the_value_at_the_end_holds_afterwards(schedule):
    made = schedule(total_steps=12)
    assert made(12) == made(13) == made(1000)


def test_cosine_arrives_at_final():
    assert schedules.cosine(total_steps=12, final=0.25)(12) == 0.25


@pytest.mark.parametrize("schedule", ALL)
def test_schedules_are_functions_of_the_step_alone(schedule):
    made = schedule(total_steps=9, warmup_steps=2)
    forwards = values(made, 9)
    assert [made(step) for step in reversed(range(9))] == forwards[::-1]


@pytest.mark.parametrize("schedule", ALL)
@pytest.mark.parametrize("warmup_steps", [-1, 11, 0.1, "long", None])
def test_impossible_warmups_are_refused(schedule, warmup_steps):
    message = r"^schedule\.warmup_steps must be a whole number from 0 to the run's 10 steps, got "
    with pytest.raises(ConfigError, match=message):
        schedule(total_steps=10, warmup_steps=warmup_steps)


@pytest.mark.parametrize(
    ("schedule", "knobs", "problem"),
    [
        (schedules.step, {"gamma": -1}, r"gamma must be at least 0, got -1"),
        (schedules.step, {"milestones": [0.5, 30]}, r"milestones\[1\] must lie in \[0, 1\], got 30"),
        (schedules.step, {"milestones": 0.5}, r"milestones must be a list of fractions .*, got 0\.5"),
        (schedules.cosine, {"final": -0.1}, r"final must be at least 0, got -0\.1"),
        (schedules.cosine, {"final": math.nan}, r"final must be at least 0, got nan"),
        (schedules.onecycle, {"pct_start": 1.5}, r"pct_start must lie in \[0, 1\], got 1\.5"),
        (schedules.onecycle, {"div_factor": 0}, r"div_factor must be at least 1, got 0"),
        (schedules.onecycle, {"final_div_factor": 0.5}, r"final_div_factor must be .*, got 0\.5"),
    ],
)
def test_impossible_knobs_are_refused(schedule, knobs, problem):
    with pytest.raises(ConfigError, match=rf"^schedule\.{problem}"):
        schedule(total_steps=10, **knobs)
