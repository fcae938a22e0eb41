"""Running statistics step by step, beside those of each batch, as a table of numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from bnexp.display.columns import Cell
from bnexp.models.part_names import unit_of
from bnexp.runs.reading import Series

MOST_ROWS = 24
QUANTITIES = ("running_mean", "batch_mean", "running_var", "batch_var")
CHANNEL = re.compile(r"channel_(\d+)")


def channels(metrics: Mapping[str, Series], layer: str) -> list[int]:
    """Return the channels of a layer whose running statistics were traced."""
    found = (CHANNEL.fullmatch(tag.removeprefix(f"running_mean/{layer}/")) for tag in metrics)
    return sorted(int(one[1]) for one in found if one)


def table(metrics: Mapping[str, Series], layers: Sequence[str]) -> tuple[list[str], list[list[Cell]]]:
    """Return headers and rows: for each layer, channel and step the four numbers, what a run lacks as `-`.

    A row at step t holds the buffers before update t + 1 and the statistics of the batch about to be used,
    so that running + momentum (batch - running) is the next row's, where all steps were logged. Of many steps
    some are shown, evenly spaced, the first and the last among them.
    """
    headers = ["layer", "channel", "step", *(name.replace("_", " ") for name in QUANTITIES)]
    rows: list[list[Cell]] = []
    for layer in layers:
        for channel in channels(metrics, layer):
            series = {name: metrics.get(f"{name}/{layer}/channel_{channel}") for name in QUANTITIES}
            by_step = {
                name: {} if one is None else dict(zip(one.steps.tolist(), one.values.tolist(), strict=True))
                for name, one in series.items()
            }
            for step in _some(sorted(by_step["running_mean"])):
                cells = [_number(by_step[name].get(step)) for name in QUANTITIES]
                rows.append([unit_of(layer), str(channel), str(step), *cells])
    return headers, rows


def _some(steps: Sequence[int]) -> list[int]:
    if len(steps) <= MOST_ROWS:
        return list(steps)
    return [steps[index] for index in np.linspace(0, len(steps) - 1, MOST_ROWS).round().astype(int)]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
