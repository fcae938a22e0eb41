"""Norms that have their activation with them, against timm's; eps is given, because the defaults differ.

timm's eps: 1e-5 for FRN and S0, 1e-3 for B0; ours 1e-6 for FRN, as in the paper, and 1e-5 for both EvoNorms.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from example_norm_oracles import draw, stir
from oracles import assert_close
from torch import nn

from bnexp.norms.evonorm import EvoNormB0, EvoNormS0
from bnexp.norms.frn import FilterResponseNorm


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
