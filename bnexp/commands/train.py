"""`bnexp train`: one run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from bnexp.composition.compose import as_yaml, compose
from bnexp.errors import ConfigError
from bnexp.runs.directory import RunDirectory

if TYPE_CHECKING:
    from bnexp.experiment.run import Experiment


def train(words: Sequence[str], plugins: Sequence[str]) -> int:
    """Train once; return the exit code."""
    composition = compose(words, plugins)
    # Here and not above: torch takes longer than finding out that a word is misspelt.
    from bnexp.experiment import run as experiment

    with experiment.prepared(composition) as ready:
        return watched(ready, experiment.new_directory(ready.config))


def watched(ready: Experiment, directory: RunDirectory, *, resumed: bool = False) -> int:
    """Run what is ready, with tables before and after and a bar between; return the exit code."""
    from bnexp.display import tables
    from bnexp.display.progress import training_progress
    from bnexp.experiment import run as experiment

    console = Console()
    tables.what_will_run(console, ready)
    with training_progress(ready.parts) as progress:
        outcome = experiment.run(ready, directory, progress, resumed=resumed)
    tables.how_it_ended(console, outcome, directory)
    return 130 if outcome.status == "interrupted" else 0


def print_config(what: str, words: Sequence[str], plugins: Sequence[str]) -> None:
    """Print the composed configuration as the run would record it."""
    if what != "job":
        raise ConfigError(f"--cfg must be job, got {what!r}")
    composition = compose(words, plugins)
    if composition.problems:
        raise ConfigError(composition.problems)
    print(as_yaml(composition.config), end="")
