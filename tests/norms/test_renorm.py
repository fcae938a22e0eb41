"""Batch Renormalization against its paper's algorithm."""

from __future__ import annotations

import pytest
import torch
import variant_checks as checks
from batch_norm_checks import SHAPES, batch
from oracles import assert_close
from torch import nn
from variant_checks import AT_ONCE, renorm

from bnexp.errors import ConfigError, ShapeError
from bnexp.norms.renorm import BatchRenorm

EVERY_SHAPE = pytest.mark.parametrize("shape", SHAPES, ids=str)


def test_the_checks_see_channels_with_and_without_clipping() -> None:
    norm = renorm(**checks.SOME_CLIPPED)
    _, r, d = checks.expected_renorm(norm, batch((5, 3, 4), mean=0.5))
    assert {value in (1.2, 1 / 1.2) for value in r.tolist()} == {True, False}
    assert {abs(value) == 0.5 for value in d.tolist()} == {True, False}


@EVERY_SHAPE
def test_training_is_the_papers_algorithm(shape: tuple[int, ...]) -> None:
    checks.check_renorm_is_the_papers(shape)


@EVERY_SHAPE
def test_the_gradient_takes_r_and_d_for_constants(shape: tuple[int, ...]) -> None:
    checks.check_renorms_gradient_takes_r_and_d_for_constants(shape)


def test_where_both_are_clipped_finite_differences_agree() -> None:
    checks.check_clipped_renorm_agrees_with_finite_differences()


@EVERY_SHAPE
def test_unclipped_it_is_eval_by_the_averages_before(shape: tuple[int, ...]) -> None:
    checks.check_unclipped_renorm_is_eval_by_the_averages_before(shape)


@EVERY_SHAPE
@pytest.mark.parametrize("affine", [True, False])
def test_without_room_for_a_correction_it_is_batch_norm(shape: tuple[int, ...], affine: bool) -> None:
    norm = renorm(r_max=1.0, d_max=0.0, affine=affine)
    plain = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[max(len(shape) - 3, 0)](3, affine=affine)
    plain.double().load_state_dict(norm.state_dict())
    x, x_plain, dy = batch(shape).requires_grad_(), batch(shape).requires_grad_(), batch(shape, 1)
    y, y_plain = norm(x), plain(x_plain)
    y.backward(dy)
    y_plain.backward(dy)
    assert_close(y, y_plain, rtol=1e-12, atol=1e-12)
    assert_close(x.grad, x_plain.grad, rtol=1e-12, atol=1e-12)
    for own, other in zip(norm.parameters(), plain.parameters(), strict=True):
        assert_close(own.grad, other.grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("momentum", [0.3, 0.0, 1.0, None])
def test_standard_deviations_are_averaged_without_bessels_correction(momentum: float | None) -> None:
    checks.check_renorm_averages_standard_deviations(momentum)


def test_the_schedule_is_scaled_to_the_run() -> None:
    checks.check_renorms_schedule_is_scaled_to_the_run()


def test_until_the_length_is_known_it_stays_at_the_beginning() -> None:
    norm = BatchRenorm(3, ())
    norm.num_batches_tracked.fill_(10**9)
    assert torch.stack(norm.limits()).tolist() == [1, 0]


def test_limits_may_be_full_from_the_first_batch_on() -> None:
    norm = BatchRenorm(3, (), r_max=1.5, d_max=0.5, **AT_ONCE)
    assert torch.stack(norm.limits()).tolist() == [1.5, 0.5]


def test_a_loaded_layer_goes_on_in_the_schedule() -> None:
    norm, resumed = BatchRenorm(3, ()), BatchRenorm(3, ())
    for layer in (norm, resumed):
        layer.set_total_steps(10)
    for seed in range(4):
        norm(batch((4, 3), seed, dtype=torch.float32))
    resumed.load_state_dict(norm.state_dict())
    x = batch((4, 3), 9, dtype=torch.float32)
    assert torch.stack(norm.limits()).tolist() == torch.stack(resumed.limits()).tolist() != [1, 0]
    assert_close(resumed(x), norm(x), rtol=0, atol=0)


def test_its_state_dict_means_the_same_to_torchs_layer() -> None:
    norm, builtin = renorm(), nn.BatchNorm1d(3).double()
    norm(batch((4, 3)))
    builtin.load_state_dict(norm.state_dict())
    x = batch((4, 3), 1)
    assert_close(norm.eval()(x), builtin.eval()(x), rtol=1e-12, atol=1e-12)
    norm.load_state_dict(builtin.state_dict())


def test_constant_channels_stay_finite() -> None:
    checks.check_constant_channels_leave_renorm_finite()


def test_one_value_a_channel_is_refused_in_training_only() -> None:
    with pytest.raises(ShapeError, match="more than 1 value per channel"):
        renorm()(batch((1, 3)))
    assert renorm().eval()(batch((1, 3))).shape == (1, 3)


@pytest.mark.parametrize(
    "knobs",
    [
        {"r_max": 0.5},
        {"r_max": float("inf")},
        {"d_max": -1.0},
        {"d_max": float("nan")},
        {"plain_frac": -0.1},
        {"plain_frac": 0.6},
        {"r_full_frac": 1.1},
        {"eps": 0.0},
    ],
    ids=str,
)
def test_knobs_that_cannot_work_are_refused(knobs: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"(must be|must satisfy) .*, got"):
        BatchRenorm(3, (), **knobs)


def test_a_float32_layer_follows_the_float64_one() -> None:
    norm, wide = BatchRenorm(3, (), **AT_ONCE), BatchRenorm(3, (), **AT_ONCE).double()
    for seed in range(30):
        x = batch((8, 3), seed, mean=seed / 10)
        y, y_wide = norm(x.float()), wide(x.float().double())
    assert_close(y, y_wide, rtol=1e-5, atol=4e-6)
    assert_close(norm.running_var, wide.running_var, rtol=1e-5, atol=1e-6)
