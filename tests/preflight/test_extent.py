"""What a norm measures over, against the papers' sets for every norm, and against autograd."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

from bnexp.choices import conf_dir
from bnexp.composition.targets import resolve
from bnexp.preflight.extent import extent
from bnexp.preflight.sites import NormSite

C, N = 16, 10
BATCH, ALONE = "batch", "16 channels of one example"
# each in a layer without positions and in one of 5 x 4
SETS = {
    **dict.fromkeys(
        ("builtin", "custom", "sync", "sync_builtin", "renorm", "noisy", "running", "evonorm_b0"),
        ((BATCH, N), ("batch x positions", N * 20)),
    ),
    **dict.fromkeys(
        ("group", "evonorm_s0"),
        (("8 channels of one example", 8), ("2 channels x positions of one example", 40)),
    ),
    **dict.fromkeys(("layer", "layer_group"), ((ALONE, C), ("16 channels x positions of one example", 320))),
    **dict.fromkeys(("layer_pixel", "rms"), ((ALONE, C), ("16 channels at one position of one example", C))),
    "instance": ((ALONE, C), ("positions of one example", 20)),
    "frn": (("no other value", None), ("positions of one example", 20)),
    "frozen": (("no other value", None), ("no other value", None)),
    "none": (("-", None), ("-", None)),
}
NORMS = sorted(path.stem for path in (conf_dir() / "norm").glob("*.yaml"))


def made(name: str, spatial: tuple[int, ...]) -> nn.Module:
    knobs: dict[str, Any] = yaml.safe_load((conf_dir() / "norm" / f"{name}.yaml").read_text())
    target = resolve(knobs.pop("_target_"))
    shared = {"${eps}": 1e-5, "${momentum}": 0.1}
    given = {key: shared.get(str(value), value) for key, value in knobs.items() if not key.startswith("_")}
    return target(C, spatial, **given)  # type: ignore[no-any-return]


@pytest.mark.parametrize("spatial", [(), (5, 4)], ids=["dense", "spatial"])
@pytest.mark.parametrize("name", NORMS)
def test_every_norm_measures_over_its_set(name: str, spatial: tuple[int, ...]) -> None:
    site = NormSite("norm", made(name, spatial), C, spatial)
    before = {key: value.clone() for key, value in site.module.state_dict().items()}
    drawn = torch.get_rng_state()
    assert (site.over, site.values(N)) == SETS[name][bool(spatial)]
    assert all(torch.equal(value, before[key]) for key, value in site.module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), drawn)


class Neighbours(nn.Module):
    """A user's norm that says nothing of itself: three channels, all positions, one example."""

    def forward(self, x: Tensor) -> Tensor:
        groups = x.view(len(x), 4, 3, *x.shape[2:])
        spread = groups.square().mean(tuple(range(2, groups.dim())), keepdim=True).sqrt()
        return (groups / spread).view(x.shape)


def test_a_norm_that_says_nothing_of_itself_is_measured_all_the_same() -> None:
    found = extent(Neighbours(), 12, (7,))
    assert found is not None
    assert (found.batch, found.channels, found.positions) == (False, 3, True)
    assert found.count(64, (7,)) == 21 and found.words((7,)) == "3 channels x positions of one example"


@pytest.mark.parametrize("name", ["custom", "group", "layer", "layer_pixel", "instance", "rms"])
def test_the_count_is_that_of_values_with_a_derivative(name: str) -> None:
    """Autograd says it another way: of how many values the derivative of one output is not zero."""
    layer, spatial = made(name, (5, 4)).double().train(), (5, 4)
    x = torch.randn(N, C, *spatial, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(layer(x).flatten()[7], x)
    found = extent(layer, C, spatial)
    assert found is not None and found.count(N, spatial) == math.prod(gradient[gradient != 0].shape)


class Refuses(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise ValueError("batches of 64 only")


def test_a_norm_that_cannot_be_tried_is_unknown() -> None:
    site = NormSite("norm", Refuses(), C, ())
    assert (site.over, site.values(N)) == ("unknown", None)
