"""Trying a combination of a sweep's words in whatever process, so that workers share the planning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from bnexp.errors import BnexpError, ConfigError
from bnexp.runs.identity import config_hash
from bnexp.runs.sweeps import Job


@dataclass(frozen=True)
class Tried:
    """What became of a combination: its job, or why it has none.

    `wrong` are mistakes in its words. `impossible` tells why words that are right alone cannot be built
    together.
    """

    words: list[str]
    job: Job | None = None
    wrong: Sequence[str] = ()
    impossible: Sequence[str] = ()


def tried(words: list[str], plugins: Sequence[str]) -> Tried:
    """Compose and build one combination; nothing is written."""
    # Here and not above: the process that launches a sweep needs no torch, its workers have it.
    from bnexp.composition.compose import as_yaml, compose
    from bnexp.experiment import run as experiment

    try:
        composition = compose(words, plugins)
    except ConfigError as error:
        return Tried(words, wrong=error.problems)
    wrong = list(composition.problems)
    if composition.config.output_dir is not None:
        wrong.append("output_dir names one folder; leave it out of a sweep and use runs_dir")
    if wrong:
        return Tried(words, wrong=wrong)
    try:
        with experiment.prepared(composition, in_sweep=True) as ready:
            return Tried(words, Job(words, config_hash(asdict(ready.config)), as_yaml(ready.config)))
    except BnexpError as error:
        return Tried(words, impossible=str(error).splitlines())
