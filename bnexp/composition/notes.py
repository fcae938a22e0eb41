"""What a user typed that has no effect on this run."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from bnexp.composition.targets import resolve
from bnexp.config import TrainConfig


def notes(node: DictConfig, config: TrainConfig, typed: set[str]) -> list[str]:
    """Return a line for each typed knob that nothing in this run reads."""
    found = _momentum(node) if typed & {"momentum", "decay"} else []
    norms = {config.choices["norm"], config.choices["head_norm"]}
    if "placement" in typed and config.placement != "preact" and norms == {"none"}:
        found.append("placement has no effect: this run has no norm to place")
    head_typed = any(
        name == "head_norm" or name.startswith(("head_norm.", "norm@head_norm")) for name in typed
    )
    if head_typed and not getattr(resolve(config.model["_target_"]), "has_head_norm", True):
        found.append(f"head_norm has no effect: {config.choices['model']} has no norm in its head")
    return found


def _momentum(node: DictConfig) -> list[str]:
    raw: Any = OmegaConf.to_container(node, resolve=False)
    tracking = [norm for norm in (raw["norm"], raw["head_norm"]) if "momentum" in norm and _tracks(norm)]
    if any(norm["momentum"] == "${momentum}" for norm in tracking):
        return []
    if tracking:
        return ["momentum has no effect: norm.momentum has a value of its own"]
    return ["momentum has no effect: no norm of this run keeps running statistics"]


def _tracks(norm: dict[str, Any]) -> bool:
    return norm.get("track_running_stats") is not False
