"""The knobs that TensorBoard's run table gets, for configurations as users write them."""

import pytest

from bnexp.composition.compose import compose
from bnexp.telemetry.hparams import knobs

RUNS = [
    [],
    ["norm=none"],
    ["norm=group", "norm.num_groups=4"],
    ["norm=group", "head_norm=none"],
    ["norm=builtin", "momentum=null", "batch_size=8", "seed=3"],
    ["model=resnet", "data=cifar10", "optimizer=adamw", "schedule=step", "placement=preact"],
    ["steps=10", "data.train_size=100", "data.augment=true", "init=he_normal", "precision=bfloat16"],
]


def knobs_of(*words):
    return knobs(compose(list(words), []).config)


def test_a_knob_has_one_type_in_every_run():
    types: dict[str, set] = {}
    for words in RUNS:
        for name, value in knobs_of(*words).items():
            kind = "number" if type(value) in (int, float) else type(value).__name__
            types.setdefault(name, set()).add(kind)
    assert {name: kinds for name, kinds in types.items() if len(kinds) > 1} == {}
    assert set().union(*types.values()) == {"number", "str", "bool"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], {"norm": "custom", "head_norm": "custom", "model": "lenet", "data": "digits", "lr": 0.05}),
        (["norm=none"], {"norm": "none", "head_norm": "none"}),
        (["head_norm=none"], {"norm": "custom", "head_norm": "none"}),
        (["batch_size=8", "accumulate=2", "seed=7"], {"batch_size": 8, "accumulate": 2, "seed": 7}),
        (["momentum=0.25"], {"momentum": "0.25"}),
        (["momentum=null"], {"momentum": "none"}),
        (["placement=post", "activation=tanh"], {"placement": "post", "activation": "tanh"}),
        (["optimizer=adam", "optimizer.lr=0.001"], {"optimizer": "adam", "lr": 0.001}),
        (["norm=group", "norm.num_groups=4"], {"norm.num_groups": 4}),
        (["data.augment=true"], {"data.augment": True}),
        (["schedule=constant", "init=he_normal"], {"schedule": "constant", "init": "he_normal"}),
    ],
)
def test_a_knob_stands_under_its_name(words, expected):
    found = knobs_of(*words)
    assert {name: found[name] for name in expected} == expected


def test_copies_and_what_has_no_value_are_left_out():
    found = knobs_of("norm=group")
    assert not [name for name in found if name.startswith("head_norm.") or name == "norm.num_groups"]
    assert "steps" not in found and found["epochs"] == 5
    assert "norm.momentum" not in knobs_of("norm=custom")


@pytest.mark.parametrize("words", ["momentum=0.5", "norm.momentum=0.5", "convention=keras norm.momentum=0.5"])
def test_the_momentum_is_that_of_the_norm_whatever_word_set_it(words):
    found = knobs_of("norm=custom", *words.split())
    assert found["momentum"] == "0.5" and "norm.momentum" not in found


def test_a_norm_without_momentum_or_eps_shows_none():
    found = knobs_of("norm=none", "convention=keras")
    assert "momentum" not in found and "eps" not in found
    assert knobs_of("norm=frn", "head_norm=none")["eps"] == 1e-6


def test_a_head_of_its_own_shows_its_knobs():
    assert knobs_of("norm=custom", "head_norm.eps=0.01")["head_norm.eps"] == 0.01
