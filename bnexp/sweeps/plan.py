"""What a sweep consists of: every combination of its words once, without those that cannot be built."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from bnexp import experiment
from bnexp.composition import expand, words
from bnexp.composition.compose import as_yaml, compose
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
    """Compose and try every combination.

    Nothing is written. A combination that describes the same computation as one before it is dropped, and so
    is one that cannot be built while others can.

    Raises:
        ConfigError: no combination is left, or a word is wrong wherever it stands.
    """
    jobs: dict[str, Job] = {}
    dropped: list[Dropped] = []
    combined = combinations(request)
    wrong: list[tuple[list[str], list[str]]] = []
    for job_words in combined:
        try:
            found = _job(job_words, request.plugins)
        except BnexpError as error:
            wrong.append((job_words, str(error).splitlines()))
            continue
        if (twin := jobs.get(found.config_hash)) is not None:
            dropped.append(
                Dropped(job_words, f"the same computation as {' '.join(twin.words) or 'defaults'}")
            )
        else:
            jobs[found.config_hash] = found
    common = set.intersection(*(set(lines) for _, lines in wrong)) if wrong else set()
    if wrong and (not jobs or (len(wrong) == len(combined) and common)):
        raise ConfigError(list(dict.fromkeys(line for _, lines in wrong for line in lines)))
    dropped += [Dropped(job_words, "; ".join(lines)) for job_words, lines in wrong]
    found_jobs = list(jobs.values())
    return Sweep(_path(request, found_jobs), list(request.words), list(request.plugins), found_jobs, dropped)


def combinations(request: Request) -> list[list[str]]:
    """Return the words of each combination: of the lists in `words`, times the trials."""
    if not request.trials:
        raise ConfigError("a sweep needs at least one trial")
    return [
        [*job, *trial] for job in expand.expand(request.words, request.paired) for trial in request.trials
    ]


def _job(job_words: list[str], plugins: Sequence[str]) -> Job:
    composition = compose(job_words, plugins)
    if composition.config.output_dir is not None:
        raise ConfigError("output_dir names one folder; leave it out of a sweep and use runs_dir")
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
