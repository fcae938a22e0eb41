"""What a user typed that has no effect on this run."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from bnexp.composition.targets import resolve
from bnexp.config import TrainConfig, ghost_batch
from bnexp.shorthand import NORMS, SHORTHANDS

LACKING = {"momentum": "keeps running statistics", "eps": "has an eps"}


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
    larger = ghost_batch(config.norm_batch, config.batch_size) is None
    if larger and config.norm_batch != config.batch_size:
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
    """Return lines about `momentum`, `eps` and the convention that sets both, where nothing takes them."""
    raw: Any = OmegaConf.to_container(node, resolve=False)
    for norm in NORMS:
        if not _tracks(raw[norm]):
            raw[norm].pop("momentum", None)
    asked = typed | ({"momentum"} if "decay" in typed else set())
    unread = {name: _unread(name, raw) for name in SHORTHANDS}
    found = [f"{name} has no effect: {why}" for name, why in unread.items() if why and name in asked]
    if "convention" in typed and all(why or name in asked for name, why in unread.items()):
        why = (
            "no norm of this run takes its momentum or eps"
            if all(unread.values())
            else "words set what it sets"
        )
        found.append(f"convention has no effect: {why}")
    return found


def _unread(name: str, raw: dict[str, Any]) -> str:
    """Return why nothing in a configuration refers to `${name}`, nothing where something does."""
    if f"${{{name}}}" in str(raw):
        return ""
    own = [norm for norm in NORMS if name in raw[norm]]
    return f"{own[0]}.{name} has a value of its own" if own else f"no norm of this run {LACKING[name]}"


def _tracks(norm: dict[str, Any]) -> bool:
    return norm.get("track_running_stats") is not False
