"""The report in a browser."""

import pytest

from tests.browser.conftest import NARROW, WIDE, brightness, overflow
from tests.reporting.conftest import ABOUT, results  # noqa: F401  the fixture
from trm.reporting.report import report


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["1280", "390"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_in_light_and_dark_and_fits_the_window(open_page, results, scheme, size):  # noqa: F811
    page = open_page(results.report, size=size, color_scheme=scheme)
    assert (brightness(page, "body") > 128) == (scheme == "light")
    assert (brightness(page, "body", "color") < 128) == (scheme == "light")
    assert overflow(page) == 0
    pictures = page.locator(".paper svg, .paper img").all()
    assert pictures
    for picture in pictures:
        box = picture.bounding_box()
        assert box["width"] > 250
        assert box["height"] > 50


def test_its_links_lead_to_their_sections(open_page, results):  # noqa: F811
    page = open_page(results.report, reduced_motion="reduce")  # without it the page scrolls smoothly
    for link in page.locator("nav a").all():
        link.click()
        target = page.locator(link.get_attribute("href"))
        assert target.bounding_box()["y"] < WIDE["height"]


def test_it_leads_to_the_explorer(open_page, results, tmp_path):  # noqa: F811
    folder = tmp_path / "pages of the explorer"
    folder.mkdir()
    (folder / "tiny.html").write_text("<!DOCTYPE html><title>steps</title>")
    out = tmp_path / "report.html"
    report(
        results.runs, [results.data], results.figures, results.table, results.comparisons, out, ABOUT, explorer=folder
    )
    page = open_page(out)
    link = page.get_by_role("link", name="Step through its answers to test puzzles")
    assert (
        page.evaluate("link => new URL(link, location).href", link.get_attribute("href"))
        == (folder / "tiny.html").as_uri()
    )
