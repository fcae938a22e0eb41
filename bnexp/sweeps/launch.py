"""From a planned sweep to jobs that run, by way of Hydra's launchers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.core.utils import setup_globals
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import HydraContext
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from bnexp.choices import conf_dir
from bnexp.composition.mistakes import reason
from bnexp.errors import ConfigError
from bnexp.runs.sweeps import ENDS, Event, Sweep
from bnexp.sweeps.hydra_words import sweeper
from bnexp.sweeps.job import RunJob

ROOT = "bnexp_job"


def launch(sweep: Sweep, jobs: Sequence[int], hydra_words: Sequence[str], *, fail_fast: bool) -> None:
    """Run `jobs` of `sweep` and return when all have ended.

    A job whose process is killed or crashes goes on alone when all others have ended; if its process dies
    again it has failed. (Hydra's joblib launcher loses all processes then, and all of their jobs go on so.)

    Args:
        hydra_words: Hydra's own, such as `hydra/launcher=bnexp hydra.launcher.jobs=2`.
    Raises:
        ConfigError: Hydra does not know one of its words.
    """
    run = partial(_launch, sweep, hydra_words=hydra_words, fail_fast=fail_fast)
    left, before = list(jobs), len(sweep.events())
    while left:
        try:
            return run(left)
        except BrokenProcessPool:
            left = _open(sweep.events()[before:], left)
        # where none had begun, some died while it was built
        for job in _cut_off(sweep.events()[before:]) or left:
            if sweep.stop_file.exists():
                return
            sweep.add(job, "lost", detail="its process or one beside it died; it goes on alone")
            try:
                run([job])
            except BrokenProcessPool:
                _fail(sweep, job, fail_fast)
        left = _open(sweep.events()[before:], left)


def _open(events: Sequence[Event], jobs: Sequence[int]) -> list[int]:
    """Return those of `jobs` that have not ended."""
    done = {event.job for event in events if event.what in ENDS}
    return [job for job in jobs if job not in done]


def _cut_off(events: Sequence[Event]) -> list[int]:
    """Return the jobs that have begun and not ended."""
    latest = {event.job: event.what for event in events}
    return [job for job, what in latest.items() if what == "started"]


def _fail(sweep: Sweep, job: int, fail_fast: bool) -> None:
    told = "its process died, also alone: killed, perhaps for want of memory, or crashed"
    run = sweep.runs().get(job)
    if run is not None:
        with run.log_file.open("a", encoding="utf-8") as log:
            log.write(f"failed: {told}\n")
    sweep.add(job, "failed", detail=told)
    if fail_fast:
        sweep.stop_file.touch()


def _launch(sweep: Sweep, jobs: Sequence[int], *, hydra_words: Sequence[str], fail_fast: bool) -> None:
    task = RunJob(str(sweep.path.resolve()), os.getpid(), os.getcwd(), fail_fast)
    folder = sweep.path.with_suffix(".launcher").resolve()
    with multirun(folder, hydra_words) as (config, context):
        planned = Plugins.instance().instantiate_sweeper(
            hydra_context=context, task_function=task, config=config
        )
        for job in planned.sweep([f"job={number}" for number in jobs]):
            job.return_value  # noqa: B018  raises what the launcher itself ran into


def check(hydra_words: Sequence[str]) -> None:
    """Refuse words that Hydra cannot compose, before anything is written.

    Raises:
        ConfigError: says why.
    """
    with multirun(Path(), hydra_words):
        pass


@contextmanager
def multirun(
    folder: Path, hydra_words: Sequence[str], root: str = ROOT
) -> Iterator[tuple[DictConfig, HydraContext]]:
    """Give what Hydra's sweepers and launchers are made from.

    Args:
        folder: where launchers keep what is theirs; root: the configuration that each job's words apply to.
    Raises:
        ConfigError: Hydra does not know one of its words.
    """
    setup_globals()
    ConfigStore.instance().store(ROOT, {"job": 0})
    with initialize_config_dir(str(conf_dir()), version_base="1.3", job_name="bnexp"):
        try:
            overrides = [*_settings(folder), *hydra_words]
            if sweeper(hydra_words) is None:
                overrides.append("hydra/sweeper=bnexp")
            config = compose(root, overrides, return_hydra_config=True)
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError(reason(error)) from error
        # a callback that does nothing stands for all of them: Hydra's list of callbacks is private
        callbacks: Any = Callback()
        yield config, HydraContext(GlobalHydra.instance().config_loader(), callbacks)


def _settings(folder: Path) -> list[str]:
    """Return what keeps Hydra from making folders and logs of its own; launchers keep theirs in `folder`."""
    return [
        f"hydra.sweep.dir='{folder}'",
        "hydra.sweep.subdir=.",
        "hydra.output_subdir=null",
        "hydra.job.chdir=false",
        "hydra/job_logging=none",
        "hydra/hydra_logging=none",
    ]
