"""Options that several verbs of the command line share."""

from __future__ import annotations

from typing import Annotated

import typer

from bnexp.metrics import COMPARED

Runs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RUN|FILTER]...",
        help="Folders, names, `last`, sweeps, experiments; or conditions such as norm=custom, "
        "'batch_size<16', status=finished, 'age<2d', 'accuracy/test>0.9'. Default: all.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Csv = Annotated[str | None, typer.Option("--csv", metavar="FILE", help="Write CSV; - prints it.")]
Top = Annotated[int | None, typer.Option("--top", "-n", metavar="N", min=1, help="At most so many.")]
GroupBy = Annotated[
    str | None, typer.Option("--group-by", metavar="KEY,KEY", help="Default: all but the seed.")
]
Base = Annotated[
    list[str] | None,
    typer.Option("--baseline", metavar="KEY=VALUE", help="What to pair with, such as norm=builtin."),
]
Metrics = Annotated[
    list[str] | None,
    typer.Option("--metric", metavar="TAG", help=f"Columns; repeatable. Default: {' '.join(COMPARED)}."),
]
BestOf = Annotated[
    str | None,
    typer.Option("--best-of", metavar="KEY,KEY", help="Each configuration at its own best values of these."),
]
By = Annotated[
    str | None, typer.Option("--by", metavar="TAG", help="How --best-of chooses. Default: accuracy/val.")
]
Uncorrected = Annotated[
    bool, typer.Option("--uncorrected", help="Show p as it is, without Holm's correction over the rows.")
]
RunsDir = Annotated[str, typer.Option("--runs-dir", help="Where runs are.")]
Layers = Annotated[
    list[str] | None, typer.Option("--layers", metavar="PATTERN", help="Layers to show; repeatable.")
]
Plugins = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin", metavar="PKG", help="A module whose classes your own YAMLs may name; repeatable."
    ),
]
