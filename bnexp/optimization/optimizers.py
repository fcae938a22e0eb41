"""Optimizers: torch's, built from a network, with or without weight decay on norms and biases.

torch decays every parameter alike. Decay of a norm's weight and bias, and of biases, changes what is studied:
`decay_norm=False` puts them in a parameter group of their own without decay. A norm's parameters are all that
it holds, whatever their shape.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from bnexp.choices import misfits
from bnexp.knobs import Range, refuse


def sgd(
    model: nn.Module,
    norms: Mapping[str, nn.Module],
    *,
    lr: float = 0.05,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    decay_norm: bool = True,
) -> Optimizer:
    """Return stochastic gradient descent: v = momentum v + g, w = w - lr v, with g + weight_decay w for g.

    Args:
        norms: the network's norms by qualified name.
        momentum: weight of the old velocity, in [0, 1).
        nesterov: step along g + momentum v.
        decay_norm: False spares norms and biases the decay.
    Raises:
        ConfigError: a negative lr or weight_decay, momentum outside [0, 1), nesterov without momentum.
    Source: torch.optim.SGD.
    """
    problems = misfits("optimizer", lr=lr, weight_decay=weight_decay, momentum=momentum)
    if nesterov and not momentum:
        problems.append("optimizer.nesterov=true needs optimizer.momentum above 0, got 0")
    refuse(problems)
    groups = parameter_groups(model, norms.values(), weight_decay, decay_norm)
    return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov)


def adam(
    model: nn.Module,
    norms: Mapping[str, nn.Module],
    *,
    lr: float = 1e-3,
    betas: Sequence[float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decay_norm: bool = True,
) -> Optimizer:
    """Return Adam; its weight decay is added to the gradient, and so scaled by the adaptive step.

    Args:
        norms: the network's norms by qualified name.
        betas: weights of the old first and second moments, each in [0, 1).
        eps: added to the root of the second moment.
        decay_norm: False spares norms and biases the decay.
    Raises:
        ConfigError: a negative lr, eps or weight_decay, or betas that are not two numbers in [0, 1).
    Source: Kingma & Ba 2015, arXiv:1412.6980, Alg. 1; torch.optim.Adam.
    """
    _check_adam(lr, betas, eps, weight_decay)
    groups = parameter_groups(model, norms.values(), weight_decay, decay_norm)
    return torch.optim.Adam(groups, lr=lr, betas=(betas[0], betas[1]), eps=eps)


def adamw(
    model: nn.Module,
    norms: Mapping[str, nn.Module],
    *,
    lr: float = 1e-3,
    betas: Sequence[float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.01,
    decay_norm: bool = True,
) -> Optimizer:
    """Return Adam with decoupled decay: w = (1 - lr weight_decay) w before the step.

    Args and errors: as `adam`.
    Source: Loshchilov & Hutter 2019, arXiv:1711.05101, Alg. 2; torch.optim.AdamW.
    """
    _check_adam(lr, betas, eps, weight_decay)
    groups = parameter_groups(model, norms.values(), weight_decay, decay_norm)
    return torch.optim.AdamW(groups, lr=lr, betas=(betas[0], betas[1]), eps=eps)


def parameter_groups(
    model: nn.Module, norms: Iterable[nn.Module], weight_decay: float, decay_norm: bool
) -> list[dict[str, Any]]:
    """Return one group of all parameters, or with `decay_norm` false those with and those without decay."""
    if decay_norm:
        return [{"name": "all", "params": list(model.parameters()), "weight_decay": weight_decay}]
    of_norms = {parameter for norm in norms for parameter in norm.parameters()}
    decayed: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        is_bias = name.rpartition(".")[2] == "bias"
        (spared if is_bias or parameter in of_norms else decayed).append(parameter)
    return [
        {"name": "decayed", "params": decayed, "weight_decay": weight_decay},
        {"name": "norms_and_biases", "params": spared, "weight_decay": 0.0},
    ]


def _check_adam(lr: float, betas: Sequence[float], eps: float, weight_decay: float) -> None:
    problems = misfits("optimizer", lr=lr, weight_decay=weight_decay, eps=eps, betas=betas)
    if not isinstance(betas, (list, tuple)) or len(betas) != 2:
        problems.append(f"optimizer.betas must be two numbers, got {betas!r}")
    refuse(problems)
    refuse(Range(0).problems("optimizer.lr / (1 - optimizer.betas[0])", lr / (1 - betas[0])))
