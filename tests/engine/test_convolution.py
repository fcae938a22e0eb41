"""Narrow strided 1x1 convolutions, whose gradients torch writes beyond their memory.

Such a fault may end the process: each test looks at one of its own, so that it fails and the suite goes on.
There oneDNN takes the instructions that ONEDNN_MAX_CPU_ISA names, where the processor has them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PATIENCE_S = 600  # before a process counts as hanging

# small whole numbers: every sum is exact in float32, whatever the order of its terms
GRADIENTS = """
import itertools, sys
import torch
import torch.nn.functional as F
from bnexp.engine.convolution import repair

if "unrepaired" not in sys.argv:
    repair()
torch.set_num_threads(int(sys.argv[1]))
torch.manual_seed(0)
LAYOUTS = (torch.contiguous_format, torch.channels_last)
SIZES = ((2, 12), (17, 24), (3, 60))  # images, and positions a side


def numbers(*shape):
    return torch.randint(-2, 3, shape).float()


def gradients(apply, values, dy):
    values = [v.detach().requires_grad_() for v in values]
    return torch.autograd.grad(apply(*values), values, dy)


def spread(small, large, stride):
    zeros = torch.zeros_like(large)
    zeros[:, :, :: stride[0], :: stride[1]] = small
    return zeros


for channels, stride, *layouts, (images, side) in itertools.product(
    (1, 3, 7, 12, 15), ((2, 2), (1, 2), (3, 3)), LAYOUTS, LAYOUTS, SIZES
):
    large = numbers(images, channels, side, side)
    small = numbers(images, 5, side // stride[0], side // stride[1])
    weight, read = numbers(5, channels, 1, 1), large[:, :, :: stride[0], :: stride[1]]
    of_weight = torch.einsum("nohw,nchw->oc", small, read)[:, :, None, None]
    into_large = spread(torch.einsum("nohw,oc->nchw", small, weight[:, :, 0, 0]), large, stride)
    into_small = torch.einsum("nchw,oc->nohw", read, weight[:, :, 0, 0])

    x, w = large.to(memory_format=layouts[0]), weight.to(memory_format=layouts[1])
    found = gradients(lambda x, w, b: F.conv2d(x, w, b, stride), (x, w, numbers(5)), small)
    expected = into_large, of_weight, small.sum((0, 2, 3))
    assert all(map(torch.equal, found, expected)), (channels, stride, layouts, images, side)

    def transposed(x, w, b):
        return F.conv_transpose2d(x, w, b, stride, output_padding=[s - 1 for s in stride])

    x = small.to(memory_format=layouts[0])
    found = gradients(transposed, (x, w, numbers(channels)), large)
    expected = into_small, of_weight, large.sum((0, 2, 3))
    assert all(map(torch.equal, found, expected)), ("transposed", channels, stride, layouts, images, side)
"""

TRAINING = """
import json, sys
from pathlib import Path
from bnexp.cli import run

words = "data=digits data.train_size=100 data.val_fraction=0 batch_size=16 steps=4 threads=1"
words += " model=resnet model.depth=8 model.width=4 telemetry=none telemetry.scalars_every=1"
losses = []
for layout in ("false", "true"):
    assert run(["train", *words.split(), f"channels_last={layout}", f"output_dir=runs/{layout}"]) == 0
    rows = map(json.loads, Path(f"runs/{layout}/metrics.jsonl").read_text().splitlines())
    losses.append([row["loss/train"] for row in rows if "loss/train" in row])
print(json.dumps(losses))
"""


def python(code: str, *arguments: str, instructions: str, folder: Path) -> subprocess.CompletedProcess[str]:
    # on shared cores, threads that spin while they wait take many times as long
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": instructions, "OMP_WAIT_POLICY": "passive"}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=environment, timeout=PATIENCE_S
    )


@pytest.mark.parametrize(("instructions", "threads"), [("AVX2", 1), ("DEFAULT", 2)])
def test_gradients_are_exact_in_every_layout(instructions: str, threads: int, tmp_path: Path) -> None:
    done = python(GRADIENTS, str(threads), instructions=instructions, folder=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_narrow_residual_network_trains_in_channels_last_memory(tmp_path: Path) -> None:
    """As test_channels_last_changes_rounding_only compares them."""
    done = python(TRAINING, instructions="AVX2", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    plain, last = json.loads(done.stdout.splitlines()[-1])
    assert len(plain) == 5 and last == pytest.approx(plain, rel=1e-4)
