"""Where a run was computed, with and without git."""

import json
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bnexp.runs import provenance
from bnexp.runs.provenance import forget_peak_memory, peak_memory_bytes, where

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="needs the git command")


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ("git", "-C", folder, *identity, *arguments), check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    for name in ("bnexp/__init__.py", "conf/train.yaml", "README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("one\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    monkeypatch.setattr(provenance, "SOURCE", tmp_path / "bnexp")
    return tmp_path


def test_it_says_with_what_and_where():
    found = where()
    assert found["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert found["versions"]["python"] == platform.python_version()
    assert set(found["versions"]) == {
        *("bnexp", "python", "torch", "torchvision", "numpy", "hydra-core", "omegaconf", "tensorboard")
    }
    assert found["threads"] == torch.get_num_threads()
    assert found["cpu"]
    assert json.loads(json.dumps(found)) == found


@needs_git
def test_a_clean_checkout_is_its_commit(checkout):
    found = where()
    assert (found["git_commit"], found["git_dirty"]) == (git(checkout, "rev-parse", "HEAD"), False)


@needs_git
@pytest.mark.parametrize(
    ("name", "dirty"),
    [("bnexp/__init__.py", True), ("bnexp/new.py", True), ("conf/train.yaml", True), ("README.md", False)],
)
def test_what_decides_a_run_makes_the_checkout_dirty(checkout, name, dirty):
    (checkout / name).write_text("two\n")
    assert where()["git_dirty"] is dirty


@needs_git
def test_a_package_installed_inside_another_checkout_has_no_commit(checkout, monkeypatch):
    package = checkout / "venv" / "bnexp"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(provenance, "SOURCE", package)
    assert (where()["git_commit"], where()["git_dirty"]) == (None, None)


@needs_git
def test_a_callers_git_variables_do_not_point_elsewhere(checkout, monkeypatch):
    commit = git(checkout, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert where()["git_commit"] == commit


def test_without_git_the_commit_is_null(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert (where()["git_commit"], where()["git_dirty"]) == (None, None)


def test_a_git_that_hangs_is_given_up(tmp_path, monkeypatch):
    fake = tmp_path / "git"
    fake.write_text("#!/bin/sh\nexec sleep 20\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(provenance, "TIMEOUT_S", 0.1)
    assert where()["git_commit"] is None


def test_a_package_that_is_not_installed_has_no_version(monkeypatch):
    monkeypatch.setattr(provenance, "PACKAGES", ("no-such-package",))
    assert where()["versions"]["no-such-package"] is None


@pytest.mark.skipif(sys.platform != "linux", reason="the oracle is Linux's /proc")
def test_peak_memory_is_in_bytes():
    block = bytearray(b"x") * (64 * 1024**2)
    lines = Path("/proc/self/status").read_text().splitlines()
    high_water_kb = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    # The kernel batches its counters, so the two may differ by a few pages a thread.
    assert peak_memory_bytes("cpu") == pytest.approx(high_water_kb * 1024, rel=0.05)
    assert len(block) < peak_memory_bytes(torch.device("cpu"))


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux forgets a peak")
def test_each_run_of_a_process_has_a_peak_of_its_own():
    size = 256 * 1024**2
    forget_peak_memory("cpu")
    before = peak_memory_bytes("cpu")
    block = bytearray(b"x") * size
    assert peak_memory_bytes("cpu") - before == pytest.approx(size, rel=0.1)
    del block
    forget_peak_memory("cpu")
    assert peak_memory_bytes("cpu") - before < size / 4


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_an_accelerator_counts_its_own_memory():
    block = torch.zeros(64 * 1024**2, dtype=torch.uint8, device="cuda")
    assert block.numel() <= peak_memory_bytes("cuda")
