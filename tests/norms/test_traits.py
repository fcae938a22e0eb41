"""How a norm declares its traits, and how they are read from what hydra instantiates."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from functools import partial

import pytest
from torch import nn

from bnexp.errors import ConfigError
from bnexp.norms.builtin import batch_norm
from bnexp.norms.contract.traits import bind, traits
from bnexp.norms.custom import CustomNorm
from bnexp.protocols import NormFactory

Make = Callable[..., nn.Module]


class PlainNorm(nn.Module):
    """A user's norm that knows nothing of traits."""

    def __init__(self, num_features: int, spatial: tuple[int, ...], *, scale: float = 1.0) -> None:
        super().__init__()
        self.size, self.scale = (num_features, *spatial), scale


@traits(replaces_activation=True)
def quiet(num_features: int, spatial: tuple[int, ...]) -> nn.Module:
    return nn.Identity()


def declared(factory: NormFactory) -> tuple[bool, bool, bool]:
    return factory.removes_channel_mean, factory.replaces_activation, factory.batch_statistics


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (PlainNorm, (False, False, False)),
        (quiet, (False, True, False)),
        (CustomNorm, (True, False, True)),
        (batch_norm, (True, False, True)),
    ],
)
@pytest.mark.parametrize("wrap", [partial, lambda target: target], ids=["partial", "bare"])
def test_traits_are_read_and_default_to_no(
    target: Make, expected: tuple[bool, bool, bool], wrap: Callable[[Make], Make]
) -> None:
    assert declared(bind(wrap(target))) == expected


def test_a_bound_norm_makes_layers_with_its_knobs() -> None:
    norm = bind(partial(PlainNorm, scale=3.0))(4, (2, 2))
    assert (norm.size, norm.scale) == ((4, 2, 2), 3.0)


def test_each_call_makes_a_layer_of_its_own() -> None:
    make = bind(partial(CustomNorm, eps=0.1))
    assert make(3, ()) is not make(3, ())


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda factory: pickle.loads(pickle.dumps(factory))])
def test_a_bound_norm_can_be_copied(copied: Callable[[NormFactory], NormFactory]) -> None:
    assert declared(copied(bind(partial(batch_norm, eps=0.1)))) == (True, False, True)


@pytest.mark.parametrize("made", [PlainNorm(3, ()), {"eps": 0.1}])
def test_a_norm_without_partial_is_refused(made: object) -> None:
    with pytest.raises(ConfigError, match="write `_partial_: true`"):
        bind(made)
