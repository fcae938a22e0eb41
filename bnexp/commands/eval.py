"""`bnexp eval`: a run's network under running, batch and recalibrated statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from bnexp.composition.compose import Composition, restore
from bnexp.composition.eval_words import EvalKnobs, eval_knobs
from bnexp.config import TrainConfig
from bnexp.display import tables
from bnexp.engine.checkpoint import write
from bnexp.engine.tensor_files import read
from bnexp.errors import CheckpointError, ConfigError
from bnexp.evaluation.folding import measure_folding
from bnexp.evaluation.three_way import ThreeWay, compare
from bnexp.evaluation.verdict import verdict
from bnexp.experiment import run as experiment
from bnexp.experiment.assembly import compared_examples
from bnexp.experiment.weights import load_weights
from bnexp.metrics import STATISTICS
from bnexp.runs.directory import RunDirectory, open_run
from bnexp.runs.lookup import find

INITIAL = (
    "the best weights are the initial ones, because no later ones had a lower validation loss by running "
    "statistics; the last ones are evaluated (checkpoint=best takes the others)"
)


def evaluate(reference: str, words: Sequence[str], runs_dir: str, plugins: Sequence[str]) -> int:
    """Measure the run that `reference` names, print what was found and leave eval.json; return the exit code.

    Raises:
        BnexpError: no such run or checkpoint, a word that cannot work, or nothing to fold or to save.
    """
    knobs = eval_knobs(words)
    directory = open_run(find(reference, Path(runs_dir)))
    config = restore(directory.read_config(), plugins)
    which = knobs.checkpoint or _worth_evaluating(directory, config)
    file = _checkpoint(directory, which)
    if knobs.save is not None:
        _check_new(Path(knobs.save))
    with experiment.prepared(Composition(_as_evaluated(config, directory, knobs), [], [])) as ready:
        parts, learner = ready.parts, ready.parts.learner
        load_weights(learner.model, file)
        found: dict[str, Any] = {"checkpoint": which, "step": _step(file)}
        folding = measure_folding(learner.model, parts.test, learner.precision) if knobs.fold else None
        given = compared_examples(config, parts, parts.splits.test, knobs.samples)
        compared = compare(learner.model, given, learner.precision, layer_by_layer=knobs.layer_by_layer)
        if knobs.save is not None:
            _save(Path(knobs.save), compared, {"step": found["step"], **parts.pixels.constants()})
    notes = [INITIAL] if knobs.checkpoint is None and which == "last" else []
    found |= {"split": "test", "examples": len(given.whole), "batch_size": config.batch_size}
    found |= {"samples": len(given.calibration), "layer_by_layer": knobs.layer_by_layer}
    found |= _compared(compared)
    found["fold"] = asdict(folding) if folding is not None else None
    directory.write_evaluation(found)
    tables.how_it_evaluates(Console(), directory, found, notes)
    return 0


def _checkpoint(directory: RunDirectory, which: str) -> Path:
    file = directory.best_file if which == "best" else directory.last_file
    if file.is_file():
        return file
    other = "last" if which == "best" else "best"
    raise CheckpointError(
        f"{directory.path} has no {file.name} to evaluate: take checkpoint={other} or train on with "
        "`bnexp resume`"
    )


def _worth_evaluating(directory: RunDirectory, config: TrainConfig) -> str:
    """Return `best`, but `last` where an earlier version took random weights for the best."""
    if config.weights is not None:
        return "best"
    best, last = directory.best_file, directory.last_file
    trained = best.is_file() and last.is_file() and _step(best) == 0 and _step(last) != 0
    return "last" if trained else "best"


def _check_new(path: Path) -> None:
    if path.exists() or not path.parent.is_dir():
        raise ConfigError(f"save must name a new file in a folder that exists, got {path}")


def _as_evaluated(config: TrainConfig, directory: RunDirectory, knobs: EvalKnobs) -> TrainConfig:
    """Return the run's configuration without what only training needs.

    Compiled code would not show what flows into its layers, fused units would not fold, and the weights that
    training started from may be gone. The threads are those of the run, on which the last bits depend.
    """
    threads = (directory.read_result() or {}).get("threads", config.threads)
    return replace(
        config,
        compile=False,
        fused=False,
        weights=None,
        threads=threads,
        device=knobs.device or config.device,
        data_dir=knobs.data_dir or config.data_dir,
    )


def _step(file: Path) -> int | None:
    content = read(file)
    step: int | None = content.get("step", content.get("state", {}).get("step"))
    return step


def _compared(compared: ThreeWay) -> dict[str, Any]:
    found: dict[str, Any] = {"layers": compared.layers}
    for kind in STATISTICS:
        scores = compared.scores.get(kind)
        found[kind] = scores.metrics if scores else None
    return found | {"verdict": verdict(compared)}


def _save(path: Path, compared: ThreeWay, about: dict[str, Any]) -> None:
    if "recalibrated" not in compared.scores:
        raise ConfigError(f"save={path}: there are no recalibrated statistics to save; leave save out")
    write(path, {"model": compared.network.state_dict(), **about})
