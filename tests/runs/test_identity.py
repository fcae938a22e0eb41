"""Which configs share a hash, and what labels look like."""

import copy
import math
from pathlib import Path

import pytest
import yaml

from bnexp.runs.identity import config_hash, label, slug

CUSTOM = {"_target_": "bnexp.norms.batch.custom", "_partial_": True, "eps": 1e-5, "momentum": 0.1}
GROUP = {"_target_": "bnexp.norms.group.group", "_partial_": True, "num_groups": 4}
NONE = yaml.safe_load((Path(__file__).parents[2] / "conf" / "norm" / "none.yaml").read_text())
BASE = {
    "seed": 0,
    "epochs": 5,
    "momentum": 0.1,
    "placement": "pre",
    "telemetry": {"scalars_every": 20},
    "data_dir": "data",
    "runs_dir": "runs",
    "output_dir": None,
    "norm": CUSTOM,
    "head_norm": CUSTOM,
    "model": {"_target_": "bnexp.models.lenet.lenet", "widths": [6, 16]},
    "data": {"_target_": "bnexp.data.mnist.mnist", "data_dir": "data", "val_frac": 0.1},
    "optimizer": {"lr": 0.05, "momentum": 0.9},
}


def config(**changes):
    return copy.deepcopy(BASE) | changes


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (config(), dict(reversed(config().items()))),
        (config(), config(telemetry={"scalars_every": None})),
        (config(), config(data_dir="/elsewhere", runs_dir="/r", output_dir="/o")),
        (config(), config(data=BASE["data"] | {"data_dir": "/elsewhere"})),
        (config(threads="auto"), config(threads=2)),
        (config(), config(momentum=0.01)),
        (config(eps=1e-5), config(eps=1e-3)),
        (config(choices={"convention": "torch"}), config(choices={"convention": "keras"})),
        (config(batch_size=8), config(batch_size=8, norm_batch=8, guard="none")),
        (config(batch_size=8, norm_batch=8), config(batch_size=8, norm_batch=9)),
        (config(), config(freeze_norm={"after": None, "what": "both"})),
        (config(), config(head_norm=None)),
        (config(), config(model=BASE["model"] | {"widths": (6, 16)})),
        (config(optimizer={"lr": 1}), config(optimizer={"lr": 1.0})),
        (config(norm=GROUP, head_norm=GROUP), config(norm=GROUP, head_norm=GROUP, momentum=0.01)),
        (config(norm=NONE, head_norm=NONE), config(norm=NONE, head_norm=NONE, placement="post")),
        (config(norm=NONE, head_norm=None), config(norm=NONE, head_norm=NONE, placement="post")),
    ],
)
def test_configs_of_one_computation_share_a_hash(one, other):
    assert config_hash(one) == config_hash(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (config(), config(seed=1)),
        (config(), config(epochs=None)),
        (config(), config(norm=CUSTOM | {"momentum": 0.01})),
        (config(), config(norm=CUSTOM | {"eps": 1e-3})),
        (config(batch_size=8), config(batch_size=8, norm_batch=4)),
        (config(), config(guard="skip")),
        (config(), config(freeze_norm={"after": 0, "what": "both"})),
        (config(), config(placement="post")),
        (config(), config(head_norm=NONE)),
        (config(), config(optimizer={"lr": 0.05, "momentum": 0.5})),
        (config(), config(model=BASE["model"] | {"widths": [16, 6]})),
        (config(norm=NONE), config(norm=NONE, placement="post")),
        (config(norm=NONE, head_norm=GROUP), config(norm=NONE, head_norm=GROUP, placement="post")),
        (config(head_norm=NONE), config(head_norm=NONE, placement="post")),
        (config(norm=NONE, head_norm=NONE), config(norm=NONE, head_norm=NONE, placement="preact")),
        (config(seed=1), config(seed=True)),
        (config(optimizer={"lr": math.inf}), config(optimizer={"lr": None})),
    ],
)
def test_configs_of_different_computations_do_not(one, other):
    assert config_hash(one) != config_hash(other)


def test_a_hash_is_16_hex_digits_and_stable_and_leaves_the_config_alone():
    before = config()
    # The recorded value guards runs that are on disk: a change here orphans them.
    assert config_hash(before) == config_hash(before) == "371829ac911c7784"
    assert before == config()


@pytest.mark.parametrize(
    ("choices", "expected"),
    [
        ({"norm": "custom", "model": "lenet", "data": "digits"}, "custom-b8-lenet-digits-s0"),
        (
            {"norm": "custom", "model": "lenet", "data": "digits", "head_norm": None},
            "custom-b8-lenet-digits-s0",
        ),
        (
            {"norm": "custom", "model": "lenet", "data": "digits", "head_norm": "custom"},
            "custom-b8-lenet-digits-s0",
        ),
        (
            {"norm": "custom", "model": "lenet", "data": "digits", "head_norm": "none"},
            "custom-head-none-b8-lenet-digits-s0",
        ),
        ({"norm": "my/norm", "model": "a b", "data": "ä:*"}, "my-norm-b8-a-b-s0"),
    ],
)
def test_labels_say_what_was_chosen(choices, expected):
    assert label(choices, batch_size=8, seed=0) == expected


@pytest.mark.parametrize(
    "text", ["", "..", ".hidden", "../../etc", "a" * 1000, "a/b\\c\nd\0e", "-rf", "x" * 119 + "..y"]
)
def test_a_slug_is_one_visible_file_name(tmp_path, text):
    name = slug(text)
    (tmp_path / name).mkdir()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert name[0] not in ".-" and len(name) <= 120
