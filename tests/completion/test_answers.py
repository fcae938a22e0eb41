"""What may stand at the cursor, for lines of every verb."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import typer
import yaml

from bnexp import cli
from bnexp.choices import conf_dir, groups
from bnexp.completion import vocabulary as words
from bnexp.completion.answers import answers
from bnexp.completion.line import Candidate
from bnexp.completion.yamls import Tree
from bnexp.composition.compose import as_yaml, compose
from bnexp.composition.eval_words import EVAL_KNOBS
from bnexp.composition.targets import hints, resolve
from bnexp.config import KNOBS
from bnexp.statuses import STATUSES

pytestmark = pytest.mark.usefixtures("folder")


def asked(line: str) -> list[Candidate]:
    """Answer a line whose last word, also an empty one, is the cursor's."""
    *before, current = line.split(" ")
    return answers(typer.main.get_command(cli.app), before[1:], current)


def said(line: str) -> list[str]:
    return [candidate.text for candidate in asked(line)]


def test_the_verbs_are_those_of_the_command() -> None:
    shown = {each.name or getattr(each.callback, "__name__", "") for each in cli.app.registered_commands}
    assert {*shown, "runs"} == set(said("bnexp "))
    assert said("bnexp runs sh") == ["show"]
    assert said("bnexp tr") == ["train"]


