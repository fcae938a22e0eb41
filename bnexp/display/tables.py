"""The tables before and after a run."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from typing import TypeGuard

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bnexp import metrics
from bnexp.config import TrainConfig
from bnexp.display.ending import divergence
from bnexp.engine.device import describe
from bnexp.experiment.run import Experiment
from bnexp.protocols import Outcome
from bnexp.runs.directory import RunDirectory

COLUMNS = {
    "train_eval": "training",
    "val": "validation",
    "test": "test",
    "val_last": "validation\n(last)",
    "test_last": "test\n(last)",
}


def what_will_run(console: Console, experiment: Experiment) -> None:
    """Print the choices, the size of everything, and what each norm will see."""
    config, parts = experiment.config, experiment.parts
    chosen = config.choices
    has_head = getattr(type(parts.learner.model), "has_head_norm", True)
    split_sizes = [f"{len(parts.splits.train):,} train"]
    split_sizes += [f"{len(parts.splits.val):,} validation"] if parts.splits.val is not None else []
    split_sizes += [f"{len(parts.splits.test):,} test"]
    duration = parts.total_steps / parts.batches.steps_per_epoch
    batch = f"{config.batch_size}" + (f" x {config.accumulate}" if config.accumulate > 1 else "")
    rows = {
        "experiment": chosen.get("experiment") or "default",
        "model": f"{chosen['model']}, {parts.num_parameters:,} parameters",
        "units": f"activation {config.activation}, placement {config.placement}, init {chosen['init']}"
        + (", weight standardization" if config.weight_standardization else "")
        + (", fused" if config.fused else ""),
        "norm": chosen["norm"]
        + (f", {chosen['head_norm']} in the head" if has_head else "")
        + "".join(f", {text}" for text in _norm_options(config)),
        "data": f"{chosen['data']}, {', '.join(split_sizes)}",
        "batch": f"{batch} examples, {_count(parts.batches.steps_per_epoch, 'step')} an epoch",
        "length": f"{_count(duration, 'epoch')}, {_count(parts.total_steps, 'step')}",
        "optimizer": f"{chosen['optimizer']}, lr {config.optimizer.get('lr')}, {chosen['schedule']} schedule",
        "seed": str(config.seed),
        "device": f"{describe(parts.device)}, {config.precision}",
    }
    table = Table(title="What will run", title_justify="left", show_header=False, box=None, pad_edge=False)
    for name, text in rows.items():
        table.add_row(f"[bold]{name}[/]", escape(text))
    console.print(table)
    console.print(_norm_table(experiment))
    remarks(console, experiment)


def remarks(console: Console, experiment: Experiment) -> None:
    """Print notes, and each warning as one line."""
    for note in experiment.notes:
        console.print(f"[yellow]note:[/] {escape(note)}")
    for warning in experiment.warnings:
        console.print(f"[yellow]warning:[/] {escape(warning)}", highlight=False, soft_wrap=True)


def _norm_options(config: TrainConfig) -> list[str]:
    freeze = config.freeze_norm
    return [
        *([f"ghost batches of {config.norm_batch}"] if config.norm_batch < config.batch_size else []),
        *([f"guard {config.guard}"] if config.guard != "none" else []),
        *([f"{freeze.what} frozen from {freeze.after}"] if freeze.after is not None else []),
    ]


def _norm_table(experiment: Experiment) -> Table:
    table = Table(title="Norms", title_justify="left", box=None, pad_edge=False, header_style="bold")
    for header in ("place", "norm", "channels", "size", "values a channel"):
        table.add_column(header, justify="left" if header in ("place", "norm") else "right")
    for site in experiment.parts.sites:
        size = "x".join(map(str, site.spatial)) or "-"
        values = f"{site.values_per_channel(experiment.parts.course.full):,}"
        table.add_row(site.name, site.kind, str(site.num_features), size, values)
    return table


def how_it_ended(console: Console, outcome: Outcome, directory: RunDirectory) -> None:
    """Print the final measurements, where everything is, and how to look at it."""
    console.print(f"\n[bold]{escape(_ending(outcome))}[/]", soft_wrap=True)
    final = {
        title: {one.name: outcome.metrics.get(f"{one.name}/{split}") for one in metrics.MEASURED}
        for split, title in COLUMNS.items()
    }
    table = metric_table({title: found for title, found in final.items() if any(map(_known, found.values()))})
    if table.row_count:
        console.print(table)
    rate = outcome.examples / outcome.seconds if outcome.seconds else 0.0
    console.print(f"{outcome.seconds:.1f} s of training, {rate:,.0f} examples/s")
    path = shlex.quote(str(directory.path))
    console.print(f"run folder: {escape(path)}", soft_wrap=True)
    console.print(f"look at it: tensorboard --logdir {escape(path)}", soft_wrap=True)
    if outcome.status == "interrupted":
        console.print(f"go on with: bnexp resume {escape(path)}", soft_wrap=True)


def metric_table(columns: Mapping[str, Mapping[str, float | None]]) -> Table:
    """Return a row for each metric that has a number in a column; columns hold metrics by name."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in ("", *columns):
        table.add_column(header, justify="right" if header else "left", vertical="bottom")
    for one in metrics.MEASURED:
        values = [found.get(one.name) for found in columns.values()]
        if any(map(_known, values)):
            table.add_row(one.title, *(one.text(value) if _known(value) else "" for value in values))
    return table


def _known(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _ending(outcome: Outcome) -> str:
    ending = outcome.status.replace("_", " ")
    text = f"{ending} after {_count(outcome.step, 'step')} ({_count(outcome.epoch, 'epoch')})"
    if "diverged" in outcome.details:
        text += f": {divergence(outcome.details['diverged'])}"
    return text


def _count(number: float, what: str) -> str:
    return f"{number:,.6g} {what}" + ("" if number == 1 else "s")
