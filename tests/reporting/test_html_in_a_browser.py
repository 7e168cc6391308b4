"""The HTML report in a real browser: it sorts, it shows what stands behind a cell, and it fetches nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kdharness.core.records import TableSpec
from kdharness.reporting.render import render
from kdharness.reporting.tables import build_table

from .chromium import Tab, browser, program
from .frames import quickstart
from .test_render import crowded
from .test_shared_cells import triples

pytestmark = pytest.mark.skipif(program() is None, reason="needs a Chromium")

FIRST = "document.querySelector('tbody tr:not([hidden]):not(.group) th').textContent.trim()"
TIP = "document.querySelector('.value .tip')"
IS_SHOWN = f"getComputedStyle({TIP}).display === 'block'"
LINK = "http://127.0.0.1:5000/#/experiments/1/runs/abc"


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    folder = tmp_path_factory.mktemp("browser")
    tables = [build_table(quickstart(), TableSpec(baseline="kd")), crowded(), triples()]
    links = dict.fromkeys(tables[0].cells[0, 0].runs, LINK)
    (folder / "page.html").write_text(render(tables, "html", links))
    with browser(folder / "profile") as tab:
        tab.open((folder / "page.html").as_uri())
        yield tab
        assert tab.errors == []
        assert [url for url in tab.fetched if not url.startswith(("file:", "data:", "about:"))] == []


def test_a_click_on_a_head_sorts_and_a_third_restores(tab: Tab) -> None:
    assert tab.ask(FIRST) == "none"
    head = "thead th:nth-child(2)"
    tab.click(f"{head} button")
    assert tab.ask(FIRST) == "KD+LS" and tab.ask(f"document.querySelector('{head}').ariaSort") == "descending"
    tab.click(f"{head} button")
    assert tab.ask(FIRST) == "none" and tab.ask(f"document.querySelector('{head}').ariaSort") == "ascending"
    tab.click(f"{head} button")
    assert tab.ask(f"document.querySelector('{head}').ariaSort") is None
    rows = "[...document.querySelector('table').querySelectorAll('tbody th[scope=row]')]"
    assert tab.ask(f"{rows}.map(row => row.textContent.trim())") == ["none", "kd", "dkd", "KD+LS", "luminet", "fitnet"]


def test_a_cell_shows_its_runs_when_it_is_pointed_at(tab: Tab) -> None:
    assert not tab.ask(IS_SHOWN)
    tab.point("tbody .value")
    assert tab.ask(IS_SHOWN)
    said = tab.ask(f"{TIP}.textContent")
    for fact in ("3 of 3", "95 % interval", "seed 0", "seed 2", "95.28"):
        assert fact in said
    box = tab.ask(
        f"(b => [b.left, b.top, b.right - innerWidth, b.bottom - innerHeight])({TIP}.getBoundingClientRect())"
    )
    assert min(box[:2]) >= 0 and max(box[2:]) <= 0, "whole in the window"
    assert tab.ask(f"{TIP}.querySelector('a').href") == LINK
    tab.point(".value .tip a")
    assert tab.ask(IS_SHOWN), "the mouse can reach the links"
    tab.point("h2")
    assert not tab.ask(IS_SHOWN)


def test_all_of_it_goes_by_keyboard(tab: Tab) -> None:
    tab.ask("document.querySelector('thead th:nth-child(2) button').focus()")
    tab.press("Enter", 13)
    assert tab.ask(FIRST) == "KD+LS"
    for _ in range(2):
        tab.press("Enter", 13)
    assert tab.ask(FIRST) == "none"
    for _ in range(2):  # past the head of the differences
        tab.press("Tab", 9)
    assert tab.ask("document.activeElement.matches('.value')") and tab.ask(IS_SHOWN)
    tab.press("Tab", 9)
    assert tab.ask("document.activeElement.href") == LINK and tab.ask(IS_SHOWN)
    tab.press("Escape", 27)
    assert not tab.ask(IS_SHOWN)


def test_a_narrow_window_scrolls_the_table_alone(tab: Tab) -> None:
    tab.resize(390, 800)
    assert tab.ask("document.documentElement.scrollWidth") <= 390
    assert tab.ask("document.querySelectorAll('.scroll')[1].scrollWidth > 390"), "the table is wider"
    tab.resize(1200, 900)


def pictures(folder: Path) -> None:
    """For people: what it looks like, wide, narrow and dark."""
    tables = [build_table(quickstart(), TableSpec(baseline="kd")), crowded(), triples()]
    links = dict.fromkeys(tables[0].cells[0, 0].runs, LINK)
    (folder / "page.html").write_text(render(tables, "html", links))
    with browser(folder / "profile") as tab:
        for name, width, scheme in (("wide", 1200, "light"), ("narrow", 390, "light"), ("dark", 1200, "dark")):
            tab.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
            tab.open((folder / "page.html").as_uri(), width)
            tab.point("tbody tr:nth-child(3) .value")
            tab.picture(folder / f"{name}.png")
