"""Population statistics: what running averages estimate, measured after training instead."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bnexp.errors import ConfigError
from bnexp.norms.arithmetic import moments
from bnexp.norms.modifiers.overlay import buffers

BUFFERS = ("running_mean", "running_var")


@dataclass
class Population:
    """Count, mean and biased variance of all values of each channel added so far, (C,) in float64."""

    count: int
    mean_C: Tensor
    var_C: Tensor

    @classmethod
    def of(cls, x: Tensor) -> Population:
        """Return the population of one batch (N, C, *)."""
        # not every accelerator has float64
        wide = (x.cpu() if x.device.type == "mps" else x).double()
        mean_C, var_C, _ = moments.batch_moments(wide)
        return cls(x.numel() // x.shape[1], mean_C, var_C)

    def joined_by(self, other: Population) -> Population:
        counts_G = self.mean_C.new_tensor([self.count, other.count])
        means_GC = torch.stack([self.mean_C, other.mean_C])
        mean_C, var_C = moments.merged_moments(counts_G, means_GC, torch.stack([self.var_C, other.var_C]))
        return Population(self.count + other.count, mean_C, var_C)


def tracking(model: nn.Module) -> dict[str, nn.Module]:
    """Return the layers with running statistics, by qualified name: a mean, a variance, or both."""
    return {name: module for name, module in model.named_modules() if _statistics(module)}


def _statistics(layer: nn.Module) -> list[str]:
    own = dict(layer.named_buffers(recurse=False, remove_duplicate=False))
    return [name for name in BUFFERS if name in own]


@contextmanager
def batch_mode(model: nn.Module) -> Iterator[dict[str, nn.Module]]:
    """Let layers with running statistics normalize as in training, and everything else evaluate (no dropout).

    Yields those layers by name. Left out, because the batch has no say in what they compute, are layers that
    declare `batch_statistics = False` and those that stay in evaluation mode when they are put into training
    mode (frozen ones). On leaving, whatever happened, every module has its
    own mode and every buffer its value again, in the same tensor.
    """
    with _preserved(model):
        model.eval()
        layers = {
            name: layer for name, layer in tracking(model).items() if getattr(layer, "batch_statistics", True)
        }
        for layer in layers.values():
            layer.train()
        yield {name: layer for name, layer in layers.items() if layer.training}


def recalibrate(model: nn.Module, batches: Iterable[Tensor], *, layer_by_layer: bool = False) -> list[str]:
    """Set running statistics to the mean and the variance (/(N - 1)) of all that flows into each layer.

    Every value counts alike, whatever the sizes of the batches, and the variance is that of all values
    together: it includes the differences between batches, which the mean of batch variances leaves out. A
    layer used several times in a pass pools all its inputs. Modes, momentum and all other buffers stay as
    they are; the statistics are written in place, after the last pass, or not at all if anything fails.

    Args:
        model: not compiled, because compiled code does not show what flows into its layers.
        batches: inputs, on the model's device, in batches as large as in training. Class-pure batches bias
            all layers but the first, which then see each other normalized by one class.
        layer_by_layer: measure one layer after another, those before it already evaluated by their new
            statistics, instead of all at once behind layers that normalize by the batch. The statistics
            then are exactly those that evaluation meets; `batches` is gone through once for each layer and
            must be iterable again.
    Returns the layers' names; none where no layer has running statistics.
    Raises:
        ConfigError: fewer than two values a channel.
        ArithmeticError: a layer's inputs are not finite.
    Source: Wu & Johnson 2021, arXiv:2105.07576, section 3 (PreciseBN). Departs from it in: the variance is
        unbiased, moments are merged in float64, and the layer-by-layer mode.
    """
    with batch_mode(model) as layers, torch.no_grad():
        populations = (
            _one_by_one(model, layers, batches) if layer_by_layer else _at_once(model, layers, batches)
        )
    for name, population in populations.items():
        _write(layers[name], population)
    return list(populations)


def _at_once(
    model: nn.Module, layers: Mapping[str, nn.Module], batches: Iterable[Tensor]
) -> dict[str, Population]:
    populations: dict[str, Population] = {}

    def add(name: str, x: Tensor) -> None:
        if x.numel() > 0:
            seen = Population.of(x)
            populations[name] = populations[name].joined_by(seen) if name in populations else seen

    with _each_input(layers, add):
        for x in batches:
            model(x)
    return _checked(layers, populations)


def _one_by_one(
    model: nn.Module, layers: Mapping[str, nn.Module], batches: Iterable[Tensor]
) -> dict[str, Population]:
    model.eval()
    order: dict[str, None] = {}
    with _each_input(layers, lambda name, x: order.setdefault(name)):
        for x in batches:
            model(x)
            break
    populations: dict[str, Population] = {}
    for name in order or layers:
        populations |= _at_once(model, {name: layers[name]}, batches)
        _write(layers[name], populations[name])
    return populations


@contextmanager
def _each_input(layers: Mapping[str, nn.Module], look: Callable[[str, Tensor], object]) -> Iterator[None]:
    """Show `look` what each layer is given."""

    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def show(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            look(name, inputs[0])

        return show

    handles = [layer.register_forward_pre_hook(hook(name)) for name, layer in layers.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _checked(layers: Mapping[str, nn.Module], populations: dict[str, Population]) -> dict[str, Population]:
    fewest = min((population.count for population in populations.values()), default=0)
    if layers and fewest < 2:
        raise ConfigError(
            f"recalibration needs at least 2 values a channel, got {fewest}: give it more examples"
        )
    for name, population in populations.items():
        if not bool(torch.isfinite(population.var_C).all()):
            raise ArithmeticError(f"what flows into {name} is not finite")
    return populations


def _write(layer: nn.Module, population: Population) -> None:
    values = population.mean_C, moments.unbiased(population.var_C, population.count)
    with torch.no_grad():
        for name, value_C in zip(BUFFERS, values, strict=True):
            if name in _statistics(layer):
                layer.get_buffer(name).copy_(value_C)


@contextmanager
def _preserved(model: nn.Module) -> Iterator[None]:
    """Give every module its mode and every buffer its tensor and value back, whatever happens."""
    modes = [(module, module.training) for module in model.modules()]
    before = [(module, name, buffer, buffer.clone()) for module, name, buffer in buffers(model)]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        with torch.no_grad():
            for module, name, buffer, value in before:
                setattr(module, name, buffer.copy_(value))
