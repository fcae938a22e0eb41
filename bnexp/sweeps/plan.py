"""What a sweep consists of: every combination of its words once, without those that cannot be built."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import yaml

from bnexp import experiment
from bnexp.composition import words
from bnexp.composition.compose import Composition, as_yaml
from bnexp.errors import BnexpError, ConfigError
from bnexp.runs.directory import SWEEPS
from bnexp.runs.identity import config_hash, slug
from bnexp.runs.sweeps import Dropped, Job, Sweep
from bnexp.sweeps.combine import Request


def plan(request: Request, combined: Sequence[tuple[list[str], Composition]]) -> Sweep:
    """Try every combination; nothing is written.

    A combination that describes the same computation as one before it is dropped. So is one that cannot be
    built, if each of its words works in another one: `norm=custom,group batch_size=1,8` leaves out batch norm
    over one example.

    Raises:
        ConfigError: a word works in no combination; holds all reasons.
    """
    made: list[tuple[list[str], Job]] = []
    failed: list[tuple[list[str], list[str]]] = []
    for job_words, composition in combined:
        try:
            made.append((job_words, _job(job_words, composition)))
        except BnexpError as error:
            failed.append((job_words, str(error).splitlines()))
    working = {word for job_words, _ in made for word in job_words}
    hopeless = [lines for job_words, lines in failed if not working.issuperset(job_words)]
    if hopeless or not made:
        reasons = hopeless or [lines for _, lines in failed]
        raise ConfigError(list(dict.fromkeys(line for lines in reasons for line in lines)))
    jobs, dropped = _distinct(made)
    dropped += [Dropped(job_words, "; ".join(lines)) for job_words, lines in failed]
    return Sweep(_path(request, jobs), list(request.words), list(request.plugins), jobs, dropped)


def _job(job_words: list[str], composition: Composition) -> Job:
    with experiment.prepared(composition, in_sweep=True) as ready:
        return Job(job_words, config_hash(asdict(ready.config)), as_yaml(ready.config))


def _distinct(made: Sequence[tuple[list[str], Job]]) -> tuple[list[Job], list[Dropped]]:
    jobs: dict[str, Job] = {}
    dropped = []
    for job_words, job in made:
        twin = jobs.setdefault(job.config_hash, job)
        if twin is not job:
            told = " ".join(twin.words) or "the defaults"
            dropped.append(Dropped(job_words, f"the same computation as {told}"))
    return list(jobs.values()), dropped


def _path(request: Request, jobs: Sequence[Job]) -> Path:
    """Return where the record stands: the same for the same jobs, whatever the order in which words stood."""
    config = yaml.safe_load(jobs[0].config)
    keys = [words.key(word).rpartition(".")[2] for word in request.words if "," in words.value(word)]
    text = "\n".join(sorted(job.config_hash for job in jobs))
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    folder = Path(config["runs_dir"]) / slug(config["choices"].get("experiment") or "default") / SWEEPS
    return folder / f"{slug('-'.join([*keys, digest]))}.json"
