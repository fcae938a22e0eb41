"""All probes together in the training loop: their tags, what they leave alone, what they never do."""

import json
import math
from contextlib import ExitStack

import pytest
import torch
import watched
from torch.utils._python_dispatch import TorchDispatchMode

from bnexp.engine.checkpoint import TrainState
from bnexp.engine.device import Precision
from bnexp.engine.fit import Fit, Plan, fit
from bnexp.engine.learner import Learner
from bnexp.errors import ConfigError
from bnexp.models.part_names import norm_places
from bnexp.telemetry.event_file import EventFile
from bnexp.telemetry.intervals import histogram_bytes
from bnexp.telemetry.jsonl import MetricsFile
from bnexp.telemetry.probes import probes
from bnexp.telemetry.run_writer import RunWriter

KNOBS = {
    "total_steps": 100,
    "scalars_every": 1,
    "histograms_every": 2,
    "layers": ["*"],
    "channels": [0, 1, 2],
    "max_megabytes": 50,
}
READS = {
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.equal.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.masked_select.default,
    torch.ops.aten.is_nonzero.default,
}


class NoHostReads(TorchDispatchMode):
    """Fails where a value, or the shape of a result, has to come to the host."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func not in READS, f"{func} waits for the device"
        out = func(*args, **(kwargs or {}))
        assert not (func is torch.ops.aten._to_copy.default and (kwargs or {}).get("device")), "a transfer"
        return out


class Batches:
    steps_per_epoch = 100

    def group(self, step):
        return [watched.images(seed=2 * step), watched.images(seed=2 * step + 1)]


class Silent:
    def note(self, line): ...
    def start(self, examples): ...
    def advance(self, examples, loss, latest): ...
    def epoch(self, epoch, latest): ...


class NothingSaved:
    def save_last(self, learner, state, files): ...


def train(folder, *, steps=4, norm="custom", dies_at=None, **knobs):
    """Train a LeNet under probes; return its learner."""
    model = watched.network(norm=norm)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    precision = Precision("float32", torch.device("cpu"))
    learner = Learner(model, optimizer, precision.scaler(), precision, {})
    found, _ = probes(model, norm_places(model), **KNOBS | knobs)
    if dies_at is not None:
        at = iter(range(steps))
        model.dense2.register_forward_pre_hook(lambda *_: 1 / 0 if next(at) == dies_at else None)
    torch.manual_seed(11)
    folder.mkdir(exist_ok=True)
    with RunWriter(MetricsFile(folder / "metrics.jsonl"), EventFile(folder, start=0)) as writer:
        fit(
            Fit(
                learner=learner,
                schedule=lambda step: 1.0,
                batches=Batches(),
                evaluate=None,
                plan=Plan(steps, knobs.get("scalars_every", 1), 20, 10**9, None, loss_on_host=True),
                probes=found,
                writer=writer,
                progress=Silent(),
                checkpoints=NothingSaved(),
                stop=lambda: False,
                state=TrainState(threads=1),
            )
        )
    return learner


def tensors(learner):
    state = learner.state_dict()
    moments = [m["momentum_buffer"] for m in state["optimizer"]["state"].values()]
    gradients = [parameter.grad for parameter in learner.model.parameters()]
    return [*state["model"].values(), *moments, *gradients, torch.get_rng_state()]


@pytest.mark.parametrize("norm", watched.NORMS)
def test_a_run_under_every_probe_ends_with_the_bits_of_a_run_without(tmp_path, norm):
    seen = tensors(train(tmp_path / "seen", norm=norm))
    bare = tensors(train(tmp_path / "bare", norm=norm, scalars_every=None, histograms_every=None))
    assert (tmp_path / "seen" / "metrics.jsonl").stat().st_size > 5_000
    assert all(torch.equal(a, b) for a, b in zip(seen, bare, strict=True))


def test_a_run_that_dies_in_the_middle_leaves_no_hook_and_the_bits_of_one_without_probes(
    tmp_path, monkeypatch
):
    made = []
    monkeypatch.setattr(
        watched, "network", lambda norm, make=watched.network: made.append(make(norm=norm)) or made[-1]
    )
    for name, every in (("seen", 1), ("bare", None)):
        with pytest.raises(ZeroDivisionError):
            train(tmp_path / name, dies_at=3, scalars_every=every, histograms_every=every)
    for model in made:
        assert not any("forward" in vars(module) for module in model.modules())
        assert all(module.training for module in model.modules())
    states = [model.state_dict() for model in made]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def measured(model, batch, **knobs):
    found, _ = probes(model, norm_places(model), **KNOBS | knobs)
    return watched.look(found, model, batch)


@pytest.mark.parametrize(
    ("network", "norm"), [("lenet", "custom"), ("lenet", "builtin"), ("lenet", "none"), ("resnet", "custom")]
)
def test_every_tag_of_the_table_is_there_at_step_0_and_has_one_kind(network, norm):
    model = watched.network(network, norm)
    layers = [name for name, _ in model.named_modules() if name.endswith("norm")]
    tracking = layers if norm != "none" else []
    found = measured(model, watched.images())
    scalars = {"grad_norm"} | {f"nonfinite/{name}" for name, _ in model.named_parameters()}
    for layer in layers:
        scalars |= {f"percentile/{layer}/{side}/{p}" for side in ("in", "out") for p in (15, 50, 85)}
        scalars.add(f"nonfinite/{layer}")
    for layer in tracking:
        for quantity in ("running_mean", "running_var", "batch_mean", "batch_var"):
            scalars |= {f"{quantity}/{layer}/{how}" for how in ("mean", "min", "max")}
            scalars |= {f"{quantity}/{layer}/channel_{c}" for c in range(3)}
        scalars |= {f"running_gap/{layer}/{gap}" for gap in ("mean", "var")}
    histograms = {f"activation/{layer}/{side}" for layer in layers for side in ("in", "out")}
    histograms |= {f"running_{kind}/{layer}" for layer in tracking for kind in ("mean", "var")}
    histograms |= {f"gradient/{name}" for name, _ in model.named_parameters()}
    assert set(found.scalars) == scalars
    assert set(found.histograms) == histograms
    assert not scalars & histograms
    assert all(sum(drawn.counts) > 0 for drawn in found.histograms.values())


def test_the_probes_read_nothing_from_the_device():
    model, batch = watched.network(), watched.images()
    found, _ = probes(model, norm_places(model), **KNOBS)
    with NoHostReads(), ExitStack() as stack:
        for probe in found:
            stack.enter_context(probe.watching(model, batch, 0))
        loss = model(batch.inputs).square().sum()
    loss.backward()
    with NoHostReads():
        readings = [reading for probe in found for reading in probe.measure(model, 0)]
    assert len(readings) >= 6


@pytest.mark.parametrize("read", [torch.Tensor.item, bool, float, torch.nonzero])
def test_the_guard_sees_a_read(read):
    with pytest.raises(AssertionError), NoHostReads():
        read(torch.ones(1))


def test_the_probes_work_where_no_value_can_be_read_at_all():
    model, batch = watched.network().to("meta"), watched.images()
    batch = watched.Batch(batch.inputs.to("meta"), batch.targets.to("meta"))
    found, _ = probes(model, norm_places(model), **KNOBS)
    with ExitStack() as stack:
        for probe in found:
            stack.enter_context(probe.watching(model, batch, 0))
        model(batch.inputs).square().sum().backward()
    readings = [reading for probe in found for reading in probe.measure(model, 0)]
    assert {reading.values.device.type for reading in readings} == {"meta"}


def test_layers_pick_what_is_looked_into():
    found = measured(watched.network(), watched.images(), layers=["conv2"])
    layers = {tag.split("/")[1].split(".")[0] for tag in [*found.scalars, *found.histograms] if "/" in tag}
    assert layers == {"conv2"}


def test_a_run_without_telemetry_is_never_looked_at():
    found, notes = probes(
        *watched.network_and_norms(), **KNOBS | {"scalars_every": None, "histograms_every": None}
    )
    assert not any(probe.due(step) for probe in found for step in range(10))
    assert notes == []


def test_histograms_are_due_less_often_where_they_would_not_fit_and_a_note_says_so():
    model = watched.network()
    tags = measured(model, watched.images()).histograms
    rows = 10
    found, notes = probes(
        model, norm_places(model), **KNOBS | {"max_megabytes": (rows + 0.5) * histogram_bytes(tags) / 1e6}
    )
    due = [step for step in range(KNOBS["total_steps"]) if any(p.due(step) for p in found[2:])]
    assert due == list(range(0, 100, 10))
    assert len(notes) == 1 and "every 10 steps instead of 2" in notes[0]


@pytest.mark.parametrize(
    ("knob", "message"),
    [
        (
            {"layers": ["conv7"]},
            r"telemetry\.layers must match layers of this network, got 'conv7': take conv1,",
        ),
        ({"channels": [0, -1]}, r"telemetry\.channels\[1\] must be at least 0, got -1"),
        ({"max_megabytes": 0}, r"telemetry\.max_megabytes must be above 0 and finite, got 0"),
        ({"max_megabytes": math.nan}, r"telemetry\.max_megabytes must be above 0 and finite, got nan"),
    ],
    ids=str,
)
def test_what_cannot_be_looked_at_is_a_mistake_in_one_line(knob, message):
    with pytest.raises(ConfigError, match=message):
        probes(*watched.network_and_norms(), **KNOBS | knob)


def test_several_mistakes_are_told_together():
    with pytest.raises(ConfigError) as caught:
        probes(
            *watched.network_and_norms(),
            **KNOBS | {"layers": ["conv7"], "channels": [-1, -2], "max_megabytes": -1},
        )
    assert len(caught.value.problems) == 4


def test_a_diverging_network_shows_where_and_crashes_nothing(tmp_path):
    model = watched.network(norm="none")
    with torch.no_grad():
        model.conv2.linear.weight[0] = math.inf
    found = measured(model, watched.images())
    assert found.scalars["nonfinite/conv1.norm"] == 0
    assert found.scalars["nonfinite/conv2.norm"] > 0
    with RunWriter(MetricsFile(tmp_path / "metrics.jsonl"), EventFile(tmp_path, start=0)) as writer:
        writer.write(0, found, epoch=0.0, examples=0)
    row = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert row["nonfinite/conv2.norm"] > 0
