"""A real page in a real browser: `python app.py` as a process, headless Chromium, a watch over what the page does."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
]
START_SECONDS = 600
PATIENCE_MS = 90_000


@pytest.fixture(scope="session")
def page_url(tmp_path_factory):
    """The address of the page, served by its own process until the tests end."""
    folder = tmp_path_factory.mktemp("page")
    port = free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GRADIO_")}
    environment |= {"GRADIO_TEMP_DIR": str(folder / "gradio"), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "app.py", "--port", str(port), "--max-file-mb", "60", "--max-minutes", "30"]
    with open(folder / "log.txt", "wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        url = f"http://127.0.0.1:{port}/"
        wait_for(url, process, folder / "log.txt")
        yield url
    finally:
        process.terminate()
        process.wait(timeout=20)


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium of the system."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not Path(CHROMIUM).exists():
        pytest.skip("no chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
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


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(url, process, log):
    """Returns once the page answers; fails with its log when it does not start."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise RuntimeError(f"the page did not start:\n{log.read_text()}")
