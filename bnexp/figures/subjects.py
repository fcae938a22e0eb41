"""The runs that one figure shows, each with a name and a look."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from bnexp.analysis.naming import legend_names
from bnexp.errors import ConfigError
from bnexp.figures.style import LINES, MARKERS, PALETTE, darker, new_figure
from bnexp.models.part_names import unit_of
from bnexp.runs.directory import RunDirectory
from bnexp.runs.events import Histograms, read_histograms
from bnexp.runs.identity import config_hash
from bnexp.runs.reading import Series, read_config, read_metrics

MOST_POINTS = 200
LETTERS = 15  # of a line of a run's name
LINE_IN = 0.16
BESIDE_IN = 0.3  # what stands over and under the panels


@dataclass(frozen=True)
class Look:
    """How the curves of one run are told apart: by colour, and without colour."""

    color: str
    line: Any
    marker: str


@dataclass(frozen=True)
class Subject:
    """One run of a figure.

    name: what tells it from the others.
    question: the same without its seed, so that runs that differ in their seed alone share it.
    """

    name: str
    question: str
    look: Look
    directory: RunDirectory
    metrics: Mapping[str, Series]

    def curve(self, tag: str) -> Series | None:
        """Return a scalar for drawing, every k-th row with the least k that leaves 200; None without it."""
        series = self.metrics.get(tag)
        if series is None:
            return None
        k = -(-len(series) // MOST_POINTS)
        return Series(series.steps[::k], series.values[::k])

    def histograms(self, prefix: str) -> Histograms:
        """Return the run's histograms whose tag starts with `prefix`."""
        return read_histograms(self.directory, prefix)


@dataclass(frozen=True)
class Drawing:
    """A figure, and what a person should know about what it leaves out."""

    figure: Figure
    notes: list[str] = field(default_factory=list)


def subjects(directories: Sequence[RunDirectory]) -> list[Subject]:
    """Read the runs and name them by what differs between them.

    Raises:
        CheckpointError: a run is damaged.
    """
    configs = [read_config(directory) for directory in directories]
    hashes = [config_hash({**config, "seed": None}) for config in configs]
    asked = {found: {**config, "seed": None} for found, config in zip(hashes, configs, strict=True)}
    questions = dict(zip(asked, legend_names(list(asked.values())), strict=True))
    return [
        Subject(name, questions[found], look(index), directory, read_metrics(directory))
        for index, (name, found, directory) in enumerate(
            zip(legend_names(configs), hashes, directories, strict=True)
        )
    ]


def look(index: int) -> Look:
    """Return the look of the run with this number; the first seven differ in colour."""
    turn, place = divmod(index, len(PALETTE))
    return Look(PALETTE[place], LINES[(place + turn) % len(LINES)], MARKERS[place])


def line_of(run: Subject) -> Line2D:
    """Return the line that stands for a run in a legend."""
    return Line2D([], [], color=run.look.color, ls=run.look.line)


def those_with(
    runs: Sequence[Subject], content: Mapping[str, Sequence[object]], what: str, needs: str
) -> tuple[list[Subject], list[str]]:
    """Return the runs for which `content` (by run name) is not empty, and a note on each that is left out.

    Raises:
        ConfigError: none of them has any.
    """
    kept = [run for run in runs if content[run.name]]
    if not kept:
        raise ConfigError(f"{what} needs {needs}; none of it in {', '.join(run.name for run in runs)}")
    return kept, [f'run "{run.name}" left out: {what} needs {needs}' for run in runs if run not in kept]


def panels(
    runs: Sequence[Subject], layers: Sequence[str], row_in: float, *, sharey: Literal["all", "col"]
) -> tuple[Figure, NDArray[Any]]:
    """Return small multiples: a row of panels for each run, with its name, a column for each layer.

    Args:
        row_in: the least height of a row in inches.
    """
    names = [lines(run.name) for run in runs]
    row_in = max(row_in, LINE_IN * max(map(len, names)))
    figure = new_figure(BESIDE_IN + row_in * len(runs))
    grid = figure.subplots(len(runs), len(layers), sharex=True, sharey=sharey, squeeze=False)
    for row, run, name in zip(grid, runs, names, strict=True):
        label = row[0].set_ylabel("\n".join(name), rotation=0, ha="right", va="center")
        label.set_color(darker(run.look.color))
    for axes, layer in zip(grid[0], layers, strict=True):
        axes.set_title(unit_of(layer))
    return figure, grid


def lines(name: str, letters: int = LETTERS) -> list[str]:
    """Break a name such as `no norm, batch 64` after commas where that is enough, never inside a word."""
    parts = ",\n".join(name.split(", ")).splitlines()
    broken = [
        line
        for part in parts
        for line in textwrap.wrap(part, letters, break_long_words=False, break_on_hyphens=False)
    ]
    return [name] if len(name) <= letters else broken
