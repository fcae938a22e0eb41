"""Hydra's own words on a sweep's command line: which launcher, which sweeper, and their knobs."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from bnexp.composition.words import key, value
from bnexp.errors import ConfigError

EXTRAS = {
    "joblib": ("joblib", "hydra_plugins.hydra_joblib_launcher"),
    "ray": ("ray", "hydra_plugins.hydra_ray_launcher"),
    "ray_aws": ("ray", "hydra_plugins.hydra_ray_launcher"),
    "submitit_slurm": ("slurm", "hydra_plugins.hydra_submitit_launcher"),
    "submitit_local": ("slurm", "hydra_plugins.hydra_submitit_launcher"),
    "optuna": ("optuna", "hydra_plugins.hydra_optuna_sweeper"),
}


def is_hydra(word: str) -> bool:
    """Whether a word is Hydra's and no knob of a run."""
    return key(word).split("/")[0].split(".")[0] == "hydra"


def completed(words: Sequence[str], jobs: int | None) -> list[str]:
    """Return Hydra's words among `words`, with those that follow from them.

    Args:
        jobs: local processes at a time; None leaves the launcher as it is, and so does 1, which needs no
            process but this one.
    Raises:
        ConfigError: no number of processes, two launchers, or one that is not installed.
    """
    found = [word for word in words if is_hydra(word)]
    for word in found:
        _check_installed(word)
    return found + _local(found, jobs) + _ray(found)


def sweeper(words: Sequence[str]) -> str | None:
    """Return the sweeper that a person asked for, None for bnexp's own."""
    return next((value(word) for word in words if key(word) == "hydra/sweeper"), None)


def _local(words: Sequence[str], jobs: int | None) -> list[str]:
    """Return what asks for bnexp's own launcher, `hydra_plugins.bnexp_launcher`."""
    if jobs is None:
        return []
    if jobs < 1:
        raise ConfigError(f"--jobs must be at least 1, got {jobs}")
    if any(key(word) == "hydra/launcher" for word in words):
        raise ConfigError("--jobs is a launcher of its own: leave it out or leave hydra/launcher=... out")
    return ["hydra/launcher=bnexp", f"hydra.launcher.jobs={jobs}"] if jobs > 1 else []


def _ray(words: Sequence[str]) -> list[str]:
    """A cluster that runs already refuses the size of memory that Hydra's launcher asks for by default."""
    memory = "hydra.launcher.ray.init.object_store_memory"
    keys = {key(word) for word in words}
    joins = "hydra.launcher.ray.init.address" in keys and memory not in keys
    return [f"+{memory}=null"] if joins else []


def _check_installed(word: str) -> None:
    extra, module = EXTRAS.get(value(word), (None, ""))
    if key(word) in ("hydra/launcher", "hydra/sweeper") and extra is not None and find_spec(module) is None:
        raise ConfigError(f"{word} needs an extra: pip install 'bnexp[{extra}]'")
