"""What a user typed that has no effect on this run."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from bnexp.composition.targets import resolve
from bnexp.config import TrainConfig


def notes(node: DictConfig, config: TrainConfig, typed: set[str]) -> list[str]:
    """Return a line for each typed knob that nothing in this run reads."""
    found = _sources(node, typed)
    found += _ghosts(config) if "norm_batch" in typed else []
    found += _frozen_start(config) if "freeze_norm.after" in typed else []
    norms = {config.choices["norm"], config.choices["head_norm"]}
    if "placement" in typed and config.placement != "preact" and norms == {"none"}:
        found.append("placement has no effect: this run has no norm to place")
    head_typed = any(
        name == "head_norm" or name.startswith(("head_norm.", "norm@head_norm")) for name in typed
    )
    if head_typed and not getattr(resolve(config.model["_target_"]), "has_head_norm", True):
        found.append(f"head_norm has no effect: {config.choices['model']} has no norm in its head")
    return found


def _ghosts(config: TrainConfig) -> list[str]:
    if config.norm_batch > config.batch_size:
        return [
            f"norm_batch={config.norm_batch} has no effect: a forward pass has {config.batch_size} examples"
        ]
    if _measures_batch(config):
        return []
    return ["norm_batch has no effect: no norm of this run measures the batch"]


def _frozen_start(config: TrainConfig) -> list[str]:
    freeze = config.freeze_norm
    meant = freeze.after != 0 or freeze.what == "affine" or config.weights is not None
    if meant or not _measures_batch(config):
        return []
    return ["freeze_norm.after=0 without weights=RUN freezes the initial statistics, mean 0 and variance 1"]


def _measures_batch(config: TrainConfig) -> bool:
    targets = [resolve(node["_target_"]) for node in (config.norm, config.head_norm)]
    return any(getattr(target, "batch_statistics", False) for target in targets)


def _sources(node: DictConfig, typed: set[str]) -> list[str]:
    """Return lines about `momentum`, `eps` and the convention that sets both, where no norm takes them."""
    raw: Any = OmegaConf.to_container(node, resolve=False)
    norms = [raw["norm"], raw["head_norm"]]
    momentum = _unread("momentum", [norm for norm in norms if _tracks(norm)], "keeps running statistics")
    eps = _unread("eps", norms, "has an eps")
    found = momentum if typed & {"momentum", "decay"} else []
    found = found + eps if "eps" in typed else found
    if "convention" in typed and momentum and eps:
        found.append("convention has no effect: no norm of this run takes its momentum or eps")
    return found


def _unread(name: str, norms: list[dict[str, Any]], lacking: str) -> list[str]:
    own = [norm[name] for norm in norms if name in norm]
    if f"${{{name}}}" in own:
        return []
    reason = f"norm.{name} has a value of its own" if own else f"no norm of this run {lacking}"
    return [f"{name} has no effect: {reason}"]


def _tracks(norm: dict[str, Any]) -> bool:
    return norm.get("track_running_stats") is not False
