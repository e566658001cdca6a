"""The explorer in a browser: open, step, play, filter, link, light and dark, by keyboard alone."""

import re
from pathlib import Path

import numpy as np
import pytest

from tests.browser.conftest import NARROW, WIDE, brightness, overflow
from tests.reporting.boards import DATASETS, boards_of, said
from trm.reporting.explorer import page
from trm.reporting.results import read_results

STEPS = 4
# whether the answers to five puzzles are right after each step: a kind each, and one more that is solved at once
EXACT = np.array([[0, 1, 1, 1], [0, 0, 0, 1], [0, 1, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1]], bool)
ROWS = [3, 5, 8, 1000, 1001]


@pytest.fixture(scope="module")
def file(tmp_path_factory, tiny_run):
    """The page of five boards."""
    return write_page(tmp_path_factory.mktemp("explorer"), tiny_run, "sudoku")


def write_page(folder: Path, run: Path, name: str) -> Path:
    dataset, boards = boards_of(name)
    [result] = read_results([run])
    (folder / "tiny.html").write_text(page(result, dataset, boards, said(dataset, boards, EXACT), 20), encoding="utf-8")
    return folder / "tiny.html"


@pytest.fixture
def explore(open_page, file):
    """A function that opens the page and waits until it is drawn."""

    def explore(hash: str = "", **context):
        page = open_page(file, hash, **context)
        page.wait_for_selector("#picture", state="attached")
        return page

    return explore


def status(page) -> str:
    return page.inner_text("#status").replace("\u00a0", " ")


def place(page) -> tuple[str, str]:
    """Puzzle and step of the address."""
    return re.fullmatch(r".*#puzzle=(\d+)&step=(\d+)", page.url).groups()


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["1280", "390"])
def test_it_opens_on_the_first_puzzle_and_fits_the_window(explore, size):
    page = explore(size=size)
    assert status(page) == "Step 1 of 4: 14 of 16 cells right, halting probability 12 %"
    assert page.inner_text("#title") == "Row 3"
    assert page.inner_text("#kind") == "solved, first at step 2"
    assert overflow(page) == 0
    for board in ("#answer", "#question", "#truth"):
        box = page.locator(board).bounding_box()
        assert min(box["width"], box["height"]) > 80
        assert box["x"] + box["width"] <= size["width"]


def test_buttons_slider_and_keys_step(explore):
    page = explore()
    page.click("#next")
    assert status(page) == "Step 2 of 4: 16 of 16 cells right, halting probability 88 %"
    page.click("#last")
    page.click("#next", force=True)  # there is none
    assert place(page) == ("3", "4")
    page.click("#back")
    assert place(page) == ("3", "3")
    page.click("#first")
    assert place(page) == ("3", "1")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert place(page) == ("3", "3")
    page.keyboard.press("ArrowLeft")
    assert place(page) == ("3", "2")
    page.fill("#slider", "4")
    assert place(page) == ("3", "4")
    assert page.get_attribute("#slider", "aria-valuetext") == "step 4 of 4"
    page.locator("#chart .hit").nth(2).click()
    assert place(page) == ("3", "3")


def test_cells_are_coloured_by_right_or_wrong_and_confidence(explore):
    page = explore()
    blank = page.locator("#answer .tint").count()
    wrong = page.locator("#answer .tint.wrong")
    assert wrong.count() == 2
    unsure = float(wrong.first.get_attribute("fill-opacity"))
    sure = float(page.locator("#answer .tint.right").first.get_attribute("fill-opacity"))
    assert 0 < unsure < sure
    assert "wrong, confidence 25" in page.locator("#answer .fade title").first.text_content()
    assert "2 cells: row" in page.inner_text("#facts")
    page.click("#next")
    assert wrong.count() == 0
    assert page.locator("#answer .tint.right").count() == blank
    assert "Wrong no cell" in " ".join(page.inner_text("#facts").split())
    page.uncheck("#colors")
    assert not page.locator("#answer .tint").first.is_visible()


