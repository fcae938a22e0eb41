"""Runs that no training made: their numbers are drawn, so a figure's content is known."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from bnexp.protocols import Histogram, Measurement
from bnexp.runs.directory import RunDirectory
from bnexp.runs.distribution import Distribution, distribution
from bnexp.telemetry.event_file import EventFile
from bnexp.telemetry.jsonl import MetricsFile
from bnexp.telemetry.run_writer import RunWriter

METRICS = ("accuracy_test", "loss_test", "accuracy_val")
LAYERS = ("conv1", "dense1")
OURS = "batch norm (ours)"  # what people call norm=custom
TARGETS = {"custom": "bnexp.norms.custom.CustomNorm", "none": "bnexp.norms.none.identity"}
LIMITS = list(0.1 * np.sinh(np.arange(-30.5, 32) / 4))
SMALL_LIMITS = list(2e-7 * np.sinh(0.6 * np.arange(-30.5, 32)))


def config(norm: str = "custom", **changed: Any) -> dict[str, Any]:
    """Return what a run's config.yaml holds, with the keys `a__b` of `changed` in their nodes."""
    node = {"_target_": TARGETS[norm], "_partial_": True}
    if norm == "custom":
        node |= {"eps": 1e-5, "momentum": 0.1}
    whole: dict[str, Any] = {
        "seed": 0,
        "epochs": 5,
        "steps": None,
        "batch_size": 64,
        "momentum": 0.1,
        "eps": 1e-5,
        "placement": "pre",
        "activation": "sigmoid",
        "norm": node,
        "head_norm": dict(node),
        "optimizer": {"_target_": "bnexp.optimization.optimizers.sgd", "lr": 0.05},
        "telemetry": {"scalars_every": 20, "histograms_every": 200},
        "choices": {"norm": norm, "head_norm": norm, "model": "lenet", "data": "digits", "optimizer": "sgd"},
    }
    whole = copy.deepcopy(whole)
    for key, value in changed.items():
        *path, last = key.split("__")
        place = whole
        for part in path:
            place = place[part]
        place[last] = value
    return whole


def histogram(values: Any, limits: Sequence[float] = LIMITS) -> Histogram:
    """Return the counts of `values` between fixed limits, as a probe would."""
    flat = np.asarray(values, dtype=np.float64).ravel()
    place = np.minimum(np.searchsorted(limits, flat, side="left"), len(limits) - 1)
    return Histogram(
        list(map(float, limits)),
        np.bincount(place, minlength=len(limits)).astype(float).tolist(),
        float(flat.min()),
        float(flat.max()),
        float(flat.sum()),
        float((flat**2).sum()),
    )


def distribution_of(values: Any, limits: Sequence[float] = LIMITS) -> Distribution:
    """Return what is read back of the histogram of `values`."""
    found = histogram(values, limits)
    return distribution(
        found.limits,
        found.counts,
        minimum=found.minimum,
        maximum=found.maximum,
        total=found.total,
        sum_squares=found.sum_squares,
    )


def write_run(
    folder: Path,
    rows: Mapping[int, Measurement],
    *,
    config: Mapping[str, Any],
    result: Mapping[str, Any] | None = None,
) -> RunDirectory:
    """Leave a run with `rows` by step, through the writer of real runs."""
    folder.mkdir(parents=True)
    run = RunDirectory(folder)
    run.write_config(yaml.safe_dump(dict(config), sort_keys=False))
    with RunWriter(MetricsFile(run.metrics_file), EventFile(folder, start=0)) as writer:
        for step, row in rows.items():
            writer.write(step, row, epoch=step / 100, examples=64 * step)
    if result is not None:
        run.write_result({"step": max(rows), "epoch": 1.0, "examples": 6400, "seconds": 2.0, **result})
    return run


def leave_run(folder: Path, config: Any, **result: Any) -> RunDirectory:
    """Leave a run that has logged nothing; `result`, where given, is what result.json holds."""
    folder.mkdir(parents=True)
    run = RunDirectory(folder)
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    run.config_file.write_text(yaml.dump(config, Dumper=dumper, sort_keys=False))
    if result:
        tags = {key.replace("_", "/", 1) if key in METRICS else key: value for key, value in result.items()}
        run.result_file.write_text(json.dumps({"status": "finished", "config": config, **tags}))
    return run


