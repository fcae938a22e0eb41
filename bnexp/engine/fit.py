"""The training loop.

`step` counts completed updates. A row logged at step t shows the weights after t updates, the batch about to
be used and the buffers before it; an evaluation at step t shows the same weights. Step 0 is always there.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import torch

from bnexp import metrics
from bnexp.engine.checkpoint import Checkpoints, TrainState
from bnexp.engine.clock import Clock
from bnexp.engine.divergence import Divergence, Sentinel
from bnexp.engine.evaluate import batch_metrics
from bnexp.engine.learner import Learner, Passes, cloned
from bnexp.engine.rows import Rows
from bnexp.protocols import Measurement, Probe, Progress, Reading, TrainBatches, Writer
from bnexp.statuses import Status

LATEST = metrics.tags("train", "val")  # what is known of a run that has not ended
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """How long to train and how often to look: steps and epochs, None for never.

    initial_counts: whether the weights before training may be the best: given ones may, random ones may not.
        Running averages that hardly move make these look better than what was trained for an epoch.
    """

    total_steps: int
    scalars_every: int | None
    check_every: int
    checkpoint_every: int
    patience: int | None
    loss_on_host: bool
    initial_counts: bool = False


@dataclass
class Fit:
    """One run in motion: what `fit` works with; `state` is all that it changes besides the learner.

    compare: returns what else to log of the weights at the end of an epoch, given the step.
    """

    learner: Learner
    schedule: Callable[[int], float]
    batches: TrainBatches
    evaluate: Callable[[], dict[str, float]] | None
    plan: Plan
    probes: Sequence[Probe]
    writer: Writer
    progress: Progress
    checkpoints: Checkpoints
    stop: Callable[[], bool]
    state: TrainState
    compare: Callable[[int], dict[str, float]] | None = None

    clock: Clock = field(init=False)
    rows: Rows = field(init=False)

    def __post_init__(self) -> None:
        self.clock = Clock(self.state.seconds, self.state.examples)
        self.rows = Rows(self.writer)

    def epoch(self) -> float:
        return self.state.step / self.batches.steps_per_epoch

    def logs(self, step: int) -> bool:
        return self.plan.scalars_every is not None and step % self.plan.scalars_every == 0

    def log(self, readings: Sequence[Reading], known: Measurement) -> None:
        state = self.state
        self.show(self.rows.add(state.step, readings, known, epoch=self.epoch(), examples=state.examples))

    def flush(self) -> None:
        """Hand all rows so far to the writer."""
        self.show(self.rows.flush())

    def show(self, latest: Measurement) -> None:
        self.state.latest.update({tag: latest.scalars[tag] for tag in LATEST if tag in latest.scalars})


def fit(run: Fit) -> tuple[Status, Divergence | None]:
    """Train until the plan, the patience, a divergence or a person ends it; say which."""
    try:
        return _train(run)
    finally:
        run.flush()  # also what was logged before a crash


def _train(run: Fit) -> tuple[Status, Divergence | None]:
    learner, state, plan = run.learner, run.state, run.plan
    sentinel = Sentinel(learner, plan.check_every, plan.loss_on_host)
    learner.model.train()
    run.progress.start(state.examples)
    if state.step == 0:
        end_epoch(run)

    while not out_of_patience(run) and state.step < plan.total_steps:
        if sentinel.before(state.step):
            return diverged(run, sentinel)

        learner.enter(state.step)
        lr = learner.set_lr(run.schedule(state.step))
        probes = [probe for probe in run.probes if probe.due(state.step)]
        passes = watched_gradients(run, probes)
        if sentinel.observe(passes.loss):
            return diverged(run, sentinel)

        if run.logs(state.step) or probes:
            learner.unscale()
            log_step(run, passes, lr, probes)
        learner.update()
        state.step += 1
        state.examples += passes.num_examples
        run.progress.advance(passes.num_examples, sentinel.loss, state.latest)

        ended = state.step % run.batches.steps_per_epoch == 0 or state.step == plan.total_steps
        if ended or run.stop():
            if sentinel.flagged() or not learner.is_finite():
                return diverged(run, sentinel)
            if ended and not end_epoch(run):
                return diverged(run, sentinel, noticed="the validation loss")
            if run.stop():
                return saved(run, "interrupted")
    log_end(run)
    return saved(run, "stopped_early" if out_of_patience(run) else "finished")


def out_of_patience(run: Fit) -> bool:
    """Whether too many epochs have passed without a better validation loss; also true of a resumed run."""
    return run.plan.patience is not None and run.state.epochs_since_best >= run.plan.patience


def watched_gradients(run: Fit, probes: Sequence[Probe]) -> Passes:
    """Fill the gradients of the coming step while `probes` watch."""
    learner, step = run.learner, run.state.step
    group = run.batches.group(step)
    with ExitStack() as watching:
        for probe in probes:
            watching.enter_context(probe.watching(learner.model, group[0], step))
        return learner.compute_gradients(group)


def log_end(run: Fit) -> None:
    """Log the state after the last update, as seen by the batch that would have come next.

    Its passes move buffers, gradients and random streams, all of which is taken back.
    """
    learner, step = run.learner, run.state.step
    for probe in run.probes:
        probe.end(step)
    probes = [probe for probe in run.probes if probe.due(step)]
    if not probes and run.plan.scalars_every is None:
        return
    parameters = list(learner.model.parameters())
    devices = {parameter.device.index for parameter in parameters if parameter.device.type == "cuda"}
    with run.clock.paused(), torch.random.fork_rng(devices):
        before, gradients = cloned(learner.state_dict()), [parameter.grad for parameter in parameters]
        learner.enter(step)
        passes = watched_gradients(run, probes)
        learner.unscale()
        readings = [reading for probe in probes for reading in probe.measure(learner.model, step)]
        if run.plan.scalars_every is not None:
            readings.append(batch_metrics(passes))
        run.log(readings, Measurement())
        run.flush()
        learner.load_state_dict(before)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient


def log_step(run: Fit, passes: Passes, lr: float, probes: Sequence[Probe]) -> None:
    """Log what the due probes saw, with the training scalars when those are due too."""
    step, model = run.state.step, run.learner.model
    readings = [reading for probe in probes for reading in probe.measure(model, step)]
    known = Measurement()
    if run.logs(step):
        readings.append(batch_metrics(passes))
        rate = run.clock.rate(run.state.examples + passes.num_examples)
        known.scalars.update({"lr": lr, "examples_per_second": rate})
    run.log(readings, known)


def end_epoch(run: Fit) -> bool:
    """Evaluate on the validation split, keep the best weights, save what is due.

    Returns whether the validation loss is finite; where it is not, nothing is saved.
    """
    state = run.state
    with run.clock.paused():
        found = {f"{name}/val": value for name, value in run.evaluate().items()} if run.evaluate else {}
        if found:
            run.log([], Measurement(found))
        tell_epoch(run)
        if found:
            if state.step > 0 and not math.isfinite(found["loss/val"]):
                return False
            judge(run, found["loss/val"])
        if run.compare is not None:
            run.log([], Measurement(run.compare(state.step)))
        epochs, partial = divmod(state.step, run.batches.steps_per_epoch)
        if not partial and epochs % run.plan.checkpoint_every == 0:
            save(run)
    return True


def tell_epoch(run: Fit) -> None:
    """Say in a line, also in the log, how far the run is and what was measured last."""
    run.flush()
    epochs = run.plan.total_steps / run.batches.steps_per_epoch
    line = f"epoch {run.epoch():g}/{epochs:g}: {metrics.brief(run.state.latest)}"
    log.info("%s", line)
    run.progress.epoch(run.epoch(), line)


def judge(run: Fit, loss: float) -> None:
    """Keep the weights if `loss` is the lowest validation loss so far; non-finite is never best.

    What no training has touched takes no part; see `Plan`.
    """
    state = run.state
    if state.step == 0 and not run.plan.initial_counts:
        return
    if math.isfinite(loss) and (state.best_loss is None or loss < state.best_loss):
        state.best_loss, state.best_step, state.epochs_since_best = loss, state.step, 0
        run.checkpoints.save_best(run.learner, state)
    elif state.step > 0:
        state.epochs_since_best += 1


def save(run: Fit) -> None:
    run.state.seconds = run.clock.seconds
    run.flush()
    run.checkpoints.save_last(run.learner, run.state, run.writer.mark())


def saved(run: Fit, status: Status) -> tuple[Status, Divergence | None]:
    save(run)
    return status, None


def diverged(run: Fit, sentinel: Sentinel, noticed: str | None = None) -> tuple[Status, Divergence | None]:
    """End the run; `noticed` is the origin where training itself stayed finite."""
    step = run.state.step
    run.state.seconds = run.clock.seconds
    found = sentinel.trace(run.batches, run.schedule, step)
    if found.origin is None and noticed is not None:
        found = Divergence(step, step, f"{noticed} at step {step}")
    return "diverged", found
