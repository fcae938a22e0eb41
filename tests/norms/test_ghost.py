"""Ghost batches against the papers' formulas, chunk by chunk."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from batch_norm_checks import batch
from oracles import assert_close, batch_norm, running_statistics, to_array
from torch import Tensor, nn

from bnexp.errors import ShapeError
from bnexp.norms.builtin import batch_norm as builtin
from bnexp.norms.contract.traits import bind
from bnexp.norms.custom import CustomNorm
from bnexp.norms.modifiers.ghost import chunk_sizes, ghost
from bnexp.norms.modifiers.guard import guarded
from bnexp.norms.none import identity

EPS = 0.5  # of the size of the variance, so that its place in the formula shows
MAKERS = [pytest.param(CustomNorm, id="custom"), pytest.param(builtin, id="builtin")]


def ghosts(make: object, norm_batch: int, **knobs: object) -> nn.Module:
    return ghost(bind(partial(make, eps=EPS, **knobs)), norm_batch)(3, (4,)).double()


@pytest.mark.parametrize(
    ("examples", "norm_batch", "sizes"),
    [
        (64, 8, [8] * 8),
        (13, 4, [4, 4, 5]),
        (14, 4, [4, 4, 4, 2]),
        (4, 4, [4]),
        (5, 4, [5]),
        (3, 4, [3]),
        (1, 4, [1]),
        (3, 1, [1, 1, 1]),
        (5, 2, [2, 3]),
        (0, 4, []),
    ],
)
def test_one_example_left_over_joins_the_chunk_before(
    examples: int, norm_batch: int, sizes: list[int]
) -> None:
    assert chunk_sizes(examples, norm_batch) == sizes


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("momentum", [0.3, None])
def test_outputs_and_one_running_update_are_the_papers(make: object, momentum: float | None) -> None:
    norm, sizes = ghosts(make, 4, momentum=momentum), (4, 4, 5)
    means, variances = [], []
    passes = [batch((13, 3, 4), seed, mean=float(seed)) for seed in (0, 1)]
    for x in passes:
        y = to_array(norm(x))
        chunks = np.split(to_array(x), [4, 8])
        expected = [batch_norm(chunk, np.ones(3), np.zeros(3), EPS) for chunk in chunks]
        assert_close(y, np.concatenate(expected), rtol=1e-12, atol=1e-12)
        of_chunks = [running_statistics([chunk], None) for chunk in chunks]
        means.append(np.average([mean for mean, _ in of_chunks], axis=0, weights=sizes))
        variances.append(np.average([var for _, var in of_chunks], axis=0, weights=sizes))
    shares = [0.7 * 0.3, 0.3] if momentum else [0.5, 0.5]
    start = 0.7**2 if momentum else 0.0
    assert_close(norm.running_mean, np.dot(shares, means), rtol=1e-12, atol=1e-12)
    assert_close(norm.running_var, start + np.dot(shares, variances), rtol=1e-12, atol=1e-12)
    assert norm.num_batches_tracked == 2


@pytest.mark.parametrize("make", MAKERS)
def test_chunks_of_one_example_without_positions_are_refused(make: object) -> None:
    before = ghosts(make, 1).state_dict()
    norm = ghosts(make, 1)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        norm(batch((4, 3)))
    for name, value in norm.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_wrong_shape_is_told_as_without_ghosts() -> None:
    with pytest.raises(ShapeError, match="floating point of shape"):
        ghosts(CustomNorm, 4)(torch.zeros(()))
    assert ghosts(CustomNorm, 4)(batch((0, 3))).shape == (0, 3)


def test_a_norm_that_measures_no_batch_stays_as_it_is() -> None:
    factory = bind(identity)
    assert ghost(factory, 4) is factory


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("precise", [False, True])
def test_a_float16_overflow_poisons_running_statistics_without_a_guard_only(
    make: object, precise: bool
) -> None:
    for guard in (False, True):
        factory = bind(partial(make))
        norm = (guarded(factory) if guard else factory)(3, (4,))
        norm(batch((4, 3, 4), dtype=torch.float32))
        before = {name: value.clone() for name, value in norm.state_dict().items()}
        x = torch.full((4, 3, 4), 1e5).to(torch.float32 if precise else torch.float16)
        assert bool(norm(x).isfinite().all()) is precise
        moved = [not torch.equal(value, before[name]) for name, value in norm.state_dict().items()]
        assert any(moved) is (precise or not guard)
        assert bool(norm.running_mean.isfinite().all()) is (precise or guard)
        after = norm(batch((4, 3, 4), dtype=torch.float32))
        assert after.isfinite().all()


@pytest.mark.parametrize("make", MAKERS)
def test_torch_func_passes_through_chunks_and_guard(make: object) -> None:
    factory = bind(partial(make, eps=EPS))
    norm = guarded(ghost(factory, 4))(3, (4,)).double()
    x = batch((13, 3, 4))

    def loss(parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(norm, (parameters, buffers), (x,)).square().sum()

    given = {name: value.clone() for name, value in norm.named_buffers()}
    gradients = torch.func.grad(loss)({k: v.detach() for k, v in norm.named_parameters()}, given)
    assert norm.num_batches_tracked == 0 and given["num_batches_tracked"] == 1
    norm(x).square().sum().backward()
    assert_close(gradients["weight"], norm.weight.grad, rtol=1e-12, atol=1e-12)
    assert_close(given["running_var"], norm.running_var, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("make", MAKERS)
def test_compiled_chunks_and_guard_are_one_graph_with_the_same_numbers(make: object) -> None:
    torch.compiler.reset()
    eager, other = (guarded(ghosted)(3, (4,)).double() for ghosted in [ghost(bind(partial(make)), 4)] * 2)
    compiled = torch.compile(other, backend="eager", fullgraph=True)
    for seed in (0, 1):
        x, x_other = (batch((13, 3, 4), seed).requires_grad_() for _ in range(2))
        y, y_other = eager(x), compiled(x_other)
        y.square().sum().backward()
        y_other.square().sum().backward()
        assert_close(y_other, y, rtol=1e-12, atol=1e-12)
        assert_close(x_other.grad, x.grad, rtol=1e-12, atol=1e-12)
    for name, value in eager.state_dict().items():
        assert_close(other.state_dict()[name], value, rtol=1e-12, atol=1e-12)
