"""The custom batch norm under torch.compile: one graph, the same numbers."""

from __future__ import annotations

import shutil

import pytest
import torch
from batch_norm_checks import batch, layer
from oracles import assert_close

from bnexp.norms.custom import CustomNorm

needs_compiler = pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("clang++")), reason="no C++ compiler for inductor's code"
)


def assert_compiled_is_eager(
    backend: str, shape: tuple[int, ...], *, training: bool, **knobs: object
) -> None:
    torch.compiler.reset()
    eager, other = (layer(**knobs).train(training) for _ in range(2))
    compiled = torch.compile(other, backend=backend, fullgraph=True)
    for seed in (0, 1):
        x, x_other = (batch(shape, seed).requires_grad_() for _ in range(2))
        dy = batch(shape, seed + 5)
        y, y_other = eager(x), compiled(x_other)
        y.backward(dy)
        y_other.backward(dy)
        assert_close(y_other, y, rtol=1e-11, atol=1e-11)
        assert_close(x_other.grad, x.grad, rtol=1e-11, atol=1e-11)
    for name, value in eager.state_dict().items():
        assert_close(other.state_dict()[name], value, rtol=1e-11, atol=1e-11)
    for parameter, wanted in zip(other.parameters(), eager.parameters(), strict=True):
        assert_close(parameter.grad, wanted.grad, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_it_is_one_graph_with_the_eager_numbers(momentum: float | None, training: bool) -> None:
    assert_compiled_is_eager("aot_eager", (4, 3, 2, 2), training=training, momentum=momentum)


@needs_compiler
@pytest.mark.slow
def test_inductors_code_gives_the_eager_numbers() -> None:
    assert_compiled_is_eager("inductor", (4, 3, 2, 2), training=True, momentum=None)


def test_a_large_mean_keeps_its_digits_in_the_traced_graph() -> None:
    torch.compiler.reset()
    norm, eager = CustomNorm(3, (), momentum=1.0), CustomNorm(3, (), momentum=1.0)
    x = batch((64, 3, 4), mean=1e3, dtype=torch.float32)
    torch.compile(norm, backend="aot_eager", fullgraph=True)(x)
    eager(x)
    assert_close(norm.running_var, eager.running_var, rtol=1e-6, atol=0)
