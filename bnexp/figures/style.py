"""How figures look: sizes for print, colours that the colour-blind tell apart, the same file each time."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from bnexp import atomic
from bnexp.errors import ConfigError, unwritable

WIDTH_IN = 6.5
LEGEND_LINE_IN = 0.17
FAR = 10.0
ENDINGS = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}

# Okabe & Ito 2008, without the yellow that white paper swallows.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

RC: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "figure.titlesize": 8,
    "figure.labelsize": 8,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "savefig.dpi": 200,
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "bnexp",
}


@contextmanager
def styled() -> Iterator[None]:
    """Draw and save in the style, whatever a matplotlibrc says; the caller's settings come back."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        with matplotlib.rc_context(RC):
            yield


def new_figure(height_in: float, width_in: float = WIDTH_IN) -> Figure:
    """Return an empty figure whose parts make room for each other."""
    return Figure(figsize=(width_in, height_in), layout="constrained")


def legend_above(figure: Figure, handles: Sequence[Artist], names: Sequence[str]) -> None:
    """Put one legend over the whole figure, which grows by it."""
    letters_a_line = 15 * figure.get_figwidth()
    columns = max(1, min(len(names), int(letters_a_line // (max(map(len, names)) + 8))))
    figure.set_figheight(figure.get_figheight() + LEGEND_LINE_IN * math.ceil(len(names) / columns))
    figure.legend(handles, names, loc="outside upper center", ncols=columns)


def darker(color: str) -> tuple[float, float, float]:
    """Return a colour mixed with black, so that letters in it can be read on white."""
    red, green, blue = (0.65 * part for part in to_rgb(color))
    return red, green, blue


def keep_bulk(*sharing: Axes) -> None:
    """Let curves that leave all others far behind, as those of a run that diverges, leave the panels.

    Args:
        sharing: panels with one vertical axis.
    """
    curves = [np.asarray(line.get_ydata(), dtype=np.float64) for axes in sharing for line in axes.lines]
    values = np.concatenate(curves) if curves else np.zeros(0)
    values = values[np.isfinite(values)]
    if not values.size:
        return
    low, high = np.quantile(values, [0.05, 0.95])
    if np.ptp(values) > FAR * (high - low) > 0:
        margin = 0.25 * (high - low)
        for axes in sharing:
            axes.set_ylim(max(low - margin, values.min()), min(high + margin, values.max()))


def file_format(path: Path) -> str:
    """Return the format that a file's ending asks for.

    Raises:
        ConfigError: an unknown ending.
    """
    ending = path.suffix.lower().removeprefix(".")
    if ending not in ENDINGS:
        raise ConfigError(f"a figure's file must end in .png, .svg or .pdf, got {path.name!r}")
    return ending


def save(figure: Figure, path: Path) -> None:
    """Write the figure; the same figure gives the same bytes.

    Raises:
        ConfigError, StorageError: the folder cannot be written.
    """
    ending = file_format(path)
    drawn = io.BytesIO()
    figure.savefig(drawn, format=ending, metadata=ENDINGS[ending])
    try:
        atomic.write(atomic.target(path), lambda file: file.write(drawn.getbuffer()))
    except OSError as error:
        told = f"the figure's folder must exist and be writable, {path} is not ({error.strerror})"
        raise unwritable(path, error, told) from error


def svg(figure: Figure) -> str:
    """Return the figure as an SVG file's text; the same figure gives the same text."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata=ENDINGS["svg"])
    return file.getvalue()
