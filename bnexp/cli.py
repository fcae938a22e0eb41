"""The verbs of `bnexp`; each is imported only when it is called, so that help answers at once."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
import typer.core

from bnexp import __version__
from bnexp.commands.options import (
    AsJson,
    Base,
    BestOf,
    By,
    Csv,
    GroupBy,
    Layers,
    Metrics,
    Plugins,
    Runs,
    RunsDir,
    Top,
    Uncorrected,
)
from bnexp.commands.streams import lost, outlive_streams
from bnexp.completion.installation import SHELLS
from bnexp.composition.eval_words import EVAL_KNOBS
from bnexp.errors import BnexpError, ConfigError, StorageError
from bnexp.figures.catalog import FIGURES
from bnexp.metrics import COMPARED

TRAINING = (["train"], ["resume"])
SHELL = f"[{'|'.join(SHELLS)}]"


class _Verbs(typer.core.TyperGroup):
    """A group whose help says what each verb does to the end; typer's own cuts it at one line."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, verb.help or "") for name, verb in commands if verb is not None])


app = typer.Typer(
    cls=_Verbs,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    help="Controlled experiments on normalization layers in neural networks.",
    epilog="Start with: bnexp train norm=custom batch_size=8",
)


class _Listing(_Verbs):
    """`bnexp runs` with anything but a verb lists runs."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        known = args and (args[0] in self.commands or args[0] in ("-h", "--help"))
        return list(super().parse_args(ctx, args if known else ["list", *args]))


runs_app = typer.Typer(cls=_Listing, rich_markup_mode=None, help="Look at runs: `bnexp runs [FILTER]...`.")
app.add_typer(runs_app, name="runs")


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    install_completion: Annotated[
        str | None,
        typer.Option("--install-completion", metavar=SHELL, help="Let TAB complete words. Default: $SHELL."),
    ] = None,
    show_completion: Annotated[
        str | None, typer.Option("--show-completion", metavar=SHELL, help="Print the completion script.")
    ] = None,
) -> None:
    if version:
        print(f"bnexp {__version__}")
        raise typer.Exit
    if install_completion is not None or show_completion is not None:
        from bnexp.commands import completion

        raise typer.Exit(completion.serve(install=install_completion, show=show_completion))


@app.command(add_help_option=False)
def train(
    words: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE...")] = None,
    plugin: Plugins = None,
    multirun: Annotated[bool, typer.Option("-m", "--multirun")] = False,
    jobs: Annotated[int | None, typer.Option("--jobs", metavar="N")] = None,
    needed: Annotated[bool, typer.Option("--needed")] = False,
    fail_fast: Annotated[bool, typer.Option("--fail-fast")] = False,
    print_trials: Annotated[bool, typer.Option("--print-trials")] = False,
    trials: Annotated[str | None, typer.Option("--trials", metavar="FILE")] = None,
    pair: Annotated[list[str] | None, typer.Option("--pair", metavar="KEY,KEY")] = None,
    cfg: Annotated[str | None, typer.Option("--cfg", metavar="job")] = None,
    show_help: Annotated[bool, typer.Option("-h", "--help")] = False,
) -> None:
    """Train one network, or with -m one for each combination of values, and leave a folder for each run."""
    if show_help:
        from bnexp.display.help import train_help

        train_help()
        raise typer.Exit
    if cfg is not None and multirun:
        raise ConfigError("--cfg shows one run: leave -m out and give each key one value")
    if multirun or trials is not None:
        from bnexp.commands.sweep import SweepOptions, sweep

        options = SweepOptions(jobs, needed, fail_fast, print_trials, trials, pair or [])
        raise typer.Exit(sweep(words or [], plugin or [], options))
    if jobs is not None or needed or fail_fast or print_trials or pair:
        raise ConfigError("--jobs, --needed, --fail-fast, --print-trials, --pair belong to a sweep: add -m")
    from bnexp.commands import train as command

    if cfg is not None:
        command.print_config(cfg, words or [], plugin or [])
    else:
        raise typer.Exit(command.train(words or [], plugin or []))


@app.command()
def doctor(
    words: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE...")] = None,
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Say what each norm of a run would see, and what is known to go wrong; train nothing."""
    from bnexp.commands.doctor import doctor as command

    command(words or [], plugin or [], as_json=as_json)


