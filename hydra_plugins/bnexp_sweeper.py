"""Where Hydra looks for sweepers: bnexp's own, which hands a planned sweep's jobs to any launcher.

Hydra imports this file at each of its starts, so it imports nothing of bnexp.
"""

from __future__ import annotations

from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class PlannedSweeper(Sweeper):
    """Launches one job for each word that it is given, such as `job=3`.

    What the jobs are has been worked out and recorded before: see `bnexp.sweeps.plan`.
    """

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config, self.hydra_context = config, hydra_context
        self.launcher: Any = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> list[JobReturn]:
        return list(self.launcher.launch([[word] for word in arguments], initial_job_idx=0))


ConfigStore.instance().store(
    group="hydra/sweeper",
    name="bnexp",
    node={"_target_": f"{__name__}.PlannedSweeper"},
    provider="bnexp",
)
