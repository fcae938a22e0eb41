"""The custom batch norm's parameters and buffers: torch's names, torch's numbers, torch's files."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from batch_norm_checks import batch, layer
from oracles import assert_close
from torch import nn
from torch.nn.functional import mse_loss

from bnexp.norms.custom import CustomNorm

BUILTIN = {2: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}


@pytest.mark.parametrize("ndim", BUILTIN)
@pytest.mark.parametrize("knobs", [{}, {"affine": False}, {"track_running_stats": False}], ids=str)
def test_state_dicts_go_both_ways(ndim: int, knobs: dict[str, bool]) -> None:
    norm, builtin = CustomNorm(3, (), **knobs), BUILTIN[ndim](3, **knobs)
    x = batch((4, 3, 2, 2, 2)[:ndim], dtype=torch.float32)
    norm(x)
    builtin.load_state_dict(norm.state_dict())
    builtin(x)
    norm.load_state_dict(builtin.state_dict())
    assert list(norm.state_dict()) == list(builtin.state_dict())
    for name, value in builtin.state_dict().items():
        assert norm.state_dict()[name].dtype is value.dtype
        assert_close(norm.state_dict()[name], value, rtol=0, atol=0)


def test_a_state_dict_of_version_1_keeps_the_count() -> None:
    network = nn.Sequential(layer())
    network(batch((4, 3)))
    old = {
        name: value for name, value in layer().state_dict(prefix="0.").items() if "num_batches" not in name
    }
    assert "version" not in getattr(old, "_metadata", {})
    network.load_state_dict(old)
    assert network[0].num_batches_tracked == 1


def test_a_state_dict_of_version_2_must_have_the_count() -> None:
    state = layer().state_dict()
    del state["num_batches_tracked"]
    with pytest.raises(RuntimeError, match="num_batches_tracked"):
        layer().load_state_dict(state)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda norm: pickle.loads(pickle.dumps(norm))])
def test_a_copy_shares_nothing_and_computes_the_same(copied: Callable[[CustomNorm], CustomNorm]) -> None:
    norm = layer()
    norm(batch((4, 3)).requires_grad_())
    twin = copied(norm)
    x = batch((4, 3), 5)
    assert_close(twin(x), norm(x), rtol=0, atol=0)
    norm(x)
    assert twin.num_batches_tracked == norm.num_batches_tracked - 1


def test_a_refused_batch_is_not_counted() -> None:
    norm = layer()
    with pytest.raises(ValueError, match="more than 1 value"):
        norm(batch((1, 3)))
    assert norm.num_batches_tracked == 0


def test_the_cumulative_average_goes_on_where_the_count_stands() -> None:
    norm = CustomNorm(3, (), momentum=None).double()
    norm.num_batches_tracked.fill_(3)
    x = batch((5, 3))
    norm(x)
    assert_close(norm.running_mean, x.mean(0) / 4, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "make", [lambda: nn.BatchNorm1d(2), lambda: CustomNorm(2, ())], ids=["torch", "custom"]
)
def test_three_steps_of_the_smallest_network_move_the_buffers_so(make: Callable[[], nn.Module]) -> None:
    """Numbers confirmed by a simulation of torch's CPU generator in numpy, to the four digits given."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 2), make())
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    seen = []
    for _ in range(3):
        inputs, targets = torch.randn(4, 3), torch.randn(4, 2)
        loss = mse_loss(network(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append([*network[1].running_mean.tolist(), *network[1].running_var.tolist()])
    expected = [
        [-0.0157, 0.0569, 0.9225, 0.9255],
        [-0.0148, 0.0958, 0.8974, 0.8430],
        [-0.0081, 0.1104, 0.8524, 0.8366],
    ]
    assert_close(torch.tensor(seen), torch.tensor(expected), rtol=0, atol=5.1e-5)


class _SmallNetwork(nn.Module):
    """A convolution and two dense layers, each with a norm: 12 x 12 images, 5 classes."""

    def __init__(self, norm: Callable[..., nn.Module]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(1, 4, 5),
            norm(4, (8, 8)),
            nn.Sigmoid(),
            nn.Flatten(),
            nn.Linear(256, 16),
            norm(16, ()),
            nn.Sigmoid(),
            nn.Linear(16, 5),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def first_losses(norm: Callable[..., nn.Module], batch_size: int, steps: int = 50) -> torch.Tensor:
    network = _SmallNetwork(norm)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    generator = torch.Generator().manual_seed(1)
    classes = torch.randn(5, 1, 12, 12, generator=generator)
    losses = []
    for _ in range(steps):
        targets = torch.randint(5, (batch_size,), generator=generator)
        images = classes[targets] + torch.randn(batch_size, 1, 12, 12, generator=generator)
        loss = nn.functional.cross_entropy(network(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses)


@pytest.mark.parametrize("batch_size", [8, 64])
def test_training_follows_torchs_layer(batch_size: int) -> None:
    def builtin(num_features: int, spatial: tuple[int, ...]) -> nn.Module:
        return (nn.BatchNorm2d if spatial else nn.BatchNorm1d)(num_features)

    losses = first_losses(CustomNorm, batch_size)
    assert losses[-1] < 0.8 * losses[0]
    assert_close(losses, first_losses(builtin, batch_size), rtol=1e-4, atol=0)
