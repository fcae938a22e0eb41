"""Milliseconds per training step of the engine against a bare loop, side by side in one process.

The bare loop has the same network, optimizer and data, as normalized tensors in memory, and nothing else. The
arms take turns, a block of steps each; a ratio is the median over rounds of each round's own ratio. A block's
time includes writing what it logged to disk, and every block logs step 0. What one logged step costs is the
difference between logging at every step and not logging.
"""

from __future__ import annotations

import argparse
import json
import operator
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from processor import processor
from rich.console import Console
from rich.table import Table
from torch import nn

from bnexp.composition.compose import compose
from bnexp.data.batches import Pixels, TrainBatches
from bnexp.engine.checkpoint import Checkpoints, TrainState
from bnexp.engine.device import Precision
from bnexp.engine.fit import Fit, Plan, fit
from bnexp.engine.learner import Learner
from bnexp.experiment.pieces import make
from bnexp.models.blocks import Units
from bnexp.models.init import initialize
from bnexp.models.part_names import norm_places
from bnexp.norms.contract.traits import bind
from bnexp.protocols import Split
from bnexp.telemetry.event_file import EventFile
from bnexp.telemetry.jsonl import MetricsFile
from bnexp.telemetry.probes import probes
from bnexp.telemetry.run_writer import RunWriter

EXAMPLES = 20_000
CPU = torch.device("cpu")
# the largest ratio of an arm to another
LIMITS = {
    ("none", "bare"): 1.05,
    ("default", "bare"): 1.10,
    ("default", "none"): 1.08,
    ("full", "none"): 1.5,
}
ARMS = {
    "none": ["telemetry=none"],
    "default": ["telemetry=default"],
    "full": ["telemetry=full"],
    "scalars": ["telemetry=none", "telemetry.scalars_every=1"],
    "histograms": ["telemetry=none", "telemetry.histograms_every=1"],
}
BRIEF = ("scalars", "histograms")  # the arms that log at every step take shorter blocks
Block = Callable[[int], float]
Results = dict[str, Any]


class Silent:
    """A progress display that shows nothing."""

    def start(self, examples: int) -> None: ...
    def advance(self, examples: int, loss: float | None, latest: Mapping[str, float]) -> None: ...
    def epoch(self, epoch: float, latest: Mapping[str, float]) -> None: ...


