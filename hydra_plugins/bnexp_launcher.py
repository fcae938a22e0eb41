"""Where Hydra looks for launchers: bnexp's own, `--jobs N`, in the processes that have planned the jobs.

Hydra imports this file at each of its starts, so it imports nothing of bnexp.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict


class PoolLauncher(Launcher):
    """Runs jobs in `jobs` local processes, those of `bnexp.sweeps.pool`."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config, self.hydra_context, self.task_function = config, hydra_context, task_function

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        """Run a job for each list of words and return when all have ended.

        Raises:
            BrokenProcessPool: a job's process died; the others have gone on to their end.
        """
        from bnexp.sweeps.pool import opened

        run = partial(execute, self.hydra_context, self.task_function)
        with opened(self.jobs) as pool:
            futures = pool.run(run, self._configs(job_overrides, initial_job_idx))
        return [future.result() for future in futures]

    def _configs(self, job_overrides: Sequence[Sequence[str]], first: int) -> Iterator[DictConfig]:
        """Compose the configuration of each job when a process is free for it."""
        for number, overrides in enumerate(job_overrides, start=first):
            config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
            with open_dict(config):
                config.hydra.job.id = f"{config.hydra.job.name}_{number}"
                config.hydra.job.num = number
            yield config


def execute(context: HydraContext, task_function: TaskFunction, config: DictConfig) -> JobReturn:
    """Run one job in a worker, as Hydra runs it in its own process."""
    setup_globals()
    return run_job(
        hydra_context=context,
        task_function=task_function,
        config=config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )


ConfigStore.instance().store(
    group="hydra/launcher",
    name="bnexp",
    node={"_target_": f"{__name__}.PoolLauncher", "jobs": "???"},
    provider="bnexp",
)
