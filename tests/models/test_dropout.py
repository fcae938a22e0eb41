"""Dropout and the streams that its masks come from."""

import copy
import math

import norm_stand_ins as norms
import pytest
import torch
from norm_stand_ins import units
from torch import nn

from bnexp.errors import ConfigError
from bnexp.models.dropout import Dropout, seed_noise
from bnexp.models.simple_cnn import SimpleCNN

N = 200_000


def seeded(p=0.5, seed=0):
    layer = Dropout(p)
    seed_noise(layer, seed, "cpu")
    return layer


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_zeros_come_with_probability_p_and_the_rest_is_scaled(p):
    y = seeded(p)(torch.ones(N, dtype=torch.float64))
    zeros = (y == 0).double().mean().item()
    assert abs(zeros - p) < 4 * math.sqrt(p * (1 - p) / N)
    expected = torch.tensor([1 / (1 - p)], dtype=torch.float64)
    torch.testing.assert_close(y[y != 0].unique(), expected, rtol=1e-12, atol=0)


def test_masks_of_two_layers_are_independent():
    model = nn.Sequential(Dropout(0.5), Dropout(0.5))
    seed_noise(model, 0, "cpu")
    one, two = (layer(torch.ones(N)) - 1 for layer in model)
    assert abs((one * two).mean().item()) < 4 / math.sqrt(N)


def test_consecutive_passes_draw_new_masks():
    layer = seeded()
    one, two = (layer(torch.ones(N)) - 1 for _ in range(2))
    assert abs((one * two).mean().item()) < 4 / math.sqrt(N)


def test_evaluation_and_p_zero_change_nothing():
    x = torch.randn(5, 3)
    assert torch.equal(seeded().eval()(x), x)
    assert torch.equal(seeded(0.0)(x), x)


def test_evaluation_draws_nothing():
    layer = seeded()
    before = layer.generator.get_state()
    layer.eval()(torch.ones(9))
    assert torch.equal(layer.generator.get_state(), before)


def test_gradient_is_the_mask_over_the_kept_fraction():
    x = torch.ones(1000, dtype=torch.float64, requires_grad=True)
    y = seeded(0.3)(x)
    y.sum().backward()
    torch.testing.assert_close(x.grad, y.detach(), rtol=0, atol=0)


def test_a_dropped_infinity_is_zero():
    y = seeded()(torch.full((100,), math.inf))
    assert set(y.tolist()) == {0.0, math.inf}


def test_the_input_stays_as_it_is():
    x = torch.ones(100)
    seeded()(x)
    assert torch.equal(x, torch.ones(100))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_float_type_keeps_its_type_and_takes_the_same_mask(dtype):
    y = seeded(0.25)(torch.ones(1000, dtype=dtype))
    assert y.dtype == dtype
    assert torch.equal(y == 0, seeded(0.25)(torch.ones(1000)) == 0)
    assert torch.equal(y[y != 0], torch.full_like(y[y != 0], 1 / 0.75))


def test_memory_format_stays_and_does_not_move_the_mask():
    x = torch.randn(2, 3, 4, 5)
    y = seeded()(x.to(memory_format=torch.channels_last))
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(y, seeded()(x))


def test_noise_depends_on_seed_and_name_alone():
    x = torch.ones(64)
    small = nn.ModuleDict({"a": Dropout(0.5)})
    large = nn.ModuleDict({"first": Dropout(0.5), "a": Dropout(0.5)})
    seed_noise(small, 3, "cpu")
    streams = seed_noise(large, 3, "cpu")
    assert list(streams) == ["first", "a"]
    large["first"](x)
    assert torch.equal(small["a"](x), large["a"](x))
    assert not torch.equal(seeded(seed=3)(x), seeded(seed=4)(x))


def test_global_random_state_neither_matters_nor_moves():
    before = torch.get_rng_state()
    y = seeded()(torch.ones(64))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert torch.equal(seeded()(torch.ones(64)), y)


def test_restored_states_continue_the_noise():
    model = nn.Sequential(Dropout(0.5), Dropout(0.2))
    streams = seed_noise(model, 0, "cpu")
    x = torch.ones(4, 50)
    model(x)
    states = {name: generator.get_state() for name, generator in streams.items()}
    expected = [model(x), model(x)]
    again = nn.Sequential(Dropout(0.5), Dropout(0.2))
    for name, generator in seed_noise(again, 1, "cpu").items():
        generator.set_state(states[name])
    assert all(torch.equal(again(x), y) for y in expected)


def test_a_copy_of_a_network_draws_the_same_noise_on_its_own():
    model = SimpleCNN(image_shape=(1, 16, 16), num_classes=10, units=units(norms.none()))
    assert list(seed_noise(model, 0, "cpu")) == ["conv1.dropout", "conv2.dropout"]
    twin = copy.deepcopy(model)
    x = torch.randn(8, 1, 16, 16)
    assert torch.equal(twin(x), model(x))
    twin(x)
    twin(x)
    reference = SimpleCNN(image_shape=(1, 16, 16), num_classes=10, units=units(norms.none()))
    reference.load_state_dict(model.state_dict())
    seed_noise(reference, 0, "cpu")
    reference(x)
    assert torch.equal(model(x), reference(x))


def test_any_module_with_a_generator_slot_gets_a_stream():
    class Jitter(nn.Module):
        def __init__(self):
            super().__init__()
            self.generator = None

    model = nn.ModuleDict({"norm": Jitter(), "other": nn.ReLU()})
    streams = seed_noise(model, 0, "cpu")
    assert list(streams) == ["norm"]
    assert model["norm"].generator is streams["norm"]


# The compiler itself reads .grad of intermediate values at a graph break.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
def test_a_compiled_network_takes_the_masks_of_its_streams():
    def make():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 6), Dropout(0.5), nn.ReLU())
        seed_noise(model, 0, "cpu")
        return model

    x = torch.randn(4, 6)
    eager, compiled = make(), torch.compile(make(), backend="eager")
    for _ in range(3):
        assert torch.equal(eager(x), compiled(x))
    assert torch.equal(eager.eval()(x), compiled.eval()(x))


@pytest.mark.parametrize("p", [1, 1.0, -0.1, math.nan, "half", None, True])
def test_impossible_probabilities_are_refused(p):
    with pytest.raises(ConfigError, match=r"^dropout must lie in \[0, 1\), got "):
        Dropout(p)
