"""What `bnexp eval` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape

from bnexp.display.tables import metric_table
from bnexp.runs.directory import RunDirectory


def show(console: Console, directory: RunDirectory, found: Mapping[str, Any], notes: Sequence[str]) -> None:
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


def _folding(fold: Mapping[str, Any]) -> str:
    count = len(fold["norms"])
    pairs = f"{count} pair{'s' if count != 1 else ''} of weight and norm folded"
    return (
        f"{pairs}: logits differ by at most {fold['largest_difference']:.1e} (the largest is "
        f"{fold['largest_logit']:.1f}), a pass is {fold['speedup']:.2f} times as fast"
    )
