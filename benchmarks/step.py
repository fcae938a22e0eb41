"""Milliseconds per training step of the engine against a bare loop, side by side in one process.

The bare loop has the same network, optimizer and data, as normalized tensors in memory, and nothing else. The
arms take turns, a block of steps each; the ratio is the median over rounds of each round's own ratio.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import nn

from bnexp.assembly import make
from bnexp.composition.compose import compose
from bnexp.data.batches import Pixels, TrainBatches
from bnexp.engine.checkpoint import Checkpoints, TrainState
from bnexp.engine.fit import Fit, Plan, fit
from bnexp.engine.learner import Learner
from bnexp.engine.precision import Precision
from bnexp.models.blocks import Units
from bnexp.models.init import initialize
from bnexp.norms.traits import bind
from bnexp.protocols import Split
from bnexp.telemetry.gradient_norm import GradientNorm
from bnexp.telemetry.jsonl import MetricsFile
from bnexp.telemetry.run_writer import RunWriter
from bnexp.telemetry.tensorboard import TensorBoardWriter

EXAMPLES = 20_000
CPU = torch.device("cpu")
LIMITS = {"none": 1.05, "default": 1.10}
Block = Callable[[int], float]


class Stopwatch:
    """A progress display that only notes when each step ended."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def start(self, examples: int) -> None: ...

    def advance(self, examples: int, loss: float | None, latest: Mapping[str, float]) -> None:
        self.times.append(time.perf_counter())

    def epoch(self, epoch: float, latest: Mapping[str, float]) -> None: ...

    def per_step_ms(self) -> float:
        return 1e3 * (self.times[-1] - self.times[0]) / (len(self.times) - 1)


def parts(batch_size: int, norm: str) -> tuple[nn.Module, torch.optim.Optimizer, Split]:
    """Return LeNet, its optimizer and random images, as `bnexp train` would build them."""
    config = compose([f"norm={norm}", f"batch_size={batch_size}"]).config
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (EXAMPLES, 1, 28, 28), dtype=torch.uint8, generator=generator)
    split = Split(images, torch.randint(10, (EXAMPLES,), generator=generator))
    factory = bind(make(config.norm))
    units = Units(norm=factory, head_norm=factory, placement="pre", activation="sigmoid")
    model = make(config.model)(image_shape=(1, 28, 28), num_classes=10, units=units)
    initialize(model, make(config.init), 0)
    return model, make(config.optimizer)(model), split


def bare_arm(batch_size: int, norm: str) -> Block:
    model, optimizer, split = parts(batch_size, norm)
    images, labels = Pixels(split, device=CPU)(split.images), split.labels

    def block(steps: int) -> float:
        watch = Stopwatch()
        order = torch.randperm(EXAMPLES)
        model.train()
        for start in range(0, steps * batch_size, batch_size):
            chosen = order[start : start + batch_size]
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(model(images[chosen]), labels[chosen]).backward()
            optimizer.step()
            watch.advance(0, None, {})
        return watch.per_step_ms()

    return block


def engine_arm(batch_size: int, norm: str, telemetry: str, folder: Path) -> Block:
    model, optimizer, split = parts(batch_size, norm)
    config = compose([f"telemetry={telemetry}"]).config
    precision = Precision("float32", CPU)
    batches = TrainBatches(
        split,
        batch_size=batch_size,
        accumulate=1,
        drop_last="auto",
        augment=False,
        seed=0,
        device=CPU,
        pixels=Pixels(split, device=CPU),
        channels_last=False,
    )
    every = config.telemetry.scalars_every
    rounds = iter(range(10**6))

    def block(steps: int) -> float:
        watch = Stopwatch()
        run = folder / f"{telemetry}-{batch_size}-{next(rounds)}"
        run.mkdir()
        with RunWriter(MetricsFile(run / "metrics.jsonl", None), TensorBoardWriter(run, None)) as writer:
            fit(
                Fit(
                    learner=Learner(model, optimizer, precision.scaler(), precision, {}),
                    schedule=lambda step: 1.0,
                    batches=batches,
                    evaluate=None,
                    plan=Plan(steps, every, config.check_every, 10**9, None, loss_on_host=True),
                    probes=[GradientNorm(every)],
                    writer=writer,
                    progress=watch,
                    checkpoints=Checkpoints(run / "last.pt", run / "best.pt"),
                    stop=lambda: False,
                    state=TrainState(threads=1),
                )
            )
        return watch.per_step_ms()

    return block


def measure(batch_size: int, norm: str, rounds: int, steps: int) -> dict[str, dict[str, float]]:
    """Return, for each arm, the median milliseconds per step and the median ratio to the bare loop."""
    with tempfile.TemporaryDirectory() as folder:
        arms = {"bare": bare_arm(batch_size, norm)}
        arms |= {name: engine_arm(batch_size, norm, name, Path(folder)) for name in LIMITS}
        for block in arms.values():
            block(steps // 4)
        times: dict[str, list[float]] = {name: [] for name in arms}
        for turn in range(rounds):
            names = list(arms)
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                times[name].append(arms[name](steps))
    ratios = {
        name: [one / bare for one, bare in zip(found, times["bare"], strict=True)]
        for name, found in times.items()
    }
    return {
        name: {"ms_per_step": statistics.median(times[name]), "ratio": statistics.median(ratios[name])}
        for name in arms
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=200, help="steps of one block")
    parser.add_argument("--norm", default="builtin")
    parser.add_argument("--json", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = {
        str(batch_size): measure(batch_size, options.norm, options.rounds, options.steps)
        for batch_size in (8, 64)
    }
    show(results)
    machine = {"processor": processor(), "torch": torch.__version__, "python": platform.python_version()}
    record = {"machine": machine, "norm": options.norm, "rounds": options.rounds, "steps": options.steps}
    options.json.write_text(json.dumps(record | {"batch_size": results}, indent=2) + "\n", encoding="utf-8")


def show(results: dict[str, dict[str, dict[str, float]]]) -> None:
    table = Table(title="LeNet, one CPU thread: the engine against a bare loop")
    for header in ("batch", "arm", "ms a step", "times bare", "limit"):
        table.add_column(header, justify="right")
    for batch_size, arms in results.items():
        for name, found in arms.items():
            limit = f"{LIMITS[name]:.2f}" if name in LIMITS else ""
            table.add_row(batch_size, name, f"{found['ms_per_step']:.3f}", f"{found['ratio']:.3f}", limit)
    Console().print(table)


def processor() -> str:
    """Return the processor's name as the system gives it."""
    info = Path("/proc/cpuinfo")
    names = (
        [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        if info.exists()
        else []
    )
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
