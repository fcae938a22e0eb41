"""The page of `bnexp train --help`, made from the YAMLs themselves."""

from __future__ import annotations

import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bnexp.choices import GROUPS, conf_dir, groups
from bnexp.config import KNOBS
from bnexp.knobs import Knob
from bnexp.runs.reading import leaves

WIDEST_KNOB = 30  # with its default

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
    table = Table(
        title="Choices (GROUP=NAME)", title_justify="left", box=None, pad_edge=False, show_header=False
    )
    found, folders = groups(), list(GROUPS.values())
    for group in sorted(found, key=lambda name: folders.index(name) if name in folders else len(folders)):
        for number, (name, text) in enumerate(found[group].items()):
            table.add_row(f"[bold]{group}[/]" if number == 0 else "", name, escape(text))
    console.print(table)
    console.print("\n[bold]Knobs[/] and their defaults (those of a choice: --cfg job shows them all)\n")
    console.print(_knobs())


def _knobs() -> Table:
    """Return a row for each knob: its default in train.yaml, what it means, and the names that it takes."""
    root = yaml.safe_load((conf_dir() / "train.yaml").read_text(encoding="utf-8"))
    defaults = {key: yaml.safe_dump(value).splitlines()[0] for key, value in leaves(root) if key in KNOBS}
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(overflow="fold", max_width=WIDEST_KNOB)
    table.add_column(overflow="fold")
    for key in (key for key in KNOBS if key in defaults):
        table.add_row(escape(f"{key}: {defaults[key]}"), escape(_meaning(KNOBS[key])))
    return table


def _meaning(knob: Knob) -> str:
    named = all(name in knob.about for name in knob.names)
    return knob.about if named else f"{knob.about} ({knob.must_be or ', '.join(knob.names)})"
