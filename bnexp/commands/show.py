"""`bnexp runs show`: one run at a glance, without a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from bnexp.analysis.layers import Chosen, choose, layers
from bnexp.analysis.records import read_record
from bnexp.commands.listing import row
from bnexp.display import columns, panels, trace
from bnexp.display.export import Form, write_one
from bnexp.errors import ConfigError, suggestion
from bnexp.runs.directory import open_run, status
from bnexp.runs.events import read_histograms
from bnexp.runs.lookup import find
from bnexp.runs.reading import Series, read_config, read_metrics

MOST_LAYERS = 8


WHAT = ("overview", "running_stats")


def show(
    reference: str, *, runs_dir: str, form: Form, patterns: Sequence[str] = (), what: str = "overview"
) -> None:
    """Print how a run stands, its curves, last histograms and running-statistic gaps.

    For other programs: what `bnexp runs` gives of it, and under `last` what each scalar was when it was last
    logged, null where that was not finite.

    Args:
        reference: as `bnexp.runs.lookup.find` reads it.
        patterns: of layers to show; none shows a few, evenly spaced.
        what: `running_stats` prints the traced channels step by step instead.
    Raises:
        CheckpointError: no such run, or a damaged one.
        ConfigError: a pattern that names no layer, or nothing was traced.
    """
    if what not in WHAT:
        raise ConfigError(f"--what must be one of {', '.join(WHAT)}, got {what!r}{suggestion(what, WHAT)}")
    run = open_run(find(reference, Path(runs_dir)))
    if form.wanted():
        last = {tag: float(series.values[-1]) for tag, series in read_metrics(run).items()}
        write_one({**row(read_record(run)), "last": last}, form)
        return
    if what == "running_stats":
        _trace(read_metrics(run), patterns)
        return
    metrics, activations = read_metrics(run), read_histograms(run, "activation/")
    tagged = [*layers(activations, "activation/"), *layers(metrics, "running_gap/")]
    places = list(dict.fromkeys(tagged))
    chosen = choose([places], patterns, MOST_LAYERS) if places else Chosen([], [])
    console = Console()
    panels.show(
        console,
        panels.RunView(
            name=f"{run.path.parent.name}/{run.path.name}",
            status=status(run),
            config=read_config(run),
            result=run.read_result(),
            metrics=metrics,
            activations=activations,
            layers=chosen.names,
        ),
    )
    for note in chosen.notes:
        console.print(f"note: {note}", highlight=False, markup=False)


def _trace(metrics: Mapping[str, Series], patterns: Sequence[str]) -> None:
    places = [layer for layer in layers(metrics, "running_mean/") if trace.channels(metrics, layer)]
    if not places:
        raise ConfigError(
            "--what running_stats needs traced channels: train with telemetry=default or full, a norm that "
            "has running statistics, and telemetry.channels"
        )
    chosen = choose([places], patterns, MOST_LAYERS)
    headers, rows = trace.table(metrics, chosen.names)
    columns.show(columns.wide_console(), headers, rows, right=range(1, len(headers)), narrow="records")
    for note in chosen.notes:
        print(f"note: {note}")