def test_a_new_verb_appears_by_itself() -> None:
    app = typer.Typer()

    @app.command()
    def brew(run: str = typer.Argument(metavar="RUN"), strong: bool = typer.Option(False)) -> None:
        """Make coffee."""

    @app.command()
    def wait() -> None: ...

    command = typer.main.get_command(app)
    assert [(each.text, each.about) for each in answers(command, [], "b")] == [("brew", "Make coffee.")]
    assert "--strong" in [each.text for each in answers(command, ["brew"], "-")]
    assert "none-64" in [each.text for each in answers(command, ["brew"], "")]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("bnexp train no", {"norm=", "norm_batch="}),
        ("bnexp train norm=gr", {"norm=group"}),
        ("bnexp train norm=cen", {"norm=center"}),
        ("bnexp train norm=custom,cu", set()),
        ("bnexp train -m norm=custom,bu", {"norm=custom,builtin"}),
        ("bnexp train head_norm=gr", {"head_norm=group"}),
        ("bnexp train dec", {"decay="}),
        ("bnexp train norm=group norm.", {"norm.num_groups=", "norm.eps=", "norm.affine="}),
        ("bnexp train norm=none,group norm.n", {"norm.num_groups="}),
        ("bnexp train norm=center norm.", {"norm.gain="}),
        ("bnexp train norm=center head_norm.", {"head_norm.gain="}),
        ("bnexp train model=simple_cnn head_norm.", set()),
        ("bnexp train model.", set()),
        ("bnexp train experiment=figure1 model.", {"model.hidden="}),
        ("bnexp train experiment=figure1 model=classifier model.", {"model.widths=", "model.dropout="}),
        ("bnexp train early", {"early_stopping."}),
        ("bnexp train freeze_norm.", {"freeze_norm.after=", "freeze_norm.what="}),
        (
            "bnexp train freeze_norm.what=",
            {f"freeze_norm.what={n}" for n in ("statistics", "affine", "both")},
        ),
        ("bnexp train placement=", {"placement=pre", "placement=post", "placement=preact"}),
        ("bnexp train precision=f", {"precision=float32", "precision=float16"}),
        ("bnexp train device=cuda", {"device=cuda"}),
        ("bnexp train compile=", {"compile=true", "compile=false"}),
        ("bnexp train norm.affine=f", {"norm.affine=false"}),
        ("bnexp train head_norm.core=", {"head_norm.core=auto", "head_norm.core=eager"}),
        ("bnexp train model=resnet model.residual=s", {"model.residual=skipinit"}),
        ("bnexp train norm.lr=", set()),
        ("bnexp train seed=", set()),
        ("bnexp train nonsense.", set()),
        ("bnexp train weights=no", {"weights=none-64"}),
        ("bnexp train data_dir=m", {"data_dir=my data/"}),
        ("bnexp train --pl", {"--plugin"}),
        ("bnexp train --trials tr", {"trials.csv"}),
        ("bnexp train --trials=tr", {"--trials=trials.csv"}),
        ("bnexp train --jobs ", set()),
        ("bnexp train --pair seed,batch_s", {"seed,batch_size"}),
        ("bnexp train --cfg ", {"job"}),
        ("bnexp train --jobs 2 norm=gr", {"norm=group"}),
        ("bnexp doctor norm=gr", {"norm=group"}),
        ("bnexp check mo", {"momentum="}),
        ("bnexp check norm=gr", {"norm=group"}),
        ("bnexp check model=", set()),
        ("bnexp resume n", {"none-64", "norms-4"}),
        ("bnexp resume none-64 ", set()),
        ("bnexp eval ", {"last", "none-64", "odd name", "default/custom-64", "other/custom-64"}),
        ("bnexp eval last f", {"fold="}),
        ("bnexp eval last fold=", {"fold=true", "fold=false"}),
        ("bnexp eval last checkpoint=", {"checkpoint=best", "checkpoint=last"}),
        ("bnexp plot none-64 runs/o", {"runs/other/"}),
        ("bnexp plot norm=gr", {"norm=group"}),
        ("bnexp plot --runs-dir r", {"runs/"}),
        ("bnexp resume --runs-dir elsewhere ", set()),
        (
            "bnexp plot --what ",
            {"loss", "activations", "gradients", "running_stats", "percentiles", "depth", "metric"},
        ),
        ("bnexp runs show la", {"last"}),
        ("bnexp tb norm=gr", {"norm=group"}),
        ("bnexp tb no", {"norm=", "norm_batch=", "none-64", "norms-4"}),
        ("bnexp runs norm!=gr", {"norm!=group"}),
        ("bnexp runs norm=group status=fi", {"status=finished"}),
        ("bnexp runs --top 3 ol", set()),
        ("bnexp runs --top 3 od", {"odd name"}),
        ("bnexp runs l", {"list", "last"}),
        ("bnexp runs norm=group l", {"last"}),
        ("bnexp runs show none-64 ", set()),
        ("bnexp compare oth", {"other", "other/custom-64"}),
        ("bnexp compare experiment=", {"experiment=default", "experiment=other"}),
        ("bnexp compare sweep=", {"sweep=norms-4"}),
        ("bnexp compare dec", set()),
        ("bnexp compare --group-by norm,batch_s", {"norm,batch_size"}),
        ("bnexp compare --baseline norm=gr", {"norm=group"}),
        ("bnexp compare --metric acc", {"accuracy/test"}),
        ("bnexp diff none-64 od", {"odd name"}),
        ("bnexp train norm!=gr", set()),
        ("bnexp --install-completion ", {"bash", "zsh", "fish"}),
        ("bnexp unknown ", set()),
    ],
)
def test_candidates(line: str, expected: set[str]) -> None:
    found = said(line)
    assert set(found) == expected
    assert len(found) == len(expected)


def test_an_option_that_was_given_is_not_offered_again_unless_it_may_be() -> None:
    assert {"-m", "--multirun", "--plugin", "--help"} <= set(said("bnexp train -"))
    left = set(said("bnexp train -m --plugin mine --jobs 2 norm=none -"))
    assert not {"-m", "--multirun", "--jobs"} & left
    assert {"--plugin", "--help"} <= left


def test_every_choice_of_a_group_is_listed_with_what_it_says_of_itself() -> None:
    assert {each.text: each.about for each in asked("bnexp train norm=")} == {
        f"norm={name}": about for name, about in groups()["norm"].items()
    }


def test_a_key_is_described_by_its_yaml_or_its_knob_else_its_default() -> None:
    about = {each.text: each.about for each in asked("bnexp train ")}
    assert about["batch_size="] == "examples of one forward pass"
    assert about["norm="] == "custom by default"
    about |= {each.text: each.about for each in asked("bnexp train model=resnet norm=renorm model.")}
    about |= {each.text: each.about for each in asked("bnexp train norm=renorm norm.")}
    assert about["model.depth="].startswith("18, or 6n + 2")
    assert about["norm.momentum="].startswith("the published one")
    assert about["norm.eps="] == "added to the variance inside the root"
    assert about["norm.d_max="] == "5.0 by default"


