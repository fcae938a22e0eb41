"""`bnexp report`: what runs say together, in one HTML file, with Markdown and JSON beside it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from bnexp import atomic
from bnexp.analysis.query import answers
from bnexp.commands.compare import CompareOptions, compared
from bnexp.errors import BnexpError, ConfigError, unwritable
from bnexp.metrics import COMPARED

ENDING = ".html"


def report(
    words: Sequence[str], options: CompareOptions, *, runs_dir: str, output: str, title: str | None
) -> None:
    """Write the files and print their paths.

    Args:
        output: the HTML file; the others have its name and .md, .json, and the folder _files for figures.
    Raises:
        BnexpError: as `bnexp compare`; or `output` cannot be written.
    """
    path = Path(output)
    if path.suffix != ENDING:
        raise ConfigError(
            f"-o must name a {ENDING} file, got {output!r}; Markdown and JSON are written beside it"
        )
    _make(path.parent)
    records, notes = answers(words, Path(runs_dir))
    comparison = compared(records, options, notes)
    # Here and not above: matplotlib takes longer than finding out that a run does not exist.
    from bnexp.report.content import collect, data
    from bnexp.report.html import html
    from bnexp.report.markdown import markdown

    content = collect(comparison, title=title, own=_command(words, options, runs_dir, output, title))
    figures = path.with_name(f"{path.stem}_files")
    drawn = {figures / f"{one.name}.svg": one.svg for one in content.pictures if one.svg is not None}
    texts = {
        path: html(content),
        path.with_suffix(".md"): markdown(content, figures.name),
        path.with_suffix(".json"): json.dumps(data(content), indent=1, ensure_ascii=False, default=str)
        + "\n",
    }
    _write({**drawn, **texts})
    print("\n".join([*map(str, texts), f"{figures}/"]))


def _command(
    words: Sequence[str], options: CompareOptions, runs_dir: str, output: str, title: str | None
) -> str:
    """Return the command line that makes this report."""
    given = [("--baseline", value) for value in options.baseline]
    given += [("--metric", tag) for tag in options.metrics if tuple(options.metrics) != COMPARED]
    given += [("--group-by", options.group_by)] if options.group_by else []
    given += [("--best-of", options.best_of)] if options.best_of else []
    given += [("--by", options.by)] if options.by else []
    given += [("--runs-dir", runs_dir)] if runs_dir != "runs" else []
    given += [("--title", title)] if title else []
    switches = ["--uncorrected"] if options.uncorrected else []
    return shlex.join(
        ["bnexp", "report", *words, "-o", output, *switches, *(part for pair in given for part in pair)]
    )


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error


def _write(texts: Mapping[Path, str]) -> None:
    for path, text in texts.items():
        _make(path.parent)
        try:
            atomic.write_text(atomic.target(path), text)
        except OSError as error:
            raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> BnexpError:
    told = f"-o must be in a folder that can be written, {path} is not ({error.strerror})"
    return unwritable(path, error, told)
