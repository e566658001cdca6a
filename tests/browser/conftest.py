"""Pages in a real browser: Debian's chromium, or another one of that family on the PATH."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="session")
def browser() -> Iterator:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e '.[dev]'")
    options = ["--no-sandbox"] if os.getuid() == 0 else []  # chromium refuses to run as root otherwise
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=options)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser) -> Iterator[Callable]:
    """A function that opens a file as a user does; at the end nothing has gone wrong, and nothing was fetched."""
    contexts, complaints = [], []

    def open_page(path: Path, hash: str = "", size: dict = WIDE, **context):
        contexts.append(browser.new_context(viewport=size, **context))
        page = contexts[-1].new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.extend([request.url] * (not is_own(request.url, path))))
        page.goto(path.as_uri() + hash)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def is_own(url: str, path: Path) -> bool:
    return url.partition("#")[0] == path.as_uri() or url.startswith(("data:", "blob:"))


def overflow(page) -> int:
    """Pixels by which a page is wider than the window."""
    return page.evaluate("document.documentElement.scrollWidth - window.innerWidth")


def brightness(page, selector: str, quality: str = "backgroundColor") -> float:
    """Of a colour as it is shown, 0 to 255."""
    color = page.eval_on_selector(selector, f"element => getComputedStyle(element).{quality}")
    return sum(map(float, color.partition("(")[2].rstrip(")").split(",")[:3])) / 3
