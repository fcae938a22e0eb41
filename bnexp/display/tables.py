"""Tables about one run: what it will be, what its norms will see, how it ended, how it evaluates."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bnexp import metrics
from bnexp.analysis.staleness import shortfall
from bnexp.config import TrainConfig, ghost_batch
from bnexp.display import columns
from bnexp.engine.device import describe
from bnexp.experiment.run import Experiment
from bnexp.preflight.course import Course, Row
from bnexp.protocols import Outcome
from bnexp.runs.directory import RunDirectory
from bnexp.statuses import divergence

COLUMNS = {
    "train_eval": "training",
    "val": "validation",
    "test": "test",
    "val_last": "validation\n(last)",
    "test_last": "test\n(last)",
}

NORM_HEADERS = (
    "place",
    "norm",
    "over",
    "channels",
    "size",
    "values",
    "last",
    "parameters",
    "half-life",
    "start",
)
NORM_LEGEND = (
    "over: what is measured together; values, last: how many values these are, at least, in a full batch and "
    "in the last of an epoch",
    "half-life: updates after which a batch weighs half in the running averages",
    "start: what mean 0 and variance 1, the averages' start, weigh in them at the end",
)


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
    freeze, ghosts = config.freeze_norm, ghost_batch(config.norm_batch, config.batch_size)
    return [
        *([f"ghost batches of {ghosts}"] if ghosts is not None else []),
        *([f"guard {config.guard}"] if config.guard != "none" else []),
        *([f"{freeze.what} frozen from {freeze.after}"] if freeze.after is not None else []),
    ]


def _norm_table(experiment: Experiment) -> Table:
    table = Table(title="Norms", title_justify="left", box=None, pad_edge=False, header_style="bold")
    for header in ("place", "norm", "channels", "size", "measured over", "values"):
        table.add_column(header, justify="right" if header in ("channels", "size", "values") else "left")
    for site in experiment.parts.sites:
        size = "x".join(map(str, site.spatial)) or "-"
        values = _number(site.values(experiment.parts.course.full))
        table.add_row(site.name, site.kind, str(site.num_features), size, site.over, values)
    return table


def _number(values: int | None) -> str:
    return "-" if values is None else f"{values:,}"


def what_norms_see(console: Console, course: Course, rows: Sequence[Row]) -> None:
    """Print the length of the run, and a row for each norm."""
    passes = f", {course.passes:,} forward passes" if course.passes != course.steps else ""
    last = f", {course.last:,} in the last of an epoch" if course.last != course.full else ""
    length = f"{course.steps:,} steps{passes} of {course.full:,} examples{last}"
    console.print(f"Norms over {length}", highlight=False, style="italic", soft_wrap=True)
    words = NORM_HEADERS.index("over") + 1
    numbers = range(words, len(NORM_HEADERS))
    cells = [_norm_cells(row) for row in rows]
    columns.show(console, NORM_HEADERS, cells, right=numbers, narrow="names", names=words)
    for line in NORM_LEGEND:
        console.print(line, highlight=False, style="dim", soft_wrap=True)


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
    path = shlex.quote(str(directory.path))
    if found := shortfall(outcome.details):
        told = f"{escape(found)}; see why: bnexp eval {escape(path)}"
        console.print(f"[yellow]warning:[/] {told}", highlight=False, soft_wrap=True)
    rate = outcome.examples / outcome.seconds if outcome.seconds else 0.0
    console.print(f"{outcome.seconds:.1f} s of training, {rate:,.0f} examples/s")
    console.print(f"run folder: {escape(path)}", soft_wrap=True)
    for what, verb in _next(outcome):
        console.print(f"{what}: bnexp {verb} {escape(path)}", highlight=False, soft_wrap=True)


def _next(outcome: Outcome) -> list[tuple[str, str]]:
    """Return what a person may want to do with such a run, and the verb that does it."""
    if outcome.status == "interrupted":
        return [("go on with", "resume")]
    shown = [("watch it in TensorBoard", "tb"), ("read it as one page", "report")]
    has_statistics = outcome.details.get(metrics.GAP) is not None
    return [*shown, ("test its running statistics", "eval")] if has_statistics else shown


def how_it_evaluates(
    console: Console, directory: RunDirectory, found: Mapping[str, Any], notes: Sequence[str]
) -> None:
    """Print the content of eval.json: scores by kind of statistics, the verdict, what folding changes."""
    name = f"{directory.path.parent.name}/{directory.path.name}"
    title = (
        f"{name}, {found['checkpoint']} weights (step {found['step']}), "
        f"{found['examples']:,} examples of the {found['split']} split"
    )
    console.print(f"[bold]{escape(title)}[/]", soft_wrap=True)
    titles = {
        "running": "running\nstatistics" if found["layers"] else "evaluation",
        "batch": f"each batch's\nof {found['batch_size']}",
        "recalibrated": "recalibrated",
    }
    kinds = {title: found[kind] for kind, title in titles.items() if found[kind] is not None}
    table = metric_table(kinds)
    running, *others = (100 * scores["accuracy"] for scores in kinds.values())
    if others:
        table.add_row("points to running", "", *(f"{other - running:+.1f}" for other in others))
    console.print(table)
    if found["recalibrated"] is not None:
        samples = f"recalibrated on {found['samples']:,} training examples"
        console.print(samples, highlight=False, style="dim", soft_wrap=True)
    console.print(f"\n{escape(found['verdict'])}", highlight=False, soft_wrap=True)
    if found["fold"] is not None:
        console.print(_folding(found["fold"]), highlight=False, soft_wrap=True)
    for note in notes:
        console.print(f"[yellow]note:[/] {escape(note)}", highlight=False, soft_wrap=True)
    console.print(f"written to {escape(str(directory.eval_file))}", highlight=False, soft_wrap=True)


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


def _norm_cells(row: Row) -> list[str]:
    return [
        row.place,
        row.norm,
        row.over,
        str(row.channels),
        "x".join(map(str, row.spatial)) or "-",
        _number(row.values),
        _number(row.values_last),
        f"{row.parameters:,}",
        "-" if row.half_life_steps is None else f"{row.half_life_steps:,.1f} steps",
        _share(row.initial_share),
    ]


def _share(share: float | None) -> str:
    if share is None:
        return "-"
    return "< 0.01 %" if share < 1e-4 else f"{100 * share:.2g} %"


def _folding(fold: Mapping[str, Any]) -> str:
    count = len(fold["norms"])
    pairs = f"{count} pair{'s' if count != 1 else ''} of weight and norm folded"
    return (
        f"{pairs}: logits differ by at most {fold['largest_difference']:.1e} (the largest is "
        f"{fold['largest_logit']:.1f}), a pass is {fold['speedup']:.2f} times as fast"
    )