def test_givens_stand_bold_on_a_shade(explore):
    page = explore()
    given = page.locator("#answer .ink-given")
    assert given.count() + page.locator("#answer .tint").count() == 16
    assert page.locator("#answer rect.ink-shade").count() == given.count()
    assert given.first.get_attribute("font-weight") == "bold"


def test_the_halting_probability_is_a_line_with_a_mark_at_the_step(explore):
    page = explore()
    points = page.get_attribute("#chart .curve", "points").split()
    heights = [float(point.split(",")[1]) for point in points]
    assert len(points) == STEPS
    assert heights[0] > heights[1] == heights[2] == heights[3]  # y goes down
    assert page.locator("#chart circle.exact").count() == 3
    page.click("#last")
    assert float(page.get_attribute("#now", "x1")) == float(points[-1].split(",")[0])
    assert "step 1: 12" in page.get_attribute("#chart", "aria-label")


def test_play_goes_to_the_end_and_stops(explore):
    page = explore()
    page.clock.install()
    page.reload()
    page.wait_for_selector("#picture", state="attached")
    page.click("#play")
    assert page.inner_text("#play") == "Pause"
    assert page.get_attribute("#status", "aria-live") == "off"
    page.clock.run_for(750)
    assert place(page) == ("3", "2")
    page.click("#play")
    page.clock.run_for(3000)
    assert place(page) == ("3", "2")
    page.click("#play")
    page.clock.run_for(3000)
    assert place(page) == ("3", "4")
    assert page.inner_text("#play") == "Play"
    assert page.get_attribute("#status", "aria-live") == "polite"
    page.click("#play")  # again from the start
    assert place(page) == ("3", "1")


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("all", ROWS),
        ("solved", [3, 5, 1001]),
        ("unsolved", [8, 1000]),
        ("solved late", [5]),
        ("lost again", [8]),
    ],
)
def test_filters_choose_among_the_puzzles(explore, name, rows):
    page = explore()
    label = page.locator("#filters label", has=page.locator(f'input[value="{name}"]'))
    assert label.inner_text().split() == [*name.split(), str(len(rows))]
    label.click()
    assert [item.get_attribute("id") for item in page.locator("#list li").all()] == [f"row-{row}" for row in rows]
    assert place(page)[0] == str(rows[0])
    assert page.locator('#list [aria-selected="true"]').count() == 1


def test_an_address_leads_to_its_puzzle_and_step(explore):
    page = explore("#puzzle=1000&step=3")
    assert page.inner_text("#title") == "Row 1,000"
    assert status(page).startswith("Step 3 of 4")
    assert page.get_attribute("#link", "href") == "#puzzle=1000&step=3"
    page.evaluate("location.hash = '#puzzle=8&step=2'")
    page.wait_for_function("document.getElementById('title').textContent === 'Row 8'")
    assert place(page) == ("8", "2")
    page.check('#filters input[value="solved"]')
    page.evaluate("location.hash = '#puzzle=1000&step=4'")  # which the filter hides
    page.wait_for_function("document.getElementById('title').textContent === 'Row 1,000'")
    assert page.is_checked('#filters input[value="all"]')


@pytest.mark.parametrize("hash", ["#puzzle=77&step=2", "#puzzle=3&step=99", "#puzzle=3&step=x", "#nonsense"])
def test_an_address_that_is_wrong_leads_to_what_is_there(explore, hash):
    page = explore(hash)
    row, step = place(page)
    assert row == "3"
    assert 1 <= int(step) <= STEPS


