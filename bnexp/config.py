"""The schema of what the engine reads: of each knob what it means, what it may be and how names write it.

Help, completion, filters, names, checks and documentation read it here. A knob is one field here and one
default in `conf/train.yaml`; the fields have none. What gets *built* (norm, model, data, optimizer, schedule,
init) is described by a group's YAML and checked against its constructor instead; see `bnexp.choices`.

Fields stand in the order in which people study them: names, help and config.yaml keep it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from bnexp.knobs import COUNTS, Range, described, knob

MOST_THREADS = 1024
ACTIVATIONS = {  # by their names in torch.nn
    "relu": "ReLU",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "leaky_relu": "LeakyReLU",
    "elu": "ELU",
    "selu": "SELU",
    "gelu": "GELU",
    "silu": "SiLU",
    "mish": "Mish",
    "softplus": "Softplus",
    "identity": "Identity",
}


def _is_time(value: object) -> bool:
    if isinstance(value, bool):
        return False
    return (isinstance(value, int) and value >= 0) or (isinstance(value, float) and 0 <= value < 1)


def _is_interval(value: object) -> bool:
    return value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1)


def _is_device(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", value) is not None


@dataclass
class EarlyStopping:
    """When to stop before the end."""

    patience: int | None = field(
        metadata=knob("epochs without a better validation loss before the run stops; null is never", COUNTS)
    )


@dataclass
class FreezeNorm:
    """When norms stop to change, and what of them."""

    # int | float | None, which OmegaConf cannot hold below the root
    after: Any = field(
        metadata=knob(
            "step, or fraction of the run, from which on norms are frozen; 0 from the start, null never",
            is_one=_is_time,
            must_be="a step (0 or more), a fraction of the run in (0, 1) or null",
            phrase="norms frozen from {}",
        )
    )
    what: str = field(
        metadata=knob(
            "what is frozen: running statistics, affine (weights and biases), or both",
            names=("statistics", "affine", "both"),
            phrase="freezing {}",
        )
    )


@dataclass
class Checkpoint:
    """When to save."""

    every: int = field(
        metadata=knob("epochs between saves of last.pt; an interrupted run saves at once", COUNTS)
    )


@dataclass
class Telemetry:
    """What is logged besides evaluations, and how often."""

    # int | str | None both, which OmegaConf cannot hold below the root
    scalars_every: Any = field(
        metadata=knob(
            "steps between rows of scalars; auto is at most 20, and fewer in short runs; null is never",
            names=("auto",),
            is_one=_is_interval,
            must_be="auto, a whole number of at least 1, or null",
        )
    )
    histograms_every: Any = field(
        metadata=knob(
            "steps between histograms; auto is at most 200, and fewer in short runs; null is never",
            names=("auto",),
            is_one=_is_interval,
            must_be="auto, a whole number of at least 1, or null",
        )
    )
    layers: list[str] = field(
        metadata=knob("layers that are looked into: patterns of names, as a shell matches file names")
    )
    channels: list[int] = field(
        metadata=knob("channels whose running statistics are traced one by one", Range(0))
    )
    max_megabytes: float = field(
        metadata=knob(
            "what the histograms of one run may take; their interval grows to keep to it",
            Range(0, open_low=True),
        )
    )
    three_way_every: int | None = field(
        metadata=knob(
            "epochs between comparisons of running, batch and recalibrated statistics on the validation "
            "split; null is never",
            COUNTS,
        )
    )


@dataclass
class TrainConfig:
    """One training run."""

    norm: Any = field(metadata=knob("the norm of every unit", folder="norm", phrase="{}"))
    head_norm: Any = field(
        metadata=knob(
            "the norm of the dense head; null becomes a copy of the whole norm node",
            folder="norm",
            phrase="head {}",
            spoken={"none": "no norm in the head"},
        )
    )
    model: Any = field(metadata=knob("the network", folder="model", phrase="{}"))
    data: Any = field(metadata=knob("the data set", folder="data", phrase="{}"))
    placement: str = field(
        metadata=knob(
            "pre (weight, norm, activation), post (weight, activation, norm), preact (resnet)",
            names=("pre", "post", "preact"),
            phrase="{}",
        )
    )
    activation: str = field(metadata=knob("of every unit", names=tuple(ACTIVATIONS), phrase="{}"))
    batch_size: int = field(metadata=knob("examples of one forward pass", COUNTS, phrase="batch {}"))
    accumulate: int = field(
        metadata=knob(
            "forward passes of one update; never enlarges what a norm sees", COUNTS, phrase="accumulate {}"
        )
    )
    norm_batch: int = field(
        metadata=knob(
            "examples that share statistics in a norm over the batch: ghost batches",
            COUNTS,
            phrase="norm batch {}",
        )
    )
    momentum: float | None = field(
        metadata=knob(
            "weight of the NEW batch in running averages; null is the cumulative average",
            Range(0, 1),
            phrase="momentum {}",
            spoken={None: "cumulative momentum"},
        )
    )
    eps: float = field(
        metadata=knob(
            "added to the variance; without a word only norms over the batch take it from here",
            Range(0, open_low=True),
            phrase="eps {}",
        )
    )
    guard: str = field(
        metadata=knob(
            "none; skip keeps non-finite activations out of running statistics, stop ends the run at them",
            names=("none", "skip", "stop"),
            phrase="guard {}",
        )
    )
    freeze_norm: FreezeNorm
    optimizer: Any = field(metadata=knob("what updates the weights", folder="optimizer", phrase="{}"))
    schedule: Any = field(
        metadata=knob("the learning rate's course", folder="schedule", phrase="{} schedule")
    )
    init: Any = field(metadata=knob("initial weights", folder="init", phrase="{} init"))
    precision: str = field(
        metadata=knob(
            "of activations and gradients; float16 with loss scaling",
            names=("float32", "bfloat16", "float16"),
            phrase="{}",
        )
    )
    epochs: int | None = field(
        metadata=knob("passes over the training split", COUNTS, phrase="{} epochs", spoken={1: "1 epoch"})
    )
    steps: int | None = field(
        metadata=knob(
            "updates; giving steps sets epochs to null, and the other way round",
            COUNTS,
            phrase="{} steps",
            spoken={1: "1 step"},
        )
    )
    seed: int = field(
        metadata=knob("of initial weights, order of the data and noise", Range(0), phrase="seed {}")
    )
    weight_standardization: bool = field(
        metadata=knob("convolutions by kernels of mean 0 and variance 1 for each output channel")
    )
    fused: bool = field(
        metadata=knob("compute convolutions again in the backward pass instead of keeping what norms need")
    )
    drop_last: bool | str = field(
        metadata=knob(
            "auto drops a last batch of one example, true any short one, false none",
            names=("auto", "true", "false"),
            is_one=lambda value: value == "auto" or isinstance(value, bool),
            must_be="auto, true or false",
        )
    )
    eval_batch_size: int = field(metadata=knob("examples of one forward pass of an evaluation", COUNTS))
    early_stopping: EarlyStopping
    checkpoint: Checkpoint
    telemetry: Telemetry = field(
        metadata=knob("what is logged, and how often", folder="telemetry", aside=True)
    )
    check_every: int = field(
        metadata=knob(
            "steps between reads of an accelerator's loss, and between divergence snapshots", COUNTS
        )
    )
    weights: str | None = field(metadata=knob("a run or a weights file to start from", holds="run"))
    device: str = field(
        metadata=knob(
            "auto is cuda where there is one",
            names=("auto", "cpu", "cuda", "mps"),
            is_one=_is_device,
            must_be="auto, cpu, cuda, cuda:N or mps",
        )
    )
    compile: bool = field(metadata=knob("through torch.compile"))
    channels_last: bool = field(metadata=knob("keep images with their channels last in memory"))
    threads: int | str = field(
        metadata=knob(
            "auto is every core (or OMP_NUM_THREADS) for a single run and 1 in a sweep",
            Range(1, MOST_THREADS),
            names=("auto",),
            must_be=f"auto or a whole number from 1 to {MOST_THREADS}",
            aside=True,
        )
    )
    deterministic: bool = field(metadata=knob("torch's deterministic kernels"))
    data_dir: str = field(metadata=knob("where data sets are kept", holds="path", aside=True))
    runs_dir: str = field(metadata=knob("where runs land", holds="path", aside=True))
    output_dir: str | None = field(
        metadata=knob("null is a fresh folder RUNS_DIR/EXPERIMENT/NAME", holds="path", aside=True)
    )
    choices: dict[str, Any]  # filled in: the name that each group takes


KNOBS = described(TrainConfig)


def problems(config: TrainConfig) -> list[str]:
    """Return a line for every value that cannot work, empty where all can."""
    copied = {"norm_batch"} if config.norm_batch == config.batch_size else set()
    found = [
        line
        for key, each in KNOBS.items()
        if not each.folder and key not in copied
        for line in each.problems(key, value_at(config, key))
    ]
    return found + _durations(config)


def value_at(config: TrainConfig, key: str) -> Any:
    """Return the value of a knob of the schema."""
    value: Any = config
    for name in key.split("."):
        value = getattr(value, name)
    return value


def ghost_batch(norm_batch: int | None, batch_size: float) -> int | None:
    """Return how many examples share statistics, None where those of a whole forward pass do."""
    return norm_batch if norm_batch is not None and norm_batch < batch_size else None


def _durations(config: TrainConfig) -> list[str]:
    if config.epochs is not None and config.steps is not None:
        return [f"give epochs or steps, not both (epochs={config.epochs}, steps={config.steps})"]
    if config.epochs is None and config.steps is None:
        return ["give epochs or steps: both are null, so the run would have no end"]
    return []
