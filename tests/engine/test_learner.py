"""One update: its gradients, its mean loss, and the state that is saved and restored."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bnexp.engine.device import Precision
from bnexp.engine.learner import Learner, cloned
from bnexp.models.dropout import Dropout, seed_noise
from bnexp.protocols import Batch

CPU = torch.device("cpu")
Optimizer = Callable[[nn.Module], torch.optim.Optimizer]


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=0.1)


def learner(make: Optimizer = sgd, *, precision: str = "float32", dropout: float = 0.0) -> Learner:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), Dropout(dropout), nn.Sigmoid(), nn.Linear(7, 3))
    streams = seed_noise(model, 0, CPU)
    chosen = Precision(precision, CPU)
    return Learner(model, make(model), chosen.scaler(), chosen, streams)


def batches(*sizes: int, dtype: torch.dtype = torch.float32) -> list[Batch]:
    """Batches of these sizes, always from the same examples."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(sum(sizes), 5, generator=generator, dtype=torch.float64).to(dtype)
    targets = torch.randint(3, (sum(sizes),), generator=generator)
    pairs = zip(inputs.split(sizes), targets.split(sizes), strict=True)
    return [Batch(part, labels) for part, labels in pairs]


@pytest.mark.parametrize("sizes", [(4, 4, 4, 4), (4, 4, 4, 1), (5, 2), (1, 1, 1)], ids=str)
def test_accumulated_gradients_are_those_of_one_large_batch(sizes: tuple[int, ...]) -> None:
    """Losses are weighted by count; float64, so only the order of sums differs (rtol, atol 1e-12)."""
    one, many = learner(), learner()
    for each in (one, many):
        each.model.double()
    whole = one.compute_gradients(batches(sum(sizes), dtype=torch.float64))
    passes = many.compute_gradients(batches(*sizes, dtype=torch.float64))
    assert passes.loss.item() == pytest.approx(whole.loss.item(), rel=1e-12)
    assert passes.num_examples == whole.num_examples == sum(sizes)
    assert passes.accuracy().item() == pytest.approx(whole.accuracy().item(), rel=1e-6)
    for mine, theirs in zip(many.model.parameters(), one.model.parameters(), strict=True):
        assert mine.grad is not None and theirs.grad is not None
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-12, atol=1e-12)


def test_gradients_start_from_zero_at_each_update() -> None:
    each = learner()
    first = each.compute_gradients(batches(4)).loss
    gradient = cloned([p.grad for p in each.model.parameters()])
    second = each.compute_gradients(batches(4)).loss
    assert torch.equal(first, second)
    for before, parameter in zip(gradient, each.model.parameters(), strict=True):
        assert torch.equal(before, parameter.grad)


def test_what_a_pass_returns_holds_no_graph() -> None:
    passes = learner().compute_gradients(batches(4, 2))
    assert not passes.loss.requires_grad
    assert not any(logits.requires_grad for logits in passes.logits)


def test_float16_gradients_have_their_true_scale_once_unscaled() -> None:
    """Against float32: within float16's rounding, while the scaled ones are 65536 times as large."""
    exact, scaled = learner(), learner(precision="float16")
    exact.compute_gradients(batches(8))
    scaled.compute_gradients(batches(8))
    pairs = list(zip(scaled.model.parameters(), exact.model.parameters(), strict=True))
    assert all(mine.grad.abs().max() > 1000 * theirs.grad.abs().max() for mine, theirs in pairs)  # type: ignore[union-attr]
    scaled.unscale()
    for mine, theirs in pairs:
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=2**-7, atol=2**-11)


def test_learning_rate_is_the_base_times_the_multiplier_in_every_group() -> None:
    each = learner(lambda model: torch.optim.SGD([{"params": [p]} for p in model.parameters()], lr=0.2))
    each.optimizer.param_groups[1]["lr"] = 0.02
    for multiplier in (0.5, 1.0, 0.25):
        assert each.set_lr(multiplier) == pytest.approx(0.2 * multiplier, rel=1e-15)
        rates = [group["lr"] for group in each.optimizer.param_groups[:2]]
        assert rates == pytest.approx([0.2 * multiplier, 0.02 * multiplier], rel=1e-15)


@pytest.mark.parametrize("make", [sgd, adam])
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_restored_learner_goes_on_bit_for_bit(make: Optimizer, precision: str) -> None:
    """Restored twice from one copy: what happened to the first leaves the copy alone."""
    each = learner(make, precision=precision, dropout=0.5)
    advance(each, 3)
    saved = cloned(each.state_dict())
    expected = advance(each, 4)
    other = learner(make, precision=precision, dropout=0.5)
    other.load_state_dict(cloned(saved))
    assert advance(other, 4) == expected
    other.load_state_dict(saved)
    assert advance(other, 4) == expected


def test_a_copy_does_not_follow_the_learner() -> None:
    each = learner(adam)
    advance(each, 1)
    saved = cloned(each.state_dict())
    weight = saved["model"]["0.weight"].clone()
    moment = saved["optimizer"]["state"][0]["exp_avg"].clone()
    advance(each, 2)
    assert torch.equal(saved["model"]["0.weight"], weight)
    assert torch.equal(saved["optimizer"]["state"][0]["exp_avg"], moment)


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_a_single_bad_number_anywhere_is_noticed(value: float) -> None:
    each = learner(adam)
    advance(each, 1)
    assert each.is_finite()
    places = {name: tensor for name, tensor in each.floating_tensors()}
    assert "exp_avg_sq of 3.bias" in places and "0.weight" in places
    for name, tensor in places.items():
        kept = tensor.clone()
        with torch.no_grad():
            tensor.view(-1)[-1] = value
            assert not each.is_finite(), name
            tensor.copy_(kept)
    assert each.is_finite()


def advance(each: Learner, updates: int) -> list[float]:
    """Return the losses of the next updates and of the weights after them."""
    losses = []
    for _ in range(updates):
        losses.append(each.compute_gradients(batches(6)).loss.item())
        each.update()
    (batch,) = batches(6)
    with torch.no_grad():
        each.model.eval()
        losses.append(F.cross_entropy(each.model(batch.inputs), batch.targets).item())
        each.model.train()
    return losses
