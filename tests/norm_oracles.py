"""The oracle of every norm under conf/norm, by the name of its YAML: numpy, float64, and nothing of bnexp's.

A norm carries its own formula, which `bnexp check` compares its layer with. Whoever writes both may read a
paper wrongly twice; what stands here is the second reading, by `oracles` and `example_norm_oracles`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import example_norm_oracles as example
import numpy as np
import oracles
from oracles import Array

Arrays = Mapping[str, Array]


@dataclass(frozen=True)
class Case:
    """What decides a norm's output; state holds parameters and buffers by name, noise what a layer has drawn.

    done: the share of the run that lies behind, for norms with a schedule.
    """

    x: Array
    state: Arrays
    knobs: Mapping[str, Any]
    training: bool
    noise: tuple[Array, ...] = ()
    done: float = 0.0

    def named(self, *names: str) -> list[Array]:
        """Return parts of the state; a weight that is not there is 1, a bias 0."""
        absent = {"weight": np.ones(self.x.shape[1:2]), "bias": np.zeros(self.x.shape[1:2])}
        return [self.state[name] if name in self.state else absent[name] for name in names]


@dataclass(frozen=True)
class Oracle:
    """y of a case; running statistics after batches from mean 0 and variance 1, for a momentum, by knobs."""

    output: Callable[[Case], Array]
    averages: Callable[[Sequence[Array], Mapping[str, Any]], Arrays] | None = None


def batch(case: Case) -> Array:
    if not case.training and "running_mean" in case.state:
        return by_averages(case)
    return oracles.batch_norm(case.x, *case.named("weight", "bias"), case.knobs["eps"])


def by_averages(case: Case) -> Array:
    given = case.named("running_mean", "running_var", "weight", "bias")
    return oracles.batch_norm_eval(case.x, *given, case.knobs["eps"])


def averages(batches: Sequence[Array], knobs: Mapping[str, Any]) -> Arrays:
    biased = knobs.get("running_var") == "biased"
    mean, var = oracles.running_statistics(batches, knobs["momentum"], biased=biased)
    return {"running_mean": mean, "running_var": var}


def renorm(case: Case) -> Array:
    if not case.training:
        return by_averages(case)
    mean, var, weight, bias = case.named("running_mean", "running_var", "weight", "bias")
    eps, k = case.knobs["eps"], case.knobs
    grown = [
        np.interp(case.done, [k["plain_frac"], k[full]], [0.0, 1.0])
        for full in ("r_full_frac", "d_full_frac")
    ]
    limits = 1 + float(grown[0]) * (k["r_max"] - 1), float(grown[1]) * k["d_max"]
    y, _, _ = oracles.batch_renorm(case.x, weight, bias, (mean, np.sqrt(var + eps)), eps, limits)
    return y


def averaged_deviations(batches: Sequence[Array], knobs: Mapping[str, Any]) -> Arrays:
    stds = oracles.running_std(batches, knobs["momentum"], knobs["eps"])
    mean, _ = oracles.running_statistics(batches, knobs["momentum"])
    return {"running_mean": mean, "running_var": stds**2 - knobs["eps"]}


def noisy(case: Case) -> Array:
    y = batch(case)
    if case.training:
        for n, c in np.ndindex(y.shape[:2]):
            y[n, c] = case.noise[0][n, c] * y[n, c] + case.noise[1][n, c]
    return y


def groups(channels: int, spatial: tuple[int, ...], asked: object) -> int:
    """Return the largest divisor up to 32 that leaves a group 2 channels, 8 of a single value each, or 1."""
    if isinstance(asked, int):
        return asked
    for number in range(min(32, channels), 1, -1):
        enough = channels // number >= (8 if math.prod(spatial) == 1 else 2)
        if channels % number == 0 and enough:
            return number
    return 1


def group(case: Case, asked: object = None) -> Array:
    asked = case.knobs["num_groups"] if asked is None else asked
    number = groups(case.x.shape[1], case.x.shape[2:], asked)
    return oracles.group_norm(case.x, number, *case.named("weight", "bias"), case.knobs["eps"])


def layer(case: Case) -> Array:
    return example.layer(case.x, *case.named("weight", "bias"), case.knobs["eps"])


def layer_pixel(case: Case) -> Array:
    return example.layer_pixel(case.x, *case.named("weight", "bias"), case.knobs["eps"])


def instance(case: Case) -> Array:
    if math.prod(case.x.shape[2:]) == 1:
        return layer(case)
    return example.instance(case.x, *case.named("weight", "bias"), case.knobs["eps"])


def rms(case: Case) -> Array:
    return example.rms(case.x, *case.named("weight"), case.knobs["eps"])


def frn(case: Case) -> Array:
    eps = case.knobs["eps"] + abs(float(case.state.get("learned_eps", 0.0)))
    return example.frn(case.x, *case.named("weight", "bias", "tau"), eps)


def evonorm_b0(case: Case) -> Array:
    var = example.batch_vars(case.x) if case.training else case.state["running_var"]
    return example.evonorm_b0(case.x, var, *case.named("weight", "bias", "v"), case.knobs["eps"])


def evonorm_b0_averages(batches: Sequence[Array], knobs: Mapping[str, Any]) -> Arrays:
    return {"running_var": averages(batches, knobs)["running_var"]}


def evonorm_s0(case: Case) -> Array:
    number = groups(case.x.shape[1], case.x.shape[2:], case.knobs["num_groups"])
    return example.evonorm_s0(case.x, number, *case.named("weight", "bias", "v"), case.knobs["eps"])


ORACLES = {
    "custom": Oracle(batch, averages),
    "builtin": Oracle(batch, averages),
    "sync": Oracle(batch, averages),
    "sync_builtin": Oracle(batch, averages),
    "renorm": Oracle(renorm, averaged_deviations),
    "running": Oracle(by_averages, averages),
    "noisy": Oracle(noisy, averages),
    "frozen": Oracle(by_averages),
    "group": Oracle(group),
    "layer": Oracle(layer),
    "layer_group": Oracle(lambda case: group(case, asked=1)),
    "layer_pixel": Oracle(layer_pixel),
    "instance": Oracle(instance),
    "rms": Oracle(rms),
    "frn": Oracle(frn),
    "evonorm_b0": Oracle(evonorm_b0, evonorm_b0_averages),
    "evonorm_s0": Oracle(evonorm_s0),
    "none": Oracle(lambda case: case.x),
}
