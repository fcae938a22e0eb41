"""Recalibrated statistics against torch's update_bn and against the exact moments of the whole population."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from bnexp.errors import ConfigError
from bnexp.norms.custom import CustomNorm
from bnexp.norms.evonorm import EvoNormB0
from bnexp.norms.modifiers.recalibrate import batch_mode, recalibrate, tracking

EXACT = {"rtol": 1e-12, "atol": 1e-12}


def data(num: int = 48, seed: int = 0) -> Tensor:
    """Images (num, 2, 4, 4) in float64, sorted: the later, the larger."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(num, 2, 4, 4, generator=generator, dtype=torch.float64)
    return noise * torch.tensor([1.0, 3.0]).view(2, 1, 1) + torch.linspace(0, 6, num).view(-1, 1, 1, 1)


def network(kind: str = "builtin", *, dropout: float = 0.0) -> nn.Sequential:
    """Two convolutional norms and a dense one, in float64, with statistics that fit nothing."""
    torch.manual_seed(1)
    builtin = kind == "builtin"
    model = nn.Sequential(
        nn.BatchNorm2d(2) if builtin else CustomNorm(2, (4, 4)),
        nn.Conv2d(2, 3, 3),
        nn.BatchNorm2d(3, momentum=None) if builtin else CustomNorm(3, (2, 2), momentum=None),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Flatten(),
        nn.Linear(12, 5),
        nn.BatchNorm1d(5) if builtin else CustomNorm(5, ()),
    ).double()
    for layer in tracking(model).values():
        layer.get_buffer("running_mean").fill_(7)
        layer.get_buffer("running_var").fill_(11)
        layer.get_buffer("num_batches_tracked").fill_(13)
    return model


def batches(x: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    return list(x.split(list(sizes)))


def statistics(model: nn.Module) -> dict[str, tuple[Tensor, Tensor]]:
    return {
        name: (layer.get_buffer("running_mean").clone(), layer.get_buffer("running_var").clone())
        for name, layer in tracking(model).items()
    }


def inputs_of(layer: nn.Module, model: nn.Module, parts: Sequence[Tensor]) -> NDArray[np.float64]:
    """What flows into `layer` as the model stands, (C, everything), by torch alone."""
    seen: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda module, given: seen.append(given[0].detach().clone()))
    with torch.no_grad():
        for part in parts:
            model(part)
    handle.remove()
    return torch.cat([x.transpose(0, 1).flatten(1) for x in seen], 1).numpy()


