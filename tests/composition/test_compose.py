"""Words, presets and defaults make one configuration, whatever the order of the words."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from bnexp.composition.compose import as_yaml, compose, restore
from bnexp.config import TrainConfig
from bnexp.errors import BnexpError, CheckpointError, ConfigError

CONF = Path(__file__).parents[2] / "conf"
MODELS = sorted((CONF / "model").glob("*.yaml"))


def composed(*words: str) -> TrainConfig:
    """Compose words that must be right."""
    composition = compose(words)
    assert composition.problems == []
    return composition.config


def both_orders(words: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return two orders between which every pair of words changes places."""
    return words, words[::-1]


@pytest.fixture
def preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that writes bnexp_conf/experiment/own.yaml in the working directory."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "bnexp_conf" / "experiment"
    folder.mkdir(parents=True)

    def write(body: str) -> None:
        (folder / "own.yaml").write_text(f"# @package _global_\n# Own.\n{body}", encoding="utf-8")

    return write


def test_no_words_are_the_defaults_of_train_yaml() -> None:
    config = asdict(composed())
    root = OmegaConf.to_container(OmegaConf.load(CONF / "train.yaml"))
    assert isinstance(root, dict)
    computed = {"defaults", "data_dir", "head_norm", "norm_batch", "choices", "activation", "placement"}
    assert {key: config[key] for key in set(root) - computed} == {
        key: root[key] for key in set(root) - computed
    }
    chosen = {
        key: value for entry in root["defaults"] if isinstance(entry, dict) for key, value in entry.items()
    }
    assert config["choices"] == {
        **{key: value for key, value in chosen.items() if key != "norm@head_norm"},
        "head_norm": chosen["norm"],
    }


def test_momentum_reaches_every_norm_that_uses_it() -> None:
    config = composed("decay=0.99", "norm=builtin")
    assert config.momentum == config.norm["momentum"] == config.head_norm["momentum"] == 0.01
    assert composed("momentum=null").norm["momentum"] is None
    assert composed("norm=group").norm.keys() == {"_target_", "_partial_", "num_groups", "eps", "affine"}


@pytest.mark.parametrize(
    ("words", "momentum", "eps"),
    [
        ((), 0.1, 1e-5),
        (("convention=torch",), 0.1, 1e-5),
        (("convention=keras",), 0.01, 1e-3),
        (("convention=keras", "momentum=0.2"), 0.2, 1e-3),
        (("eps=0.5", "convention=keras"), 0.01, 0.5),
        (("convention=keras", "decay=0.75", "eps=0.5"), 0.25, 0.5),
    ],
)
@pytest.mark.parametrize("norm", ["custom", "builtin"])
def test_a_convention_sets_momentum_and_eps_and_words_win(
    words: tuple[str, ...], momentum: float, eps: float, norm: str
) -> None:
    for ordered in both_orders((*words, f"norm={norm}")):
        config = composed(*ordered)
        assert (config.momentum, config.eps) == (momentum, eps)
        for node in (config.norm, config.head_norm):
            assert (node["momentum"], node["eps"]) == (momentum, eps)


def test_a_preset_changes_what_the_convention_sets(preset: Any) -> None:
    preset("eps: 0.5\n")
    assert (composed("experiment=own").eps, composed("experiment=own", "eps=0.25").eps) == (0.5, 0.25)


def test_the_optimizers_momentum_is_another() -> None:
    config = composed("optimizer.momentum=0.5", "momentum=0.2")
    assert (config.optimizer["momentum"], config.norm["momentum"]) == (0.5, 0.2)


def test_the_head_copies_the_whole_norm_node() -> None:
    config = composed("norm=builtin", "norm.eps=0.5", "norm.affine=false", "norm.momentum=0.3")
    assert config.head_norm == config.norm
    assert config.norm["eps"] == 0.5
    assert config.choices["head_norm"] == "builtin"