class NothingSaved:
    """Checkpoints that cost nothing: how often a run saves is no part of a step."""

    def save_last(self, learner: Learner, state: TrainState) -> None: ...


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
        order = torch.cat([torch.randperm(EXAMPLES) for _ in range(-(-steps * batch_size // EXAMPLES))])
        model.train()
        start = time.perf_counter()
        for first in range(0, steps * batch_size, batch_size):
            chosen = order[first : first + batch_size]
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(model(images[chosen]), labels[chosen]).backward()
            optimizer.step()
        return 1e3 * (time.perf_counter() - start) / steps

    return block


class EngineArm:
    """The engine with one telemetry setting; `bytes` is what its last block left on disk, for each step."""

    def __init__(self, batch_size: int, norm: str, telemetry: list[str], folder: Path) -> None:
        model, optimizer, split = parts(batch_size, norm)
        self._config = compose(telemetry).config
        self._precision = Precision("float32", CPU)
        self._learner = Learner(model, optimizer, self._precision.scaler(), self._precision, {})
        self._batches = TrainBatches(
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
        knobs = asdict(self._config.telemetry)
        del knobs["three_way_every"]  # a matter of evaluation, not of a step
        self._probes, _ = probes(model, norm_places(model), total_steps=1, **knobs | {"max_megabytes": 1e9})
        self._folder = folder
        self.bytes = 0.0

    def __call__(self, steps: int) -> float:
        run = Path(tempfile.mkdtemp(dir=self._folder))
        with RunWriter(MetricsFile(run / "metrics.jsonl"), EventFile(run, start=0)) as writer:
            motion = self._motion(writer, steps)
            start = time.perf_counter()
            fit(motion)
            elapsed = time.perf_counter() - start
        self.bytes = sum(file.stat().st_size for file in run.iterdir()) / steps
        return 1e3 * elapsed / steps

    def _motion(self, writer: RunWriter, steps: int) -> Fit:
        every = self._config.telemetry.scalars_every
        return Fit(
            learner=self._learner,
            schedule=lambda step: 1.0,
            batches=self._batches,
            evaluate=None,
            plan=Plan(steps, every, self._config.check_every, 10**9, None, loss_on_host=True),
            probes=self._probes,
            writer=writer,
            progress=Silent(),
            checkpoints=cast(Checkpoints, NothingSaved()),
            stop=lambda: False,
            state=TrainState(threads=1),
        )


def measure(batch_size: int, norm: str, rounds: int, steps: int) -> Results:
    """Return the medians of each arm's milliseconds per step, of the ratios, and of what logging adds."""
    with tempfile.TemporaryDirectory() as folder:
        engines = {name: EngineArm(batch_size, norm, words, Path(folder)) for name, words in ARMS.items()}
        arms: dict[str, Block] = {"bare": bare_arm(batch_size, norm), **engines}
        for block in arms.values():
            block(steps // 4)
        times: dict[str, list[float]] = {name: [] for name in arms}
        for turn in range(rounds):
            names = list(arms)
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                times[name].append(arms[name](steps // 10 if name in BRIEF else steps))
    return {
        "ms_per_step": {name: statistics.median(found) for name, found in times.items()},
        "ratios": {f"{arm}/{to}": _middle(times, arm, to, operator.truediv) for arm, to in LIMITS},
        "ms_per_logged_step": {name: _middle(times, name, "none", operator.sub) for name in BRIEF},
        "bytes_per_1000_steps": {name: round(1000 * arm.bytes) for name, arm in engines.items()},
    }


def _middle(
    times: dict[str, list[float]], one: str, other: str, compare: Callable[[float, float], float]
) -> float:
    return statistics.median(map(compare, times[one], times[other]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=1000, help="steps of one block, a multiple of 200")
    parser.add_argument("--norm", default="custom")
    parser.add_argument("--json", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = {
        str(batch_size): measure(batch_size, options.norm, options.rounds, options.steps)
        for batch_size in (8, 64)
    }
    show(results, options.norm)
    machine = {"processor": processor(), "torch": torch.__version__, "python": platform.python_version()}
    record = {"machine": machine, "norm": options.norm, "rounds": options.rounds, "steps": options.steps}
    options.json.write_text(json.dumps(record | {"batch_size": results}, indent=2) + "\n", encoding="utf-8")


def show(results: dict[str, Results], norm: str) -> None:
    arms = Table(title=f"LeNet, norm={norm}, one CPU thread")
    for header in (
        "batch",
        "arm",
        "ms a step",
        "times bare",
        "limit",
        "times none",
        "limit",
        "kB in 1,000 steps",
    ):
        arms.add_column(header, justify="right")
    logged = Table(title="What one logged step adds")
    for header in ("batch", "scalars, ms", "histograms, ms"):
        logged.add_column(header, justify="right")
    for batch_size, found in results.items():
        for name in ("bare", "none", "default", "full"):
            arms.add_row(batch_size, name, *_row(name, found))
        logged.add_row(batch_size, *(f"{ms:.2f}" for ms in found["ms_per_logged_step"].values()))
    console = Console()
    console.print(arms)
    console.print(logged)


def _row(name: str, found: Results) -> list[str]:
    cells = [f"{found['ms_per_step'][name]:.3f}"]
    for other in ("bare", "none"):
        limit = LIMITS.get((name, other))
        cells += [f"{found['ratios'][f'{name}/{other}']:.3f}", f"{limit:.2f}"] if limit else ["", ""]
    size = found["bytes_per_1000_steps"].get(name)
    return [*cells, "" if size is None else f"{size / 1000:,.0f}"]


if __name__ == "__main__":
    main()
