"""`bnexp report`: what stands in the three files, whatever the runs."""

import json
import re
import shlex
import xml.etree.ElementTree as ET
from html import unescape
from html.parser import HTMLParser

import pytest
from reported import QUIET, TOLD, finished, report
from synthetic_runs import OURS, telling_rows

from bnexp import cli

FIGURES = ("curves", "heat_map", "over_batch_size", "running_stats", "percentiles", "gradients", "cost")
VOID = ("meta", "link", "br", "hr", "img")


class Page(HTMLParser):
    """Checks that what is opened is closed; collects text, ids and what would be fetched."""

    def __init__(self, html):
        super().__init__()
        self.open, self.ids, self.links, self.text = [], [], [], ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.handle_startendtag(tag, attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            if name in ("href", "src", "srcset", "xlink:href", "data", "action"):
                self.links.append((tag, value))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def error(capsys):
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert printed.out == "" and line.startswith("bnexp: ")
    return line


def table(html, heading):
    """Return the rows of the first table under a heading, as text."""
    part = html.split(f"<h2>{heading}</h2>")[1].split("</table>")[0]
    rows = re.findall(r"<tr>(.*?)</tr>", part, re.DOTALL)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
    return [[unescape(re.sub(r"<[^>]*>", "", cell)) for cell in row] for row in cells]


def test_the_page_is_well_formed_and_asks_for_nothing(made):
    page = Page(made[0])
    assert len(page.ids) == len(set(page.ids)) > 100
    links = {value for _, value in page.links}
    assert {value[1:] for value in links if value.startswith("#")} <= set(page.ids)
    assert {value for value in links if not value.startswith("#")} == {"data:,"}
    style = made[0].split("<style>")[1].split("</style>")[0]
    assert "url(" not in style and "@import" not in style and "<script" not in made[0]
    named = set(re.findall(r"url\(([^)]*)\)", made[0]))
    assert {name.strip("#'\"") for name in named} <= set(page.ids)


def test_every_figure_is_named_and_described(made):
    html, text, data, folder = made
    assert tuple(one["name"] for one in data["figures"]) == FIGURES
    for one in data["figures"]:
        name = one["name"]
        figure = html.split(f'<figure id="figure-{name}">')[1].split("</figure>")[0]
        assert f'role="img" aria-labelledby="{name}-title"' in figure
        assert unescape(figure.split("<figcaption>")[1]).startswith(one["caption"])
        assert f"](all_files/{name}.svg)" in text
        assert ET.parse(folder / "all_files" / f"{name}.svg").getroot().tag.endswith("svg")


def test_the_question_is_a_sentence(made):
    html, text, data, _ = made
    told = "9 runs: norm (batch norm (ours), no norm) × batch_size (8, 64), 2 to 3 seeds each; "
    told += "lenet on digits, 5 epochs"
    assert data["question"] == told and told in unescape(html) and told.replace("_", "\\_") in text
    assert data["title"] == "norm × batch_size (lenet on digits)"


def test_the_numbers_are_those_of_compare(made, root, capsys):
    assert cli.run(["compare", "--baseline", "norm=none", "--json", "--runs-dir", str(root)]) == 0
    compared = json.loads(capsys.readouterr().out)
    costs = [row["cost"] for row in made[2]["groups"]]
    # the diverged run of the last group, with 2000 / 60 ms, enters no mean
    assert [cost["step_time_ms"]["mean"] for cost in costs] == pytest.approx([5, 5, 5, 5])
    assert [{**row, "cost": None} for row in made[2]["groups"]] == [{**row, "cost": None} for row in compared]


def test_the_table_is_that_of_compare(made, root, capsys):
    assert cli.run(["compare", "--baseline", "norm=none", "--runs-dir", str(root)]) == 0
    printed = capsys.readouterr().out.splitlines()
    header, *rows = table(made[0], "Comparison")
    assert header[:3] == ["norm", "batch_size", "n"]
    for line, row in zip(printed[1:], rows, strict=False):
        assert line.split() == " ".join(row).split()
    assert made[0].count('class="number best"') == 2  # all took 2 seconds: none is the fastest


def test_a_diverged_run_is_told_with_where_it_happened(made):
    html, text, data, _ = made
    _, row = table(html, "Runs that diverged")
    told = "first not finite: the output of conv1.linear at step 60"
    assert row == ["no norm, batch 64", "2", told, "lost"]
    assert "1 of 9 runs diverged" in html and told in text and data["diverged"][0]["text"] == told
    assert "3 (1 diverged)" in [cells[2] for cells in table(html, "Comparison")]
    assert "thin line of its own" in data["figures"][0]["caption"]


def test_runs_that_are_not_finished_are_said_to_be_left_out(made):
    html, text, data, _ = made
    assert data["notes"] == ["1 interrupted left out"]
    assert "1 interrupted left out" in html and "1 interrupted left out" in text
    assert len(data["runs"]) == 9


def test_warnings_are_counted_and_escaped(made):
    html, text, data, _ = made
    (warned,) = data["warnings"]
    assert warned["text"] == TOLD and warned["runs"] == 5
    assert warned["where"] == {"no norm, batch 8": 2, "no norm, batch 64": 3}
    assert table(html, "Warnings")[1] == [TOLD, "5", "no norm, batch 8 (2); no norm, batch 64 (3)"]
    assert "&amp; no norm: &lt;nothing&gt;" in html and "\\<nothing\\>" in text


def test_the_commands_are_those_that_began_the_runs(made):
    commands = [one["text"] for one in made[2]["commands"]]
    assert "bnexp train norm=custom batch_size=8 seed=1" in commands and len(commands) == 9
    assert [run["command"] for run in made[2]["runs"]] == commands
    own = shlex.split(made[2]["command"])
    assert own[:2] == ["bnexp", "report"] and own[own.index("--baseline") + 1] == "norm=none"


def test_runs_that_differ_in_code_or_machine_are_said_to(root, tmp_path, folder):
    finished(tmp_path, "one", "custom", rows=QUIET, git_commit="abc")
    finished(tmp_path, "two", "none", rows=QUIET, git_commit="def", git_dirty=True)
    assert report(root=tmp_path) == 0
    data = json.loads((folder / "report.json").read_text())
    assert data["circumstances"]["git commit"] == {"abc": 1, "def with uncommitted changes": 1}
    html = (folder / "report.html").read_text()
    assert "The runs differ in git commit." in html
    assert '<td class="differs">abc (1 run); def with uncommitted changes (1 run)</td>' in html


def test_special_letters_are_escaped_everywhere(tmp_path, folder):
    finished(tmp_path, "one", "custom", rows=QUIET, diverged={"origin": "<b>&"}, status="diverged")
    finished(tmp_path, "two", "none", rows=QUIET, versions={"torch": "<i>2"})
    assert report("--title", "a < b & c | `d` {{ 7 * 7 }}", root=tmp_path) == 0
    html, text = (folder / "report.html").read_text(), (folder / "report.md").read_text()
    title = "a &lt; b &amp; c | `d` {{ 7 * 7 }}"
    assert f"<title>{title}</title>" in html and f"<h1>{title}</h1>" in html
    assert "<b>" not in html and "<i>" not in html and "&lt;i&gt;2" in html
    assert text.startswith("# a \\< b & c | \\`d\\` {{ 7 \\* 7 }}\n")
    Page(html)


def test_one_run_alone_has_a_report(tmp_path, folder):
    finished(tmp_path, "one", "custom")
    assert report("one", root=tmp_path) == 0
    data = json.loads((folder / "report.json").read_text())
    assert data["question"] == "1 run: one configuration, seed 0; lenet on digits, 5 epochs"
    shown = {one["name"]: one for one in data["figures"]}
    assert {name for name, one in shown.items() if not one["shown"]} == {"heat_map"}
    assert shown["heat_map"]["caption"].startswith("Not shown: a heat map needs two knobs")
    assert data["groups"][0]["accuracy/test"]["half_width"] is None


def test_runs_without_telemetry_have_a_report(tmp_path, folder):
    for norm in ("custom", "none"):
        finished(tmp_path, norm, norm, rows=QUIET)
    assert report(root=tmp_path) == 0
    data = json.loads((folder / "report.json").read_text())
    shown = {one["name"]: one["shown"] for one in data["figures"]}
    assert shown == {name: name in ("curves", "cost") for name in FIGURES if name != "over_batch_size"}
    page = (folder / "report.html").read_text()
    assert page.count('<p class="missing">Not shown: ') == 4
    assert sorted(path.stem for path in (folder / "report_files").iterdir()) == ["cost", "curves"]


def test_runs_that_all_diverged_have_a_report(tmp_path, folder):
    rows = {0: telling_rows("none")[0]}
    for seed in (0, 1):
        lost = {"status": "diverged", "accuracy/test": None, "loss/test": None, "seconds": 0.0, "step": 0}
        finished(tmp_path, f"lost{seed}", "none", seed=seed, rows=rows, **lost)
    assert report(root=tmp_path) == 0
    data = json.loads((folder / "report.json").read_text())
    assert len(data["diverged"]) == 2 and data["groups"][0]["accuracy/test"] is None
    Page((folder / "report.html").read_text())


def test_the_same_runs_give_the_same_files(root, made, folder):
    assert report("-o", "all.html", "--baseline", "norm=none", root=root) == 0
    for ending in ("md", "html"):
        again = (folder / f"all.{ending}").read_text()
        assert again == (made[3] / f"all.{ending}").read_text().replace(f"{made[3]}/", "")


@pytest.mark.parametrize("name", ["report.pdf", "report"])
def test_another_ending_is_refused_in_one_line(name, root, folder, capsys):
    assert report("-o", name, root=root) == 2
    assert f"-o must name a .html file, got '{name}'" in error(capsys)


def test_a_folder_that_cannot_be_written_is_one_line(root, folder, capsys):
    (folder / "file").write_text("")
    assert report("norm=custom", "-o", "file/report.html", root=root) == 2
    assert "-o must be in a folder that can be written" in error(capsys)


def test_nothing_to_report_is_one_line(tmp_path, folder, capsys):
    assert report(root=tmp_path) == 2
    assert "no finished run" in error(capsys)


def test_figures_mix_no_configurations_where_rows_do(root, folder, capsys):
    """Steps of unequal batch sizes have nothing in common that a mean could be of."""
    assert report("-o", "mixed.html", "--group-by", "norm", root=root) == 0
    svg = (folder / "mixed_files" / "curves.svg").read_text()
    names = {f"{norm}, batch {size}" for norm in (OURS, "no norm") for size in (8, 64)}
    assert names <= set(re.findall(r"<!-- (.*?) -->", svg))
    caption = json.loads((folder / "mixed.json").read_text())["figures"][0]["caption"]
    assert caption.startswith("Figures show each configuration by itself")
    assert len(table((folder / "mixed.html").read_text(), "Comparison")) == 3
