"""report.html in Chromium: what readers do with it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest

from bench.report import sides
from bench.report.diagnosed import diagnosed
from bench.report.html.folder import read_folder
from bench.report.html.writer import write_html
from bench.report.outline import bare_copies
from bench.report.recorded import RecordedRun, read_trace
from bench.tasks import TASKS
from search.strategies import STRATEGIES
from tests.browser import CHROMIUM, Browser, browser
from tests.random_runs import Fractions
from tests.test_html import grid, two_runs
from tests.test_tree_drawing import episode, scripted, trace

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

NASTY = '<img src=x onerror="document.title=1"><b>bold</b> &amp;'
A, B = 0, 1  # best_of_n and hgs


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def page(chromium: Browser) -> Iterator[Browser]:
    """The browser. Nothing may be logged as an error, and nothing asked for but files."""
    chromium.problems.clear()
    chromium.requests.clear()
    chromium.colours("light")
    yield chromium
    assert chromium.problems == []
    assert {url.partition(":")[0] for url in chromium.requests} <= {"file", "about"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sides, "TASKS", {**TASKS, "fractions": Fractions})
        folder = asyncio.run(two_runs(tmp_path_factory.mktemp("runs")))
        write_html(diagnosed(read_folder(folder)), folder / "report.html")
        yield folder


@pytest.fixture(scope="module")
def report(folder: Path) -> Path:
    return folder / "report.html"


@pytest.fixture(autouse=True)
def fractions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sides, "TASKS", {**TASKS, "fractions": Fractions})


def runs(folder: Path) -> list[RecordedRun]:
    return [read_trace(folder / f"{name}.jsonl") for name in ("best_of_n", "hgs")]


def no_trees(folder: Path) -> Path:
    """A trace in which no problem has begun."""
    path = folder / "trace.jsonl"
    path.write_text('{"event": "run", "config": {"strategy": "cot", "task": "fractions"}}\n')
    return path


def shown(page: Browser, report: Path, problem: int, a: int = A, b: int = B, width: int = 1200) -> None:
    """Open the search trees of a problem."""
    page.open(report, f"#problem={problem}&a={a}&b={b}", width=width)
    page.wait("document.querySelectorAll('.tree').length === 2")


def ids(page: Browser) -> list[str]:
    found: list[str] = page.js("[...document.querySelectorAll('#list .id')].map(id => id.textContent)")
    return found


# -- the overview ----------------------------------------------------------------------------------


def test_the_overview_says_which_is_best_and_shows_all_results(page: Browser, report: Path) -> None:
    page.open(report)
    first = page.texts("#short p")[0]
    assert first.startswith("best_of_n solves ")
    assert " policy tokens each. Of 2 methods it is the most accurate" in first
    assert {text.split()[0] for text in page.texts("#methods tbody th")} == {"best_of_n", "hgs"}
    assert len(page.texts("#diagnosis details")) == 2 and page.texts("#count") == ["6 problems"]
    assert page.js("document.querySelectorAll('#chart .line').length") == 2


def test_a_column_sorts_the_table(page: Browser, report: Path) -> None:
    page.open(report)
    column = "[...document.querySelectorAll('#methods th button')].find(b => b.innerText === 'policy tokens')"
    page.js(f"{column}.click()")
    at = page.js(f"[...{column}.closest('tr').children].indexOf({column}.closest('th'))")
    tokens = page.texts(f"#methods tbody tr > :nth-child({at + 1})")
    assert tokens == sorted(tokens, key=lambda text: int(text.replace(",", "")))
    assert page.texts("#methods [aria-sort]") == ["policy tokens"]


def test_labels_of_the_picture_do_not_overlap(page: Browser, tmp_path: Path) -> None:
    write_html(
        diagnosed(
            grid({name: (10 + i // 3, "1100") for i, name in enumerate(STRATEGIES)}, no_trees(tmp_path))
        ),
        tmp_path / "report.html",
    )
    for width in (1200, 390):
        page.open(tmp_path / "report.html", width=width)
        boxes = json.loads(page.js(
            "JSON.stringify([...document.querySelectorAll('#chart .label text')].map(text => text.getBBox())"
            ".map(box => [box.y, box.y + box.height, box.x + box.width]))"
        ))  # fmt: skip
        right = page.js("document.querySelector('#chart svg').viewBox.baseVal.width")
        assert len(boxes) == len(STRATEGIES) and max(box[2] for box in boxes) <= right
        for (top, bottom, _), (other_top, other_bottom, _) in combinations(boxes, 2):
            assert min(bottom, other_bottom) - max(top, other_top) < 1


# -- the list --------------------------------------------------------------------------------------


def test_problems_are_filtered_by_who_solves_them(page: Browser, report: Path, folder: Path) -> None:
    a, b = (sides.from_trace(run).correct for run in runs(folder))
    page.open(report)
    assert page.js("document.querySelector('#filters select').value") == str(A)
    buttons = "document.querySelectorAll('#relations button')"
    for number, wanted in enumerate([
        list(a), [p for p in a if a[p] and not b[p]], [p for p in a if b[p] and not a[p]],
        [p for p in a if a[p] and b[p]], [p for p in a if not a[p] and not b[p]],
        [p for p in a if not a[p] and not b[p]],
    ]):  # fmt: skip
        page.js(f"{buttons}[{number}].click()")
        assert ids(page) == wanted and page.js(f"{buttons}[{number}].innerText").endswith(f" {len(wanted)}")


def test_problems_are_searched(page: Browser, report: Path) -> None:
    page.open(report)
    page.press("/")
    assert page.js("document.activeElement.id") == "search"
    for key in "Y, 3":
        page.press(key)
    assert ids(page) == ["w/3"] and page.texts("#count") == ["1 of 6 problems"]


def test_a_long_list_grows_when_its_end_is_seen(page: Browser, tmp_path: Path) -> None:
    results = {"cot": (10, "10" * 60), "hgs": (20, "11" * 60)}
    write_html(diagnosed(grid(results, no_trees(tmp_path))), tmp_path / "report.html")
    page.open(tmp_path / "report.html")
    assert len(ids(page)) == 100
    page.js("scrollTo(0, document.body.scrollHeight)")
    page.wait("document.querySelectorAll('#list .row').length === 120")


# -- one problem -----------------------------------------------------------------------------------


def test_a_row_leads_to_both_trees(page: Browser, report: Path, folder: Path) -> None:
    page.open(report)
    page.js("document.querySelectorAll('#list .row')[2].click()")
    page.wait("document.querySelectorAll('.tree').length === 2")
    assert page.texts("#problem h2") == ["w/2"]
    for side, run in zip((1, 2), runs(folder), strict=True):
        tree, visible = run.trees["w/2"], page.texts(f".side:nth-child({side}) .node")
        assert len(visible) == len(set(tree.nodes) - bare_copies(tree))
        for node in tree.nodes:
            if node.step is not None and node not in bare_copies(tree):
                assert any(node.step.text.strip() in text for text in visible)


def test_duplicates_branches_and_order(page: Browser, tmp_path: Path) -> None:
    scripted(tmp_path / "hgs.jsonl")
    write_html(diagnosed(read_folder(tmp_path)), tmp_path / "report.html")
    shown(page, tmp_path / "report.html", 0, 0, 0)
    visits = ".side:first-child .visit"
    assert page.texts(visits) == ["#8", "#1", "#2", "#4", "#5", "#6", "#7"]
    page.js("document.querySelector('.side .fold').click()")
    assert page.texts(visits) == ["#8", "#1", "#2", "#4", "#5", "#7"]
    assert "1 more" in page.texts(".side:first-child .node")[4]
    page.js("document.querySelector('.side [type=checkbox]').click()")
    assert page.texts(visits) == ["#8", "#1", "#2", "#3", "#4", "#5", "#7"]
    slider = "document.querySelector('.side [type=range]')"
    page.js(f"{slider}.value = 4; {slider}.dispatchEvent(new Event('input'))")
    assert page.texts(visits) == ["#1", "#2", "#3", "#4"]
    assert page.texts(".side:first-child output") == ["the first 4 of 8"]


def test_the_keyboard_is_enough(page: Browser, report: Path) -> None:
    shown(page, report, 0)
    page.press("j")
    # the address changes before the page does, which may still show the trees of the first problem
    page.wait("document.querySelector('#problem h2').innerText.startsWith('w/1')")
    page.wait("document.querySelectorAll('.tree').length === 2")
    page.js("document.querySelector('.node[tabindex=\"0\"]').focus()")
    page.press("ArrowDown")
    assert page.js("document.activeElement === document.querySelectorAll('.node')[1]")
    page.press("Escape")
    page.wait("document.getElementById('problem').hidden")
    assert page.texts("#count") == ["6 problems"]


def test_text_from_models_is_text(page: Browser, tmp_path: Path) -> None:
    trace(tmp_path / "hgs.jsonl", ("sample", [0], NASTY, "step"), ("chosen", [0], None))
    write_html(diagnosed(read_folder(tmp_path)), tmp_path / "report.html")
    shown(page, tmp_path / "report.html", 0, 0, 0)
    assert page.texts(".words") == [NASTY, NASTY]
    assert page.js("document.querySelectorAll('img, .tree b').length") == 0


def test_a_tree_that_is_left_out_says_how_to_draw_it(page: Browser, folder: Path, tmp_path: Path) -> None:
    write_html(diagnosed(read_folder(folder)), tmp_path / "report.html", most_bytes=0)
    page.open(tmp_path / "report.html", "#problem=4&a=0&b=1")
    page.wait("document.querySelectorAll('.side pre').length === 2")
    command = page.texts(".side pre")[1]
    assert command.startswith("python -m bench.tree '") and command.endswith("hgs.jsonl' --problem 'w/4'")


def test_observations_stand_under_their_turns_and_long_ones_are_folded(page: Browser, tmp_path: Path) -> None:
    episode(tmp_path / "hgs.jsonl")
    write_html(diagnosed(read_folder(tmp_path)), tmp_path / "report.html")
    page.open(tmp_path / "report.html")
    assert page.texts("#turns tbody tr") == ["hgs\t0.0 %\t100.0 %"]
    shown(page, tmp_path / "report.html", 0, A, A)
    assert page.js("[...document.querySelectorAll('.tree')[0].children].map(row => row.children.length)") == [
        5, 5, 4
    ]  # fmt: skip
    long = "document.querySelectorAll('.tree')[0].querySelectorAll('.observed .words')[1]"
    assert page.js(f"{long}.textContent").endswith("Your answer is wrong.")
    folded = page.js(f"{long}.getBoundingClientRect().height")
    page.js(f"{long}.click()")
    assert page.js(f"{long}.parentElement.getBoundingClientRect().height") > 1.5 * folded


@pytest.mark.parametrize("fragment", ["", f"#problem=0&a={A}&b={B}"])
def test_it_fits_a_phone_and_follows_the_screen(page: Browser, report: Path, fragment: str) -> None:
    page.open(report, fragment, width=390, height=800)
    if fragment:
        page.wait("document.querySelectorAll('.tree').length === 2")
    assert page.js("document.documentElement.scrollWidth") <= 390
    light = page.js("getComputedStyle(document.body).backgroundColor")
    page.colours("dark")
    assert page.js("getComputedStyle(document.body).backgroundColor") != light