@pytest.mark.parametrize(
    ("word", "value"),
    [("eps=1e-3", 1e-3), ("eps=0.5", 0.5), ("momentum=null", None), ("affine=false", False)],
)
def test_a_knob_of_the_head_changes_the_head_alone(word: str, value: object) -> None:
    config, plain = composed(f"head_norm.{word}"), composed()
    knob = word.partition("=")[0]
    assert config.norm == plain.norm
    assert config.head_norm == {**plain.norm, knob: value}


def test_the_head_takes_another_choice_with_its_own_knobs() -> None:
    for words in both_orders(("head_norm=group", "head_norm.num_groups=4", "norm=builtin", "norm.eps=0.5")):
        config = composed(*words)
        assert config.norm["_target_"].endswith("batch_norm")
        assert config.head_norm["_target_"].endswith("group_norm")
        assert (config.head_norm["num_groups"], config.head_norm["eps"], config.norm["eps"]) == (4, 1e-5, 0.5)
        assert (config.choices["norm"], config.choices["head_norm"]) == ("builtin", "group")


def test_head_norm_none_leaves_the_body_alone() -> None:
    config = composed("head_norm=none")
    assert config.norm == composed().norm
    assert config.head_norm == {"_target_": "bnexp.norms.none.identity", "_partial_": True}


def test_simple_cnn_has_no_norm_in_its_head_unless_a_word_says_so() -> None:
    assert composed("model=simple_cnn").choices["head_norm"] == "none"
    assert composed("experiment=simple_cnn").choices["head_norm"] == "none"
    for words in both_orders(("model=simple_cnn", "head_norm=custom", "norm=group")):
        assert composed(*words).choices["head_norm"] == "custom"


def test_a_preset_may_set_the_head_and_a_word_wins(preset: Any) -> None:
    preset("defaults:\n  - override /model: simple_cnn\n  - override /norm@head_norm: group\n")
    assert composed("experiment=own").choices["head_norm"] == "group"
    assert composed("experiment=own").choices["norm"] == "custom"
    assert composed("experiment=own", "head_norm=builtin").choices["head_norm"] == "builtin"


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_a_model_brings_activation_and_placement_and_words_win_in_any_order(path: Path) -> None:
    published = yaml.safe_load(path.read_text(encoding="utf-8"))
    config = composed(f"model={path.stem}")
    assert (config.activation, config.placement) == (published["activation"], published["placement"])
    for words in both_orders((f"model={path.stem}", "activation=tanh", "placement=post")):
        config = composed(*words)
        assert (config.activation, config.placement) == ("tanh", "post")


def test_a_preset_changes_what_its_model_brings_and_words_win(preset: Any) -> None:
    preset("defaults:\n  - override /model: simple_cnn\nactivation: elu\nplacement: pre\n")
    config = composed("experiment=own")
    assert (config.activation, config.placement) == ("elu", "pre")
    for words in both_orders(("experiment=own", "placement=post", "activation=tanh")):
        config = composed(*words)
        assert (config.activation, config.placement) == ("tanh", "post")


def test_a_word_changes_the_model_of_a_preset(preset: Any) -> None:
    preset("defaults:\n  - override /model: simple_cnn\n")
    config = composed("experiment=own", "model=mlp")
    assert (config.choices["model"], config.activation, config.choices["head_norm"]) == (
        "mlp",
        "sigmoid",
        "custom",
    )


