"""Lines as bash hands them over."""

from __future__ import annotations

import pytest

from bnexp.completion.line import Candidate, split

BREAKS = " \t\n\"'><=;|&(:"


@pytest.mark.parametrize(
    ("line", "words", "current"),
    [
        ("bnexp train ", ["bnexp", "train"], ""),
        ("bnexp  train norm=cu", ["bnexp", "train"], "norm=cu"),
        ("bnexp eval 'odd name' fo", ["bnexp", "eval", "odd name"], "fo"),
        ("bnexp eval odd\\ na", ["bnexp", "eval"], "odd na"),
        ('bnexp eval "a\\"b\\c', ["bnexp", "eval"], 'a"b\\c'),
        ("bnexp eval '' ", ["bnexp", "eval", ""], ""),
        ("bnexp eval x\\", ["bnexp", "eval"], "x"),
    ],
)
def test_words_are_split_as_a_shell_does(line: str, words: list[str], current: str) -> None:
    found = split(line, BREAKS)
    assert (found.words, found.current) == (words, current)


@pytest.mark.parametrize(
    ("line", "breaks", "candidate", "reply"),
    [
        ("bnexp train norm=cu", BREAKS, "norm=custom", "custom "),
        ("bnexp train norm=cu", " ", "norm=custom", "norm=custom "),
        ("bnexp train device=cuda:", BREAKS, "device=cuda:1", "1 "),
        ("bnexp train no", BREAKS, "norm=", "norm="),
        ('bnexp train "norm=cu', BREAKS, "norm=custom", "norm=custom"),
        ('bnexp train norm="cu', BREAKS, "norm=custom", "custom"),
        ("bnexp eval od", BREAKS, "odd name", "odd\\ name "),
        ("bnexp eval a\\=", BREAKS, "a=b", "a=b "),
    ],
)
def test_a_reply_is_what_readline_puts_after_its_last_break(
    line: str, breaks: str, candidate: str, reply: str
) -> None:
    assert split(line, breaks).reply(Candidate(candidate)) == reply
