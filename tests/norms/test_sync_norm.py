"""Statistics across processes: real ones, connected by gloo, against one batch norm on the whole batch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from oracles import assert_close, batch_norm, batch_norm_backward, running_statistics, to_array
from oracles import moments as exact_moments
from sync_ranks import CASES, CHANNELS, EPS, PROCESSES, Case, layer, run
from torch import Tensor, nn

from bnexp.norms.arithmetic import moments
from bnexp.norms.custom import CustomNorm
from bnexp.norms.sync import SyncNorm
from bnexp.norms.sync_builtin import SyncBuiltinNorm


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return what each process of a group found."""
    folder = tmp_path_factory.mktemp("group")
    torch.multiprocessing.get_context("forkserver").set_forkserver_preload(
        ["sync_ranks"]
    )  # one import of torch
    torch.multiprocessing.start_processes(run, (str(folder),), PROCESSES, start_method="forkserver")
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(PROCESSES)]


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[str, Case]:
    return request.param, CASES[request.param]


def joined(processes: list[dict[str, Any]], name: str, what: str) -> Tensor:
    return torch.cat([found[name][what] for found in processes])


def parameters(case: Case) -> tuple[np.ndarray, np.ndarray]:
    norm = layer(**case.knobs)
    if norm.weight is None or norm.bias is None:
        return np.ones(CHANNELS), np.zeros(CHANNELS)
    return to_array(norm.weight), to_array(norm.bias)


def test_the_outputs_are_those_of_the_whole_batch(
    processes: list[dict[str, Any]], case: tuple[str, Case]
) -> None:
    name, given = case
    expected = batch_norm(to_array(given.batch(given.steps - 1)), *parameters(given), EPS)
    assert_close(joined(processes, name, "y"), expected, rtol=1e-12, atol=1e-12)


def test_the_gradients_are_those_of_the_whole_batch(
    processes: list[dict[str, Any]], case: tuple[str, Case]
) -> None:
    name, given = case
    x, dy = given.batch(given.steps - 1), given.batch(50 + given.steps - 1)
    expected = batch_norm_backward(to_array(dy), to_array(x), parameters(given)[0], EPS)
    if given.of_inputs:
        assert_close(joined(processes, name, "dx"), expected[0], rtol=1e-12, atol=1e-12)
    if "affine" not in given.knobs:
        for what, sums in zip(("dweight", "dbias"), expected[1:], strict=True):
            each = [found[name][what] for found in processes]
            assert_close(torch.stack(each).sum(0), sums, rtol=1e-12, atol=1e-12)


def test_the_buffers_are_those_of_the_whole_batch_and_equal_everywhere(
    processes: list[dict[str, Any]], case: tuple[str, Case]
) -> None:
    name, given = case
    if "track_running_stats" in given.knobs:
        assert "running_mean" not in processes[0][name]
        return
    batches = [to_array(given.batch(step)) for step in range(given.steps)]
    mean, var = running_statistics(batches, given.knobs.get("momentum", 0.1))
    assert_close(processes[0][name]["running_mean"], mean, rtol=1e-12, atol=1e-12)
    assert_close(processes[0][name]["running_var"], var, rtol=1e-12, atol=1e-12)
    for found in processes:
        assert found[name]["num_batches_tracked"] == given.steps
        for buffer in ("running_mean", "running_var"):
            assert torch.equal(found[name][buffer], processes[0][name][buffer])


def test_the_memory_format_stays(processes: list[dict[str, Any]]) -> None:
    for found in processes:
        assert found["channels last"]["y"].is_contiguous(memory_format=torch.channels_last)


def test_eval_asks_no_other_process(processes: list[dict[str, Any]]) -> None:
    given = Case((1, 2, 1))
    expected = layer().eval()(given.batch(7))
    assert_close(torch.cat([found["eval"] for found in processes]), expected, rtol=0, atol=0)


def test_float16_is_computed_in_float32(processes: list[dict[str, Any]]) -> None:
    given = Case((1, 2, 1))
    x = given.batch(7).half()
    expected = batch_norm(to_array(x), *parameters(given), 1e-5)
    y = torch.cat([found["float16"] for found in processes])
    assert y.dtype is torch.float16
    assert_close(y, expected, rtol=2**-10, atol=2**-12)  # one rounding to float16, and float32's


def test_one_value_in_all_processes_is_refused_everywhere(processes: list[dict[str, Any]]) -> None:
    for found in processes:
        message, buffers = found["one value"]
        assert message.startswith("ShapeError: Expected more than 1 value per channel")
        assert "got 1 in all processes together" in message
        assert buffers["num_batches_tracked"] == 0


def test_batches_that_are_all_empty_are_counted_and_move_nothing(processes: list[dict[str, Any]]) -> None:
    for found in processes:
        assert found["nothing"]["y"].shape == found["nothing"]["dx"].shape == (0, CHANNELS)
        assert not found["nothing"]["dweight"].any()
        assert not found["nothing"]["running_mean"].any()
        assert found["nothing"]["num_batches_tracked"] == 1


def test_a_second_derivative_is_refused_not_wrong(processes: list[dict[str, Any]]) -> None:
    assert all("once_differentiable" in found["twice"] for found in processes)


def test_torchs_own_refuses_the_cpu_in_a_group_and_says_what_works(processes: list[dict[str, Any]]) -> None:
    for found in processes:
        message, buffers = found["torch's on the CPU"]
        assert message.startswith("ShapeError: sync_builtin shares statistics between processes on CUDA only")
        assert message.endswith("use norm=sync, which works on both")
        assert buffers["num_batches_tracked"] == 0
        assert found["torch's on the CPU, eval"].shape == (4, CHANNELS)


def test_merging_parts_keeps_the_digits_of_a_large_mean() -> None:
    """mean/std = 1e6: E[x^2] - mean^2 would be wrong by 1e12 * 2^-53 = 1e-4."""
    sizes = [5, 1, 90]
    x = torch.randn(96, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 1e6
    parts = x.split(sizes)
    means, variances = ([[part.mean()] for part in parts], [[part.var(correction=0)] for part in parts])
    mean_C, var_C = moments.merged_moments(
        torch.tensor(sizes).double(), torch.tensor(means).double(), torch.tensor(variances).double()
    )
    mean, var = exact_moments(to_array(x))
    assert math.isclose(mean_C.item(), mean, rel_tol=1e-15)
    assert math.isclose(var_C.item(), var, rel_tol=1e-9)  # the parts' means, rounded by 1e6 * 2^-53 each


@pytest.mark.parametrize("shape", [(5, CHANNELS), (2, CHANNELS, 3, 3)])
def test_one_process_is_custom_bit_for_bit(shape: tuple[int, ...]) -> None:
    found = []
    for kind in (SyncNorm, CustomNorm):
        norm = kind(CHANNELS, shape[2:])
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
        y = norm(x)
        (y**2).sum().backward()
        found.append([y, x.grad, norm.weight.grad, norm.bias.grad, *norm.buffers()])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_torchs_own_in_one_process_is_torchs_batch_norm_bit_for_bit() -> None:
    x = torch.randn(5, CHANNELS, generator=torch.Generator().manual_seed(0))
    norm, plain = SyncBuiltinNorm(CHANNELS, ()), nn.BatchNorm1d(CHANNELS)
    assert torch.equal(norm(x), plain(x))
    for name, buffer in plain.named_buffers():
        assert torch.equal(norm.get_buffer(name), buffer)