def expected_behind_batches(model: nn.Module, parts: Sequence[Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """The moments of all inputs of each layer in training mode without dropout, by numpy in two passes."""
    double = copy.deepcopy(model).train()
    for module in double.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    found = {}
    for name, layer in tracking(double).items():
        values = inputs_of(layer, double, parts)
        found[name] = torch.from_numpy(values.mean(1)), torch.from_numpy(values.var(1, ddof=1))
    return found


def assert_statistics(model: nn.Module, expected: dict[str, tuple[Tensor, Tensor]]) -> None:
    found = statistics(model)
    assert found.keys() == expected.keys()
    for name, (mean, var) in expected.items():
        torch.testing.assert_close(found[name][0], mean, **EXACT)
        torch.testing.assert_close(found[name][1], var, **EXACT)


@pytest.mark.parametrize("kind", ["builtin", "custom"])
@pytest.mark.parametrize("sizes", [[8] * 6, [48], [20, 20, 8], [31, 15, 2]], ids=str)
def test_every_layer_gets_the_moments_of_all_its_inputs(kind: str, sizes: list[int]) -> None:
    model, parts = network(kind), batches(data(), sizes)
    expected = expected_behind_batches(model, parts)
    assert recalibrate(model, parts) == ["0", "2", "7"]
    assert_statistics(model, expected)


def test_the_first_layers_statistics_do_not_depend_on_the_batches() -> None:
    """Ragged or sorted: its inputs are the data, whose moments numpy has from the whole."""
    x = data()
    values = x.transpose(0, 1).flatten(1).numpy()
    for sizes in ([8] * 6, [46, 2], [3, 45]):
        model = network()
        recalibrate(model, batches(x, sizes))
        mean, var = statistics(model)["0"]
        torch.testing.assert_close(mean, torch.from_numpy(values.mean(1)), **EXACT)
        torch.testing.assert_close(var, torch.from_numpy(values.var(1, ddof=1)), **EXACT)


@pytest.mark.parametrize("kind", ["builtin", "custom"])
def test_means_equal_update_bns_on_equal_batches(kind: str) -> None:
    parts = batches(data(), [8] * 6)
    ours, theirs = network(kind), network("builtin")
    theirs.load_state_dict(ours.state_dict())
    recalibrate(ours, parts)
    update_bn(parts, theirs)
    for name, (mean, _) in statistics(theirs).items():
        torch.testing.assert_close(statistics(ours)[name][0], mean, **EXACT)


def test_variances_exceed_update_bns_by_the_differences_between_batches() -> None:
    """(N - 1) ours = sum_b (n - 1) s_b^2 + n sum_b (mean_b - mean)^2; update_bn has the mean of s_b^2."""
    parts = batches(data(), [8] * 6)
    ours, theirs = network(), network()
    recalibrate(ours, parts)
    update_bn(parts, theirs)
    double = network().train()
    for name, layer in tracking(double).items():
        values = inputs_of(layer, double, parts)
        groups = np.stack(np.split(values, 6, axis=1))  # (batch, C, n)
        n, num = groups.shape[2], values.shape[1]
        between = n * ((groups.mean(2) - values.mean(1)) ** 2).sum(0)
        whole = ((num - 6) * statistics(theirs)[name][1].numpy() + between) / (num - 1)
        torch.testing.assert_close(statistics(ours)[name][1], torch.from_numpy(whole), **EXACT)
    # the data rise from batch to batch, so the part that update_bn leaves out is most of the first variance
    assert (statistics(ours)["0"][1][0] > 3 * statistics(theirs)["0"][1][0]).item()


def test_update_bn_overweights_a_short_batch_and_recalibration_does_not() -> None:
    x = data()
    ours, theirs = network(), network()
    recalibrate(ours, batches(x, [46, 2]))
    update_bn(batches(x, [46, 2]), theirs)
    exact = x.mean((0, 2, 3))
    torch.testing.assert_close(statistics(ours)["0"][0], exact, **EXACT)
    assert ((statistics(theirs)["0"][0] - exact).abs() > 1).all()


def test_layer_by_layer_gives_the_moments_that_evaluation_meets() -> None:
    """Oracle: evaluate all before a layer by its new statistics; then inputs are one by one independent."""
    x = data()
    model = network(dropout=0.5)
    assert recalibrate(model, batches(x, [20, 28]), layer_by_layer=True) == ["0", "2", "7"]
    model.eval()
    for name, layer in tracking(model).items():
        values = inputs_of(layer, model, batches(x, [1] * 48))
        mean, var = statistics(model)[name]
        torch.testing.assert_close(mean, torch.from_numpy(values.mean(1)), **EXACT)
        torch.testing.assert_close(var, torch.from_numpy(values.var(1, ddof=1)), **EXACT)
    at_once = network()
    recalibrate(at_once, batches(x, [20, 28]))
    assert not torch.allclose(statistics(at_once)["7"][1], statistics(model)["7"][1], rtol=1e-3)


def test_layers_are_taken_in_the_order_of_computation() -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.late, self.early = nn.BatchNorm1d(2), nn.BatchNorm1d(2)

        def forward(self, x: Tensor) -> Tensor:
            return self.late(self.early(x) * 5)

    model = Backwards().double()
    x = data().flatten(1)[:, :2]
    assert recalibrate(model, [x], layer_by_layer=True) == ["early", "late"]
    torch.testing.assert_close(model.late.running_mean, torch.zeros(2, dtype=torch.float64), **EXACT)


def test_dropout_stays_off() -> None:
    parts = batches(data(), [16] * 3)
    with_dropout, without = network(dropout=0.9), network()
    recalibrate(with_dropout, parts)
    recalibrate(without, parts)
    assert_statistics(with_dropout, statistics(without))


def test_a_layer_used_twice_pools_both_inputs() -> None:
    norm = nn.BatchNorm1d(2).double()

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = norm

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(x) + self.norm(x * 3)

    x = data().flatten(1)[:, :2]
    recalibrate(Twice(), [x[:20], x[20:]])
    both = torch.cat([x, 3 * x])
    torch.testing.assert_close(norm.running_mean, both.mean(0), **EXACT)
    torch.testing.assert_close(norm.running_var, both.var(0), **EXACT)


def test_large_means_lose_no_digits() -> None:
    """mean/std = 1e6 in float32: the variance comes out to the digits that the inputs have."""
    x = (torch.randn(64, 3, generator=torch.Generator().manual_seed(0)) + 1e6).to(torch.float32)
    norm = nn.BatchNorm1d(3)
    recalibrate(norm, [x[:20], x[20:]])
    expected = x.numpy().astype(np.float64).var(0, ddof=1)
    torch.testing.assert_close(norm.running_var, torch.from_numpy(expected).float(), rtol=1e-6, atol=0)


def test_everything_else_stays_as_it_was() -> None:
    """Modes, momentum, counters, weights, gradients, the tensors themselves, and no hook is left."""
    model = network(dropout=0.5).train()
    model[2].eval()
    model(data()).sum().backward()
    holders = {name: buffer for name, buffer in model.named_buffers()}
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    recalibrate(model, [data()])
    assert [module.training for module in model.modules()] == modes
    assert (model[0].momentum, model[2].momentum) == (0.1, None)
    for name, buffer in model.named_buffers():
        assert buffer is holders[name]
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) == ("running" not in name), name
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("layer_by_layer", [False, True])
def test_an_error_in_the_middle_leaves_everything_as_it_was(layer_by_layer: bool) -> None:
    class Broken:
        def __iter__(self) -> Iterator[Tensor]:
            yield data()[:8]
            raise ZeroDivisionError

    model = network(dropout=0.5).train()
    model[0].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    with pytest.raises(ZeroDivisionError):
        recalibrate(model, Broken(), layer_by_layer=layer_by_layer)
    assert [module.training for module in model.modules()] == modes
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_any_layer_with_the_two_buffers_is_recalibrated() -> None:
    class Rebinding(nn.Module):
        """Replaces its buffers in each pass, as layers written by hand often do."""

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("running_mean", torch.zeros(2, dtype=torch.float64))
            self.register_buffer("running_var", torch.ones(2, dtype=torch.float64))

        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                self.running_mean = x.mean(0)
                return x - x.mean(0)
            return x - self.running_mean

    model, x = Rebinding(), data().flatten(1)[:, :2]
    held = model.running_mean
    assert recalibrate(model, [x[:30], x[30:]]) == [""]
    assert model.running_mean is held
    torch.testing.assert_close(held, x.mean(0), **EXACT)
    torch.testing.assert_close(model.running_var, x.var(0), **EXACT)


def test_a_layer_that_stays_in_evaluation_keeps_its_statistics() -> None:
    class Frozen(nn.BatchNorm2d):
        def train(self, mode: bool = True) -> Frozen:
            return super().train(False)

    model = network()
    model[0] = Frozen(2).double().eval()
    assert recalibrate(model, [data()]) == ["2", "7"]
    assert torch.equal(model[0].running_mean, torch.zeros(2, dtype=torch.float64))


def test_a_layer_that_declares_no_batch_statistics_keeps_its_own() -> None:
    class Fixed(nn.BatchNorm2d):
        batch_statistics = False

    model = network()
    model[0] = Fixed(2).double()
    assert recalibrate(model, [data()]) == ["2", "7"]
    assert torch.equal(model[0].running_var, torch.ones(2, dtype=torch.float64))


def test_a_layer_with_a_variance_alone_is_recalibrated() -> None:
    x = data()
    norm = EvoNormB0(2, (4, 4)).double()
    assert recalibrate(norm, batches(x, [31, 15, 2])) == [""]
    exact = torch.from_numpy(x.transpose(0, 1).flatten(1).numpy().var(1, ddof=1))
    torch.testing.assert_close(norm.running_var, exact, **EXACT)


def test_networks_without_running_statistics_are_left_alone() -> None:
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.BatchNorm2d(4, track_running_stats=False)
    )
    assert recalibrate(model, [data().float()]) == []


