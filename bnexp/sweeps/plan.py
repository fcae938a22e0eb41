"""What a sweep consists of: every combination of its words once, without those that cannot be built."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from bnexp.composition.expand import swept_keys
from bnexp.errors import BnexpError, ConfigError
from bnexp.runs.directory import SWEEPS
from bnexp.runs.identity import config_hash, slug
from bnexp.runs.sweeps import Dropped, Job, Sweep
from bnexp.sweeps.combinations import Request


@dataclass(frozen=True)
class Combination:
    """Words that go together, and the job that they make, or why they make none.

    `wrong` are mistakes in the words. `impossible` tells why words that are right alone cannot be built
    together.
    """

    words: list[str]
    job: Job | None = None
    wrong: Sequence[str] = ()
    impossible: Sequence[str] = ()


def build(words: list[str], plugins: Sequence[str]) -> Combination:
    """Compose and build one combination, in whatever process; nothing is written."""
    # Here and not above: the process that launches a sweep needs no torch, its workers have it.
    from bnexp.composition.compose import as_yaml, compose
    from bnexp.experiment import run as experiment

    try:
        composition = compose(words, plugins)
    except ConfigError as error:
        return Combination(words, wrong=error.problems)
    wrong = list(composition.problems)
    if composition.config.output_dir is not None:
        wrong.append("output_dir names one folder; leave it out of a sweep and use runs_dir")
    if wrong:
        return Combination(words, wrong=wrong)
    try:
        with experiment.prepared(composition, in_sweep=True) as ready:
            return Combination(words, Job(words, config_hash(asdict(ready.config)), as_yaml(ready.config)))
    except BnexpError as error:
        return Combination(words, impossible=str(error).splitlines())


def plan(request: Request, combinations: Iterable[Combination]) -> Sweep:
    """Return the sweep that `request` asks for, of its combinations as they were built; nothing is written.

    A combination that describes the same computation as one before it is dropped. So is one that cannot be
    built, if each of its words works in another one: `norm=custom,group batch_size=1,8` leaves out batch norm
    over one example.

    Raises:
        ConfigError: a word is wrong, or works in no combination; holds all reasons.
    """
    combinations = list(combinations)
    made = [each.job for each in combinations if each.job]
    impossible = [each for each in combinations if each.impossible]
    _refuse(line for each in combinations for line in each.wrong)
    working = {word for job in made for word in job.words}
    if not made:
        _refuse(line for each in impossible for line in each.impossible)
    hopeless = [(set(each.words) - working, each.impossible) for each in impossible]
    _refuse(f"{_named(words)}: {line}" for words, lines in hopeless if words for line in lines)
    jobs, dropped = _distinct(made)
    dropped += [Dropped(each.words, "; ".join(each.impossible)) for each in impossible]
    return Sweep(_path(request, jobs), list(request.words), list(request.plugins), jobs, dropped)


def _named(hopeless: Collection[str]) -> str:
    return f"{' '.join(sorted(hopeless))} works in no combination of this sweep"


def _refuse(reasons: Iterable[str]) -> None:
    """Raise all of `reasons` that there are, each once."""
    if lines := list(dict.fromkeys(reasons)):
        raise ConfigError(lines)


def _distinct(made: Sequence[Job]) -> tuple[list[Job], list[Dropped]]:
    jobs: dict[str, Job] = {}
    dropped = []
    for job in made:
        twin = jobs.setdefault(job.config_hash, job)
        if twin is not job:
            told = " ".join(twin.words) or "the defaults"
            dropped.append(Dropped(job.words, f"the same computation as {told}"))
    return list(jobs.values()), dropped


def _path(request: Request, jobs: Sequence[Job]) -> Path:
    """Return where the record stands: the same for the same jobs, whatever the order in which words stood."""
    config = yaml.safe_load(jobs[0].config)
    keys = [key.rpartition(".")[2] for key in swept_keys(request.words)]
    text = "\n".join(sorted(job.config_hash for job in jobs))
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    folder = Path(config["runs_dir"]) / slug(config["choices"].get("experiment") or "default") / SWEEPS
    known = sorted(folder.glob(f"*{digest}.json"))  # a version before may have called it otherwise
    return known[0] if known else folder / f"{slug('-'.join([*keys, digest]))}.json"
