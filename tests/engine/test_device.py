"""The device that was asked for or one line, and an environment that is given back."""

from __future__ import annotations

import pytest
import torch

from bnexp.engine.device import choose, cores, describe, environment
from bnexp.errors import ConfigError


def test_auto_is_a_device_that_computes() -> None:
    device = choose("auto")
    assert (torch.ones(2, device=device) + 1).sum().item() == 4


@pytest.mark.parametrize("name", ["cuda", "cuda:1", "mps"])
def test_a_device_that_is_not_there_is_one_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=f"device={name}: no .* is usable here") as caught:
        choose(name)
    assert len(caught.value.problems) == 1
    assert choose("auto") == torch.device("cpu")


def test_a_cuda_device_beyond_the_last_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ConfigError, match="device=cuda:2: there are 2 CUDA devices"):
        choose("cuda:2")


def test_description_of_the_cpu_tells_the_threads() -> None:
    assert describe(torch.device("cpu")) == f"cpu ({torch.get_num_threads()} threads)"
    assert cores() >= 1


@pytest.mark.parametrize("warn_only", [False, True])
def test_environment_is_given_back_as_it_was(warn_only: bool) -> None:
    threads = torch.get_num_threads()
    torch.use_deterministic_algorithms(True, warn_only=warn_only)
    try:
        with pytest.raises(ZeroDivisionError), environment(threads + 1, deterministic=False):
            assert torch.get_num_threads() == threads + 1
            assert torch.are_deterministic_algorithms_enabled()
            raise ZeroDivisionError
        assert torch.get_num_threads() == threads
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled() == warn_only
        with environment(threads, deterministic=True):
            assert not torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
