"""What the command line accepts beyond Hydra's grammar, rewritten to Hydra's words."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnexp.composition.words import key, rewrite, value
from bnexp.errors import ConfigError


@pytest.mark.parametrize(
    ("decay", "momentum"),
    [("0.99", "0.01"), ("0.9", "0.1"), ("0.999", "0.001"), ("1", "0"), ("0", "1"), (".5", "0.5")],
)
def test_decay_is_one_minus_momentum(decay: str, momentum: str) -> None:
    (word,) = rewrite([f"decay={decay}"])
    assert key(word) == "momentum"
    assert Fraction(value(word)) == Fraction(momentum)


@given(st.integers(0, 10**12))
def test_decay_is_rewritten_in_exact_decimals(trillionths: int) -> None:
    decay = f"{trillionths // 10**12}.{trillionths % 10**12:012d}"
    (word,) = rewrite([f"decay={decay}"])
    assert Fraction(value(word)) == 1 - Fraction(decay)
    assert float(value(word)) == float(1 - Fraction(decay))


def test_every_decay_of_a_list_is_rewritten() -> None:
    (word,) = rewrite(["decay=0.9,0.99,0.999"])
    assert [Fraction(part) for part in value(word).split(",")] == [
        Fraction(1, 10),
        Fraction(1, 100),
        Fraction(1, 1000),
    ]


@pytest.mark.parametrize(
    "decay", ["x", "", "null", "nan", "-nan", "inf", "-inf", "2", "-0.1", "0.9;1", "[0.9]"]
)
def test_a_decay_that_is_no_share_is_refused(decay: str) -> None:
    with pytest.raises(ConfigError, match=r"^decay is .* number in \[0, 1\], got"):
        rewrite([f"decay={decay}"])


def test_head_norm_becomes_a_choice_of_the_norm_group_and_its_knobs_stay() -> None:
    assert rewrite(["head_norm=none", "head_norm.eps=1e-3"]) == ["norm@head_norm=none", "head_norm.eps=1e-3"]
    assert rewrite(["head_norm=none,custom"]) == ["norm@head_norm=none,custom"]


def test_one_duration_takes_the_other_away() -> None:
    assert sorted(rewrite(["steps=3"])) == ["epochs=null", "steps=3"]
    assert sorted(rewrite(["epochs=3"])) == ["epochs=3", "steps=null"]
    assert sorted(rewrite(["steps=3,4"])) == ["epochs=null", "steps=3,4"]
    assert sorted(rewrite(["steps=3", "epochs=null"])) == ["epochs=null", "steps=3"]
    assert rewrite(["steps=null"]) == ["steps=null"]


def test_rewriting_what_was_rewritten_changes_nothing() -> None:
    once = rewrite(["decay=0.9", "head_norm=none", "steps=3", "+seed=1"])
    assert rewrite(once) == once


def test_words_of_hydras_grammar_stay_as_they_are() -> None:
    plain = [
        "norm=custom",
        "optimizer.lr=0.1",
        "seed=1,2",
        'runs_dir="a b"',
        "model.hidden=[3,4]",
        "momentum=0.2",
    ]
    assert rewrite(plain) == plain


def test_a_plus_means_nothing_because_nothing_can_be_added() -> None:
    assert rewrite(["+seed=1", "++norm=none", "+head_norm=none"]) == [
        "seed=1",
        "norm=none",
        "norm@head_norm=none",
    ]


def test_two_ways_of_saying_one_thing_contradict() -> None:
    with pytest.raises(ConfigError, match=r"give momentum or decay, not both"):
        rewrite(["momentum=0.1", "decay=0.9"])
    with pytest.raises(ConfigError, match=r"give epochs or steps, not both \(got epochs=1 steps=2\)"):
        rewrite(["epochs=1", "steps=2"])


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("norm._target_=os.system", "not named on the command line; choose norm=NAME"),
        ("+norm._target_=os.system", "not named on the command line"),
        ("norm._partial_=false", "not named on the command line"),
        ("model._args_=[1]", "not named on the command line"),
        ("optimizer.x._target_=os.system", "not named on the command line"),
        ("head_norm._target_=os.system", "bnexp_conf/norm/NAME.yaml"),
        ("~norm", "needs all of its configuration"),
        ("~optimizer.lr", "needs all of its configuration"),
        ("hydra.run.dir=x", "output_dir=PATH or runs_dir=PATH"),
        ("+hydra.searchpath=[x]", "bnexp makes the run folder itself"),
        ("hydra/launcher=joblib", "bnexp makes the run folder itself"),
        ("hydra=x", "bnexp makes the run folder itself"),
        ("choices.norm=x", "choices are filled in by bnexp"),
        ("norm@norm=custom", "the head's norm is head_norm=NAME"),
        ("model@norm=lenet", "the head's norm is head_norm=NAME"),
        ("norm=[custom,none]", "norm=ONE,OTHER with -m"),
        ("head_norm={eps:1}", "head_norm.KNOB=VALUE"),
    ],
)
def test_words_that_are_not_the_users_to_say_are_refused(word: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        rewrite(["seed=1", word])
    (line,) = caught.value.problems
    assert line.startswith(f"{word}: ")
    assert said in line


def test_all_refusals_are_told_together() -> None:
    with pytest.raises(ConfigError) as caught:
        rewrite(["~norm", "decay=2", "epochs=1", "steps=2", "hydra.run.dir=x"])
    assert len(caught.value.problems) == 4