@pytest.mark.parametrize(
    ("body", "words", "duration"),
    [
        ("{}", [], (5, None)),
        ("{}", ["steps=7"], (None, 7)),
        ("{}", ["epochs=7"], (7, None)),
        ("{}", ["steps=null"], (5, None)),
        ("epochs: 3", [], (3, None)),
        ("epochs: 3", ["steps=7"], (None, 7)),
        ("epochs: 3", ["epochs=7"], (7, None)),
        ("steps: 30", [], (None, 30)),
        ("steps: 30", ["steps=7"], (None, 7)),
        ("steps: 30", ["epochs=7"], (7, None)),
        ("steps: 30", ["steps=null", "epochs=7"], (7, None)),
        ("steps: 30\nepochs: null", [], (None, 30)),
        ("steps: 30\nepochs: 3", ["epochs=7"], (7, None)),
        ("steps: 30\nepochs: 3", ["steps=7"], (None, 7)),
    ],
)
def test_the_later_layer_decides_the_duration(
    preset: Any, body: str, words: list[str], duration: tuple[int | None, int | None]
) -> None:
    preset(f"{body}\n")
    config = composed("experiment=own", *words)
    assert (config.epochs, config.steps) == duration


def test_the_paper_presets_steps_replace_the_default_epochs() -> None:
    config = composed("experiment=figure1")
    assert (config.epochs, config.steps) == (None, 50_000)
    config = composed("experiment=figure1", "epochs=2")
    assert (config.epochs, config.steps) == (2, None)


def test_a_preset_with_both_durations_is_a_mistake(preset: Any) -> None:
    preset("steps: 30\nepochs: 3\n")
    assert compose(["experiment=own"]).problems == ["experiment/own.yaml must give epochs or steps, not both"]


def test_an_interpolation_follows_another_knob() -> None:
    assert composed("eval_batch_size=${batch_size}", "batch_size=32").eval_batch_size == 32
    assert composed("head_norm.eps=${norm.eps}", "norm.eps=0.5").head_norm["eps"] == 0.5


def test_data_come_from_the_environments_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BNEXP_DATA", raising=False)
    assert composed().data_dir == "data"
    monkeypatch.setenv("BNEXP_DATA", "/some/where")
    assert composed().data_dir == "/some/where"
    assert composed("data_dir=here").data_dir == "here"


ROUND_TRIPS = [
    [],
    ["norm=group", "head_norm=none", "optimizer=adam", "schedule=onecycle"],
    ["momentum=null", "data.train_size=7", "drop_last=false", "threads=1"],
    ["optimizer.lr=1e-30", "norm.eps=1e-12", "weights='a: b # c'", "output_dir='ü \"x\" y'"],
    ["experiment=figure1"],
    ["model=mlp", "model.hidden=[3,4,5]"],
]


@pytest.mark.parametrize("words", ROUND_TRIPS, ids=lambda words: " ".join(words) or "defaults")
def test_the_recorded_configuration_restores_exactly(words: list[str]) -> None:
    config = composed(*words)
    assert restore(as_yaml(config)) == config
    assert yaml.safe_load(as_yaml(config)) == asdict(config)


def edited(pattern: str, replacement: str) -> str:
    text, count = re.subn(pattern, replacement, as_yaml(composed()), flags=re.MULTILINE)
    assert count >= 1
    return text


@pytest.mark.parametrize(
    "text",
    ["", "3", "- 1", "word", "null", "\x00", "a: [", "seed: 1\n", "{}"],
    ids=["empty", "number", "list", "word", "null", "binary", "cut", "one key", "no key"],
)
def test_a_broken_configuration_is_not_restored(text: str) -> None:
    with pytest.raises(CheckpointError, match=r"^config\.yaml"):
        restore(text)


@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [
        (r"^seed: 0", "seed: x"),
        (r"^seed: 0", "seed: -1"),
        (r"^seed: 0", "seed: ${nope}"),
        (r"^seed: 0", "seed: 0\nunheard_of: 1"),
        (r"^device: auto", "device: tpu"),
        (r"^norm:\n(  .*\n)+", "norm: null\n"),
        (r"^norm:\n(  .*\n)+", "norm: [1]\n"),
        (r"^norm:\n(  .*\n)+", "norm: word\n"),
        (r"_partial_: true", "_partial_: false"),
        (r"bnexp\.norms\.custom\.CustomNorm", "os.system"),
        (r"bnexp\.models\.lenet\.LeNet", "bnexp.data.digits.digits"),
        (r"^  val_fraction: 0\.1\n", ""),
        (r"^  lr: 0\.05", "  lr: {_target_: os.system, command: x}"),
        (r"^early_stopping:\n  patience: null", "early_stopping: 3"),
    ],
)
def test_a_tampered_configuration_is_refused_in_one_line(pattern: str, replacement: str) -> None:
    with pytest.raises(BnexpError) as caught:
        restore(edited(pattern, replacement))
    assert str(caught.value)
    assert all(len(line) < 400 for line in str(caught.value).splitlines())


