"""Forward and backward passes of each norm against torch.nn.BatchNorm, side by side in one process.

The layers take turns, a block of passes each; a ratio is the median over rounds of each round's own ratio.
Bytes are what a forward pass saves for backward, each memory counted once, without parameters and buffers.
`composed` is batch normalization as tutorials write it, differentiated by autograd.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from processor import processor
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from bnexp.composition.compose import compose
from bnexp.experiment.pieces import make
from bnexp.norms.arithmetic import core
from bnexp.norms.contract.traits import bind

SHAPES = [(64, 6, 28, 28), (128, 64, 32, 32), (128, 512, 4, 4), (128, 120), (8, 6, 28, 28)]
LIMITS = {
    "custom": 1.6,
    "custom, geometric mean": 1.2,
    "compiled, geometric mean": 0.9,
    "variant/custom": 1.5,
}
VARIANTS = ["sync", "renorm", "running", "noisy", "evonorm_b0"]
BLOCK_S = 0.05  # a block takes about this long, so that the clock and the change of turns do not count
Results = dict[str, Any]


class Composed(nn.Module):
    """Batch normalization from mean, var and sqrt."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def forward(self, x: Tensor) -> Tensor:
        dims = (0, *range(2, x.dim()))
        mean, var = x.mean(dims, keepdim=True), x.var(dims, unbiased=False, keepdim=True)
        with torch.no_grad():
            self.running_mean += 0.1 * (mean.flatten() - self.running_mean)
            self.running_var += 0.1 * (var.flatten() - self.running_var)
        shape = (1, -1, *(1,) * (x.dim() - 2))
        return (x - mean) / torch.sqrt(var + 1e-5) * self.weight.view(shape) + self.bias.view(shape)


def layers(shape: tuple[int, ...], names: Iterable[str]) -> dict[str, nn.Module]:
    """Return the layers to measure, by name; `builtin` is what the others are compared to."""
    features, spatial = shape[1], shape[2:]

    def built(*words: str) -> nn.Module:
        return bind(make(compose(list(words)).config.norm))(features, spatial)

    found = {
        "builtin": built("norm=builtin"),
        "custom": built("norm=custom"),
        "custom, eager": built("norm=custom", "norm.core=eager"),
        "composed": Composed(features),
    }
    if "compiled" in names:
        found["compiled"] = torch.compile(built("norm=custom"), dynamic=False)  # type: ignore[assignment]
    return found | {name: built(f"norm={name}") for name in names if name != "compiled"}


def passes(layer: nn.Module, x: Tensor) -> Callable[[], None]:
    """Return one forward and backward pass; gradients are dropped, as an optimizer's zero_grad does."""
    x, dy = x.clone().requires_grad_(), torch.randn_like(x)
    parameters = [x, *layer.parameters()]

    def run() -> None:
        torch.autograd.backward(layer(x), dy)
        for parameter in parameters:
            parameter.grad = None

    return run


def measure(arms: dict[str, Callable[[], None]], rounds: int) -> Results:
    """Return each arm's median milliseconds and the median of its ratios to `builtin`."""
    repeats = {name: _repeats(run) for name, run in arms.items()}
    times: dict[str, list[float]] = {name: [] for name in arms}
    for turn in range(rounds):
        names = list(arms)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            start = time.perf_counter()
            for _ in range(repeats[name]):
                arms[name]()
            times[name].append(1e3 * (time.perf_counter() - start) / repeats[name])
    return {
        name: {
            "ms": statistics.median(found),
            "ratio": statistics.median(a / b for a, b in zip(found, times["builtin"], strict=True)),
        }
        for name, found in times.items()
    }


def _repeats(run: Callable[[], None]) -> int:
    for _ in range(3):
        run()
    start = time.perf_counter()
    run()
    return max(1, round(BLOCK_S / (time.perf_counter() - start)))


def saved_bytes(layer: nn.Module, x: Tensor) -> int:
    """Return the bytes that a forward pass keeps for backward, besides parameters and buffers."""
    own = {v.untyped_storage().data_ptr() for v in (*layer.parameters(), *layer.buffers())}
    kept: dict[int, int] = {}

    def pack(v: Tensor) -> Tensor:
        storage = v.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return v

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda v: v):
        y = layer(x.clone().requires_grad_())
    del y
    return sum(kept.values())


def peak_bytes(run: Callable[[], None]) -> int:
    """Return the most memory that a pass takes on a CUDA device above what was held before."""
    run()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def case(shape: tuple[int, ...], options: argparse.Namespace, channels_last: bool) -> Results:
    torch.manual_seed(0)
    torch.compiler.reset()  # or the ninth shape is too many, and runs uncompiled
    x = torch.randn(shape, device=options.device)
    if channels_last:
        x = x.to(memory_format=torch.channels_last)
    names = options.variants + (["compiled"] if options.compile else [])
    built = {name: layer.to(options.device) for name, layer in layers(shape, names).items()}
    arms = {name: _synchronized(passes(layer, x), x) for name, layer in built.items()}
    found = measure(arms, options.rounds)
    for name, layer in built.items():
        if name != "compiled":
            found[name]["saved_bytes"] = saved_bytes(layer, x)
        if x.is_cuda:
            found[name]["peak_bytes"] = peak_bytes(arms[name])
    return found


def _synchronized(run: Callable[[], None], x: Tensor) -> Callable[[], None]:
    if not x.is_cuda:
        return run

    def finished() -> None:
        run()
        torch.cuda.synchronize()

    return finished


def means(cases: dict[str, Results]) -> dict[str, float]:
    """Return each layer's geometric mean of ratios over all cases."""
    names = next(iter(cases.values()))
    return {
        name: math.exp(statistics.fmean(math.log(found[name]["ratio"]) for found in cases.values()))
        for name in names
    }


def show(cases: dict[str, Results], title: str) -> None:
    table = Table(title=title)
    names = [name for name in next(iter(cases.values())) if name != "builtin"]
    for header in ("input", "builtin, ms", *names):
        table.add_column(header, justify="right")
    for label, found in cases.items():
        table.add_row(
            label, f"{found['builtin']['ms']:.3f}", *(f"{found[name]['ratio']:.2f}" for name in names)
        )
    average = means(cases)
    table.add_row("geometric mean", "", *(f"{average[name]:.2f}" for name in names))
    Console(width=200).print(table)


def label(shape: tuple[int, ...], channels_last: bool) -> str:
    return f"{shape}".replace(" ", "") + (" channels_last" if channels_last else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--variants", nargs="*", default=VARIANTS)
    parser.add_argument("--no-compile", dest="compile", action="store_false")
    parser.add_argument("--json", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    results: dict[str, Any] = {}
    for threads in options.threads:
        torch.set_num_threads(threads)
        cases = {
            label(shape, channels_last): case(shape, options, channels_last)
            for shape in SHAPES
            for channels_last in ((False, True) if len(shape) == 4 else (False,))
        }
        show(
            cases, f"Times nn.BatchNorm, forward and backward, float32, {threads} thread{'s'[: threads > 1]}"
        )
        results[str(threads)] = {"cases": cases, "geometric_mean": means(cases)}
    machine = {
        "processor": torch.cuda.get_device_name() if options.device.startswith("cuda") else processor(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "compiled_core": core.load() is not None,
    }
    record = {"machine": machine, "rounds": options.rounds, "limits": LIMITS, "threads": results}
    options.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
