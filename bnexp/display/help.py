"""The page of `bnexp train --help`, made from the YAMLs themselves."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bnexp.composition.choices import conf_dir, groups

ORDER = ("experiment", "norm", "convention", "model", "data", "optimizer", "schedule", "init", "telemetry")

USAGE = """\
Usage: bnexp train [KEY=VALUE ...] [-m] [--cfg job] [--plugin PKG]

Train one network on one data set with one norm, and leave a run folder.

  bnexp train norm=custom batch_size=8
  bnexp train norm=none data=mnist epochs=2 optimizer.lr=0.1
  bnexp train -m norm=custom,none seed=0,1,2        every combination; again: what is left
  bnexp train -m norm=custom,none --jobs 2          two processes at a time; also hydra/launcher=NAME
  bnexp train -m seed=0,1 batch_size=8,16 --pair seed,batch_size     values that belong together
  bnexp train --trials runs.csv seed=0,1            a table of runs (.csv, .yaml, .json)
      --print-trials   list the jobs, what is left out and why, and how long it will take; run nothing
      --needed         skip what another run has answered     --fail-fast   stop at the first failure
  bnexp train experiment=lenet --cfg job            print the configuration, train nothing
"""


def train_help() -> None:
    """Print usage, the groups with their choices, and the knobs with their defaults."""
    console = Console()
    console.print(USAGE, highlight=False, markup=False, soft_wrap=True)
    found = groups()
    table = Table(
        title="Choices (GROUP=NAME)", title_justify="left", box=None, pad_edge=False, show_header=False
    )
    for group in sorted(found, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name)):
        for number, (name, text) in enumerate(found[group].items()):
            table.add_row(f"[bold]{group}[/]" if number == 0 else "", name, escape(text))
    console.print(table)
    console.print("\n[bold]Knobs[/] and their defaults (those of a choice: --cfg job shows them all)\n")
    console.print(knobs(), highlight=False, markup=False, soft_wrap=True)


def knobs() -> str:
    """Return the part of train.yaml that lists the knobs, with its comments."""
    text = (conf_dir() / "train.yaml").read_text(encoding="utf-8")
    return text[text.index("seed:") : text.index("choices:")]
