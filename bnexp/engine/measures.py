"""What is measured on a split, a function a metric: each has the name of its entry in `bnexp.metrics`.

A function gets the logits (N, K), float64, and the classes (N,), int64, of all examples of a split at once,
so that the batches of evaluation leave no trace. It returns one value for each example, (N,), whose mean is
the metric, or the metric itself as a scalar, (). Logits that are not numbers give no number.
"""

from __future__ import annotations

import torch
from torch import Tensor

BINS = 15


def accuracy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return whether the largest logit is that of the class; of equal ones the first counts."""
    return logits.argmax(1) == targets


def top5(logits: Tensor, targets: Tensor) -> Tensor:
    """Return 1 where the class is among the five largest logits, else 0; of equal ones the first count."""
    own = logits.gather(1, targets[:, None])
    classes = torch.arange(logits.shape[1], device=logits.device)
    ahead = (logits > own) | ((logits == own) & (classes < targets[:, None]))
    # without this, a network whose outputs are all not-a-number would be always right: nothing is larger
    return torch.where(logits.isnan().any(1), torch.nan, (ahead.sum(1) < 5).to(logits.dtype))


def nll(logits: Tensor, targets: Tensor) -> Tensor:
    """Return -ln p(class), in nats."""
    return -logits.log_softmax(1).gather(1, targets[:, None]).squeeze(1)


def brier(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the sum over classes k of (p_k - [k is the class])^2, in [0, 2].

    Source: Brier 1950, Monthly Weather Review 78(1), eq. 2, which sums over all classes: with two classes
        twice what is also called by this name.
    """
    probabilities = logits.softmax(1)
    own = probabilities.gather(1, targets[:, None]).squeeze(1)
    return probabilities.square().sum(1) - 2 * own + 1


def ece(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the expected calibration error, a scalar in [0, 1].

    sum over bins of |number of right examples - sum of confidences| / N, where an example's confidence is its
    largest probability and bin m of 15 holds those in ((m - 1) / 15, m / 15]. With few examples it is larger
    than 0 also for a calibrated network.

    Source: Guo et al. 2017, arXiv:1706.04599, eq. 3 and 5.
    """
    confidence = logits.softmax(1).amax(1)
    inner = torch.arange(1, BINS, dtype=logits.dtype, device=logits.device) / BINS
    gaps = (logits.argmax(1) == targets).to(logits.dtype) - confidence
    in_bin = torch.bucketize(confidence, inner)[:, None] == torch.arange(BINS, device=logits.device)
    return (in_bin * gaps[:, None]).sum(0).abs().sum() / len(targets)