@app.command()
def resume(
    run: Annotated[
        str, typer.Argument(metavar="RUN|SWEEP", help="A run's folder or name, `last`, or a sweep's name.")
    ],
    runs_dir: RunsDir = "runs",
    plugin: Plugins = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", metavar="N", help="Jobs of a sweep at a time.")
    ] = None,
) -> None:
    """Go on with a run or a sweep that was interrupted or failed, bit for bit."""
    from bnexp.commands.resume import resume as command

    raise typer.Exit(command(run, runs_dir, plugin or [], jobs))


@app.command("eval")
def evaluate(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, its name, or `last`.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help=f"KEY is {', '.join(EVAL_KNOBS)}.",
        ),
    ] = None,
    runs_dir: RunsDir = "runs",
    plugin: Plugins = None,
) -> None:
    """Test a run by its running statistics, each batch's, and recalibrated ones."""
    from bnexp.commands.eval import evaluate as command

    raise typer.Exit(command(run, words or [], runs_dir, plugin or []))


@app.command()
def check(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[norm=NAME] [KEY=VALUE]...", help="Default: every norm.")
    ] = None,
    file: Annotated[
        str | None,
        typer.Option("--json", metavar="FILE", help="Where to keep the matrix: RUNS_DIR/check.json."),
    ] = None,
    compiled: Annotated[bool, typer.Option("--compile", help="Also through torch.compile.")] = False,
    plugin: Plugins = None,
) -> None:
    """Compare norms with their formulas, torch's layers and themselves; exit code 1 if a comparison fails."""
    from bnexp.commands.check import check as command

    raise typer.Exit(command(words or [], plugin or [], file=file, compiled=compiled))


@app.command()
def tb(
    runs: Runs = None,
    runs_dir: RunsDir = "runs",
    port: Annotated[int | None, typer.Option(help="6006 or the next free one; 0 is any.")] = None,
    mean: Annotated[
        bool, typer.Option("--mean", help="Also means over seeds, with bands of one standard deviation.")
    ] = False,
) -> None:
    """Show runs in TensorBoard, on this machine only."""
    from bnexp.commands.tb import tb as command

    raise typer.Exit(command(runs or [], runs_dir, port, mean=mean))


@app.command()
def plot(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN|FILTER...", help="Folders, names, `last`, sweeps, experiments, conditions."
        ),
    ],
    what: Annotated[str, typer.Option(metavar="|".join(FIGURES), help="Which figure.")] = "loss",
    output: Annotated[str | None, typer.Option("-o", "--output", help="A .png, .svg or .pdf file.")] = None,
    layers: Layers = None,
    x: Annotated[str | None, typer.Option("--x", metavar="KEY", help="Of metric: the knob below.")] = None,
    y: Annotated[str | None, typer.Option("--y", metavar="TAG,TAG", help="Of metric: what is drawn.")] = None,
    by: Annotated[str | None, typer.Option("--by", metavar="KEY", help="Of metric: a line a value.")] = None,
    runs_dir: RunsDir = "runs",
) -> None:
    """Draw runs side by side into a figure, or a metric of theirs against a knob (--what metric --x KEY)."""
    from bnexp.commands.plot import Against
    from bnexp.commands.plot import plot as command

    against = Against(x, y, by)
    command(runs, what=what, output=output, runs_dir=runs_dir, layers=layers or [], against=against)


@app.command()
def compare(
    runs: Runs = None,
    group_by: GroupBy = None,
    baseline: Base = None,
    metric: Metrics = None,
    minimum: Annotated[
        str | None, typer.Option("--min", metavar="TAG", help="Sort by a metric, lowest first.")
    ] = None,
    maximum: Annotated[
        str | None, typer.Option("--max", metavar="TAG", help="Sort by a metric, highest first.")
    ] = None,
    top: Top = None,
    best_of: BestOf = None,
    by: By = None,
    uncorrected: Uncorrected = False,
    runs_dir: RunsDir = "runs",
    as_json: AsJson = False,
    csv: Csv = None,
) -> None:
    """Average runs over seeds and say what their choices did, with intervals and paired differences."""
    from bnexp.commands import compare as command
    from bnexp.display.export import Form

    options = command.CompareOptions(
        group_by, baseline or (), metric or COMPARED, minimum, maximum, top, best_of, by, uncorrected
    )
    command.compare(runs or [], options, runs_dir=runs_dir, form=Form(as_json, csv))