@pytest.mark.parametrize(
    ("words", "note"),
    [
        (
            ["momentum=0.2", "norm=group"],
            "momentum has no effect: no norm of this run keeps running statistics",
        ),
        (["decay=0.9", "norm=none"], "momentum has no effect: no norm of this run keeps running statistics"),
        (
            ["momentum=0.2", "norm.track_running_stats=false"],
            "momentum has no effect: no norm of this run keeps running statistics",
        ),
        (
            ["momentum=0.2", "norm.momentum=0.3"],
            "momentum has no effect: norm.momentum has a value of its own",
        ),
        (["eps=0.5", "norm=none"], "eps has no effect: no norm of this run has an eps"),
        (["eps=0.5", "norm.eps=0.1"], "eps has no effect: norm.eps has a value of its own"),
        (["convention=keras", "momentum=0.2", "eps=0.5"], "convention has no effect: words set what it sets"),
        (
            ["convention=keras", "norm=group"],
            "convention has no effect: no norm of this run takes its momentum or eps",
        ),
        (["placement=post", "norm=none"], "placement has no effect: this run has no norm to place"),
        (["head_norm=none", "model=resnet"], "head_norm has no effect: resnet has no norm in its head"),
        (["head_norm.eps=0.5", "model=mlp"], "head_norm has no effect: mlp has no norm in its head"),
    ],
)
def test_a_typed_knob_without_effect_is_noted(words: list[str], note: str) -> None:
    assert compose(words).notes == [note]


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["norm=group"],
        ["momentum=0.2"],
        ["momentum=0.2", "norm=none", "head_norm=custom"],
        ["momentum=0.2", "norm.momentum=0.3", "head_norm=builtin"],
        ["placement=post", "norm=none", "head_norm=custom"],
        ["placement=preact", "norm=none", "model=resnet"],
        ["optimizer.momentum=0.5", "norm=none"],
        ["eps=0.5", "norm=none", "head_norm=custom"],
        ["eps=0.5", "norm=group"],
        ["convention=keras", "momentum=0.2"],
        ["convention=keras", "norm.eps=0.5"],
        ["head_norm=none"],
    ],
)
def test_a_knob_with_effect_is_not_noted(words: list[str]) -> None:
    assert compose(words).notes == []


@pytest.mark.parametrize("name", ["a b", "a,b", "it's", "[x]", "é", "a=b", "(1)", "#x", "$x", "a\\b", "{x}"])
def test_own_choices_are_found_in_a_folder_of_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    norms = tmp_path / name / "bnexp_conf" / "norm"
    norms.mkdir(parents=True)
    (norms / "mine.yaml").write_text("_target_: bnexp.norms.none.identity\n_partial_: true\n")
    monkeypatch.chdir(tmp_path / name)
    assert composed("norm=mine").norm["_target_"] == "bnexp.norms.none.identity"


