"""What the layers must compute: slow float64 numpy from the papers' formulas, a loop for each sum.

Nothing here is shared with bnexp: sums are exactly rounded (math.fsum), the backward pass is the paper's
chain of derivatives taken one by one, running statistics are closed forms instead of updates.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor

Array = npt.NDArray[np.float64]


def assert_close(actual: Tensor | Array, oracle: Tensor | Array, *, rtol: float, atol: float) -> None:
    """Fail unless both have one shape and |actual - oracle| <= atol + rtol * |oracle| everywhere."""
    got, wanted = to_array(actual), to_array(oracle)
    assert got.shape == wanted.shape, f"shape {got.shape}, should be {wanted.shape}"
    np.testing.assert_allclose(got, wanted, rtol=rtol, atol=atol, equal_nan=False)


def to_array(values: Tensor | Array) -> Array:
    """Return values as float64, detached."""
    if isinstance(values, Tensor):
        return values.detach().cpu().double().numpy()
    return np.asarray(values, dtype=np.float64)


def moments(values: Array) -> tuple[float, float]:
    """Return the mean and the biased variance of all values, each an exactly rounded sum divided once."""
    flat = [float(value) for value in values.flat]
    mean = math.fsum(flat) / len(flat)
    return mean, math.fsum((value - mean) ** 2 for value in flat) / len(flat)


def batch_norm(x: Array, weight: Array, bias: Array, eps: float) -> Array:
    """Ioffe & Szegedy 2015, Alg. 1."""
    y = np.empty_like(x)
    for channel, index in _channels(x):
        mean, var = moments(x[index])
        y[index] = weight[channel] * ((x[index] - mean) / math.sqrt(var + eps)) + bias[channel]
    return y


def batch_norm_eval(x: Array, mean: Array, var: Array, weight: Array, bias: Array, eps: float) -> Array:
    """Ioffe & Szegedy 2015, Alg. 2, line 11, by given moments."""
    y = np.empty_like(x)
    for channel, index in _channels(x):
        y[index] = (
            weight[channel] * ((x[index] - mean[channel]) / math.sqrt(var[channel] + eps)) + bias[channel]
        )
    return y


def batch_norm_backward(dy: Array, x: Array, weight: Array, eps: float) -> tuple[Array, Array, Array]:
    """Return dx, dweight, dbias by the six derivatives of Ioffe & Szegedy 2015, section 3, in their order."""
    dx, dweight, dbias = np.empty_like(x), np.empty_like(weight), np.empty_like(weight)
    for channel, index in _channels(x):
        mean, var = moments(x[index])
        centred, upstream, n = x[index] - mean, dy[index], x[index].size
        dxhat = upstream * weight[channel]
        dvar = math.fsum((dxhat * centred).flat) * -0.5 * (var + eps) ** -1.5
        dmean = -math.fsum(dxhat.flat) / math.sqrt(var + eps) + dvar * math.fsum((-2 * centred).flat) / n
        dx[index] = dxhat / math.sqrt(var + eps) + dvar * 2 * centred / n + dmean / n
        dweight[channel] = math.fsum((upstream * centred / math.sqrt(var + eps)).flat)
        dbias[channel] = math.fsum(upstream.flat)
    return dx, dweight, dbias


def running_statistics(
    batches: Sequence[Array], momentum: float | None, *, biased: bool = False
) -> tuple[Array, Array]:
    """Return running_mean and running_var after the batches, from (0, 1), as weighted sums over all of them.

    Of k batches the i-th (from 0) weighs momentum * (1 - momentum)^(k - 1 - i), the start (1 - momentum)^k;
    without a momentum each weighs 1 / k. Variances are sums of squares over n - 1, over n if biased.
    """
    k, channels = len(batches), batches[0].shape[1]
    weights = [1 / k if momentum is None else momentum * (1 - momentum) ** (k - 1 - i) for i in range(k)]
    start = 0.0 if momentum is None else (1 - momentum) ** k
    means, variances = np.empty(channels), np.empty(channels)
    for channel, index in _channels(batches[0]):
        each = [moments(batch[index]) for batch in batches]
        size = [batch[index].size for batch in batches]
        means[channel] = math.fsum(w * mean for w, (mean, _) in zip(weights, each, strict=True))
        terms = [w * var * n / (n - (not biased)) for w, (_, var), n in zip(weights, each, size, strict=True)]
        variances[channel] = math.fsum([start, *terms])
    return means, variances


def batch_renorm(
    x: Array,
    weight: Array,
    bias: Array,
    running: tuple[Array, Array],
    eps: float,
    limits: tuple[float, float],
) -> tuple[Array, Array, Array]:
    """Return y, r and d of Ioffe 2017, Alg. 1, for running means and standard deviations, r_max and d_max."""
    y, (r_max, d_max) = np.empty_like(x), limits
    r, d = np.empty_like(weight), np.empty_like(weight)
    for channel, index in _channels(x):
        (mean, var), mu, sigma = moments(x[index]), running[0][channel], running[1][channel]
        batch_sigma = math.sqrt(var + eps)
        r[channel] = min(max(batch_sigma / sigma, 1 / r_max), r_max)
        d[channel] = min(max((mean - mu) / sigma, -d_max), d_max)
        xhat = (x[index] - mean) / batch_sigma * r[channel] + d[channel]
        y[index] = weight[channel] * xhat + bias[channel]
    return y, r, d


def running_std(batches: Sequence[Array], momentum: float | None, eps: float) -> Array:
    """Return the moving standard deviation of Ioffe 2017, Alg. 1, after the batches, from sqrt(1 + eps)."""
    k, channels = len(batches), batches[0].shape[1]
    weights = [1 / k if momentum is None else momentum * (1 - momentum) ** (k - 1 - i) for i in range(k)]
    start = 0.0 if momentum is None else (1 - momentum) ** k * math.sqrt(1 + eps)
    stds = np.empty(channels)
    for channel, index in _channels(batches[0]):
        each = [math.sqrt(moments(batch[index])[1] + eps) for batch in batches]
        stds[channel] = math.fsum([start, *(w * std for w, std in zip(weights, each, strict=True))])
    return stds


def group_norm(x: Array, groups: int, weight: Array, bias: Array, eps: float) -> Array:
    """Wu & He 2018, eq. 1-7."""
    y, size = np.empty_like(x), x.shape[1] // groups
    for example in range(x.shape[0]):
        for first in range(0, x.shape[1], size):
            mean, var = moments(x[example, first : first + size])
            for channel in range(first, first + size):
                xhat = (x[example, channel] - mean) / math.sqrt(var + eps)
                y[example, channel] = weight[channel] * xhat + bias[channel]
    return y


def _channels(x: Array) -> Iterator[tuple[int, tuple[slice, int]]]:
    for channel in range(x.shape[1]):
        yield channel, (slice(None), channel)
