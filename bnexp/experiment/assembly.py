"""A checked configuration becomes the parts of a run; `bnexp.experiment.pieces` makes each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch

from bnexp import config as schema
from bnexp.config import TrainConfig
from bnexp.data.batches import EvalBatches, Pixels, TrainBatches
from bnexp.data.splits import Splits
from bnexp.engine.device import choose
from bnexp.engine.learner import Learner
from bnexp.evaluation import three_way
from bnexp.experiment import pieces
from bnexp.experiment.attempts import Attempts
from bnexp.experiment.weights import load_weights, locate
from bnexp.models.part_names import norm_places
from bnexp.norms.modifiers.freeze import freeze_notes
from bnexp.norms.modifiers.guard import guard_notes
from bnexp.preflight.course import Course
from bnexp.preflight.sites import NormSite, substitutes
from bnexp.preflight.warnings import Prospect, warnings
from bnexp.protocols import Probe, Split
from bnexp.telemetry import probes as telemetry

TRAIN_EVAL_EXAMPLES = 10_000  # measuring more of the training split would tell little and cost an epoch


@dataclass(frozen=True)
class Parts:
    """Everything that one run trains and measures with."""

    device: torch.device
    splits: Splits
    pixels: Pixels
    learner: Learner
    schedule: Callable[[int], float]
    total_steps: int
    batches: TrainBatches
    train_eval: EvalBatches
    val: EvalBatches | None
    test: EvalBatches
    sites: list[NormSite]
    course: Course
    weights: Path | None
    notes: list[str]
    warnings: list[str]

    @property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.learner.model.parameters())

    @property
    def total_examples(self) -> int:
        return self.batches.epoch.examples_in(self.total_steps)


def build(config: TrainConfig, known_problems: Sequence[str] = (), broken: Collection[str] = ()) -> Parts:
    """Build every part of the run that `config` describes.

    Args:
        known_problems: what is already known to be wrong; the parts are then tried, without downloading data
            for that, and nothing is returned.
        broken: the groups whose node cannot be built.
    Raises:
        ConfigError, DataError, CheckpointError: a part cannot be built; several mistakes are told together.
    """
    attempt = Attempts(known_problems)
    network_groups = {"norm", "head_norm", "model", "init"}
    device = attempt(choose, config.device)
    make_optimizer = None if "optimizer" in broken else pieces.make(config.optimizer)
    make_schedule = None if "schedule" in broken else pieces.make(config.schedule)
    attempt(pieces.try_optimizer, make_optimizer)
    read = pieces.dataset_at_hand if attempt.failed else pieces.dataset
    dataset = None if "data" in broken else attempt(read, config)
    splits = attempt(pieces.splits_of, config, dataset)
    model = None if network_groups & {*broken} else attempt(pieces.network, config, dataset)
    sound = None if schema.problems(config) else True
    batches = attempt(pieces.train_batches, config, splits, device, sound)
    total_steps = attempt(pieces.total_steps, config, batches)
    schedule = attempt(pieces.schedule_of, make_schedule, total_steps)
    attempt(pieces.tell_length, model, total_steps, batches)
    attempt(pieces.check_last_lr, config, schedule, total_steps)
    freeze = attempt(pieces.freezing, config, model, total_steps)
    sites = attempt(pieces.checked_sites, model, dataset, batches)
    weights = attempt(locate, config.weights, Path(config.runs_dir))
    notes = (attempt(pieces.notes, model, config) or []) + (attempt(load_weights, model, weights) or [])
    attempt.finish()
    assert device and dataset and splits and model and batches and total_steps and schedule and make_optimizer
    assert sites is not None
    notes += guard_notes(model, config.guard) + (freeze_notes(freeze, total_steps) if freeze else [])
    model.to(device)
    optimizer = pieces.optimizer_of(make_optimizer, model)
    planned = pieces.course_of(batches, total_steps, freeze)
    inputs = batches.group(0)[0].inputs
    found = warnings(Prospect(config, model, sites, planned, optimizer, inputs))
    pixels, held = batches.pixels, partial(pieces.held_out, config, device, batches.pixels)
    return Parts(
        device=device,
        splits=splits,
        pixels=pixels,
        learner=pieces.learner(config, model, optimizer, device, freeze),
        schedule=schedule,
        total_steps=total_steps,
        batches=batches,
        train_eval=held(pieces.sample(splits.train, TRAIN_EVAL_EXAMPLES, config.seed)),
        val=held(splits.val) if splits.val is not None else None,
        test=held(splits.test),
        sites=sites,
        course=planned,
        weights=weights,
        notes=[*dataset.notes, *splits.notes, *substitutes(sites), *notes],
        warnings=[*dataset.warnings, *found],
    )


def compared_examples(config: TrainConfig, parts: Parts, held: Split, samples: int) -> three_way.Examples:
    """Return what the three kinds of statistics are compared on; see `three_way.examples`."""
    return three_way.examples(
        parts.splits.train,
        held,
        samples,
        seed=config.seed,
        batch_size=config.batch_size,
        eval_batch_size=config.eval_batch_size,
        batches=partial(
            EvalBatches, device=parts.device, pixels=parts.pixels, channels_last=config.channels_last
        ),
    )


def probes(config: TrainConfig, parts: Parts) -> tuple[list[Probe], list[str]]:
    """Return what looks into the network of `parts` while it trains, and notes on what is left out.

    Raises:
        ConfigError: telemetry names layers or channels that the network does not have.
    """
    knobs = asdict(config.telemetry)
    del knobs["three_way_every"]  # a matter of evaluation, not of a step
    model = parts.learner.model
    return telemetry.probes(
        model,
        norm_places(model),
        total_steps=parts.total_steps,
        autocast=parts.learner.precision.autocast,
        compiled=config.compile,
        **knobs,
    )