def test_a_shipped_name_cannot_be_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    norms = tmp_path / "bnexp_conf" / "norm"
    norms.mkdir(parents=True)
    (norms / "custom.yaml").write_text("_target_: bnexp.norms.none.identity\n_partial_: true\n")
    (tmp_path / "bnexp_conf" / "train.yaml").write_text("seed: 17\n")
    monkeypatch.chdir(tmp_path)
    assert composed("norm=custom").norm["_target_"] == "bnexp.norms.custom.CustomNorm"
    assert composed().seed == 0


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("unheard_of: 1", "experiment/own.yaml: Key 'unheard_of' not in 'TrainConfig'"),
        ("plugin: [os]", "experiment/own.yaml: Key 'plugin' not in 'TrainConfig'"),
        ("batch_size: x", "could not be converted to Integer (batch_size)"),
        ("batch_size: 0", "batch_size must be at least 1, got 0"),
        ("norm:\n  epss: 1", "norm has no knob 'epss' (did you mean eps?)"),
        ("norm:\n  eps: x", "norm.eps must be a number, got 'x'"),
        ("norm:\n  _target_: os.system", "norm._target_=os.system is not a target of bnexp's own norm YAMLs"),
        ("norm: null", "norm must be a choice with a _target_, got null"),
        ("defaults:\n  - override /norm: nope", "Could not find 'norm/nope'"),
        ("defaults:\n  - override /nope: x", "Could not override 'nope'"),
        ("a: [1", "own.yaml, line 4"),
    ],
)
def test_a_mistake_in_a_preset_is_told_in_one_line(preset: Any, body: str, said: str) -> None:
    preset(f"{body}\n")
    try:
        lines = compose(["experiment=own"]).problems
    except ConfigError as error:
        lines = error.problems
    assert len(lines) == 1
    assert said in lines[0]
    assert "\n" not in lines[0]


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("norm=custom.yaml", "custom"),
        ("norm='none'", "none"),
        ("norm=./group", "group"),
        ('norm="none"', "none"),
    ],
)
def test_a_choice_is_recorded_under_its_one_name(typed: str, name: str) -> None:
    choices = compose([typed], []).config.choices
    assert (choices["norm"], choices["head_norm"]) == (name, name)


@pytest.mark.parametrize("word", ["norm=null", "norm=no", "norm=None", "norm=", "norm=off", "norm=false"])
def test_no_choice_is_called_none(word: str) -> None:
    for each in (word, f"head_{word}"):
        (line,) = mistakes_of(each)
        assert line.startswith(f"{each}: must be one of ") and line.endswith(" (did you mean none?)")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("seed=1", "seed=2"), "give seed once, got seed=1 seed=2"),
        (("seed=1", "+seed=1"), "give seed once, got seed=1 +seed=1"),
        (
            ("head_norm=none", "norm@head_norm=group"),
            "give head_norm once, got head_norm=none norm@head_norm=group",
        ),
        (("norm.momentum=0.1", "norm=custom", "norm.momentum=0.2"), "give norm.momentum once, got"),
        (("seed=010",), "seed=010: write numbers without zeros before them"),
        (("optimizer.lr=-00.1",), "optimizer.lr=-00.1: write numbers without zeros before them"),
        (("norm=../norm/custom",), "norm=../norm/custom: a choice is a name, without its folder"),
    ],
)
def test_what_could_mean_two_things_is_refused(words: tuple[str, ...], said: str) -> None:
    (line,) = mistakes_of(*words)
    assert line.startswith(said)


def mistakes_of(*words: str) -> list[str]:
    try:
        return list(compose(words, []).problems)
    except ConfigError as error:
        return error.problems


@pytest.mark.parametrize("word", ["runs_dir=~/x", 'runs_dir="~/x"', "runs_dir='~/x'"])
def test_the_home_folder_is_put_in(word: str) -> None:
    assert compose([word], []).config.runs_dir == str(Path("~/x").expanduser())


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("batch", "builtin or custom"),
        ("bn", "builtin or custom"),
        ("BatchNorm2d", "builtin or custom"),
        ("batch_norm", "builtin or custom"),
        ("ln", "layer or layer_group or layer_pixel"),
        ("gn", "group"),
        ("instancenorm", "instance"),
    ],
)
def test_another_name_of_a_norm_is_answered_with_those_that_it_may_mean(typed: str, meant: str) -> None:
    (line,) = mistakes_of(f"norm={typed}")
    assert line.endswith(f" (did you mean {meant}?)")
