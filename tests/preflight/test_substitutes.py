"""Layers that stand in for the chosen norm are named, with their places."""

from __future__ import annotations

from torch import nn

from bnexp.models.blocks import Units
from bnexp.models.lenet import LeNet
from bnexp.norms.contract.traits import bind
from bnexp.norms.instance import instance_norm
from bnexp.norms.none import identity
from bnexp.preflight.sites import norm_sites, substitutes

IMAGE = (1, 28, 28)


def lenet(head: object) -> nn.Module:
    units = Units(bind(instance_norm), bind(head), "pre", "relu")
    return LeNet(image_shape=IMAGE, num_classes=10, units=units)


def test_one_line_names_every_place_of_a_stand_in() -> None:
    (line,) = substitutes(norm_sites(lenet(instance_norm), IMAGE))
    assert line.startswith("dense1.norm, dense2.norm: instance normalization has one value per channel here")


def test_nothing_is_said_where_each_norm_is_itself() -> None:
    assert substitutes(norm_sites(lenet(identity), IMAGE)) == []
