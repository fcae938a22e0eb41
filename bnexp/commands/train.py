"""`bnexp train`: one run, or with -m one run for each combination of values."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Console

from bnexp.composition.compose import Composition, as_yaml, compose
from bnexp.composition.expand import expand
from bnexp.errors import BnexpError, ConfigError

if TYPE_CHECKING:
    from bnexp.protocols import Outcome

EXIT_CODES = {"interrupted": 130}


def train(words: Sequence[str], plugins: Sequence[str]) -> int:
    """Train once; return the exit code."""
    outcome = run_one(compose(words, plugins), in_sweep=False)
    return EXIT_CODES.get(outcome.status, 0)


def sweep(words: Sequence[str], plugins: Sequence[str]) -> int:
    """Train one run after another; a mistake in any word is told before the first starts."""
    jobs = expand(words)
    compositions = checked(jobs, plugins)
    if any(composition.config.output_dir is not None for composition in compositions):
        raise ConfigError("output_dir names one folder; leave it out of a sweep and use runs_dir")
    failed = 0
    for number, (job, composition) in enumerate(zip(jobs, compositions, strict=True), 1):
        print(f"\n[{number}/{len(jobs)}] {' '.join(job)}", flush=True)
        try:
            outcome = run_one(composition, in_sweep=True)
        except BnexpError as error:
            failed += 1
            print(f"bnexp: {error}", file=sys.stderr)
        except Exception:
            failed += 1
            traceback.print_exc()
        else:
            if outcome.status == "interrupted":
                return 130
    return 1 if failed else 0


def checked(jobs: Sequence[Sequence[str]], plugins: Sequence[str]) -> list[Composition]:
    """Compose and build every run and throw it away, so that no mistake is found when hours have passed.

    Returns the runs with what `weights=last` means now, before the sweep leaves newer ones.

    Raises:
        ConfigError: some run cannot be built; holds all reasons.
    """
    problems: list[str] = []
    found: list[Composition] = []
    for job in jobs:
        try:
            found.append(_checked(compose(job, plugins)))
        except BnexpError as error:
            problems += str(error).splitlines()
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    return found


def _checked(composition: Composition) -> Composition:
    from bnexp import experiment

    with experiment.prepared(composition, in_sweep=True) as ready:
        return replace(composition, config=ready.config)


def run_one(composition: Composition, *, in_sweep: bool) -> Outcome:
    """Build, show, train and show again."""
    # Here and not above: torch takes longer than finding out that a word is misspelt.
    from bnexp import experiment
    from bnexp.display import tables
    from bnexp.display.progress import training_progress

    console = Console()
    with experiment.prepared(composition, in_sweep=in_sweep) as ready:
        directory = experiment.new_directory(ready.config)
        tables.what_will_run(console, ready)
        with training_progress(ready.parts) as progress:
            outcome = experiment.run(ready, directory, progress)
        tables.how_it_ended(console, outcome, directory)
    return outcome


def print_config(what: str, words: Sequence[str], plugins: Sequence[str]) -> None:
    """Print the composed configuration as the run would record it."""
    if what != "job":
        raise ConfigError(f"--cfg must be job, got {what!r}")
    composition = compose(words, plugins)
    if composition.problems:
        raise ConfigError(composition.problems)
    print(as_yaml(composition.config), end="")
