"""Every quantity that a run records: its title, its format, and which way is better.

A tag is the quantity's name (`seconds`), followed by the split on which it was measured (`accuracy/test`).
The comparison of statistics names their kind instead (`three_way/accuracy/running`). Whatever measures,
prints, compares, sorts, draws or completes metrics asks here.

To add a metric, write its entry in MEASURED and a function of its name in `bnexp.engine.measures`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

Direction = Literal["higher", "lower", "unknown"]
Average = Literal["examples", "split", "run", "step"]

SPLITS = {
    "train": "training {}",
    "val": "validation {}",
    "test": "test {}",
    "train_eval": "training {} in evaluation mode",
    "val_last": "validation {} of the last weights",
    "test_last": "test {} of the last weights",
}
SPLIT_EXAMPLES = "split_examples"  # in result.json: how many examples each measured split has, by its name
GAP = "statistics_gap"  # in result.json: `split`, `examples`, and their accuracies by `running` and `batch`
STATISTICS = ("running", "batch", "recalibrated")
THREE_WAY = "three_way"
AVERAGES: dict[Average, str] = {
    "examples": "mean over the split's examples, each with the same weight",
    "split": "one value of the whole split",
    "run": "one value a run",
    "step": "one value a step",
}
MOST_DECIMALS = 6
# Two norms that compute the same in another order end an epoch with losses that differ by less than this
# share, in float32. It says nothing of either, however often it has one sign.
ROUNDING = 1e-5


@dataclass(frozen=True)
class Metric:
    """One quantity.

    name: what its tags begin with; title: in tables and figures; about: what it is, in a line.
    better: which way; the best value of a metric is marked only where this is known.
    average: how one number is made of a split, a run or a step. Over seeds it is always the mean of the runs.
    decimals: written at least; unit: written behind a number, which is divided by `scale` before.
    short: instead of the title in the progress bar of `bnexp train`.
    watched: also measured on each logged training batch, in training mode, and shown while a run trains.
    least_classes: left out for data with fewer classes.
    unbounded: may grow beyond all bounds, so that its axis is logarithmic where it has to be.
    is_share: a share of examples, so that its values lie on a grid of 1 / (examples of the split).
    """

    name: str
    title: str
    about: str = ""
    better: Direction = "unknown"
    average: Average = "run"
    decimals: int = 4
    unit: str = ""
    scale: float = 1.0
    short: str = ""
    watched: bool = False
    least_classes: int = 1
    unbounded: bool = False
    is_share: bool = False

    def number(
        self, value: float, precision: float | None = None, *, sign: str = "", decimals: int | None = None
    ) -> str:
        """Return `value` in the metric's unit, without the unit's name.

        Args:
            precision: the uncertainty; see `digits`.
            sign: `+` writes the sign of positive values too.
            decimals: those of a whole column, instead of what this value deserves.
        """
        shown = value / self.scale
        digits = self.digits(value, precision) if decimals is None else decimals
        if digits > MOST_DECIMALS or (decimals is not None and 0 < abs(shown) < 0.5 * 10.0**-decimals):
            return f"{shown:{sign}.1e}"
        return f"{shown:{sign}.{digits}f}"

    def digits(self, value: float, precision: float | None = None) -> int:
        """Return how many decimals a value deserves, at least `decimals`; MOST_DECIMALS are the most written.

        Args:
            precision: the uncertainty, whose first two digits are kept. Without one the value's own two are,
                where nothing else would be left of it.
        """
        shown = value / self.scale
        vanishes = abs(shown) < 10.0**-self.decimals
        kept = precision / self.scale if precision is not None else shown if vanishes else 0.0
        digits = 1 - math.floor(math.log10(abs(kept))) if kept and math.isfinite(kept) else 0
        return max(self.decimals, digits)

    def text(self, value: float) -> str:
        """Return `value` with its unit."""
        return self.number(value) + self.suffix

    @property
    def suffix(self) -> str:
        return f" {self.unit}" if self.unit else ""

    @property
    def axis(self) -> str:
        """The label of an axis."""
        return f"{self.title} in {self.unit}" if self.unit else self.title


MEASURED = (
    Metric(
        "loss",
        "loss",
        "what training minimizes: cross-entropy in nats",
        "lower",
        "examples",
        watched=True,
        unbounded=True,
    ),
    Metric(
        "accuracy",
        "accuracy",
        "share of examples whose largest logit is that of their class",
        "higher",
        "examples",
        short="acc",
        watched=True,
        is_share=True,
    ),
    Metric(
        "top5",
        "top-5 accuracy",
        "share of examples whose class is among the five largest logits; for 6 classes and more",
        "higher",
        "examples",
        least_classes=6,
        is_share=True,
    ),
    Metric(
        "nll",
        "negative log likelihood",
        "-ln of the probability of the class, in nats: the loss, whatever else training adds to it",
        "lower",
        "examples",
        unbounded=True,
    ),
    Metric(
        "brier",
        "Brier score",
        "sum over classes of (probability - 1 or 0)^2, from 0 to 2",
        "lower",
        "examples",
    ),
    Metric(
        "ece",
        "calibration error",
        "expected calibration error: 15 equal bins of the largest probability (Guo et al. 2017)",
        "lower",
        "split",
    ),
)
RECORDED = (
    Metric(
        "seconds",
        "seconds",
        "time of training without evaluation and saving",
        "lower",
        decimals=1,
    ),
    Metric("step_time_ms", "ms a step", "seconds over steps", "lower", decimals=1),
    Metric("examples_per_second", "examples a second", "training examples", "higher", decimals=0),
    Metric(
        "peak_memory_bytes",
        "peak memory",
        "on a GPU allocated, on a CPU resident",
        "lower",
        decimals=1,
        unit="MiB",
        scale=2.0**20,
    ),
    Metric("parameters", "parameters", "of the network", "lower", decimals=0),
    Metric("grad_norm", "length of the gradient", "of all parameters as one vector", average="step"),
    Metric("lr", "learning rate", "of the first group of parameters", average="step"),
    Metric("step", "steps", "completed updates", decimals=0),
    Metric("epoch", "epochs", "passes over the training split", decimals=1),
    Metric("examples", "training examples", "seen so far", decimals=0),
    Metric("best_step", "step of the best weights", decimals=0),
)
NAMED = {one.name: one for one in (*MEASURED, *RECORDED)}
WATCHED = tuple(one for one in MEASURED if one.watched)
COMPARED = ("accuracy/test", "loss/test", "seconds")  # the columns of `bnexp compare` that nobody asked for


@cache
def of(tag: str) -> Metric:
    """Return what is known of a tag; of one that nothing here is known of, it is the title."""
    head, _, rest = tag.partition("/")
    name, _, kind = rest.partition("/")
    if head in NAMED and not rest:
        return NAMED[head]
    if head in NAMED and rest in SPLITS:
        return replace(NAMED[head], name=tag, title=SPLITS[rest].format(NAMED[head].title))
    if head == THREE_WAY and name in NAMED and kind in STATISTICS:
        return replace(NAMED[name], name=tag, title=f"{NAMED[name].title}, {kind} statistics")
    return Metric(tag, tag)


def split_of(tag: str) -> str:
    """Return the split on whose examples a tag was measured, by its name in SPLIT_EXAMPLES; may be empty."""
    return tag.partition("/")[2].removesuffix("_last")


def is_known(tag: str) -> bool:
    """Whether a tag means something, also where no run has a number for it."""
    return of(tag).title != tag or tag in NAMED


def measured(num_classes: int) -> list[str]:
    """Return the names of the metrics that are measured on data with so many classes."""
    return [one.name for one in MEASURED if num_classes >= one.least_classes]


def brief(latest: Mapping[str, float]) -> str:
    """Return what a person follows while a run trains, such as `loss 0.31, acc 0.9, val loss 0.4`."""
    names = {"train": "", "val": "val "}
    return ", ".join(
        f"{prefix}{one.short or one.title} {latest[tag]:.4g}"
        for split, prefix in names.items()
        for one in WATCHED
        if (tag := f"{one.name}/{split}") in latest
    )


def comparable() -> list[str]:
    """Return the tags by which finished runs are usually compared."""
    return [*tags("test"), *(one.name for one in RECORDED if one.average == "run")]


def tags(*splits: str, among: Sequence[Metric] = MEASURED) -> list[str]:
    """Return the tags of metrics on these splits, metric by metric."""
    return [f"{one.name}/{split}" for one in among for split in splits]