def telling_rows(
    norm: str, seed: int = 0, steps: int = 400, layers: Sequence[str] = LAYERS
) -> dict[int, Measurement]:
    """Return the rows of a run in which everything that a figure can show happens."""
    random = np.random.default_rng(seed)
    rows = {step: Measurement(_curves(norm, step, random)) for step in range(0, steps + 1, 10)}
    for step in range(0, steps + 1, 50):
        for depth, layer in enumerate(layers):
            rows[step].update(_activations(norm, f"{layer}.norm", depth, step, random))
    for step, row in rows.items():
        for depth, layer in enumerate(layers):
            row.scalars.update(_scalars(norm, f"{layer}.norm", depth, step, random))
    for depth, layer in enumerate(layers):
        scale = 0.02 * (4.0 ** (depth - len(layers) + 1) if norm == "none" else 0.5)
        draws = scale * random.standard_t(4, 5000)
        rows[0].histograms[f"gradient/{layer}.linear.weight"] = histogram(draws, SMALL_LIMITS)
        rows[0].histograms[f"gradient/{layer}.linear.bias"] = histogram(draws[:50], SMALL_LIMITS)
        if norm != "none":
            rows[0].histograms[f"gradient/{layer}.norm.weight"] = histogram(draws[:50], SMALL_LIMITS)
    return rows


def _curves(norm: str, step: int, random: np.random.Generator) -> dict[str, float]:
    pace = 60 if norm == "custom" else 400
    loss = 0.05 + 2.25 * math.exp(-step / pace)
    found = {"loss/train": loss * math.exp(0.15 * random.standard_normal()), "lr": 0.05, "grad_norm": loss}
    found["accuracy/train"] = float(np.clip(1 - loss / 2.5 + 0.03 * random.standard_normal(), 0, 1))
    if step % 50 == 0:
        found |= {"loss/val": 1.05 * loss + 0.01 * random.random(), "accuracy/val": 0.98 - loss / 2.6}
    return found


def _moments(norm: str, depth: int, step: int) -> tuple[float, float]:
    drift = 1 - math.exp(-step / 120)
    return (
        (0.8 * drift * (-1) ** depth, 0.6 + 0.8 * drift)
        if norm == "custom"
        else (3 * drift, 0.3 + 2.5 * drift)
    )


def _activations(norm: str, layer: str, depth: int, step: int, random: np.random.Generator) -> Measurement:
    mean, std = _moments(norm, depth, step)
    before = mean + std * random.standard_normal(4000)
    before[: step // 50] *= 30
    after = (before - mean) / std if norm == "custom" else before
    found = {f"activation/{layer}/in": histogram(before), f"activation/{layer}/out": histogram(after)}
    if norm == "custom":
        found[f"running_mean/{layer}"] = histogram(mean + 0.3 * random.standard_normal(16))
        found[f"running_var/{layer}"] = histogram(std**2 * random.uniform(0.5, 1.5, 16))
    return Measurement({}, found)


def _scalars(norm: str, layer: str, depth: int, step: int, random: np.random.Generator) -> dict[str, float]:
    mean, std = _moments(norm, depth, step)
    found = {}
    for place, (center, width) in {
        "in": (mean, std),
        "out": (0, 1) if norm == "custom" else (mean, std),
    }.items():
        noise = 0.03 * random.standard_normal()
        found |= {
            f"percentile/{layer}/{place}/{share}": center + (z + noise) * width
            for share, z in ((15, -1.036), (50, 0.0), (85, 1.036))
        }
    found[f"nonfinite/{layer}"] = 0.0
    return found | (_running(layer, mean, std, step, random) if norm == "custom" else {})


def _running(layer: str, mean: float, std: float, step: int, random: np.random.Generator) -> dict[str, float]:
    reached = 1 - 0.9**step
    found = {}
    for kind, value, start in (("mean", mean, 0.0), ("var", std**2, 1.0)):
        center = start + reached * (value - start)
        tag = f"running_{kind}/{layer}"
        found |= {f"{tag}/mean": center, f"{tag}/min": center - 0.4 * std, f"{tag}/max": center + 0.5 * std}
        found |= {f"{tag}/channel_{index}": center + 0.3 * (index - 1) * std for index in range(3)}
    gap = 1.5 * math.exp(-step / 100) + 0.1 * abs(random.standard_normal())
    found |= {f"running_gap/{layer}/mean": gap, f"running_gap/{layer}/var": 2 * gap}
    return found
