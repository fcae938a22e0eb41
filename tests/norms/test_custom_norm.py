"""The custom batch norm against the paper's formulas and against torch's own layer."""

from __future__ import annotations

import batch_norm_checks as checks
import pytest
import torch
from batch_norm_checks import SHAPES, batch, layer
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import assert_close
from torch import nn

from bnexp.errors import ConfigError, ShapeError
from bnexp.norms.arithmetic import derivatives
from bnexp.norms.custom import CustomNorm

TORCH = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
EVERY_SHAPE = pytest.mark.parametrize("shape", SHAPES, ids=str)


@pytest.fixture(params=[False, True], ids=["eager", "plain"], autouse=True)
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test also on the plain operations that torch.compile and torch.vmap see."""
    if request.param:
        monkeypatch.setattr(derivatives, "is_compiling", lambda: True)


def torch_twin(norm: CustomNorm, ndim: int) -> nn.Module:
    twin = TORCH[ndim](
        norm.num_features,
        eps=norm.eps,
        momentum=norm.momentum,
        affine=norm.affine,
        track_running_stats=norm.track_running_stats,
    )
    twin.to(next(norm.parameters(), torch.zeros((), dtype=torch.float64)).dtype)
    twin.load_state_dict(norm.state_dict())
    return twin.train(norm.training)


def assert_same(
    norm: CustomNorm, twin: nn.Module, shape: tuple[int, ...], *, rtol: float, atol: float
) -> None:
    """Output, gradients and state after two passes, the second on other values."""
    for seed in (3, 4):
        dtype = next(norm.parameters(), torch.zeros((), dtype=torch.float64)).dtype
        x, x_twin = (batch(shape, seed, dtype=dtype).requires_grad_() for _ in range(2))
        dy = batch(shape, seed + 10, dtype=dtype)
        y, y_twin = norm(x), twin(x_twin)
        y.backward(dy)
        y_twin.backward(dy)
        assert y.dtype is y_twin.dtype
        assert_close(y, y_twin, rtol=rtol, atol=atol)
        assert_close(x.grad, x_twin.grad, rtol=rtol, atol=atol)
    for (name, parameter), other in zip(norm.named_parameters(), twin.parameters(), strict=True):
        assert parameter.grad.shape == other.grad.shape, name
        assert_close(parameter.grad, other.grad, rtol=rtol, atol=atol)
    for name, value in twin.state_dict().items():
        assert_close(norm.state_dict()[name], value, rtol=rtol, atol=atol)


@EVERY_SHAPE
def test_training_normalizes_by_the_batch(shape: tuple[int, ...]) -> None:
    checks.check_training_normalizes_by_the_batch(shape)


@EVERY_SHAPE
def test_gradients_are_the_papers(shape: tuple[int, ...]) -> None:
    checks.check_gradients_are_the_papers(shape)


@EVERY_SHAPE
@pytest.mark.parametrize("momentum", [0.3, 0.0, 1.0, None])
def test_running_statistics_are_weighted_sums_of_batches(
    shape: tuple[int, ...], momentum: float | None
) -> None:
    checks.check_running_statistics(momentum, shape)


@pytest.mark.parametrize("momentum", [0.3, None])
def test_the_running_variance_may_be_the_biased_one(momentum: float | None) -> None:
    checks.check_running_statistics(momentum, running_var="biased")


def test_a_running_variance_of_another_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"running_var must be one of unbiased, biased, got 'sample'"):
        CustomNorm(3, (), running_var="sample")


def test_the_kind_of_variance_changes_no_state_dict() -> None:
    biased, twin = layer(running_var="biased"), nn.BatchNorm1d(3).double()
    biased(batch((4, 3)))
    twin.load_state_dict(biased.state_dict())
    assert_close(twin.eval()(batch((4, 3), 1)), biased.eval()(batch((4, 3), 1)), rtol=1e-12, atol=1e-12)


@EVERY_SHAPE
def test_eval_uses_running_statistics(shape: tuple[int, ...]) -> None:
    checks.check_eval_uses_running_statistics(shape)


@EVERY_SHAPE
def test_eval_leaves_the_buffers(shape: tuple[int, ...]) -> None:
    checks.check_eval_leaves_the_buffers(shape)


@EVERY_SHAPE
def test_buffers_have_no_history(shape: tuple[int, ...]) -> None:
    checks.check_buffers_have_no_history(shape)


@pytest.mark.parametrize("shape", [(256, 3), (64, 3, 6, 6)], ids=str)
def test_large_mean_keeps_its_digits(shape: tuple[int, ...]) -> None:
    checks.check_large_mean_keeps_its_digits(shape)


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1), (1, 3, 1, 1), (1, 3, 1, 1, 1)], ids=str)
def test_one_value_a_channel_is_refused(shape: tuple[int, ...]) -> None:
    checks.check_one_value_is_refused(shape)


def test_one_value_a_channel_is_refused_in_eval_without_buffers() -> None:
    with pytest.raises(ShapeError, match="more than 1 value per channel"):
        layer(track_running_stats=False).eval()(batch((1, 3)))


def test_one_value_a_channel_is_fine_in_eval() -> None:
    assert layer().eval()(batch((1, 3))).shape == (1, 3)


@EVERY_SHAPE
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize(
    "knobs",
    [
        {},
        {"momentum": None},
        {"affine": False},
        {"track_running_stats": False},
        {"eps": 0.1, "momentum": 0.7},
    ],
    ids=str,
)
def test_it_is_torchs_layer_in_float64(
    shape: tuple[int, ...], training: bool, knobs: dict[str, object]
) -> None:
    norm = layer(**knobs).train(training)
    assert_same(norm, torch_twin(norm, len(shape)), shape, rtol=1e-12, atol=1e-12)


@EVERY_SHAPE
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_it_is_torchs_layer_in_float32(shape: tuple[int, ...], training: bool) -> None:
    # two values a channel normalize to +-1 whatever they are: eps 0.1 keeps the gradient well conditioned
    norm = layer(eps=0.1).float().train(training)
    assert_same(norm, torch_twin(norm, len(shape)), shape, rtol=1e-5, atol=4e-6)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    examples=st.integers(1, 6),
    channels=st.integers(1, 5),
    spatial=st.lists(st.integers(1, 4), max_size=3),
    training=st.booleans(),
    scale=st.floats(1e-2, 1e2),
    offset=st.floats(-10, 10),
)
def test_any_shape_is_as_in_torch(
    examples: int, channels: int, spatial: list[int], training: bool, scale: float, offset: float
) -> None:
    shape = (examples, channels, *spatial)
    norm = CustomNorm(channels, tuple(spatial)).double().train(training)
    twin = torch_twin(norm, len(shape))
    x = batch(shape, mean=0) * scale + offset
    if training and x.numel() == channels:
        for refusing in (norm, twin):
            with pytest.raises(ValueError, match="more than 1 value per channel"):
                refusing(x)
        return
    # |x| / std reaches 1e3 here, and each digit of the ratio costs one of float64's 16
    assert_close(norm(x), twin(x), rtol=1e-11, atol=1e-11)
    assert_close(norm.running_var, twin.running_var, rtol=1e-11, atol=1e-11)


def test_a_constant_batch_gives_a_geometric_sum() -> None:
    norm, value, steps = CustomNorm(3, (), momentum=0.1), 4.0, 20
    for _ in range(steps):
        norm(torch.full((8, 3), value))
    assert_close(norm.running_mean, torch.full((3,), value * (1 - 0.9**steps)), rtol=1e-6, atol=0)
    assert_close(norm.running_var, torch.full((3,), 0.9**steps), rtol=1e-6, atol=0)


@pytest.mark.parametrize("value", [0.0, 1.0, 1234.567, -3e7], ids=str)
def test_a_constant_channel_gives_the_bias_and_a_finite_gradient(value: float) -> None:
    norm = CustomNorm(2, ())
    nn.init.constant_(norm.bias, 0.25)
    x = batch((6, 2, 5, 5), dtype=torch.float32)
    x[:, 1] = value
    y = norm(x.requires_grad_())
    assert_close(y[:, 1], torch.full((6, 5, 5), 0.25), rtol=0, atol=0)
    y.backward(batch((6, 2, 5, 5), 1, dtype=torch.float32))
    assert x.grad.isfinite().all()
    assert norm.weight.grad[1] == 0


@pytest.mark.parametrize("track", [True, False])
def test_switching_tracking_off_later_stops_updates_only(track: bool) -> None:
    norm = layer()
    twin = torch_twin(norm, 2)
    norm.track_running_stats = twin.track_running_stats = track
    assert_same(norm, twin, (5, 3), rtol=1e-12, atol=1e-12)
    assert_same(norm.eval(), twin.eval(), (5, 3), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 4, 4), (2, 3, 0, 4)], ids=str)
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_an_empty_batch_is_as_in_torch(shape: tuple[int, ...], training: bool) -> None:
    norm = layer().train(training)
    assert_same(norm, torch_twin(norm, len(shape)), shape, rtol=0, atol=0)


@pytest.mark.parametrize("affine", [True, False])
def test_an_empty_batch_passes_without_buffers(affine: bool) -> None:
    assert layer(track_running_stats=False, affine=affine)(batch((0, 3))).shape == (0, 3)


@pytest.mark.parametrize(
    "x",
    [torch.zeros(4, 5), torch.zeros(3), torch.zeros(2, 3, 1, 1, 1, 1), torch.zeros(4, 3, dtype=torch.int64)],
)
def test_an_input_that_does_not_fit_is_refused(x: torch.Tensor) -> None:
    with pytest.raises(
        ShapeError, match=r"input must be floating point of shape \(N, 3\).*, got .* of shape"
    ):
        layer()(x)


@pytest.mark.parametrize(("num_features", "eps"), [(0, 1e-5), (3, 0.0), (3, -1e-5)])
def test_knobs_that_cannot_work_are_refused(num_features: int, eps: float) -> None:
    with pytest.raises(
        ConfigError, match=r"(num_features must be at least 1|eps must be above 0 and finite), got"
    ):
        CustomNorm(num_features, (), eps=eps)


def test_the_printed_form_is_torchs() -> None:
    norm = CustomNorm(3, (), momentum=None)
    assert repr(norm) == ("CustomNorm(3, eps=1e-05, momentum=None, affine=True, track_running_stats=True)")


@pytest.mark.parametrize("shape", [(4, 3, 5, 6), (4, 3, 2, 5, 6)], ids=str)
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_channels_last_stays_and_changes_no_value(shape: tuple[int, ...], training: bool) -> None:
    last = torch.channels_last if len(shape) == 4 else torch.channels_last_3d
    norm = layer().train(training)
    x = batch(shape).to(memory_format=last).requires_grad_()
    y = norm(x)
    assert y.is_contiguous(memory_format=last)
    assert_same(norm, torch_twin(norm, len(shape)), shape, rtol=1e-12, atol=1e-12)
    plain = layer().train(training)
    x_plain = x.detach().contiguous().requires_grad_()
    y_plain, dy = plain(x_plain), batch(shape, 9)
    y.backward(dy)
    y_plain.backward(dy)
    assert_close(y, y_plain, rtol=1e-12, atol=1e-12)
    assert_close(x.grad, x_plain.grad, rtol=1e-12, atol=1e-12)


def test_strides_do_not_matter() -> None:
    norm, x = layer(), batch((6, 5, 4, 3)).permute(2, 3, 0, 1)[:, :, ::2]
    other = layer()
    assert_close(norm(x), other(x.contiguous()), rtol=1e-12, atol=1e-12)
    assert_close(norm.running_var, other.running_var, rtol=1e-12, atol=1e-12)


def test_no_grad_does_not_stop_the_buffers() -> None:
    norm = CustomNorm(3, ())
    with torch.inference_mode():
        norm(batch((4, 3), dtype=torch.float32))
    assert norm.num_batches_tracked == 1
    assert not torch.equal(norm.running_mean, torch.zeros(3))
