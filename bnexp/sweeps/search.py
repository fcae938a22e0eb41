"""Sweeps whose jobs are chosen as they go: Hydra's Optuna sweeper asks for runs and is told their worth."""

from __future__ import annotations

import hashlib
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from omegaconf import DictConfig

from bnexp.composition.compose import compose
from bnexp.composition.drafts import search_path
from bnexp.errors import BnexpError, ConfigError
from bnexp.experiment import run as experiment
from bnexp.protocols import Outcome
from bnexp.runs import sweeps
from bnexp.runs.directory import SWEEPS
from bnexp.runs.identity import config_hash, slug
from bnexp.runs.reading import read_config
from bnexp.runs.sweeps import Job, Sweep
from bnexp.sweeps.follow import stoppable
from bnexp.sweeps.job import Quiet, ending
from bnexp.sweeps.launch import multirun
from bnexp.sweeps.worker import stopping_with, work_in

OBJECTIVES = {"maximize": "accuracy/val", "minimize": "loss/val"}
WORST = {"maximize": 0.0, "minimize": float("inf")}
DEFAULTS = ("hydra.sweeper.direction=maximize",)


@dataclass(frozen=True)
class Trial:
    """What the launcher calls for each set of words that the sweeper asks for; returns what they are worth.

    The worth is the best validation accuracy, or with `hydra.sweeper.direction=minimize` the best validation
    loss: the test split must not choose. A run that diverged is worth the least.
    """

    record: str
    folder: str
    direction: str

    def __call__(self, node: DictConfig) -> float:
        work_in(Path(self.folder))
        sweep, trial = sweeps.read(Path(self.record)), int(HydraConfig.get().job.num)
        words = list(HydraConfig.get().overrides.task)
        if sweep.stop_file.exists():
            raise KeyboardInterrupt
        try:
            with stopping_with(sweep):
                outcome = self._run(sweep, trial, words)
        except BnexpError as error:
            print(f"[trial {trial + 1}] {' '.join(words)}  failed: {error}", flush=True)
            raise
        worth = outcome.metrics.get(OBJECTIVES[self.direction])
        print(f"[trial {trial + 1}] {' '.join(words)}  {ending(outcome)}", flush=True)
        if outcome.status == "interrupted":  # a part of a run is worth nothing to the sweeper
            raise KeyboardInterrupt
        return WORST[self.direction] if outcome.status == "diverged" or worth is None else worth

    def _run(self, sweep: Sweep, trial: int, words: list[str]) -> Outcome:
        composition = compose(words, sweep.plugins)
        if composition.problems:
            raise ConfigError(composition.problems)
        with experiment.prepared(composition, in_sweep=True) as ready:
            directory = experiment.new_directory(ready.config)
            sweep.add(trial, "started", directory.path.resolve(), shlex.join(words))
            outcome = experiment.run(ready, directory, Quiet())
            sweep.add(trial, "ended", directory.path.resolve(), ending(outcome))
        return outcome


def search(words: Sequence[str], plugins: Sequence[str], hydra_words: Sequence[str]) -> Sweep:
    """Run as many trials as the sweeper asks for and return their record.

    Args:
        words: rewritten to Hydra's grammar; those with intervals or choices span the space to search.
    Raises:
        ConfigError: Hydra does not know a word.
        KeyboardInterrupt: a person stopped it; what has run is recorded.
    """
    given = [*DEFAULTS, *search_path(), *hydra_words]
    base = compose([word for word in words if not _searched(word)], plugins).config
    sweep = Sweep(_path(base.runs_dir, base.choices, words), list(words), list(plugins), [], [])
    folder = sweep.path.with_suffix(".launcher").resolve()
    with multirun(folder, given, root="train") as (config, context):
        direction = str(getattr(config.hydra.sweeper.direction, "name", config.hydra.sweeper.direction))
        if direction not in OBJECTIVES:
            raise ConfigError(f"hydra.sweeper.direction must be maximize or minimize, got {direction}")
        sweep.write()
        task = Trial(str(sweep.path.resolve()), str(Path.cwd()), direction)
        sweeper = Plugins.instance().instantiate_sweeper(
            hydra_context=context, task_function=task, config=config
        )
        try:
            with stoppable(sweep):
                sweeper.sweep(list(words))
        finally:
            sweep.stop_file.unlink(missing_ok=True)
            whole = _with_jobs(sweep)
    return whole


def _searched(word: str) -> bool:
    return any(sign in word.partition("=")[2] for sign in ",(")


def _path(runs_dir: str, choices: dict[str, str], words: Sequence[str]) -> Path:
    digest = hashlib.sha256("\n".join([*words, str(time.time())]).encode()).hexdigest()[:8]
    experiment_name = slug(choices.get("experiment") or "default")
    return Path(runs_dir) / experiment_name / SWEEPS / f"search-{digest}.json"


def _with_jobs(sweep: Sweep) -> Sweep:
    """Record what the trials were, now that they are known."""
    runs = sweep.runs()
    words = {event.job: shlex.split(event.detail) for event in sweep.events() if event.what == "started"}
    jobs = [
        Job(words[trial], config_hash(read_config(run)), run.read_config())
        for trial, run in sorted(runs.items())
    ]
    whole = replace(sweep, jobs=jobs)
    whole.write()
    return whole
