"""Norms that have their activation with them, against timm's; eps is given, because the defaults differ.

timm's eps: 1e-5 for FRN and S0, 1e-3 for B0; ours 1e-6 for FRN, as in the paper, and 1e-5 for both EvoNorms.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from example_norm_oracles import draw, stir
from oracles import assert_close
from torch import nn

from bnexp.models.blocks import Units
from bnexp.models.resnet import ResNet
from bnexp.norms.contract.traits import bind
from bnexp.norms.evonorm import EvoNormB0, EvoNormS0
from bnexp.norms.frn import FilterResponseNorm
from bnexp.norms.layer import LayerNormPixel
from bnexp.norms.rms import RMSNorm


@pytest.fixture(params=["frn", "evonorm_b0", "evonorm_s0"])
def pair(request: pytest.FixtureRequest) -> tuple[nn.Module, nn.Module]:
    """Return ours and timm's float64 layer for 6 channels of 5 x 4, ours with timm's values."""
    timm = pytest.importorskip("timm.layers")
    eps = 0.01
    makers: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module]]] = {
        "frn": (
            lambda: FilterResponseNorm(6, (5, 4), eps=eps),
            lambda: timm.FilterResponseNormTlu2d(6, eps=eps),
        ),
        "evonorm_b0": (
            lambda: EvoNormB0(6, (5, 4), eps=eps, momentum=0.3),
            lambda: timm.EvoNorm2dB0(6, eps=eps, momentum=0.3),
        ),
        "evonorm_s0": (
            lambda: EvoNormS0(6, (5, 4), eps=eps, num_groups=3),
            lambda: timm.EvoNorm2dS0(6, eps=eps, groups=3),
        ),
    }
    ours, theirs = (make() for make in makers[request.param])
    theirs = stir(theirs)
    if request.param == "frn":  # a threshold amid the outputs
        theirs.tau.data.copy_(theirs.bias + 0.4 * theirs.weight)
    missing, unexpected = ours.double().load_state_dict(theirs.state_dict(), strict=False)
    assert (set(missing) - {"num_batches_tracked"}, unexpected) == (set(), [])
    return ours, theirs


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_values_gradients_and_buffers_agree(pair: tuple[nn.Module, nn.Module], training: bool) -> None:
    # timm computes moments in float32 whatever x is: the tolerances are float32's
    results = []
    for norm in pair:
        x = draw((3, 6, 5, 4)).float().requires_grad_()
        norm.float().train(training)
        y = norm(x)
        y.backward(draw((3, 6, 5, 4), 1).float())
        gradients = [norm.get_parameter(name).grad for name, _ in pair[1].named_parameters()]
        results.append(
            [y, x.grad, *gradients, *(norm.get_buffer(name) for name, _ in pair[1].named_buffers())]
        )
    for ours, theirs in zip(*results, strict=True):
        assert_close(ours, theirs, rtol=1e-5, atol=2e-6)
    assert len(results[0]) >= 5
    assert results[0][0].unique().numel() > 150, "most of the 360 values are a threshold"


TWINS: dict[str, tuple[Any, Callable[[Any, Any], nn.Module]]] = {
    "frn": (
        FilterResponseNorm,
        lambda timm, own: timm.FilterResponseNormTlu2d(own.num_features, eps=own.eps),
    ),
    "evonorm_b0": (EvoNormB0, lambda timm, own: timm.EvoNorm2dB0(own.num_features, eps=own.eps)),
    "evonorm_s0": (
        EvoNormS0,
        lambda timm, own: timm.EvoNorm2dS0(own.num_features, groups=own.num_groups, eps=own.eps),
    ),
    "layer_pixel": (LayerNormPixel, lambda timm, own: timm.LayerNorm2d(*own.normalized_shape, eps=own.eps)),
    "rms": (RMSNorm, lambda timm, own: timm.RmsNorm2d(*own.normalized_shape, eps=own.eps)),
}


@pytest.mark.parametrize("name", TWINS)
def test_a_network_trains_as_it_does_with_timms_layers(name: str) -> None:
    """Five steps of SGD from the same weights, in float32: rounding grows from step to step."""
    timm, (make, twin) = pytest.importorskip("timm.layers"), TWINS[name]
    units = Units(bind(partial(make)), bind(partial(make)), "pre", "relu")
    losses: list[list[float]] = []
    for theirs in (False, True):
        torch.manual_seed(0)
        model = ResNet(image_shape=(1, 16, 16), num_classes=10, units=units, depth=8, width=8)
        for unit in [unit for unit in model.modules() if theirs and hasattr(unit, "norm")]:
            own = unit.norm
            unit.norm = twin(timm, own)
            unit.norm.load_state_dict(own.state_dict(), strict=False)
        sgd = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        losses.append([])
        for step in range(5):
            loss = F.cross_entropy(model(draw((16, 1, 16, 16), step).float()), torch.arange(16) % 10)
            sgd.zero_grad()
            loss.backward()
            sgd.step()
            losses[-1].append(loss.item())
    assert_close(torch.tensor(losses[0]), torch.tensor(losses[1]), rtol=1e-4, atol=0)
    assert len(set(losses[0])) == 5