def test_the_keyboard_alone_reaches_everything(explore):
    page = explore()
    focused, names = [], []
    for _ in range(30):
        page.keyboard.press("Tab")
        focused.append(page.evaluate("document.activeElement.id || document.activeElement.value"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        if focused[-1] is None or focused[-1] in focused[:-1]:
            break
        names.append(outline)
    wanted = ["theme", "all", "list", "link", "first", "back", "play", "next", "last", "slider", "colors"]
    assert [name for name in focused if name in wanted] == wanted
    assert set(names) == {"solid"} or set(names) == {"auto", "solid"}
    page.focus("#list")
    page.keyboard.press("ArrowDown")
    assert page.get_attribute("#list", "aria-activedescendant") == "row-5"
    assert place(page) == ("5", "1")
    page.keyboard.press("End")
    assert place(page) == ("1001", "1")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    assert place(page) == ("1001", "2")
    page.keyboard.press("Home")
    assert place(page) == ("3", "1")
    page.focus("#slider")
    page.keyboard.press("ArrowRight")
    assert place(page) == ("3", "2")
    page.focus("#next")
    for _ in range(4):
        page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "next"  # a button at its end keeps the focus
    page.focus('#filters input[value="all"]')
    page.keyboard.press("ArrowDown")
    assert page.is_checked('#filters input[value="solved"]')
    assert page.evaluate("document.activeElement.value") == "solved"


def test_everything_has_a_role_and_a_name(explore):
    page = explore()
    for role, name in [
        ("button", "First step"),
        ("button", "Step back"),
        ("button", "Play"),
        ("button", "Step forward"),
        ("button", "Last step"),
        ("button", "Dark colours"),
        ("slider", "Supervision step"),
        ("listbox", "Puzzles"),
        ("option", "Row 8 lost again"),
        ("radio", "solved late 1"),
        ("img", "The right answer"),
        ("img", "Step 1 of 4: 14 of 16 cells right, halting probability 12 %"),
    ]:
        assert page.get_by_role(role, name=name, exact=True).count() == 1, (role, name)
    assert page.get_by_role("status").inner_text().startswith("Step 1 of 4")
    assert page.get_by_role("option", selected=True).count() == 1
    assert page.get_attribute("html", "lang") == "en"


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["1280", "390"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_follow_the_system_and_the_button(explore, scheme, size):
    page = explore(size=size, color_scheme=scheme)

    def looks() -> tuple[bool, bool, bool]:
        paper = brightness(page, "#answer .ink-paper", "fill")
        return (brightness(page, "body") > 128, paper > 128, brightness(page, "#answer .ink-given", "fill") < 128)

    is_light = scheme == "light"
    assert looks() == (is_light,) * 3
    page.get_by_role("button", name="Dark colours" if is_light else "Light colours").click()
    assert looks() == (not is_light,) * 3
    assert overflow(page) == 0


@pytest.mark.parametrize(("motion", "duration"), [("reduce", "0s"), ("no-preference", "0.15s")])
def test_nothing_moves_by_itself_where_motion_is_not_wanted(explore, motion, duration):
    page = explore(reduced_motion=motion)
    assert page.eval_on_selector(".tint", "element => getComputedStyle(element).transitionDuration") == duration


@pytest.mark.parametrize("name", DATASETS)
def test_every_puzzle_draws_itself_at_every_step(open_page, tmp_path, tiny_run, name):
    for size in (WIDE, NARROW):
        page = open_page(write_page(tmp_path, tiny_run, name), size=size)
        page.wait_for_selector("#picture", state="attached")
        shown = []
        for _ in range(STEPS):
            shown.append(page.inner_html("#answer"))
            page.keyboard.press("ArrowRight")
        assert shown[0] != shown[1] == shown[2] == shown[3]
        assert overflow(page) == 0
        for board in ("#answer", "#question", "#truth"):  # all is on its paper
            edges = page.evaluate(
                """board => {
                    const paper = document.querySelector(`${board} .ink-paper`).getBoundingClientRect();
                    const parts = [...document.querySelectorAll(`${board} *`)];
                    const drawn = parts.map(part => part.getBoundingClientRect()).filter(box => box.width + box.height);
                    const slack = paper.width / 20;
                    return drawn.every(box => box.left >= paper.left - slack && box.right <= paper.right + slack &&
                        box.top >= paper.top - slack && box.bottom <= paper.bottom + slack) && drawn.length;
                }""",
                board,
            )
            assert edges > 3


def test_a_browser_that_cannot_read_it_says_so(browser, file):
    context = browser.new_context()
    page = context.new_page()
    page.add_init_script("delete window.DecompressionStream")
    page.goto(file.as_uri())
    page.wait_for_function("document.getElementById('title').textContent === 'This page could not be read'")
    assert "DecompressionStream" in page.inner_text("#status")
    context.close()
