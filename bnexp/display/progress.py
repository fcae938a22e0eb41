"""The bar of a training run, or one line an epoch where output is no terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from bnexp.experiment.assembly import Parts
from bnexp.metrics import WATCHED

SHORT = {
    f"{one.name}/{split}": f"{prefix}{one.short or one.title}"
    for split, prefix in (("train", ""), ("val", "val "))
    for one in WATCHED
}
REFRESH_S = 0.2


class TrainingProgress:
    """Counts examples on a tqdm bar; satisfies `bnexp.protocols.Progress`."""

    def __init__(self, bar: tqdm[Any], epochs: float) -> None:
        self._bar = bar
        self._epochs = epochs
        self._shown_at = 0.0

    def start(self, examples: int) -> None:
        self._bar.update(examples)

    def advance(self, examples: int, loss: float | None, latest: Mapping[str, float]) -> None:
        self._bar.update(examples)
        now = time.monotonic()
        if not self._bar.disable and now - self._shown_at > REFRESH_S:
            self._shown_at = now
            current = {**latest, "loss/train": loss} if loss is not None else latest
            self._bar.set_postfix_str(_line(current), refresh=False)

    def epoch(self, epoch: float, latest: Mapping[str, float]) -> None:
        if self._bar.disable:
            print(f"epoch {epoch:g}/{self._epochs:g}: {_line(latest)}", flush=True)


@contextmanager
def training_progress(parts: Parts) -> Iterator[TrainingProgress]:
    """Show the run of `parts`."""
    with tqdm(
        total=parts.total_examples,
        unit=" examples",
        unit_scale=True,
        disable=not sys.stderr.isatty(),
        dynamic_ncols=True,
        leave=False,
    ) as bar:
        yield TrainingProgress(bar, parts.total_steps / parts.batches.steps_per_epoch)


def _line(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {metrics[tag]:.4g}" for tag, name in SHORT.items() if tag in metrics)
