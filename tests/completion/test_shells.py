"""TAB pressed in real shells, which start as their user's do after `bnexp --install-completion`."""

from __future__ import annotations

import pytest
from terminal import Terminal


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("bnexp tr\t", "bnexp train "),
        ("bnexp runs sh\t", "bnexp runs show "),
        ("bnexp train --print\t", "bnexp train --print-trials "),
        ("bnexp train norm=cu\t", "bnexp train norm=custom "),
        ("bnexp train norm=custom,gr\t", "bnexp train norm=custom,group "),
        ("bnexp train norm=cen\t", "bnexp train norm=center "),
        ("bnexp train norm=center norm.\t", "bnexp train norm=center norm.gain="),
        ("bnexp train freeze\t", "bnexp train freeze_norm."),
        ("bnexp train mod\tres\tmodel.de\t", "bnexp train model=resnet model.depth="),
        ("bnexp train precision=b\t", "bnexp train precision=bfloat16 "),
        ("bnexp check norm=evonorm_s\t", "bnexp check norm=evonorm_s0 "),
        ("bnexp resume non\t", "bnexp resume none-64 "),
        ("bnexp plot none-64 default/c\t", "bnexp plot none-64 default/custom-64 "),
        ("bnexp plot --what=gr\t", "bnexp plot --what=gradients "),
        ("bnexp eval odd\t", "bnexp eval odd\\ name "),
        ("bnexp eval odd\\ \t", "bnexp eval odd\\ name "),
        ("bnexp train data_dir=my\t", "bnexp train data_dir=my\\ data/"),
        ("bnexp train data_dir=~/my\t", "bnexp train data_dir=~/my\\ data/"),
        ("bnexp eval ~/runs/defa\t", "bnexp eval ~/runs/default/"),
        ("OMP_NUM_THREADS=1 bnexp train norm=cu\t", "OMP_NUM_THREADS=1 bnexp train norm=custom "),
        ("cd .; ~/bin/bnexp train norm=cu\t", "cd .; ~/bin/bnexp train norm=custom "),
        ("bnexp train nothing_begins_so\t", "bnexp train nothing_begins_so"),
    ],
)
def test_tab_completes_the_word(terminal: Terminal, typed: str, line: str) -> None:
    assert terminal.line(typed) == line


def test_an_open_quote_is_kept(terminal: Terminal) -> None:
    assert terminal.line('bnexp train "norm=custom,gr\t').rstrip() == 'bnexp train "norm=custom,group"'


def test_the_word_at_the_cursor_is_completed_by_what_stands_before_it(terminal: Terminal) -> None:
    assert terminal.line("bnexp train  seed=1" + "\x02" * 7 + "norm=cu\t").startswith(
        "bnexp train norm=custom "
    )


def test_tab_lists_what_there_is(terminal: Terminal) -> None:
    line, text = terminal.line_and_list("bnexp train no\t")
    assert line == "bnexp train norm"
    assert "norm=" in text and "norm_batch=" in text
    line, text = terminal.line_and_list("bnexp train norm=custom,\t")
    assert line == "bnexp train norm=custom,"
    assert "custom,builtin" in text and "custom,center" in text
    assert "custom,custom" not in text
