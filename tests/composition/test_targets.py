"""What a YAML may build, and the types that its knobs must have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import pytest

from bnexp.choices import BUILT
from bnexp.composition import targets
from bnexp.composition.targets import allowed, fits, problems, readable
from bnexp.config import TrainConfig
from bnexp.errors import ConfigError, suggestion

GROUPS = ("norm", "head_norm", "model", "data", "optimizer", "schedule", "init")
NODE = {"_target_": "bnexp.norms.custom.CustomNorm", "_partial_": True}


def test_every_group_that_the_schema_leaves_open_is_checked() -> None:
    assert set(BUILT) == set(GROUPS) <= set(TrainConfig.__dataclass_fields__)


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "torch.hub.load",
        "torch.sys.exit",
        "builtins.eval",
        "bnexp",
        "bnexp.cli.main",
        "bnexp.norms.custom",
        "bnexp.norms.custom.torch.hub.load",
        "bnexp.norms.custom.CustomNorm.forward",
        "",
        ".",
        "..os",
    ],
)
@pytest.mark.parametrize("group", GROUPS)
def test_only_the_groups_own_targets_are_allowed(group: str, target: str) -> None:
    assert not allowed(group, target, [])
    assert problems(group, {"_target_": target, "_partial_": True})


def test_a_target_of_another_group_is_not_allowed() -> None:
    assert allowed("norm", NODE["_target_"], [])
    assert allowed("head_norm", NODE["_target_"], [])
    assert not any(allowed(group, NODE["_target_"], []) for group in GROUPS[2:])


def test_a_plugin_allows_what_lies_below_it_and_nothing_beside_it() -> None:
    assert allowed("norm", "mine.Norm", ["mine"])
    assert allowed("norm", "mine.deep.Norm", ["mine"])
    assert not allowed("norm", "mine", ["mine"])
    assert not allowed("norm", "miners.Norm", ["mine"])
    assert not allowed("norm", "mine.Norm", ["mine.deep"])
    assert not allowed("norm", "mine.Norm", [])


@pytest.mark.parametrize(
    "hidden", [{"_target_": "os.system"}, [{"_target_": "os.system"}], {"a": {"_target_": "x.y"}}]
)
def test_a_target_hidden_in_a_knob_is_refused(hidden: Any) -> None:
    (line,) = problems("norm", {**NODE, "eps": hidden})
    assert "is not a target of bnexp's own norm YAMLs" in line


@pytest.mark.parametrize(
    "node", [None, 3, "word", [1], {}, {"a": 1}, {"_target_": None}, {"_target_": ["os.system"]}]
)
def test_what_is_no_choice_at_all_is_refused(node: Any) -> None:
    (line,) = problems("norm", node)
    assert line.startswith("norm must be a choice with a _target_, got ")


@pytest.mark.parametrize("partial", [None, False, "yes", 1])
def test_a_choice_must_be_partial(partial: Any) -> None:
    (line,) = problems("norm", {**NODE, "_partial_": partial})
    assert line.startswith("norm._partial_ must be true in its YAML")


def test_every_knob_that_does_not_fit_has_a_line() -> None:
    assert problems("norm", {**NODE, "epss": 1, "eps": "x", "affine": None, "_convert_": "all"}) == [
        "norm has no knob 'epss' (did you mean eps?)",
        "norm.eps must be a number, got 'x'",
        "norm.affine must be true or false, got null",
        "norm has no knob '_convert_'",
    ]


def test_data_must_name_the_knobs_of_every_data_set() -> None:
    node = {"_target_": "bnexp.data.digits.digits", "_partial_": True, "train_size": None, "augment": False}
    (line,) = problems("data", node)
    assert line.startswith("data lacks val_fraction")
    assert problems("data", {**node, "val_fraction": 0.1}) == []


@pytest.mark.parametrize("name", ["", ".mine", "mine.", "a b", "a/b.py", "-c"])
def test_a_plugin_must_be_a_modules_name(name: str) -> None:
    with pytest.raises(ConfigError, match="--plugin must be the name of a module"):
        targets.import_plugins([name])


def test_a_plugin_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="--plugin surely_absent: no module named 'surely_absent'"):
        targets.import_plugins(["surely_absent"])


@pytest.mark.parametrize(
    ("hint", "good", "bad"),
    [
        (int, [0, -3], [True, 1.0, "1", None]),
        (float, [0, 0.5, -1e9], [True, "1", None]),
        (bool, [True, False], [0, 1, "true", None]),
        (str, ["", "x"], [1, None, True]),
        (int | None, [1, None], [1.5, "1", False]),
        (int | Literal["auto"], [1, "auto"], ["x", None, 1.5]),
        (Sequence[float], [[], [1, 2.5], (0.5,)], [1, "12", ["x"], [True], None]),
        (list[int], [[], [1]], [[1.5], 1]),
        (Any, [None, 1, "x"], []),
    ],
)
def test_values_fit_their_annotation(hint: Any, good: list[Any], bad: list[Any]) -> None:
    assert [value for value in good if not fits(value, hint)] == []
    assert [value for value in bad if fits(value, hint)] == []


@pytest.mark.parametrize(
    ("hint", "text"),
    [
        (int, "a whole number"),
        (float | None, "a number or null"),
        (bool, "true or false"),
        (int | Literal["auto"], "a whole number or 'auto'"),
        (Sequence[int], "a list, each item a whole number"),
    ],
)
def test_annotations_are_said_in_plain_words(hint: Any, text: str) -> None:
    assert readable(hint) == text


def test_annotations_that_cannot_be_resolved_let_every_value_pass() -> None:
    def norm(num_features: int, spatial: tuple[int, ...], *, scale: "Unheard" = 1.0) -> None:  # type: ignore[name-defined] # noqa: F821, UP037
        """As a plugin that imports names for its annotations under TYPE_CHECKING only."""

    knobs = targets.hints("norm", norm)
    assert fits("x", knobs["scale"])


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("lr", "optimizer.lr"),
        ("optimiser.lr", "optimizer.lr"),
        ("batchsize", "batch_size"),
        ("bach_size", "batch_size"),
    ],
)
def test_the_nearest_name_is_suggested(name: str, near: str) -> None:
    assert suggestion(name, ["batch_size", "optimizer.lr", "seed"]) == f" (did you mean {near}?)"


def test_nothing_is_suggested_where_nothing_is_near() -> None:
    assert suggestion("qqqq", ["batch_size", "optimizer.lr"]) == ""
    assert suggestion("seed", []) == ""
