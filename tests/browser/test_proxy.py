"""The page under a path of its own behind a proxy, as companies and notebooks serve it."""

import http.client
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

from benchmarks.live_browser import browser_with, noise_wav, open_live, served, start, stats, stop

pytestmark = pytest.mark.browser
PATH = "/tools/asm-rh/"
HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive", "content-length"}


@contextmanager
def proxy(target: str):
    """The address of a proxy that shows `target` under PATH and nothing elsewhere; answers flow through as they come."""
    inside = urlsplit(target)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if not self.path.startswith(PATH):
                self.send_error(404, f"only {PATH} is served here")
                return
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            connection = http.client.HTTPConnection(inside.hostname, inside.port, timeout=120)
            headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
            headers |= {"X-Forwarded-Host": self.headers["Host"], "X-Forwarded-Proto": "http"}
            connection.request(self.command, "/" + self.path.removeprefix(PATH), body or None, headers)
            answer = connection.getresponse()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in HOP_BY_HOP:
                    self.send_header(name, value)
            self.send_header("Connection", "close")
            self.end_headers()
            while part := answer.read1(65536):
                self.wfile.write(part)
                self.wfile.flush()

        do_POST = do_HEAD = do_GET

        def handle_one_request(self):
            try:
                super().handle_one_request()
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}{PATH}"
    finally:
        server.shutdown()


def test_files_live_and_inside_work_under_a_path(playwright, tmp_path):
    noise, lost = tmp_path / "noise.wav", []
    noise_wav(noise, 30)
    flags = ("--root-path", PATH.rstrip("/"))
    with served(0.0, *flags, threads=1) as (url, _), proxy(url) as address, browser_with(playwright, noise) as browser:
        page = open_live(browser, address)
        page.on("response", lambda answer: lost.append(answer.url) if answer.status >= 400 else None)
        start(page)
        page.wait_for_timeout(2000)
        stop(page)
        assert stats(page)["lost"] == 0 and len(stats(page)["steps"]) > 2
        page.get_by_role("tab", name="File").click()
        page.click("#timeline .tl-play")
        page.wait_for_function("+document.querySelector('.tl-surface').getAttribute('aria-valuenow') > 0.3")
        page.click("#example-1")
        page.wait_for_function("document.querySelector('#status').innerText.includes('left-right')")
        page.click("#look-inside")
        page.wait_for_selector("#why h1")
        assert lost == []
