"""What a sweep consists of: every combination of its words once, without those that cannot be built."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from bnexp import experiment
from bnexp.composition import expand, words
from bnexp.composition.compose import Composition, as_yaml, compose
from bnexp.errors import BnexpError, ConfigError
from bnexp.runs import sweeps
from bnexp.runs.identity import config_hash, slug
from bnexp.runs.sweeps import Dropped, Job, Sweep


@dataclass(frozen=True)
class Request:
    """What a person typed after `bnexp train -m`.

    Args:
        words: with lists of values; trials: more words for each row of a trial file.
        paired: groups of keys whose values go together, first with first.
    """

    words: Sequence[str]
    plugins: Sequence[str] = ()
    trials: Sequence[Sequence[str]] = ((),)
    paired: Sequence[Sequence[str]] = ()


def plan(request: Request) -> Sweep:
    """Compose and try every combination; nothing is written.

    A combination that describes the same computation as one before it is dropped, and so is one that cannot
    be built, as with more groups than channels, while others can.

    Raises:
        ConfigError: a word is wrong, or no combination can be built; holds all reasons.
    """
    combined = combinations(request)
    compositions = _composed(combined, request.plugins)
    jobs: dict[str, Job] = {}
    dropped: list[Dropped] = []
    impossible: list[str] = []
    for job_words, composition in zip(combined, compositions, strict=True):
        try:
            found = _job(job_words, composition)
        except BnexpError as error:
            lines = str(error).splitlines()
            impossible += lines
            dropped.append(Dropped(job_words, "; ".join(lines)))
            continue
        twin = jobs.setdefault(found.config_hash, found)
        if twin is not found:
            told = " ".join(twin.words) or "the defaults"
            dropped.append(Dropped(job_words, f"the same computation as {told}"))
    if not jobs:
        raise ConfigError(list(dict.fromkeys(impossible)))
    made = list(jobs.values())
    return Sweep(_path(request, made), list(request.words), list(request.plugins), made, dropped)


def _composed(combined: Sequence[Sequence[str]], plugins: Sequence[str]) -> list[Composition]:
    found, wrong = [], []
    for job_words in combined:
        try:
            found.append(compose(job_words, plugins))
            wrong += found[-1].problems
        except ConfigError as error:
            wrong += error.problems
    if any(composition.config.output_dir is not None for composition in found):
        wrong.append("output_dir names one folder; leave it out of a sweep and use runs_dir")
    if wrong:
        raise ConfigError(list(dict.fromkeys(wrong)))
    return found


def combinations(request: Request) -> list[list[str]]:
    """Return the words of each combination: of the lists in `words`, times the trials."""
    if not request.trials:
        raise ConfigError("a sweep needs at least one trial")
    return [
        [*job, *trial] for job in expand.expand(request.words, request.paired) for trial in request.trials
    ]


def _job(job_words: list[str], composition: Composition) -> Job:
    with experiment.prepared(composition, in_sweep=True) as ready:
        return Job(job_words, config_hash(asdict(ready.config)), as_yaml(ready.config))


def _path(request: Request, jobs: Sequence[Job]) -> Path:
    """Return where the record stands: the same for the same jobs, whatever the order in which words stood."""
    config = yaml.safe_load(jobs[0].config)
    keys = [words.key(word).rpartition(".")[2] for word in request.words if "," in words.value(word)]
    text = "\n".join(sorted(job.config_hash for job in jobs))
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    folder = Path(config["runs_dir"]) / slug(config["choices"].get("experiment") or "default") / sweeps.FOLDER
    return folder / f"{slug('-'.join([*keys, digest]))}.json"