def test_a_word_that_is_not_complete_takes_no_space() -> None:
    assert {each.text for each in asked("bnexp train m") if not each.goes_on} == set()
    assert not asked("bnexp train norm=gr")[0].goes_on
    assert asked("bnexp train data_dir=m")[0].goes_on


def test_a_broken_yaml_of_the_users_takes_nothing_else_away(folder: Path) -> None:
    (folder / "bnexp_conf" / "norm" / "broken.yaml").write_text("a: [1\n")
    (folder / "bnexp_conf" / "norm" / "empty.yaml").write_text("")
    assert said("bnexp train norm=broken norm.") == []
    assert said("bnexp train norm=empty norm.") == []
    assert "norm=broken" in said("bnexp train norm=broken,group norm=")
    assert "norm.num_groups=" in said("bnexp train norm=broken,group norm.")


def test_a_choice_that_extends_another_has_its_knobs(folder: Path) -> None:
    (folder / "bnexp_conf" / "norm" / "wide.yaml").write_text("defaults: [center, _self_]\nwidth: 2\n")
    (folder / "bnexp_conf" / "norm" / "loop.yaml").write_text("defaults: [loop]\nwidth: 2\n")
    assert set(said("bnexp train norm=wide norm.")) == {"norm.gain=", "norm.width="}
    assert said("bnexp train norm=loop norm.") == ["norm.width="]


@pytest.mark.parametrize(
    "given",
    [
        [],
        ["model=resnet", "optimizer=adamw", "schedule=onecycle", "data=image_folder"],
        ["norm=renorm", "head_norm=group", "init=normal", "telemetry=none"],
        *([f"experiment={name}"] for name in ("lenet", "simple_cnn", "classifier", "figure1")),
    ],
)
def test_the_knobs_are_those_of_the_composed_configuration(given: list[str]) -> None:
    composed = yaml.safe_load(as_yaml(compose(given, []).config))
    del composed["choices"]
    found = words.of_train(given).tree
    assert leaves(found) - {"decay"} == leaves(composed)


def leaves(tree: Tree | dict[str, Any], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for name, child in tree.items():
        if name.startswith("_"):
            continue
        found |= leaves(child, f"{prefix}{name}.") if isinstance(child, dict) else {f"{prefix}{name}"}
    return found


def test_every_knob_that_takes_names_offers_them() -> None:
    for key, knob in KNOBS.items():
        if knob.names:
            assert {f"{key}={name}" for name in knob.names} == set(said(f"bnexp train {key}="))
    for name, knob in EVAL_KNOBS.items():
        if knob.names:
            assert {f"{name}={each}" for each in knob.names} == set(said(f"bnexp eval last {name}="))


@pytest.mark.parametrize("path", sorted((conf_dir() / "norm").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_norm_offers_the_names_that_its_constructor_takes(path: Path) -> None:
    target = resolve(yaml.safe_load(path.read_text())["_target_"])
    for name, hint in hints("norm", target).items():
        if get_origin(hint) is Literal:
            offered = said(f"bnexp train norm={path.stem} norm.{name}=")
            assert {f"norm.{name}={each}" for each in get_args(hint)} == set(offered)


def test_statuses_are_offered_to_filters_alone() -> None:
    assert {f"status={name}" for name in STATUSES} == set(said("bnexp runs status="))
    assert said("bnexp train status=") == []


def test_thousands_of_runs_are_looked_at_only_by_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Path] = []
    plain: Callable[[Path], bool] = Path.is_file
    monkeypatch.setattr(Path, "is_file", lambda path: looked.append(path) or plain(path))  # type: ignore[func-returns-value]
    for number in range(50):
        (folder / "runs" / "default" / f"many-{number}").mkdir()
    assert said("bnexp eval none") == ["none-64"]
    assert [path.parent.name for path in looked] == ["none-64"]
