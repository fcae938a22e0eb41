"""A report in a real browser: every figure is shown, nothing is fetched, nothing sticks out."""

import shutil

import pytest
from webdriver import browsing

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None,
    reason="needs chromium and chromedriver: apt-get install chromium chromium-driver",
)
FIGURES = """return [...document.querySelectorAll('figure')].map(figure => {
  const svg = figure.querySelector('svg'), box = svg.getBoundingClientRect();
  const paths = [...svg.querySelectorAll('path, use')];
  const boxes = paths.map(path => path.getBoundingClientRect());
  const seen = boxes.filter(box => box.width + box.height > 0);
  return {name: figure.id, width: box.width, height: box.height, seen: seen.length,
          caption: figure.querySelector('figcaption').getBoundingClientRect().height};
});"""
BROKEN = """return [...document.querySelectorAll('svg use')].map(use => use.getAttribute('href'))
  .filter(link => document.querySelectorAll('[id="' + link.slice(1) + '"]').length !== 1);"""
WIDTHS = "return [document.documentElement.scrollWidth, document.documentElement.clientWidth];"


@pytest.fixture(scope="module")
def browser():
    with browsing(CHROMIUM, DRIVER) as found:
        yield found


@pytest.fixture(scope="module")
def opened(browser, made):
    """The browser with the report open, and what it asked for."""
    return browser, browser.open((made[3] / "all.html").as_uri())


def test_every_figure_is_shown(opened, made):
    shown = {one["name"]: one for one in opened[0].run(FIGURES)}
    assert set(shown) == {f"figure-{one['name']}" for one in made[2]["figures"]}
    for one in shown.values():
        assert one["width"] > 800 and one["height"] > 100 and one["caption"] > 10, one
        assert one["seen"] > 50, one


def test_nothing_is_fetched(opened, made):
    browser, requested = opened
    assert [link for link in requested if not link.startswith("data:")] == [(made[3] / "all.html").as_uri()]
    assert browser.run("return performance.getEntriesByType('resource').map(entry => entry.name);") == []


def test_a_fetch_would_be_seen(browser, made):
    html = made[0].replace("</main>", '<img src="http://127.0.0.1:9/x.png"></main>')
    (made[3] / "wrong.html").write_text(html)
    assert "http://127.0.0.1:9/x.png" in browser.open((made[3] / "wrong.html").as_uri())
    browser.open((made[3] / "all.html").as_uri())


def test_every_part_that_a_figure_uses_is_its_own(opened):
    assert opened[0].run("return document.querySelectorAll('svg use').length;") > 100
    assert opened[0].run(BROKEN) == []


def test_the_page_is_no_wider_than_the_window(opened):
    whole, window = opened[0].run(WIDTHS)
    assert whole <= window


def test_the_page_prints(opened):
    assert len(opened[0].call("/print", page={"width": 21.0, "height": 29.7})) > 100_000
