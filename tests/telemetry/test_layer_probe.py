"""Which passes the observers see, and that looking changes nothing."""

import shutil
from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
import watched
from oracles import assert_close
from torch import nn

from bnexp.models.dropout import Dropout, seed_noise
from bnexp.models.part_names import norm_places
from bnexp.telemetry.intervals import Intervals
from bnexp.telemetry.layer_probe import LayerProbe


class Recorder:
    """Keeps copies of all it is shown."""

    def __init__(self):
        self.inputs, self.outputs = {}, {}

    def begin(self, due):
        self.due = due
        self.inputs.clear()
        self.outputs.clear()

    def enter(self, layer, x):
        assert layer not in self.inputs
        assert not x.requires_grad
        self.inputs[layer] = x.clone()

    def leave(self, layer, y):
        assert layer not in self.outputs
        assert not y.requires_grad
        self.outputs[layer] = y.clone()

    def readings(self):
        return []


def recording(model, intervals=None):
    recorder = Recorder()
    return LayerProbe(norm_places(model), [recorder], intervals or Intervals(1, 1)), recorder


def traces(model):
    """Count what hangs on the modules: hooks, and anything else put there besides their parts."""
    hooks = sum(
        len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules()
    )
    return hooks + sum("forward" in vars(m) for m in model.modules())


class Spoiling(nn.Module):
    """An activation that overwrites what it is given."""

    def forward(self, x):
        return x.relu_()


class InPlaceNorm(nn.Module):
    def forward(self, x):
        return x.mul_(2)


def test_every_layer_is_shown_once_with_what_the_network_computed():
    model, batch = watched.network(), watched.images()
    probe, recorder = recording(model)
    watched.look([probe], model, batch)
    assert list(recorder.inputs) == list(recorder.outputs) == list(norm_places(model))
    bare = watched.network()
    assert torch.equal(recorder.inputs["conv1.norm"], bare.conv1.linear(batch.inputs))
    assert torch.equal(recorder.outputs["conv1.norm"], bare.conv1.norm(bare.conv1.linear(batch.inputs)))


def test_values_are_those_before_anything_changes_them_in_place():
    unit = nn.Sequential()
    unit.add_module("norm", InPlaceNorm())
    unit.add_module("activation", Spoiling())
    x = torch.tensor([[-1.0, 2.0]])
    probe, recorder = recording(unit)
    with probe.watching(unit, watched.images(), 0):
        unit(x.clone())
    assert torch.equal(recorder.inputs["norm"], x)
    assert torch.equal(recorder.outputs["norm"], 2 * x)


def test_only_the_first_pass_of_a_step_is_shown():
    first, second = watched.images(seed=1), watched.images(seed=2)
    shown = []
    for batches in ([first], [first, second]):
        model = watched.network()
        probe, recorder = recording(model)
        watched.look([probe], model, *batches)
        shown.append(recorder)
    for name, x in shown[0].inputs.items():
        assert torch.equal(shown[1].inputs[name], x)
        assert torch.equal(shown[1].outputs[name], shown[0].outputs[name])


def test_a_layer_that_is_used_twice_is_shown_once():
    shared = nn.Sequential()
    shared.add_module("norm", nn.BatchNorm1d(3))
    x = torch.randn(4, 3)
    probe, recorder = recording(shared)
    with probe.watching(shared, watched.images(), 0):
        shared(shared(x))
    assert torch.equal(recorder.inputs["norm"], x)


def test_passes_in_evaluation_are_not_shown():
    model, batch = watched.network(), watched.images()
    probe, recorder = recording(model)
    with probe.watching(model, batch, 0):
        model.eval()
        model(watched.images(seed=5).inputs)
        assert not recorder.inputs
        model.train()
        model(batch.inputs)
    assert torch.equal(recorder.inputs["conv1.norm"], model.conv1.linear(batch.inputs))


def test_a_layer_that_is_frozen_within_training_is_shown():
    model, batch = watched.network(), watched.images()
    model.conv1.norm.eval()
    probe, recorder = recording(model)
    watched.look([probe], model, batch)
    assert "conv1.norm" in recorder.outputs


def test_passes_outside_the_step_are_not_shown():
    model = watched.network()
    probe, recorder = recording(model)
    watched.look([probe], model, watched.images())
    seen = recorder.inputs["conv1.norm"]
    model(watched.images(seed=5).inputs)
    assert recorder.inputs["conv1.norm"] is seen
    assert traces(model) == 0


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_nothing_is_left_when_the_step_dies(where):
    model = watched.network()
    probe, _ = recording(model)
    with pytest.raises(RuntimeError, match="dead"):
        with probe.watching(model, watched.images(), 0):
            assert traces(model) == 4
            if where == "backward":
                model(watched.images().inputs)
            raise RuntimeError("dead")
    assert traces(model) == 0


def test_nothing_is_left_when_setting_up_dies():
    model = watched.network()
    probe = LayerProbe(norm_places(model) | {"zz": None}, [Recorder()], Intervals(1, 1))
    with pytest.raises(TypeError), probe.watching(model, watched.images(), 0):
        pass
    assert traces(model) == 0


def test_hooks_and_a_forward_that_were_there_before_stay_and_work():
    model, batch = watched.network(), watched.images()
    called = []
    model.conv1.norm.register_forward_pre_hook(lambda *_: called.append("hook"))
    theirs = model.conv2.norm.forward
    model.conv2.norm.forward = lambda x: called.append("forward") or theirs(x)
    probe, recorder = recording(model)
    watched.look([probe], model, batch)
    model(batch.inputs)
    assert called == ["hook", "forward"] * 2
    assert len(recorder.inputs) == 4 and traces(model) == 2


