"""Each likely mistake in EvoNorm, FRN, ghost batches and recalibration turns one of their tests red."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import test_evonorm as evonorm_tests
import test_frn_norm as frn_tests
import test_ghost as ghost_tests
import test_recalibrate as recalibrate_tests
import torch
from torch import Tensor

from bnexp.norms import evonorm, frn
from bnexp.norms.arithmetic import moments
from bnexp.norms.custom import CustomNorm
from bnexp.norms.evonorm import EvoNormB0
from bnexp.norms.frn import FilterResponseNorm
from bnexp.norms.modifiers import ghost
from bnexp.norms.modifiers.ghost import GhostBatches
from bnexp.norms.modifiers.recalibrate import Population

moments_NC, pooled_var, move = evonorm.moments_NC, evonorm.pooled_var, moments.move
merged_moments, mean_square_NC, frn_init = (
    moments.merged_moments,
    frn.mean_square_NC,
    FilterResponseNorm.__init__,
)
b0_forward, split = EvoNormB0.forward, torch.split
SHAPE = (2, 6, 3, 4)


def naive(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    dims = tuple(range(2, x.dim()))
    mean_NC = x.mean(dims)
    return mean_NC, torch.zeros_like(mean_NC), x.square().mean(dims) - mean_NC.square()


def rounded_means(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    pivot_NC, rest_NC, var_NC = moments_NC(x)
    return pivot_NC + rest_NC, torch.zeros_like(rest_NC), var_NC


def unbiased_within(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    pivot_NC, rest_NC, var_NC = moments_NC(x)
    n = x[0, 0].numel()
    return pivot_NC, rest_NC, var_NC * n / (n - 1)


def within_examples_only(pivot: Tensor, rest: Tensor, var: Tensor, dim: int) -> Tensor:
    return var.mean(dim)


def constant_means(pivot: Tensor, rest: Tensor, var: Tensor, dim: int) -> Tensor:
    """The right value, whose gradient leaves the means out."""
    return pooled_var(pivot, rest.detach(), var, dim)


def eps_outside(var: Tensor, eps: float) -> Tensor:
    return 1 / (var.sqrt() + eps)


def eval_by_the_batch(self: EvoNormB0, x: Tensor) -> Tensor:
    training, self.training = self.training, True
    try:
        return b0_forward(self, x)
    finally:
        self.training = training


def centred(x: Tensor) -> Tensor:
    return moments_NC(x)[2]


def with_eps_outside(self: FilterResponseNorm, x: Tensor) -> Tensor:
    scale_NC = self.weight / (mean_square_NC(x).sqrt() + self.eps)
    y = x * frn.over_positions(scale_NC, x.dim()) + frn.across(self.bias, x.dim())
    return torch.maximum(y, frn.across(self.tau, x.dim()))


def threshold_first(self: FilterResponseNorm, x: Tensor) -> Tensor:
    ndim, scale_NC = x.dim(), torch.rsqrt(mean_square_NC(x) + self.eps)
    y = torch.maximum(x * frn.over_positions(scale_NC, ndim), frn.across(self.tau, ndim))
    return y * frn.across(self.weight, ndim) + frn.across(self.bias, ndim)


def plain_relu(self: FilterResponseNorm, x: Tensor) -> Tensor:
    scale_NC = torch.rsqrt(mean_square_NC(x) + self.eps) * self.weight
    return torch.relu(x * frn.over_positions(scale_NC, x.dim()) + frn.across(self.bias, x.dim()))


def without_a_learned_eps(self: FilterResponseNorm, features: int, spatial: object, **knobs: float) -> None:
    frn_init(self, features, (2,), **knobs)


def chunk_by_chunk(self: GhostBatches, x: Tensor) -> Tensor:
    """Each chunk moves the averages, as in the papers."""
    sizes = ghost.chunk_sizes(len(x), self.norm_batch)
    return torch.cat([super(GhostBatches, self).forward(chunk) for chunk in x.split(sizes)])


def interleaved(x: Tensor, sizes: list[int]) -> list[Tensor]:
    order = torch.cat([torch.arange(first, len(x), len(sizes)) for first in range(len(sizes))])
    return list(split(x[order], sizes))


def chunks_alike(total: Tensor, before: Tensor, left: Tensor, share: float) -> Tensor:
    return total + (left - before) / 3 if left.is_floating_point() else left


def remainder_alone(examples: int, norm_batch: int) -> list[int]:
    full, rest = divmod(examples, norm_batch)
    return [norm_batch] * full + [rest] * (rest > 0)


def batches_alike(counts_G: Tensor, means_GC: Tensor, vars_GC: Tensor) -> tuple[Tensor, Tensor]:
    return merged_moments(torch.ones_like(counts_G), means_GC, vars_GC)


def within_batches_only(counts_G: Tensor, means_GC: Tensor, vars_GC: Tensor) -> tuple[Tensor, Tensor]:
    share_G1 = (counts_G / counts_G.sum()).unsqueeze(1)
    return merged_moments(counts_G, means_GC, vars_GC)[0], (share_G1 * vars_GC).sum(0)


def by_squares(counts_G: Tensor, means_GC: Tensor, vars_GC: Tensor) -> tuple[Tensor, Tensor]:
    share_G1 = (counts_G / counts_G.sum()).unsqueeze(1)
    mean_C = (share_G1 * means_GC).sum(0)
    return mean_C, (share_G1 * (vars_GC + means_GC.square())).sum(0) - mean_C.square()


def in_float32(x: Tensor) -> Population:
    mean_C, var_C, _ = moments.batch_moments(x.float())
    return Population(x.numel() // x.shape[1], mean_C.double(), var_C.double())


b0_trains = partial(evonorm_tests.test_b0_trains_by_the_batchs_biased_variance, SHAPE)
b0_averages = partial(evonorm_tests.test_b0_averages_unbiased_variances, 0.7)
b0_evaluates = partial(evonorm_tests.test_b0_evaluates_by_running_var, SHAPE)
b0_digits = partial(evonorm_tests.test_b0s_variance_keeps_its_digits_at_a_large_mean, 0)
s0_formula = partial(evonorm_tests.test_s0_is_the_papers_formula, SHAPE, 2, True)
frn_formula = partial(frn_tests.test_it_is_the_papers_formula, (2, 3, 4, 3), True)
ghost_formula = partial(ghost_tests.test_outputs_and_one_running_update_are_the_papers, CustomNorm, 0.3)
pooled = partial(recalibrate_tests.test_every_layer_gets_the_moments_of_all_its_inputs, "custom", [20, 20, 8])


def slopes_of_b0() -> None:
    norm = evonorm_tests.stir(EvoNormB0(6, SHAPE[2:], eps=0.5))
    with torch.no_grad():
        norm.running_var.fill_(9.0)
    x = evonorm_tests.draw(SHAPE).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: norm(x), x, raise_exception=False)


MUTANTS: dict[str, tuple[object, str, object, Callable[[], None]]] = {
    "b0: unbiased variance of examples": (evonorm, "moments_NC", unbiased_within, b0_trains),
    "b0: batch variance within examples only": (evonorm, "pooled_var", within_examples_only, b0_trains),
    "b0: means constant to the gradient": (evonorm, "pooled_var", constant_means, slopes_of_b0),
    "b0: naive variance": (evonorm, "moments_NC", naive, b0_digits),
    "b0: means rounded": (evonorm, "moments_NC", rounded_means, b0_digits),
    "b0: biased variance stored": (moments, "unbiased", lambda v, n: v, b0_averages),
    "b0: momentum flipped": (moments, "move", lambda b, v, m: move(b, v, 1 - m), b0_averages),
    "b0: eval by the batch": (EvoNormB0, "forward", eval_by_the_batch, b0_evaluates),
    "s0: eps outside the root": (moments, "inverse_std", eps_outside, s0_formula),
    "s0: variance within channels only": (evonorm, "pooled_var", within_examples_only, s0_formula),
    "frn: mean removed": (frn, "mean_square_NC", centred, frn_formula),
    "frn: eps outside the root": (FilterResponseNorm, "forward", with_eps_outside, frn_formula),
    "frn: threshold before weight and bias": (FilterResponseNorm, "forward", threshold_first, frn_formula),
    "frn: threshold fixed at zero": (FilterResponseNorm, "forward", plain_relu, frn_formula),
    "frn: no learned eps for one value": (
        FilterResponseNorm, "__init__", without_a_learned_eps,
        frn_tests.test_a_dense_unit_gets_a_gradient_that_a_sign_would_not,
    ),
    "ghost: averages moved by each chunk": (GhostBatches, "forward", chunk_by_chunk, ghost_formula),
    "ghost: chunks interleaved": (torch, "split", interleaved, ghost_formula),
    "ghost: chunks weighted alike": (ghost, "_added", chunks_alike, ghost_formula),
    "ghost: one example left alone": (ghost, "chunk_sizes", remainder_alone, ghost_formula),
    "recalibration: batches weighted alike": (moments, "merged_moments", batches_alike, pooled),
    "recalibration: no variance between batches": (moments, "merged_moments", within_batches_only, pooled),
    "recalibration: squares of means": (
        moments, "merged_moments", by_squares, recalibrate_tests.test_large_means_lose_no_digits,
    ),
    "recalibration: moments in float32": (Population, "of", in_float32, pooled),
    "recalibration: biased variance stored": (moments, "unbiased", lambda v, n: v, pooled),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
def test_the_mistake_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place, attribute, mutant, check = MUTANTS[name]
    check()
    monkeypatch.setattr(place, attribute, mutant)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        check()
