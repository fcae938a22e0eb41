"""The figures that there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from bnexp.figures import activations, gradients, loss, percentiles, running_stats
from bnexp.figures.style import file_format, save, styled
from bnexp.figures.subjects import Drawing, Shown, shown
from bnexp.runs.directory import RunDirectory

FIGURES: dict[str, Callable[[Sequence[Shown], Sequence[str]], Drawing]] = {
    "loss": loss.draw,
    "activations": activations.draw,
    "gradients": gradients.draw,
    "running_stats": running_stats.draw,
    "percentiles": percentiles.draw,
}


def write_figure(
    what: str, directories: Sequence[RunDirectory], path: Path, layers: Sequence[str] = ()
) -> list[str]:
    """Draw one of FIGURES into a file; return notes on what it leaves out.

    Args:
        layers: patterns of layers to draw; none draws a few, evenly spaced.
    Raises:
        ConfigError: the file cannot be written or there is nothing to draw.
        CheckpointError: a run is damaged.
    """
    file_format(path)
    with styled():
        drawing = FIGURES[what](shown(directories), layers)
        save(drawing.figure, path)
    return drawing.notes
