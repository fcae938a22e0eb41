"""What a person sees of a training run: a line an epoch and, at a terminal, a bar."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from bnexp.experiment.assembly import Parts
from bnexp.metrics import brief

REFRESH_S = 0.2
LOSS = "loss/train"


class TrainingProgress:
    """A line for each epoch, and at a terminal a bar below; satisfies `bnexp.protocols.Progress`."""

    def __init__(self, bar: tqdm[Any], epochs: float) -> None:
        self._bar = bar
        self._epochs = epochs
        self._shown_at = 0.0

    def note(self, line: str) -> None:
        with self._bar.external_write_mode(file=sys.stdout):
            print(line, flush=True)

    def start(self, examples: int) -> None:
        self._bar.update(examples)
        self._name(self._epochs * examples / (self._bar.total or 1))

    def advance(self, examples: int, loss: float | None, latest: Mapping[str, float]) -> None:
        self._bar.update(examples)
        now = time.monotonic()
        if now - self._shown_at > REFRESH_S:
            self._shown_at = now
            shown = latest.get(LOSS) if loss is None else loss
            self._bar.set_postfix_str("" if shown is None else brief({LOSS: shown}), refresh=False)

    def epoch(self, epoch: float, line: str) -> None:
        self._name(epoch)
        self.note(line)

    def _name(self, epoch: float) -> None:
        """Name the epoch that is under way on the bar."""
        current = min(math.floor(epoch) + 1, math.ceil(self._epochs))
        self._bar.set_description_str(f"epoch {current}/{self._epochs:g}", refresh=False)


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
