"""`momentum=`, `decay=` and `eps=` set the norms' own knobs, unless a word of a norm's own does."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from bnexp.choices import groups
from bnexp.composition.compose import as_yaml, compose, restore
from bnexp.config import TrainConfig
from bnexp.errors import ConfigError
from bnexp.runs.identity import config_hash

OWN = "_target_: bnexp.norms.custom.CustomNorm\n_partial_: true\n"
NORMS = sorted(groups()["norm"])


def composed(*words: str) -> TrainConfig:
    """Compose words that must be right."""
    composition = compose(words)
    assert composition.problems == []
    return composition.config


def momenta(*words: str) -> tuple[Any, Any, Any]:
    """Return the momentum at the top, of the norm and of the head, ... where there is none."""
    config = composed(*words)
    return config.momentum, config.norm.get("momentum", ...), config.head_norm.get("momentum", ...)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that writes a YAML of a user's own below bnexp_conf/."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, body: str) -> None:
        path = tmp_path / "bnexp_conf" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(body, encoding="utf-8")

    return write


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", (0.1, 0.1, 0.1)),
        ("momentum=0.5", (0.5, 0.5, 0.5)),
        ("decay=0.5", (0.5, 0.5, 0.5)),
        ("+momentum=0.5", (0.5, 0.5, 0.5)),
        ("momentum=null", (None, None, None)),
        ("norm.momentum=0.5", (0.5, 0.5, 0.5)),
        ("norm.momentum=null", (None, None, None)),
        ("convention=keras", (0.01, 0.01, 0.01)),
        ("convention=keras norm.momentum=0.5", (0.5, 0.5, 0.5)),
        ("convention=keras momentum=0.5", (0.5, 0.5, 0.5)),
        ("momentum=0.2 norm.momentum=0.5", (0.5, 0.5, 0.5)),
        ("decay=0.2 norm.momentum=0.5", (0.5, 0.5, 0.5)),
        ("momentum=0.2 'norm={momentum: 0.5}'", (0.5, 0.5, 0.5)),
        ("momentum=0.5 head_norm.momentum=0.2", (0.5, 0.5, 0.2)),
        ("head_norm.momentum=0.2", (0.1, 0.1, 0.2)),
        ("momentum=0.2 norm.momentum=0.5 head_norm=builtin", (0.5, 0.5, 0.2)),
        ("momentum=0.5 head_norm=builtin", (0.5, 0.5, 0.5)),
        ("momentum=0.5 head_norm=none", (0.5, 0.5, ...)),
        ("momentum=0.5 norm=none head_norm=custom", (0.5, ..., 0.5)),
        ("norm=none head_norm=custom head_norm.momentum=0.2", (0.2, ..., 0.2)),
        ("momentum=0.5 norm=group", (0.5, ..., ...)),
        ("momentum=${optimizer.momentum}", (0.9, 0.9, 0.9)),
    ],
)
def test_the_norms_own_word_beats_the_shorthand_which_beats_the_rest(
    words: str, expected: tuple[Any, Any, Any]
) -> None:
    given = words.replace("'", "").replace(": ", ":").split()
    for ordered in (given, given[::-1]):
        assert momenta(*ordered) == expected


@pytest.mark.parametrize("norm", NORMS)
def test_eps_reaches_every_norm_that_has_one(norm: str) -> None:
    plain, config = composed(f"norm={norm}"), composed(f"norm={norm}", "eps=0.25")
    assert config.norm == (plain.norm | {"eps": 0.25} if "eps" in plain.norm else plain.norm)
    assert config.head_norm == config.norm
    if "eps" in plain.norm:
        assert composed(f"norm={norm}", "eps=0.25", "norm.eps=0.5").norm["eps"] == 0.5


def test_a_shorthand_word_beats_a_preset_and_a_yaml_and_so_does_the_norms_own(own: Any) -> None:
    own("experiment/mine", "# @package _global_\nmomentum: 0.3\nnorm:\n  eps: 0.125\n")
    own("norm/fixed", f"{OWN}momentum: 0.03\neps: 1.0e-04\n")
    assert momenta("experiment=mine") == (0.3, 0.3, 0.3)
    assert momenta("experiment=mine", "momentum=0.5") == (0.5, 0.5, 0.5)
    assert composed("experiment=mine").eps == composed("experiment=mine").norm["eps"] == 0.125
    assert composed("experiment=mine", "eps=0.5").norm["eps"] == 0.5
    assert composed("experiment=mine", "eps=0.5", "norm.eps=0.25").norm["eps"] == 0.25
    assert momenta("norm=fixed") == momenta("norm=fixed", "convention=keras") == (0.03, 0.03, 0.03)
    assert momenta("norm=fixed", "momentum=0.5") == (0.5, 0.5, 0.5)


def test_a_yaml_of_a_users_own_may_still_refer_to_the_top(own: Any) -> None:
    own("norm/mine", OWN + "momentum: ${momentum}\neps: ${eps}\n")
    own("norm/odd", OWN + "momentum: 0.25\neps: ${momentum}\n")
    assert momenta("norm=mine") == (0.1, 0.1, 0.1)
    assert momenta("norm=mine", "convention=keras") == (0.01, 0.01, 0.01)
    assert momenta("norm=mine", "momentum=0.5") == (0.5, 0.5, 0.5)
    odd = compose(["norm=odd", "norm.momentum=0.25", "momentum=0.5"])
    assert (odd.config.norm["eps"], odd.config.norm["momentum"], odd.notes) == (0.5, 0.25, [])


def test_a_word_that_refers_to_what_it_sets_is_one_line() -> None:
    with pytest.raises(ConfigError) as caught:
        compose(["eps=${norm.eps}", "norm=group"])
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize("words", ["momentum=0.5", "norm.momentum=0.5", "norm.eps=1e-3 eps=0.1", "norm=frn"])
def test_the_recorded_configuration_says_it_once_more_and_restores(words: str) -> None:
    config = composed(*words.split())
    assert restore(as_yaml(config)) == config
    assert config.eps == config.norm["eps"]


def test_a_configuration_recorded_before_is_restored_with_what_its_norm_has() -> None:
    config = composed("norm.momentum=0.5")
    before = as_yaml(config).replace("\nmomentum: 0.5", "\nmomentum: 0.1")
    assert before != as_yaml(config) and restore(before) == config


def test_what_the_top_cannot_hold_stands_in_the_norm_alone() -> None:
    config = composed()
    config.norm["eps"] = 0.0  # a norm of a user's own may do without
    config.head_norm["eps"] = 0.0
    restored = restore(as_yaml(config))
    assert restored.eps == 1e-5 and restored.norm["eps"] == 0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("momentum=0.5", "norm.momentum=0.5"),
        ("momentum=0.5", "momentum=0.1 norm.momentum=0.5"),
        ("convention=keras", "momentum=0.01 eps=1e-3"),
        ("norm=group eps=1e-3", "norm=group norm.eps=1e-3"),
        ("norm=none momentum=0.5 eps=0.5", "norm=none convention=keras"),
        ("momentum=0.5 head_norm=builtin", "norm.momentum=0.5 head_norm=builtin head_norm.momentum=0.5"),
    ],
)
def test_words_that_give_a_norm_the_same_values_ask_the_same_question(one: str, other: str) -> None:
    assert config_hash(asdict(composed(*one.split()))) == config_hash(asdict(composed(*other.split())))