@app.command()
def report(
    runs: Runs = None,
    output: Annotated[
        str, typer.Option("-o", "--output", metavar="FILE", help="Markdown and JSON are written beside it.")
    ] = "report.html",
    title: Annotated[str | None, typer.Option(help="Title of the report.")] = None,
    group_by: GroupBy = None,
    baseline: Base = None,
    metric: Metrics = None,
    best_of: BestOf = None,
    by: By = None,
    uncorrected: Uncorrected = False,
    runs_dir: RunsDir = "runs",
) -> None:
    """Write what runs say together into one HTML file: table, curves, what happened inside, commands."""
    from bnexp.commands import compare as comparison
    from bnexp.commands.report import report as command

    options = comparison.CompareOptions(
        group_by, baseline or (), metric or COMPARED, best_of=best_of, by=by, uncorrected=uncorrected
    )
    command(runs or [], options, runs_dir=runs_dir, output=output, title=title)


@app.command()
def diff(
    first: Annotated[str, typer.Argument(metavar="A")],
    second: Annotated[str, typer.Argument(metavar="B")],
    runs_dir: RunsDir = "runs",
    as_json: AsJson = False,
    csv: Csv = None,
) -> None:
    """Say in what two runs differ: configuration, versions, code, metrics."""
    from bnexp.commands.diff import diff as command
    from bnexp.display.export import Form

    command(first, second, runs_dir=runs_dir, form=Form(as_json, csv))


@runs_app.command("list")
def list_runs(
    runs: Runs = None,
    top: Top = None,
    runs_dir: RunsDir = "runs",
    as_json: AsJson = False,
    csv: Csv = None,
) -> None:
    """List runs, newest first (also without the word `list`)."""
    from bnexp.commands.listing import runs as command
    from bnexp.display.export import Form

    command(runs or [], runs_dir=runs_dir, form=Form(as_json, csv), top=top)


@runs_app.command()
def show(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, its name, or `last`.")],
    layers: Layers = None,
    what: Annotated[
        str,
        typer.Option(
            metavar="overview|running_stats", help="running_stats: the traced channels, step by step."
        ),
    ] = "overview",
    runs_dir: RunsDir = "runs",
    as_json: AsJson = False,
    csv: Csv = None,
) -> None:
    """Draw one run's curves, histograms and running statistics on the terminal."""
    from bnexp.commands.show import show as command
    from bnexp.display.export import Form

    command(run, runs_dir=runs_dir, form=Form(as_json, csv), patterns=layers or [], what=what)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the verb and exit: 0 done, 1 a bug, a failed run, a full disk, 2 a user's mistake, 130 interrupted.

    Where standard output cannot be written, a run is trained all the same; what only prints has failed.
    """
    outlive_streams()
    words = sys.argv[1:] if arguments is None else list(arguments)
    code, unprinted = run(words), lost()
    if unprinted is not None:
        complain([f"standard output cannot be written ({unprinted.strerror})"])
        code = code or words[:1] not in TRAINING
    sys.exit(int(code))


def run(arguments: Sequence[str]) -> int:
    """Run the verb and return its exit code; a user's mistake is printed, one line each."""
    command = typer.main.get_command(app)
    if arguments[:1] == ["__complete"]:  # past typer, which would take as long again to read these words
        from bnexp.commands.completion import complete

        return complete(command, arguments[1:])
    if list(arguments) in (["--install-completion"], ["--show-completion"]):
        arguments = [*arguments, ""]  # typer has no option whose value may be left out
    try:
        code = command.main(list(arguments), prog_name="bnexp", standalone_mode=False)
    except BnexpError as error:
        return complain(str(error).splitlines(), error.code)
    except OSError as error:
        # of the file system; the bugs among them are found by the file's name
        reason = error.strerror or str(error)
        return complain([f"{error.filename}: {reason}" if error.filename else reason], StorageError.code)
    except KeyboardInterrupt:
        complain(["interrupted"])
        return 130
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error.format_message())
            return 2
        verb = getattr(getattr(error, "ctx", None), "command_path", "bnexp")
        return complain([f"{error.format_message().rstrip('.')} (see {verb} --help)"])
    return code if isinstance(code, int) else 0


def complain(lines: Sequence[str], code: int = 2) -> int:
    for line in lines:
        print(f"bnexp: {line}", file=sys.stderr)
    return code
