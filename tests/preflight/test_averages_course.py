"""What a norm sees of a run's data, counted pass by pass, and what its running averages remember."""

from __future__ import annotations

import math

import pytest
import torch

from bnexp.data.epoch import Epoch
from bnexp.norms.builtin import batch_norm
from bnexp.norms.contract.traits import bind
from bnexp.norms.custom import CustomNorm
from bnexp.norms.group import group_norm
from bnexp.norms.modifiers.ghost import ghost
from bnexp.preflight.course import course, half_life, initial_share, row
from bnexp.preflight.sites import NormSite


@pytest.mark.parametrize("momentum", [0.01, 0.1, 0.5, 0.99])
def test_after_a_half_life_a_value_weighs_half(momentum: float) -> None:
    assert math.isclose((1 - momentum) ** half_life(momentum), 0.5, rel_tol=1e-12)


def test_momentum_one_forgets_at_once() -> None:
    assert half_life(1.0) == 0.0


def test_the_start_keeps_the_share_that_it_has_in_a_real_running_mean() -> None:
    norm = CustomNorm(1, (), momentum=0.2)
    norm.running_mean.fill_(1.0)
    for _ in range(7):
        norm(torch.tensor([[-1.0], [1.0]]))  # mean 0
    assert math.isclose(initial_share(0.2, 7), norm.running_mean.item(), rel_tol=1e-6)


def test_half_life_is_in_updates_although_every_pass_moves_the_averages() -> None:
    site = NormSite("norm", batch_norm(3, ()), 3, ())
    accumulated = row(site, course(Epoch(40, 5, 4), 10))
    assert math.isclose(accumulated.half_life_steps, half_life(0.1) / 4, rel_tol=1e-12)
    assert math.isclose(accumulated.initial_share, 0.9**40, rel_tol=1e-12)


@pytest.mark.parametrize(
    "norm",
    [batch_norm(4, (), momentum=None), batch_norm(4, (), track_running_stats=False), group_norm(4, ())],
    ids=["cumulative", "no buffers", "group"],
)
def test_what_is_no_moving_average_has_no_half_life(norm: torch.nn.Module) -> None:
    found = row(NormSite("norm", norm, 4, ()), course(Epoch(40, 5, 1), 10))
    assert (found.momentum, found.half_life_steps, found.initial_share) == (None, None, None)


def test_values_a_channel_count_positions_and_the_smallest_ghost_batch() -> None:
    planned = course(Epoch(43, 10, 1), 10)
    ghosts = ghost(bind(CustomNorm), 4)(6, (2, 3))
    batch = row(NormSite("norm", ghosts, 6, (2, 3)), planned)
    alone = row(NormSite("norm", group_norm(6, (2, 3)), 6, (2, 3)), planned)
    assert (batch.over, batch.values, batch.values_last) == ("batch x positions", 2 * 6, 3 * 6)
    assert (alone.over, alone.values) == ("2 channels x positions of one example", 2 * 6)
    assert alone.values_last == alone.values
    assert batch.parameters == 12


@pytest.mark.parametrize(("frozen_from", "averaged"), [(None, 14), (0, 0), (3, 5), (99, 14)])
def test_averages_remember_the_passes_before_they_are_frozen(frozen_from: int | None, averaged: int) -> None:
    """Epochs of 10 examples in passes of 2, two a step: 3 steps of 2, 2 and 1 passes."""
    planned = course(Epoch(10, 2, 2), 8, frozen_from=frozen_from)
    assert (planned.passes, planned.averaged) == (14, averaged)
    found = row(NormSite("norm", batch_norm(3, ()), 3, ()), planned)
    assert math.isclose(found.initial_share, 0.9**averaged, rel_tol=1e-12)