def test_the_step_after_one_that_died_is_shown_in_full():
    model = watched.network()
    probe, recorder = recording(model)
    with pytest.raises(RuntimeError), probe.watching(model, watched.images(), 0):
        model.conv1(watched.images().inputs)
        raise RuntimeError
    watched.look([probe], model, watched.images(seed=7), step=1)
    assert torch.equal(recorder.inputs["conv1.norm"], model.conv1.linear(watched.images(seed=7).inputs))
    assert len(recorder.inputs) == 4


@pytest.mark.parametrize(
    ("intervals", "due"),
    [
        (
            Intervals(2, 3),
            [(0, True, True), (2, True, False), (3, False, True), (4, True, False), (6, True, True)],
        ),
        (Intervals(None, 4), [(0, False, True), (4, False, True)]),
        (Intervals(3, None), [(0, True, False), (3, True, False), (6, True, False)]),
        (Intervals(None, None), []),
    ],
)
def test_it_is_due_with_scalars_or_histograms_and_says_which(intervals, due):
    model = watched.network()
    probe, recorder = recording(model, intervals)
    found = []
    for step in range(7):
        if probe.due(step):
            with probe.watching(model, watched.images(), step):
                found.append((step, recorder.due.scalars, recorder.due.histograms))
    assert found == due


def test_without_layers_it_is_never_due():
    assert not LayerProbe({}, [Recorder()], Intervals(1, 1)).due(0)


class Noisy(nn.Sequential):
    """A network that draws from torch's stream and from one of its own."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 8)
        self.norm = nn.BatchNorm1d(8)
        self.torchs = nn.Dropout(0.5)
        self.own = Dropout(0.5)
        self.out = nn.Linear(8, 3)


def train(model, probe, steps=3):
    """Return everything that training leaves: weights, buffers, gradients, random streams."""
    torch.manual_seed(5)
    streams = seed_noise(model, 0, "cpu")
    generator = torch.Generator().manual_seed(1)
    for step in range(steps):
        batch = watched.Batch(torch.randn(6, 4, generator=generator), torch.tensor([0, 1, 2] * 2))
        model.zero_grad()
        with probe.watching(model, batch, step) if probe else torch.enable_grad():
            F.cross_entropy(model(batch.inputs), batch.targets).backward()
        if probe:
            probe.measure(model, step)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.1 * parameter.grad
    states = [torch.get_rng_state(), *(stream.get_state() for stream in streams.values())]
    return [*states, *model.state_dict().values(), *(p.grad for p in model.parameters())]


def noisy():
    torch.manual_seed(0)
    return Noisy().train()


def test_looking_leaves_weights_buffers_and_random_streams_bitwise_equal():
    model = noisy()
    probe, recorder = recording(model)
    watched_state, bare_state = train(model, probe), train(noisy(), None)
    assert recorder.inputs
    assert all(torch.equal(a, b) for a, b in zip(watched_state, bare_state, strict=True))
    assert model.training and traces(model) == 0


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor that is not a leaf"
)  # torch.compile's own
@pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("clang++")), reason="no C++ compiler for inductor's code"
)
def test_a_compiled_network_is_shown_and_trained_as_if_nobody_looked():
    torch.compiler.reset()
    bare = noisy()
    bare.compile()
    bare_state = train(bare, None)
    torch.compiler.reset()
    model = noisy()
    model.compile()
    recorder = Recorder()
    probe = LayerProbe(norm_places(model), [recorder], Intervals(1, 1), compiled=True)
    watched_state = train(model, probe)
    assert all(torch.equal(a, b) for a, b in zip(watched_state, bare_state, strict=True))
    assert traces(model) == 0

    eager = noisy()
    probe, eager_recorder = recording(eager)
    train(eager, probe)
    # three updates apart; the compiler's kernels round in another order
    assert_close(recorder.inputs["norm"], eager_recorder.inputs["norm"], rtol=1e-4, atol=1e-5)
    assert_close(recorder.outputs["norm"], eager_recorder.outputs["norm"], rtol=1e-4, atol=1e-5)


def compiled_and_looked_at(autocast):
    model = noisy()
    model.compile(backend="eager")  # the backend does not matter: nothing is compiled until a pass
    recorder = Recorder()
    probe = LayerProbe(norm_places(model), [recorder], Intervals(1, 1), autocast, compiled=True)
    inputs = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    with probe.watching(model, watched.Batch(inputs, torch.zeros(6)), 0):
        pass
    return model, inputs, recorder


def test_a_compiled_network_is_shown_by_a_copy_before_its_pass():
    model, inputs, recorder = compiled_and_looked_at(nullcontext)
    assert torch.equal(recorder.inputs["norm"], model.linear(inputs))
    assert traces(model) == 0


def test_the_copy_moves_no_buffer_and_no_random_stream():
    model = noisy()
    streams, state = torch.get_rng_state(), model.state_dict()
    looked_at, _, _ = compiled_and_looked_at(nullcontext)
    assert torch.equal(torch.get_rng_state(), streams)
    assert all(torch.equal(value, state[name]) for name, value in looked_at.state_dict().items())


def test_the_copy_computes_in_the_number_format_of_training():
    _, _, recorder = compiled_and_looked_at(lambda: torch.autocast("cpu", torch.bfloat16))
    assert recorder.inputs["norm"].dtype is torch.bfloat16
