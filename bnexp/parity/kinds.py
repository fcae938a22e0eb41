"""What is known of bnexp's own norms without looking into them: formula, closed forms, torch's layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bnexp.parity import closed_forms, oracles
from bnexp.parity.oracles import Given

Knobs = Mapping[str, Any]
Buffers = Callable[[Sequence[Tensor], Mapping[str, Tensor], Knobs], dict[str, Tensor]]
Draw = Callable[[tuple[int, ...], Knobs, torch.dtype, torch.Generator], tuple[Tensor, ...]]
TorchLayer = Callable[[int, tuple[int, ...], Knobs], nn.Module | None]


def _no_layer(num_features: int, spatial: tuple[int, ...], knobs: Knobs) -> None:
    """Torch has no layer of this kind."""


@dataclass(frozen=True)
class Kind:
    """output: the formula. buffers: where the buffers must stand after some batches.

    torch_layer: makes torch's layer with the same knobs, None where it has none. differs_in_training: that
        layer shares the state and evaluation only.
    draw: what the layer draws in a training pass, from a generator in the state of the layer's.
    """

    output: Callable[[Given], Tensor]
    buffers: Buffers | None = None
    torch_layer: TorchLayer = _no_layer
    differs_in_training: bool = False
    draw: Draw | None = None


def _batch_norm(num_features: int, spatial: tuple[int, ...], knobs: Knobs) -> nn.Module | None:
    if knobs.get("running_var", "unbiased") != "unbiased":
        return None
    kind = (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[len(spatial)]
    asked = {name: knobs.get(name, True) for name in ("affine", "track_running_stats")}
    return kind(num_features, eps=knobs["eps"], momentum=knobs["momentum"], **asked)


def _group_norm(num_features: int, spatial: tuple[int, ...], knobs: Knobs) -> nn.Module:
    groups = oracles.groups_of(num_features, math.prod(spatial), knobs.get("num_groups", 1))
    return nn.GroupNorm(groups, num_features, eps=knobs["eps"], affine=knobs["affine"])


def _layer_norm(num_features: int, spatial: tuple[int, ...], knobs: Knobs) -> nn.Module:
    return nn.LayerNorm((num_features, *spatial), eps=knobs["eps"], elementwise_affine=knobs["affine"])


def _dense_layer_norm(num_features: int, spatial: tuple[int, ...], knobs: Knobs) -> nn.Module | None:
    return None if spatial else _layer_norm(num_features, spatial, knobs)


def _dense_rms_norm(num_features: int, spatial: tuple[int, ...], knobs: Knobs) -> nn.Module | None:
    if spatial:
        return None
    return nn.RMSNorm(num_features, eps=knobs["eps"], elementwise_affine=knobs["affine"])


def _instance_norm(num_features: int, spatial: tuple[int, ...], knobs: Knobs) -> nn.Module | None:
    if math.prod(spatial) == 1:
        return _layer_norm(num_features, spatial, knobs)
    kind = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)[len(spatial) - 1]
    return kind(num_features, eps=knobs["eps"], affine=knobs["affine"])


_BATCH = Kind(oracles.batch, closed_forms.batch, _batch_norm)

# by target, so that a YAML of the user's own that names one is checked against it too
KINDS = {
    "bnexp.norms.custom.CustomNorm": _BATCH,
    "bnexp.norms.builtin.batch_norm": _BATCH,
    "bnexp.norms.sync.SyncNorm": _BATCH,
    "bnexp.norms.sync_builtin.SyncBuiltinNorm": _BATCH,
    "bnexp.norms.renorm.BatchRenorm": Kind(oracles.renorm, closed_forms.renorm, _batch_norm, True),
    "bnexp.norms.running.RunningNorm": Kind(oracles.frozen, closed_forms.batch, _batch_norm, True),
    "bnexp.norms.noisy.NoisyNorm": Kind(
        oracles.noisy, closed_forms.batch, _batch_norm, True, oracles.draw_noise
    ),
    "bnexp.norms.frozen.FrozenNorm": Kind(oracles.frozen, closed_forms.unmoved),
    "bnexp.norms.frn.FilterResponseNorm": Kind(oracles.frn, closed_forms.unmoved),
    "bnexp.norms.evonorm.EvoNormB0": Kind(oracles.evonorm_b0, closed_forms.batch),
    "bnexp.norms.evonorm.EvoNormS0": Kind(oracles.evonorm_s0, closed_forms.unmoved),
    "bnexp.norms.none.identity": Kind(oracles.identity, closed_forms.unmoved),
    "bnexp.norms.group.group_norm": Kind(oracles.group, closed_forms.unmoved, _group_norm),
    "bnexp.norms.layer.layer_norm": Kind(oracles.layer, closed_forms.unmoved, _layer_norm),
    "bnexp.norms.layer.layer_group_norm": Kind(oracles.layer_group, closed_forms.unmoved, _group_norm),
    "bnexp.norms.layer.LayerNormPixel": Kind(oracles.layer_pixel, closed_forms.unmoved, _dense_layer_norm),
    "bnexp.norms.rms.RMSNorm": Kind(oracles.rms, closed_forms.unmoved, _dense_rms_norm),
    "bnexp.norms.instance.instance_norm": Kind(oracles.instance, closed_forms.unmoved, _instance_norm),
}
