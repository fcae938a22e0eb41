"""The files: every format, the same bytes each time, legible in print, and nobody's settings changed."""

import re
import struct
import subprocess
import sys
import xml.etree.ElementTree as ET
import zlib

import matplotlib
import pytest
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from bnexp.errors import CheckpointError, ConfigError
from bnexp.figures.catalog import IN_RUNS, drawer, write_figure
from bnexp.figures.style import PALETTE, file_format, save, styled
from bnexp.figures.subjects import subjects

PAIR = ("custom0", "none0")


@pytest.fixture(scope="module")
def figures(runs, tmp_path_factory):
    """Every figure of two runs, laid out."""
    found = {}
    with styled():
        for what in IN_RUNS:
            found[what] = drawer(what)(subjects([runs[name] for name in PAIR]), ()).figure
            save(found[what], tmp_path_factory.mktemp("figures") / "figure.png")
            found[what].set_layout_engine("none")  # it stays as it was saved: the next layout would take long
    return found


def assert_png(content):
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", content[16:24])
    assert width >= 1300 and height > 400
    data, place = b"", 8
    while place < len(content):
        length, kind = struct.unpack(">I4s", content[place : place + 8])
        data += content[place + 8 : place + 8 + length] if kind == b"IDAT" else b""
        place += 12 + length
    assert len(set(zlib.decompress(data))) > 50


def assert_svg(content):
    root = ET.fromstring(content)
    assert root.tag.endswith("svg") and len(list(root.iter("{http://www.w3.org/2000/svg}path"))) > 20


def assert_pdf(content):
    assert content.startswith(b"%PDF-") and content.rstrip().endswith(b"%%EOF")
    assert b"/FontFile2" in content and b"/Type3" not in content


CHECKS = {"png": assert_png, "svg": assert_svg, "pdf": assert_pdf}


@pytest.mark.parametrize("ending", list(CHECKS))
@pytest.mark.parametrize("what", IN_RUNS)
def test_every_figure_is_a_file_of_every_format(what, ending, figures, tmp_path):
    path = tmp_path / f"figure.{ending}"
    with styled():
        save(figures[what], path)
    CHECKS[ending](path.read_bytes())


@pytest.mark.parametrize("ending", list(CHECKS))
def test_the_same_runs_give_the_same_bytes(ending, runs, tmp_path):
    paths = [tmp_path / f"{name}.{ending}" for name in "ab"]
    for path in paths:
        write_figure("loss", [runs[name] for name in PAIR], path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("what", IN_RUNS)
def test_text_is_at_least_8_points_at_the_width_of_a_page(what, figures):
    assert figures[what].get_figwidth() == 6.5
    sizes = {text.get_fontsize() for text in figures[what].findobj(Text) if text.get_text().strip()}
    assert min(sizes) >= 8


@pytest.mark.parametrize("what", IN_RUNS)
def test_every_outer_axis_is_labelled(what, figures):
    axes = figures[what].axes
    rows = max(one.get_subplotspec().rowspan.start for one in axes)
    for one in axes:
        if one.get_subplotspec().rowspan.start == rows:
            assert one.get_xlabel() or figures[what].get_supxlabel()
        if one.get_subplotspec().colspan.start == 0:
            assert one.get_ylabel()


@pytest.mark.parametrize("what", IN_RUNS)
def test_nothing_covers_a_panel_or_leaves_the_page(what, figures):
    figure = figures[what]
    figure.draw_without_rendering()
    panels = [axes.get_window_extent() for axes in figure.axes]
    for legend in figure.legends:
        assert not any(legend.get_window_extent().overlaps(panel) for panel in panels)
        assert figure.bbox.containsx(legend.get_window_extent().x0)
        assert figure.bbox.containsx(legend.get_window_extent().x1)
    for first in range(len(panels)):
        assert not any(panels[first].overlaps(other) for other in panels[first + 1 :])
    for axes in figure.axes:
        for text in (axes.xaxis.label, axes.yaxis.label, axes.title):
            box = text.get_window_extent()
            assert box.x0 > -1 and box.y0 > -1
            assert box.x1 < figure.bbox.x1 + 1 and box.y1 < figure.bbox.y1 + 1


def luminance(color):
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(color)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_every_colour_stands_out_from_white_paper():
    for color in PALETTE:
        assert 1.05 / (luminance(color) + 0.05) > 2.0


def test_settings_of_the_caller_neither_count_nor_change(runs, tmp_path):
    plain, changed = tmp_path / "plain.svg", tmp_path / "changed.svg"
    write_figure("loss", [runs["custom0"]], plain)
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "black"}):
        before = dict(matplotlib.rcParams)
        write_figure("loss", [runs["custom0"]], changed)
        assert dict(matplotlib.rcParams) == before
    assert plain.read_bytes() == changed.read_bytes()


def test_neither_pyplot_nor_torch_is_imported():
    code = "import sys, bnexp.figures.catalog; print({'torch', 'matplotlib.pyplot'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_an_unknown_ending_is_refused_before_anything_is_read(tmp_path):
    with pytest.raises(ConfigError, match=re.escape("must end in .png, .svg or .pdf, got 'a.jpeg'")):
        write_figure("loss", [], tmp_path / "a.jpeg")
    assert file_format(tmp_path / "A.PNG") == "png"


def test_a_folder_that_is_not_there_is_one_line(runs, tmp_path):
    with pytest.raises(ConfigError, match="folder must exist and be writable") as error:
        write_figure("loss", [runs["custom0"]], tmp_path / "no" / "a.png")
    assert "\n" not in str(error.value)


def test_a_damaged_run_is_one_line(runs, tmp_path):
    damaged = type(runs["custom0"])(tmp_path)
    damaged.config_file.write_text("norm: [")
    with pytest.raises(CheckpointError, match="cannot be read"):
        write_figure("loss", [damaged], tmp_path / "a.png")
