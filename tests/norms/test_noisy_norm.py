"""Batch norm with noise after it: its distribution, its stream, and where it is absent."""

from __future__ import annotations

import pytest
import torch
import variant_checks as checks
from batch_norm_checks import SHAPES, batch
from oracles import assert_close
from torch import nn
from variant_checks import seeded

from bnexp.errors import ConfigError
from bnexp.norms.noisy import NoisyNorm


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_without_noise_it_is_batch_norm(shape: tuple[int, ...]) -> None:
    norm = checks.quiet()
    plain = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[max(len(shape) - 3, 0)](3).double()
    plain.load_state_dict(norm.state_dict())
    assert_close(norm(batch(shape)), plain(batch(shape)), rtol=1e-12, atol=1e-12)


def test_the_noise_has_its_distribution() -> None:
    checks.check_noise_has_its_distribution()


def test_the_noise_differs_by_pass_and_example() -> None:
    checks.check_noise_differs_by_pass_and_example()


def test_the_noise_comes_after_weight_and_bias() -> None:
    checks.check_noise_comes_after_the_whole_batch_norm()


def test_eval_has_no_noise() -> None:
    checks.check_eval_has_no_noise()


def test_the_noise_leaves_the_running_statistics() -> None:
    checks.check_noise_leaves_the_running_statistics()


def test_the_noise_is_the_generators() -> None:
    torch.manual_seed(0)
    first = seeded(3)(batch((4, 3)))
    torch.manual_seed(1)
    assert_close(seeded(3)(batch((4, 3))), first, rtol=0, atol=0)
    assert not torch.equal(seeded(3, seed=1)(batch((4, 3))), first)


def test_a_restored_generator_goes_on_with_its_noise() -> None:
    norm, restored = seeded(3), seeded(3, seed=5)
    norm(batch((4, 3)))
    restored.generator.set_state(norm.generator.get_state())
    assert_close(restored(batch((4, 3), 1)), norm(batch((4, 3), 1)), rtol=0, atol=0)


@pytest.mark.parametrize(
    "knobs", [{"max_shift": -0.1}, {"max_scale": 0.5}, {"spread": -1.0}, {"spread": float("inf")}], ids=str
)
def test_noise_that_cannot_be_drawn_is_refused(knobs: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"must be (at least \d|finite.*), got"):
        NoisyNorm(3, (), **knobs)
