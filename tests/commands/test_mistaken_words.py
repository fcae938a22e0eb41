"""A user's mistake is one line on stderr, exit code 2, and nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

NORMS = ", ".join(sorted(path.stem for path in (Path(__file__).parents[2] / "conf" / "norm").glob("*.yaml")))

# words, and for each line that they must get a part that no other line has
MISTAKES: list[tuple[str, list[str]]] = [
    # choices
    ("norm=nope", [f"norm=nope: must be one of {NORMS} (did you mean none?)"]),
    ("experiment=nope", ["experiment=nope: must be one of classifier, figure1, lenet, simple_cnn"]),
    (
        "norm=3 model=lenett data=nope telemetry=2.5 optimizer=true schedule= init=off",
        [
            "norm=3: must be one of",
            "(did you mean lenet?)",
            "data=nope: must be one of cifar10, cifar100, digits",
            "telemetry=2.5: must be one of default, full, none",
            "optimizer=true: must be one of",
            "schedule=: must be one of constant, cosine",
            "init=off: must be one of",
        ],
    ),
    (
        "experiment=null head_norm=null",
        [
            "experiment=null: must be one of classifier, figure1, lenet, simple_cnn; leave the word out",
            f"head_norm=null: must be one of {NORMS} (did you mean none?)",
        ],
    ),
    ("head_norm=nope norm=", ["head_norm=nope: must be one of", "norm=: must be one of"]),
    # keys
    (
        "nrm=custom batchsize=3 lr=3 optimizer.lrr=3 optimizer.betas=3 norm.num_groups=3 head_norm.epss=1",
        [
            "unknown key 'nrm' (did you mean norm?)",
            "unknown key 'batchsize' (did you mean batch_size?)",
            "unknown key 'lr' (did you mean optimizer.lr?)",
            "optimizer=sgd has no knob 'lrr' (did you mean lr?)",
            "optimizer=sgd has no knob 'betas'; its knobs are lr, momentum",
            "norm=custom has no knob 'num_groups'; its knobs are eps",
            "head_norm=custom has no knob 'epss' (did you mean eps?)",
        ],
    ),
    (
        "norm=none norm.eps=1 seed.x=3 a.b.c=3 +x=1 ++y=1 schema=x defaults=3",
        [
            "norm=none has no knob 'eps'; it has none",
            "unknown key 'seed.x' (did you mean seed?)",
            "unknown key 'a.b.c'",
            "unknown key 'x'",
            "unknown key 'y'",
            "unknown key 'schema'",
            "unknown key 'defaults'",
        ],
    ),
    ("head_norm=none head_norm.eps=1", ["head_norm=none has no knob 'eps'; it has none"]),
    # types
    ("batch_size=x", ["batch_size must be a whole number, got 'x'"]),
    (
        "batch_size=1.5 eval_batch_size=1e2 accumulate=null check_every=true momentum=x compile=maybe "
        "seed=1.0",
        [
            " batch_size must be a whole number, got '1.5'",
            "eval_batch_size must be a whole number, got '1e2'",
            "accumulate must be a whole number, got 'null'",
            "check_every must be a whole number, got 'true'",
            "momentum must be a number or null, got 'x'",
            "compile must be true or false, got 'maybe'",
            "seed must be a whole number, got '1.0'",
        ],
    ),
    ("checkpoint.every=null", ["checkpoint.every must be a whole number, got 'null'"]),
    (
        "checkpoint=3 early_stopping={x:3} runs_dir=null",
        [
            "checkpoint is no knob itself; its knobs are checkpoint.every",
            "early_stopping is no knob itself; its knobs are early_stopping.patience",
            "runs_dir must be a word, got 'null'",
        ],
    ),
    (
        "optimizer.lr=x optimizer.momentum=null optimizer.weight_decay='0.1' optimizer.nesterov=3 "
        "norm.affine=null",
        [
            "optimizer.lr must be a number, got 'x'",
            "optimizer.momentum must be a number, got null",
            "optimizer.weight_decay must be a number, got '0.1'",
            "optimizer.nesterov must be true or false, got 3",
            " norm.affine must be true or false, got null",
        ],
    ),
    (
        "head_norm.eps=x data=image_folder data.train_size=1.5 data.root=3 model=mlp model.hidden=5",
        [
            "head_norm.eps must be a number, got 'x'",
            "data.train_size must be a whole number or null, got 1.5",
            "data.root must be a word or null, got 3",
            "model.hidden must be a list, each item a whole number, got 5",
        ],
    ),
    ("norm=group norm.num_groups=x", ["norm.num_groups must be a whole number or 'auto', got 'x'"]),
    (
        "schedule=step schedule.milestones=3",
        ["schedule.milestones must be a list, each item a number, got 3"],
    ),
    # sizes and ranges
    ("batch_size=0", ["batch_size must be at least 1, got 0"]),
    (
        "batch_size=-1 accumulate=0 eval_batch_size=-5 check_every=0 checkpoint.every=0 threads=0 seed=-1 "
        "early_stopping.patience=0 telemetry.scalars_every=0 epochs=0 momentum=2 device=mps "
        "placement=nope precision=float64 drop_last=maybe",
        [
            " batch_size must be at least 1, got -1",
            "accumulate must be at least 1, got 0",
            "eval_batch_size must be at least 1, got -5",
            "check_every must be at least 1, got 0",
            "checkpoint.every must be at least 1, got 0",
            "threads must be auto or a whole number from 1 to 1024, got 0",
            "seed must be at least 0, got -1",
            "early_stopping.patience must be at least 1, got 0",
            "telemetry.scalars_every must be auto, a whole number of at least 1, or null, got 0",
            "epochs must be at least 1, got 0",
            "momentum must lie in [0, 1], got 2.0",
            "device=mps: no MPS device is usable here",
            "placement must be one of pre, post, preact, got 'nope'",
            "precision must be one of float32, bfloat16, float16, got 'float64'",
            "drop_last must be auto, true or false, got 'maybe'",
        ],
    ),
    (
        "threads=x steps=-1",
        [
            "threads must be auto or a whole number from 1 to 1024, got 'x'",
            "steps must be at least 1, got -1",
        ],
    ),
    ("epochs=1 steps=3", ["give epochs or steps, not both (got epochs=1 steps=3)"]),
    ("epochs=null", ["give epochs or steps: both are null"]),
    ("steps=x", ["steps must be a whole number or null, got 'x'"]),
    ("epochs=1.5", ["epochs must be a whole number or null, got '1.5'"]),
    ("decay=nan", ["decay is the weight of the old average and must be a number in [0, 1], got 'nan'"]),
    ("decay=0.9 momentum=0.2", ["give momentum or decay, not both"]),
    ("data.train_size=9999", ["data.train_size must lie between 1 and 1438"]),
    (
        "data.train_size=0 data.val_fraction=1 model=resnet model.width=0 optimizer.lr=-1 "
        "optimizer.momentum=1 optimizer.weight_decay=-1",
        [
            "data.train_size must lie between 1 and 1438",
            "data.val_fraction must lie in [0, 1), got 1",
            "model.width must be auto or a whole number from 1 to 1048576, got 0",
            "optimizer.lr must be at least 0, got -1",
            "optimizer.momentum must lie in [0, 1), got 1",
            "optimizer.weight_decay must be at least 0, got -1",
        ],
    ),
    ("data.train_size=100 data.val_fraction=0.99", ["every class must keep an image to train on"]),
    ("data.train_size=1", ["of 1 images is none at all"]),
    ("data.val_fraction=0 early_stopping.patience=1", ["early_stopping.patience needs a validation split"]),
    ("model=resnet model.depth=3 model.width=0", ["model.depth must be 18", "model.width must be auto"]),
    ("model=resnet model.depth=3", ["model.depth must be 18 or 6n + 2"]),
    ("model=resnet model.width=-3", ["model.width must be auto or a whole number from 1 to 1048576, got -3"]),
    (
        "model=mlp model.hidden=[0]",
        ["model.hidden must be a list of whole numbers from 1 to 1048576, got [0]"],
    ),
    ("model=classifier model.widths=[]", ["model.widths must hold at least one width"]),
    ("model=classifier model.widths=[-1]", ["from 1 to 1048576, got [-1]"]),
    ("model=classifier model.dropout=1", ["dropout must lie in [0, 1)"]),
    ("model=simple_cnn model.dropout=-0.1", ["dropout must lie in [0, 1)"]),
    ("norm=group norm.num_groups=7", ["conv1.norm: num_groups must divide the layer's 6 channels, got 7"]),
    ("norm=group norm.num_groups=0", ["num_groups must divide the layer's 6 channels, got 0"]),
    ("norm.eps=0", ["conv1.norm: eps must be above 0 and finite, got 0"]),
    ("head_norm.eps=-1", ["dense1.norm: eps must be above 0 and finite, got -1"]),
    ("optimizer.lr=nan", ["optimizer.lr must be at least 0, got nan"]),
    (
        "optimizer.nesterov=true optimizer.momentum=0",
        ["optimizer.nesterov=true needs optimizer.momentum above 0"],
    ),
    (
        "optimizer=adamw optimizer.betas=[0.9] optimizer.eps=-1 data.val_fraction=nan",
        [
            "optimizer.betas must be two numbers, got [0.9]",
            "optimizer.eps must be at least 0, got -1",
            "data.val_fraction must lie in [0, 1), got nan",
        ],
    ),
    (
        "schedule.final=-1 schedule.warmup_steps=-1",
        [
            "schedule.final must be at least 0, got -1",
            "schedule.warmup_steps must be a whole number",
        ],
    ),
    (
        "steps=2 schedule.warmup_steps=5",
        ["schedule.warmup_steps must be a whole number from 0 to the run's 2 steps"],
    ),
    (
        "schedule=step schedule.gamma=-1 schedule.milestones=[2]",
        ["schedule.gamma must be at least 0, got -1", "schedule.milestones[0] must lie"],
    ),
    (
        "schedule=onecycle schedule.pct_start=2 schedule.div_factor=0 schedule.final_div_factor=0",
        ["schedule.pct_start must lie", "schedule.div_factor must be", "schedule.final_div_factor must be"],
    ),
    ("init=normal init.std=-1", ["init.std must be at least 0, got -1"]),
    ("placement=preact", ["placement=preact needs a residual network, got model=lenet"]),
    ("activation=nope", ["activation must be one of relu, sigmoid"]),
    ("device=cuda:7", ["device=cuda:7: "]),
    # batches that a norm cannot train on
    ("batch_size=1", ["a forward pass of 1 example gives dense1.norm, dense2.norm one value per channel"]),
    (
        "data.train_size=100 batch_size=89 drop_last=false",
        ["a forward pass of 1 example gives dense1.norm, dense2.norm one value per channel"],
    ),
    ("data.train_size=100 batch_size=91 drop_last=true", ["drop_last=true needs a batch_size of at most 90"]),
    # files and folders
    ("data=image_folder", ["data.root must name a folder with train/CLASS/* and test/CLASS/*"]),
    ("data=image_folder data.root=absent", ["got absent, which is no folder"]),
    ("data=image_folder data.root=.", ["which holds no folder train"]),
    ("weights=absent", ["no run 'absent': runs holds no runs yet"]),
    ("weights=last", ["no run 'last': runs holds no runs yet"]),
    ("weights=.", ["weights=.: . holds neither best.pt nor last.pt"]),
    ("output_dir=/dev/null/x", ["output_dir must be a folder that can be written"]),
    ("runs_dir=/dev/null", ["runs_dir must be a folder that can be written"]),
    # code
    ("norm._target_=os.system", ["what is built is not named on the command line; choose norm=NAME"]),
    (
        "+norm._target_=x norm._partial_=false ~norm hydra.run.dir=x hydra/launcher=x norm@norm=x "
        "choices.norm=x norm=[custom,none] head_norm={eps:1}",
        [
            "+norm._target_=x: what is built is not named on the command line",
            "norm._partial_=false: what is built is not named on the command line",
            "~norm: a run needs all of its configuration; GROUP=none switches a norm off",
            "hydra.run.dir=x: bnexp makes the run folder itself; output_dir=PATH or runs_dir=PATH say where",
            "hydra/launcher=x: bnexp makes the run folder itself",
            "norm@norm=x: words look like GROUP=NAME or KEY=VALUE; the head's norm is head_norm=NAME",
            "choices.norm=x: choices are filled in by bnexp",
            "norm=[custom,none]: a run takes one choice",
            "head_norm={eps:1}: head_norm is one NAME",
        ],
    ),
    (
        "model={_target_:os.system} optimizer.lr={_target_:os.popen} "
        "norm={_target_:bnexp.data.digits.digits}",
        [
            "model._target_=os.system is not a target of bnexp's own model YAMLs",
            "optimizer._target_=os.popen is not a target",
            " norm._target_=bnexp.data.digits.digits is not a target of bnexp's own norm YAMLs",
        ],
    ),
    (
        "model=mlp model.hidden=[{_target_:os.system}] optimizer.lr='${oc.create:{_target_:os.popen}}'",
        ["model._target_=os.system is not a target", "optimizer._target_=os.popen is not a target"],
    ),
    ("norm={_partial_:false}", ["norm._partial_ must be true"]),
    ("norm={_args_:[1]}", ["Key '_args_' is not in struct"]),
    # grammar
    ("batch_size", ["'batch_size' cannot be read; words look like KEY=VALUE"]),
    (
        "=3 é=1 output_dir=a=b runs_dir=~x optimizer..lr=3 optimizer.lr=${ seed=foo(1)",
        [
            "'=3' cannot be read; words look like KEY=VALUE",
            "'é=1' cannot be read",
            "'output_dir=a=b' cannot be read",
            "'runs_dir=~x' cannot be read",
            "'optimizer..lr=3' cannot be read",
            "'optimizer.lr=${' cannot be read",
            "Unknown function 'foo'",
        ],
    ),
    ("output_dir=a=b", ["is put in quotes of its own: 'KEY=\"VALUE\"'"]),
    ("optimizer.lr=${nope}", ["optimizer.lr: Interpolation key 'nope' not found"]),
    ("batch_size=${batch_size}", ["batch_size: Recursive interpolation detected"]),
    ("batch_size=${seed}", ["batch_size must be at least 1, got 0"]),
    # sweeps without -m
    (
        "norm=custom,none model=glob(*) batch_size=1,2 seed=choice(1,2) epochs=range(1,3) "
        "optimizer.lr=interval(0,1)",
        [
            "norm=custom,none: several values need -m (a sweep)",
            "model=glob(*): several values need -m (a sweep)",
            "batch_size=1,2: several values need -m (a sweep)",
            "seed=choice(1,2): several values need -m (a sweep)",
            "epochs=range(1,3): several values need -m (a sweep)",
            "optimizer.lr=interval(0,1): several values need -m (a sweep)",
        ],
    ),
    ("head_norm.eps=1,2", ["head_norm.eps=1,2: several values need -m (a sweep)"]),
    # several layers at once
    ("norm=nope batch_size=x optimizer.lrr=3", ["norm=nope", "batch_size must be", "has no knob 'lrr'"]),
    ("norm=nope norm.eps=x head_norm.eps=x batch_size=0", ["norm=nope", "batch_size must be at least 1"]),
    ("model=nope model.width=3 activation=nope", ["model=nope", "activation must be one of"]),
    ("experiment=nope norm=nope", ["experiment=nope", " norm=nope"]),
    ("epochs=1 steps=3 batch_size=0 norm=nope", ["not both", "norm=nope", "batch_size must be at least 1"]),
    (
        "decay=2 norm._target_=x batch_size=x optimizer.lr=-1",
        ["decay is", "norm._target_=x", "batch_size must be", "optimizer.lr must be"],
    ),
    ("seed=1,2 batch_size=x norm=nope", ["norm=nope", "seed=1,2", "batch_size must be"]),
    ("momentum=3 decay=x norm=none", ["give momentum or decay", "decay is", "momentum must lie"]),
    (
        "device=mps data.train_size=0 optimizer.lr=-1",
        ["device=mps", "data.train_size must", "optimizer.lr must be"],
    ),
]


@pytest.mark.parametrize(("words", "said"), MISTAKES, ids=[words for words, _ in MISTAKES])
def test_every_mistake_gets_one_line_and_nothing_is_written(
    bnexp: Callable[..., Any], tmp_path: Path, words: str, said: list[str]
) -> None:
    answer = bnexp("train", *words.split())
    assert answer.code == 2
    assert answer.out == ""
    assert all(line.startswith("bnexp: ") for line in answer.lines)
    assert {part: sum(part in line for line in answer.lines) for part in said} == dict.fromkeys(said, 1)
    assert len(answer.lines) == len(said)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("word", ["", " ", "   ", "a b", "\t", "a\nb", "batch_size = 3", "'", '"', "\\", "#"])
def test_odd_text_is_told_with_its_quotes(bnexp: Callable[..., Any], word: str) -> None:
    answer = bnexp("train", word)
    assert answer.code == 2
    assert answer.err.count("\n") == 1
    assert answer.err.startswith(f"bnexp: {word!r} cannot be read")


@pytest.mark.parametrize(
    "word", ["x" * 100_000, "x" * 50_000 + "=3", "seed=" + "9" * 5_000, "norm=" + "n" * 5_000]
)
def test_very_long_words_are_answered(bnexp: Callable[..., Any], tmp_path: Path, word: str) -> None:
    answer = bnexp("train", word, "epochs=x")
    assert answer.code == 2
    assert answer.lines[-1].startswith("bnexp: epochs must be a whole number")


@pytest.mark.parametrize("word", ["seed=" + "[" * 3_000, "seed=" + "{a:" * 400 + "1" + "}" * 400])
def test_deep_nesting_is_answered(bnexp: Callable[..., Any], word: str) -> None:
    answer = bnexp("train", word)
    assert answer.code == 2
    assert len(answer.lines) == 1


def test_data_that_are_not_there_are_named(
    bnexp: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("bnexp.data.download._fetch", offline)
    answer = bnexp("train", "data=mnist", "data_dir=here")
    assert answer.code == 2
    last = answer.lines[-1]
    assert last.startswith("bnexp: MNIST is not in here/ and could not be downloaded (no network)")
    assert "data=digits" in last


def test_a_folder_that_holds_a_run_is_not_taken(train: Callable[..., Any], tmp_path: Path) -> None:
    assert train("output_dir=here").code == 0
    kept = {path: path.read_bytes() for path in (tmp_path / "here").iterdir()}
    answer = train("output_dir=here")
    assert answer.code == 2
    (line,) = answer.lines
    assert line.startswith("bnexp: output_dir must hold no run, here has config.yaml")
    assert "bnexp resume here" in line
    assert {path: path.read_bytes() for path in (tmp_path / "here").iterdir()} == kept


def test_weights_that_do_not_fit_are_named(train: Callable[..., Any], tmp_path: Path) -> None:
    assert train("output_dir=first").code == 0
    (tmp_path / "text.pt").write_text("no weights")
    for words, said in (
        (["weights=first", "norm=none"], "use its own model and norm"),
        (["weights=first", "model=mlp"], "use its own model and norm"),
        (["weights=text.pt"], "text.pt must be a whole file of tensors"),
    ):
        answer = train(*words)
        assert answer.code == 2
        (line,) = answer.lines
        assert said in line
    assert train("weights=first").code == 0
    assert train("weights=first/last.pt", "head_norm=builtin").code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["bogus"], "No such command 'bogus'"),
        (["trian"], "Did you mean 'train'?"),
        (["norm=custom"], "No such command 'norm=custom'"),
        (["train", "--nope"], "No such option: --nope (see bnexp train --help)"),
        (["train", "-x"], "No such option: -x"),
        (["train", "--cfg", "all"], "--cfg must be job, got 'all'"),
        (["train", "--plugin", "surely_absent"], "no module named 'surely_absent'"),
        (["train", "--plugin", ""], "--plugin must be the name of a module"),
        (["train", "--plugin", "../mine.py"], "--plugin must be the name of a module"),
        (["resume"], "Missing argument 'RUN|SWEEP' (see bnexp resume --help)"),
        (["resume", "absent"], "no run 'absent': runs holds no runs yet"),
        (["resume", "last"], "no run 'last': runs holds no runs yet"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistaken_command_line_is_one_line(
    bnexp: Callable[..., Any], arguments: list[str], said: str
) -> None:
    answer = bnexp(*arguments)
    assert answer.code == 2
    (line,) = answer.lines
    assert said in line
