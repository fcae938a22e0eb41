"""The figures that there are: each is the module of its name in this room, which has `draw`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bnexp.analysis.records import Record
    from bnexp.figures.subjects import Drawing, Subject
    from bnexp.runs.directory import RunDirectory

# Names alone: a module is imported when its figure is drawn, so that help and TAB need no matplotlib.
OF_A_KNOB = "metric"  # the one that shows final numbers against a knob, and not what happened in runs
IN_RUNS = ("loss", "activations", "gradients", "running_stats", "percentiles", "depth")
FIGURES = (*IN_RUNS, OF_A_KNOB)


def write_figure(
    what: str, directories: Sequence[RunDirectory], path: Path, layers: Sequence[str] = ()
) -> list[str]:
    """Draw one of IN_RUNS into a file; return notes on what it leaves out.

    Args:
        layers: patterns of layers to draw; none draws a few, evenly spaced.
    Raises:
        ConfigError: the file cannot be written or there is nothing to draw.
        CheckpointError: a run is damaged.
    """
    # Here and not above: matplotlib takes longer than finding out that a run does not exist.
    from bnexp.figures.style import file_format, save, styled
    from bnexp.figures.subjects import subjects

    file_format(path)
    with styled():
        drawing = drawer(what)(subjects(directories), layers)
        save(drawing.figure, path)
    return drawing.notes


def write_metric(
    records: Sequence[Record], path: Path, x: str, tags: Sequence[str], by: str | None
) -> list[str]:
    """Draw metrics of finished runs against the knob `x` into a file; return notes on what it leaves out.

    Raises:
        ConfigError: the file cannot be written or there is nothing to draw.
    """
    from bnexp.figures.metric import draw_metric
    from bnexp.figures.style import file_format, save, styled

    file_format(path)
    with styled():
        drawing = draw_metric(records, x, tags, by)
        save(drawing.figure, path)
    return drawing.notes


def drawer(what: str) -> Callable[[Sequence[Subject], Sequence[str]], Drawing]:
    """Return the function that draws one of IN_RUNS."""
    draw: Callable[[Sequence[Subject], Sequence[str]], Drawing]
    draw = importlib.import_module(f"bnexp.figures.{what}").draw
    return draw
