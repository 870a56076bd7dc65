"""A real page in a real browser: `python app.py` as a process, headless Chromium, a watch over what the page does."""

from pathlib import Path

import pytest

from benchmarks.live_browser import CHROMIUM, FLAGS, served

PATIENCE_MS = 90_000
FAKE_MICROPHONE = ["--use-fake-ui-for-media-stream"]


@pytest.fixture(scope="session")
def page_url():
    """The address of the page, served by its own process until the tests end."""
    with served(0.0, "--max-file-mb", "60", "--max-minutes", "30", threads=1) as (url, _):
        yield url


@pytest.fixture(scope="session")
def playwright():
    """What starts browsers; one of it for all tests, as it takes no second in a thread."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not Path(CHROMIUM).exists():
        pytest.skip("no chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="session")
def browser(playwright):
    """Headless Chromium of the system."""
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *FAKE_MICROPHONE])
    yield browser
    browser.close()


@pytest.fixture
def open_page(browser, page_url):
    """Opens the page at a width; afterwards no script may have failed and no request may have left this machine."""
    contexts, troubles = [], []

    def open_at(width=1280, height=900, allowed="nothing", **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: troubles.append(message.text) if failed(message, allowed) else None)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on(
            "request", lambda request: troubles.append(f"request to {request.url}") if leaves(request.url) else None
        )
        page.goto(page_url)
        page.wait_for_selector("#timeline .tl")
        page.wait_for_function("document.querySelector('#timeline .tl-head').style.left !== ''")
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert troubles == []


def failed(message, allowed: str) -> bool:
    """Whether a line of the console is an error, other than the one a test expects."""
    return message.type == "error" and allowed not in message.text


def leaves(url: str) -> bool:
    """Whether a request goes anywhere but this machine."""
    return not url.startswith(("http://127.0.0.1:", "data:", "blob:"))
