"""PyTorch's batch norms behind the factory, and the norm that is none."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bnexp.errors import ConfigError
from bnexp.norms.builtin import batch_norm
from bnexp.norms.none import identity


@pytest.mark.parametrize(
    ("spatial", "kind"),
    [((), nn.BatchNorm1d), ((7,), nn.BatchNorm1d), ((7, 7), nn.BatchNorm2d), ((2, 7, 7), nn.BatchNorm3d)],
)
def test_the_layer_is_torchs_for_that_many_axes(spatial: tuple[int, ...], kind: type[nn.Module]) -> None:
    norm = batch_norm(3, spatial)
    assert type(norm) is kind
    assert norm(torch.randn(4, 3, *spatial)).shape == (4, 3, *spatial)


def test_the_knobs_arrive() -> None:
    norm = batch_norm(3, (), eps=0.5, momentum=None, affine=False, track_running_stats=False)
    assert (norm.eps, norm.momentum, norm.affine, norm.track_running_stats) == (0.5, None, False, False)


@pytest.mark.parametrize(
    ("features", "spatial", "eps"), [(0, (), 1e-5), (3, (), 0.0), (3, (1, 1, 1, 1), 1e-5)]
)
def test_what_torch_cannot_do_is_refused_when_the_network_is_built(
    features: int, spatial: tuple[int, ...], eps: float
) -> None:
    with pytest.raises(ConfigError, match="got"):
        batch_norm(features, spatial, eps=eps)


def test_no_norm_passes_its_input_through() -> None:
    x = torch.randn(1, 3)
    assert identity(3, ())(x) is x