@pytest.mark.parametrize("parts", [[], [torch.zeros(0, 2)], [torch.zeros(1, 2)]])
def test_too_few_examples_are_refused_in_one_line(parts: list[Tensor]) -> None:
    norm = CustomNorm(2, ()).eval()
    norm.forward = lambda x: x  # type: ignore[method-assign]  # torch refuses one value before we can
    with pytest.raises(ConfigError, match="at least 2 values a channel") as error:
        recalibrate(norm, parts)
    assert len(error.value.problems) == 1


def test_an_iterator_does_not_serve_layer_by_layer() -> None:
    with pytest.raises(ConfigError, match="at least 2 values"):
        recalibrate(network(), iter([data()]), layer_by_layer=True)


def test_what_is_not_finite_is_refused_and_written_nowhere() -> None:
    model = network()
    before = statistics(model)
    x = data()
    x[3, 1, 0, 0] = torch.inf
    with pytest.raises(ArithmeticError, match="what flows into 0 is not finite"):
        recalibrate(model, batches(x, [24, 24]))
    assert_statistics(model, before)


def test_batch_mode_normalizes_by_the_batch_and_moves_nothing() -> None:
    model, x = network(dropout=0.5), data()
    reference = network().train()
    before = statistics(model)
    with batch_mode(model) as layers:
        assert list(layers) == ["0", "2", "7"]
        torch.testing.assert_close(model(x), reference(x), **EXACT)
    assert_statistics(model, before)
