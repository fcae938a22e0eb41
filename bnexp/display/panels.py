"""What one run did, on one screen of text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from bnexp import metrics
from bnexp.analysis.naming import HEADLINES, facts
from bnexp.analysis.staleness import judge
from bnexp.choices import BUILT
from bnexp.display.sparkline import bars, sparkline
from bnexp.models.part_names import unit_of
from bnexp.runs.distribution import Distribution, bulk
from bnexp.runs.events import Histograms
from bnexp.runs.reading import Series
from bnexp.statuses import color, divergence

WIDEST = 100
CURVE, BARS, GAP, NAME = 30, 18, 14, 17  # characters
CURVES = (*metrics.tags("train", "val"), "grad_norm", "lr")
WORD_COLORS = {"close": "green", "catching up": "yellow", "stale": "red", "not finite": "red"}


@dataclass(frozen=True)
class RunView:
    """What is shown of one run.

    status: as `bnexp.runs.directory.status` says it; result: None while there is none.
    layers: the places of norms to show.
    """

    name: str
    status: str
    config: Mapping[str, Any]
    result: Mapping[str, Any] | None
    metrics: Mapping[str, Series]
    activations: Histograms
    layers: Sequence[str]


def show(console: Console, view: RunView) -> None:
    """Print the panels for which the run has something, at most 100 columns wide."""
    plain = console.options.ascii_only
    panels = {
        escape(view.name): summary(view),
        "curves": curves(view, plain),
        f"histograms at step {_last_step(view):,}": histograms(view, plain),
        "running statistics against the batch": gaps(view, plain),
        "values that are not finite": non_finite(view),
    }
    for title, content in panels.items():
        if content.row_count:
            panel = Panel(content, title=title, title_align="left", width=min(console.width, WIDEST))
            console.print(panel, highlight=False)


def summary(view: RunView) -> Table:
    """Return how the run stands, and the choices that make it."""
    choices = view.config.get("choices") or {}
    told = facts(view.config)
    knobs = {key: told[key] for key in HEADLINES if key in told and not key.startswith("choices.")}
    rows = {
        "status": f"[{color(view.status)}]{view.status.replace('_', ' ')}[/] {_progress(view)}",
        "where": escape(_divergence(view)),
        "error": escape(_from_result(view, "error")),
        "test": ", ".join(filter(None, (_metric(view, tag) for tag in metrics.tags("test")))),
        "statistics": escape(_three_ways(view)),
        "choices": escape(" ".join(f"{key}={choices[key]}" for key in BUILT if choices.get(key))),
        "knobs": escape(" ".join(f"{key}={value}" for key, value in knobs.items())),
    }
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    for name, text in rows.items():
        if text:
            table.add_row(name, text)
    return table


def _three_ways(view: RunView) -> str:
    """Return accuracy by each kind of statistics: as logged while training, else as found at the end."""
    logged = {kind: view.metrics.get(f"{metrics.THREE_WAY}/accuracy/{kind}") for kind in metrics.STATISTICS}
    found = {kind: float(series.values[-1]) for kind, series in logged.items() if series is not None}
    gap = (view.result or {}).get(metrics.GAP)
    if not found and isinstance(gap, Mapping):
        found = {kind: gap[kind] for kind in metrics.STATISTICS if isinstance(gap.get(kind), (int, float))}
    if not found:
        return ""
    split = "validation" if view.metrics.get("loss/val") is not None else "training"
    told = ", ".join(f"{kind} {metrics.of('accuracy').number(value)}" for kind, value in found.items())
    return f"{split} accuracy by {told} statistics"


def curves(view: RunView, ascii_only: bool) -> Table:
    """Return a sparkline of each curve that was logged, with its least, greatest and last value."""
    table = _table(
        {"": "left", "first to last step": "left", "min": "right", "max": "right", "last": "right"}
    )
    for tag in CURVES:
        series = view.metrics.get(tag)
        if series is not None:
            finite = series.values[np.isfinite(series.values)]
            ends = (finite.min(), finite.max()) if finite.size else (math.nan, math.nan)
            line = sparkline(series.values.tolist(), CURVE, ascii_only=ascii_only)
            table.add_row(tag, line, *map(_number, (*ends, series.values[-1])))
    return table


def histograms(view: RunView, ascii_only: bool) -> Table:
    """Return the last histogram of what each norm got and gave, over the middle 99 % of its values."""
    columns = {"": "left", " ": "left", "from": "right", "  ": "left", "to": "left"}
    table = _table(columns | dict.fromkeys(("15 %", "50 %", "85 %"), "right"), gap=1)
    for layer in view.layers:
        name = _name(layer)
        for place in ("in", "out"):
            over_time = view.activations.get(f"activation/{layer}/{place}")
            if over_time:
                table.add_row(name, place, *_drawn(over_time[-1][1], ascii_only))
                name = ""
    return table


def gaps(view: RunView, ascii_only: bool) -> Table:
    """Return how far the running statistics of each layer are from the batch's, and whether that is far.

    The curves are logarithmic; `bnexp.analysis.staleness.judge` says what the words mean.
    """
    columns = {"": "left", "gap of means": "left", "last": "right", "gap of variances": "left"}
    table = _table(columns | {"last ": "right", " ": "left"})
    for layer in view.layers:
        mean, var = (view.metrics.get(f"running_gap/{layer}/{moment}") for moment in ("mean", "var"))
        if mean is not None and var is not None:
            word = judge(mean, var, int(view.config.get("batch_size", 1)))
            cells = [cell for series in (mean, var) for cell in _gap(series, ascii_only)]
            table.add_row(_name(layer), *cells, f"[{WORD_COLORS[word]}]{word}[/]")
    return table


def non_finite(view: RunView) -> Table:
    """Return where values were not finite, how many at most, and from which step on."""
    table = _table({"": "left", "most": "right", "first at step": "right"})
    for tag, series in view.metrics.items():
        if tag.startswith("nonfinite/") and (series.values > 0).any():
            first = series.steps[np.flatnonzero(series.values > 0)[0]]
            table.add_row(escape(tag.removeprefix("nonfinite/")), f"{series.values.max():,.0f}", f"{first:,}")
    return table


def _table(columns: Mapping[str, str], gap: int = 2) -> Table:
    """Return an empty table of columns by header, each left or right."""
    table = Table(box=None, pad_edge=False, header_style="", padding=(0, gap, 0, 0))
    for header, side in columns.items():
        table.add_column(header.strip(), justify="right" if side == "right" else "left", no_wrap=True)
    table.columns[0].style = "bold"
    return table


def _name(layer: str) -> str:
    name = unit_of(layer)
    return escape(name if len(name) <= NAME else f"~{name[1 - NAME :]}")


def _last_step(view: RunView) -> int:
    return max((over_time[-1][0] for over_time in view.activations.values()), default=0)


def _progress(view: RunView) -> str:
    steps = [int(series.steps[-1]) for series in view.metrics.values() if len(series)]
    step = view.result["step"] if view.result and view.status != "running" else max(steps, default=0)
    seconds = view.result.get("seconds") if view.result else None
    return f"at step {step:,}" + (f", {seconds:,.1f} s of training" if seconds else "")


def _divergence(view: RunView) -> str:
    found = view.result.get("diverged") if view.result else None
    return divergence(found) if isinstance(found, Mapping) else ""


def _from_result(view: RunView, key: str) -> str:
    return str(view.result.get(key) or "") if view.result else ""


def _metric(view: RunView, tag: str) -> str:
    value = view.result.get(tag) if view.result else None
    name = tag.split("/")[0]
    return f"{metrics.of(name).title} {metrics.of(name).text(value)}" if isinstance(value, float) else ""


def _drawn(found: Distribution, ascii_only: bool) -> list[str]:
    low, high = bulk([found])
    shares = found.density(np.linspace(low, high, BARS + 1))
    numbers = [low, high, *(found.quantile(share) for share in (0.15, 0.5, 0.85))]
    start, end, *percentiles = (_rounded(number, max(abs(low), abs(high))) for number in numbers)
    return [start, bars(shares.tolist(), ascii_only=ascii_only), end, *percentiles]


def _gap(series: Series, ascii_only: bool) -> tuple[str, str]:
    with np.errstate(divide="ignore", invalid="ignore"):
        logarithms = np.log(series.values)
    return sparkline(logarithms.tolist(), GAP, ascii_only=ascii_only), _number(float(series.values[-1]))


def _number(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else str(value)


def _rounded(value: float, scale: float) -> str:
    """Return three digits of a number of the size of `scale`, as many decimals of a smaller one."""
    if not 1e-3 <= scale < 1e4:
        return f"{value:.1e}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(scale)))}f}"
