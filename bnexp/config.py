"""The schema of what the engine reads, and the checks that need no data and no network.

Every default stands in `conf/train.yaml`; the fields here have none. What gets *built* (norm, model, data,
optimizer, schedule, init) is described by a group's YAML and checked against its constructor instead.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

MOST_THREADS = 1024
PLACEMENTS = ("pre", "post", "preact")
GUARDS = ("none", "skip", "stop")
FREEZABLE = ("statistics", "affine", "both")
PRECISIONS = ("float32", "bfloat16", "float16")


@dataclass
class EarlyStopping:
    """patience: epochs without a better validation loss before the run stops; None never stops."""

    patience: int | None


@dataclass
class FreezeNorm:
    """after: the step, or the fraction of the run, from which norms are frozen; None never freezes them.

    what: their running statistics, their weights and biases (affine), or both.
    """

    after: Any  # int | float | None, which OmegaConf cannot hold below the root
    what: str


@dataclass
class Checkpoint:
    """every: epochs between saves of `last.pt`."""

    every: int


@dataclass
class Telemetry:
    """What is logged besides evaluations, and how often; None is never.

    scalars_every, histograms_every: steps between rows of scalars, and between histograms.
    layers: patterns of layer names, as a shell matches file names; only these are looked into.
    channels: the channels whose running statistics are traced one by one.
    max_megabytes: what the histograms of one run may take; their interval grows to keep to it.
    three_way_every: epochs between comparisons of running, batch and recalibrated statistics, on the
        validation split.
    """

    scalars_every: int | None
    histograms_every: int | None
    layers: list[str]
    channels: list[int]
    max_megabytes: float
    three_way_every: int | None


@dataclass
class SplitKnobs:
    """What every data set's node holds besides its own knobs.

    train_size: examples of the published training part to use, None for all.
    val_fraction: share of those that goes to validation; 0 means none, and the last weights count as best.
    augment: random crops after 4 pixels of padding, and flips where images are in colour.
    """

    train_size: int | None
    val_fraction: float
    augment: bool


@dataclass
class TrainConfig:
    """One training run; see `conf/train.yaml` for what each knob means and its default."""

    seed: int
    epochs: int | None
    steps: int | None
    batch_size: int
    accumulate: int
    norm_batch: int
    drop_last: bool | str = field(metadata={"must_be": "auto, true or false"})
    eval_batch_size: int
    momentum: float | None
    eps: float
    placement: str
    activation: str
    weight_standardization: bool
    fused: bool
    guard: str
    freeze_norm: FreezeNorm
    device: str
    precision: str
    compile: bool
    channels_last: bool
    threads: int | str = field(metadata={"must_be": "auto or a whole number"})
    deterministic: bool
    check_every: int
    early_stopping: EarlyStopping
    checkpoint: Checkpoint
    telemetry: Telemetry
    weights: str | None
    data_dir: str
    runs_dir: str
    output_dir: str | None
    norm: Any
    head_norm: Any
    model: Any
    data: Any
    optimizer: Any
    schedule: Any
    init: Any
    choices: dict[str, Any]


def problems(config: TrainConfig) -> list[str]:
    """Return a line for every value that cannot work, empty where all can."""
    found = [
        f"{name} must be at least 1, got {value}"
        for name, value in _positive(config).items()
        if value is not None and value < 1
    ]
    found += _durations(config) + _choices(config) + _freezing(config.freeze_norm)
    if config.momentum is not None and not 0 <= config.momentum <= 1:
        found.append(f"momentum is the weight of the new batch and must lie in [0, 1], got {config.momentum}")
    if not 0 < config.eps < float("inf"):
        found.append(f"eps must be above 0 and finite, got {config.eps}")
    if not 0 < config.telemetry.max_megabytes < float("inf"):
        found.append(f"telemetry.max_megabytes must be above 0, got {config.telemetry.max_megabytes}")
    found += [
        f"{name} must not be empty: leave it out for the default"
        for name in ("weights", "data_dir", "runs_dir", "output_dir")
        if getattr(config, name) == ""
    ]
    if config.seed < 0:
        found.append(f"seed must be at least 0, got {config.seed}")
    return found


def _positive(config: TrainConfig) -> dict[str, int | None]:
    return {
        "epochs": config.epochs,
        "steps": config.steps,
        "batch_size": config.batch_size,
        "accumulate": config.accumulate,
        "norm_batch": config.norm_batch if config.norm_batch != config.batch_size else None,
        "eval_batch_size": config.eval_batch_size,
        "check_every": config.check_every,
        "early_stopping.patience": config.early_stopping.patience,
        "checkpoint.every": config.checkpoint.every,
        "telemetry.scalars_every": config.telemetry.scalars_every,
        "telemetry.histograms_every": config.telemetry.histograms_every,
        "telemetry.three_way_every": config.telemetry.three_way_every,
        "threads": config.threads if isinstance(config.threads, int) else None,
    }


def _durations(config: TrainConfig) -> list[str]:
    if config.epochs is not None and config.steps is not None:
        return [f"give epochs or steps, not both (epochs={config.epochs}, steps={config.steps})"]
    if config.epochs is None and config.steps is None:
        return ["give epochs or steps: both are null, so the run would have no end"]
    return []


def _freezing(freeze: FreezeNorm) -> list[str]:
    found = []
    if freeze.what not in FREEZABLE:
        found.append(f"freeze_norm.what must be one of {', '.join(FREEZABLE)}, got {freeze.what!r}")
    if not _is_time(freeze.after):
        found.append(
            "freeze_norm.after must be a step (0 or more), a fraction of the run in (0, 1) or null, got "
            f"{freeze.after!r}"
        )
    return found


def _is_time(after: Any) -> bool:
    if isinstance(after, bool):
        return False
    return (
        after is None
        or (isinstance(after, int) and after >= 0)
        or (isinstance(after, float) and 0 <= after < 1)
    )


def _choices(config: TrainConfig) -> list[str]:
    found = []
    if config.placement not in PLACEMENTS:
        found.append(f"placement must be one of {', '.join(PLACEMENTS)}, got {config.placement!r}")
    if config.guard not in GUARDS:
        found.append(f"guard must be one of {', '.join(GUARDS)}, got {config.guard!r}")
    if config.precision not in PRECISIONS:
        found.append(f"precision must be one of {', '.join(PRECISIONS)}, got {config.precision!r}")
    if isinstance(config.drop_last, str) and config.drop_last != "auto":
        found.append(f"drop_last must be auto, true or false, got {config.drop_last!r}")
    if config.threads != "auto" and (isinstance(config.threads, str) or config.threads > MOST_THREADS):
        found.append(f"threads must be auto or a number from 1 to {MOST_THREADS}, got {config.threads!r}")
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", config.device):
        found.append(f"device must be auto, cpu, cuda, cuda:N or mps, got {config.device!r}")
    return found
