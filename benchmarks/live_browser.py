"""Listens through the real page in a real Chromium: what was played against what arrived, delays, load and memory.

    python -m benchmarks.live_browser [--seconds 300] [--only one slow four]

A known noise is the browser's microphone. Every sample that reaches the server is compared with what was played. Four listeners run
for half an hour whatever --seconds says. Writes results/live.json; what --only leaves out keeps its earlier figures.
"""

import argparse
import base64
import json
import math
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from . import record

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--use-fake-device-for-media-stream", "--autoplay-policy=no-user-gesture-required",
    "--disable-background-timer-throttling", "--disable-renderer-backgrounding", "--disable-backgrounding-occluded-windows",
]  # fmt: skip
DEVICE_RATE = 44_100  # what Chromium's fake microphone runs at
BLOCK_SAMPLES, PIECE_SAMPLES, SLIP_SAMPLES, REACH_SAMPLES, MOST_SLIPS = 10 * DEVICE_RATE, 8192, 4096, 20 * DEVICE_RATE, 100
NOISE_SECONDS = 60
START_SECONDS = 0.2  # Chromium fades the first moments of a microphone in
# Keeps every part that leaves the page, as the tests' only witness of what was sent.
WITNESS = """() => {
  window.parts = [];
  const words = (s) => {
    let text = "";
    for (const byte of new Uint8Array(s.buffer, s.byteOffset, s.byteLength)) text += String.fromCharCode(byte);
    return btoa(text);
  };
  document.querySelector(".live").stats.keep = (part, position) => window.parts.push([position, words(part)]);
}"""
STATS = """() => {
  const { keep, ...figures } = document.querySelector(".live").stats;
  return figures;
}"""
SERVE = """
import sys, time
sys.argv = ["app.py", *sys.argv[1:]]
delay = float(sys.argv.pop(1))
from asm_rh.classifier import Classifier
if delay:
    score = Classifier.score
    def slow(self, waves, rate):
        time.sleep(delay * (1 if waves.ndim == 1 else len(waves)))
        return score(self, waves, rate)
    Classifier.score = slow
import runpy
runpy.run_path("app.py", run_name="__main__")
"""


# ---------------------------------------------------------------------------------------------- the page's process


@contextmanager
def served(delay_seconds: float = 0.0, *flags: str, threads: int | None = None, **variables: str):
    """The address of a page that takes `delay_seconds` longer per window, and its process.

    `threads` of torch (default: its choice); `variables` are set in its environment on top.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    folder = Path(tempfile.mkdtemp())
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GRADIO_")}
    environment |= {"GRADIO_TEMP_DIR": str(folder / "gradio"), "HF_HUB_OFFLINE": "1"}
    environment |= {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    environment |= variables
    command = [sys.executable, "-c", SERVE, str(delay_seconds), "--port", str(port), *flags]
    with open(folder / "log.txt", "wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        url = f"http://127.0.0.1:{port}/"
        _wait(url, process, folder / "log.txt")
        yield url, process
    finally:
        process.terminate()
        process.wait(timeout=30)
        shutil.rmtree(folder, ignore_errors=True)


def _wait(url, process, log):
    end = time.monotonic() + 600
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise RuntimeError(f"the page did not start:\n{log.read_text()}")


# ---------------------------------------------------------------------------------------------- the browser


@contextmanager
def browser_with(playwright, wav, *flags: str):
    """Chromium whose microphone plays a WAV file once, then silence."""
    flags = [*FLAGS, f"--use-file-for-fake-audio-capture={wav}%noloop", *(flags or ["--use-fake-ui-for-media-stream"])]
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
    try:
        yield browser
    finally:
        browser.close()


def open_live(browser, url: str, width: int = 1280, height: int = 900, before: str = "", **options):
    """A page with the Live tab in front and a witness of what it sends; the script `before` runs before the page's own."""
    context = browser.new_context(viewport={"width": width, "height": height}, **{"permissions": ["microphone"], **options})
    context.set_default_timeout(90_000)
    context.add_init_script(before)
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector("#timeline .tl")
    page.get_by_role("tab", name="Live").click()
    page.wait_for_selector('.live[data-state="stopped"] .lv-go')
    page.evaluate(WITNESS)
    return page


def start(page):
    """Clicks Start and returns once sound flows."""
    page.click(".lv-go")
    page.wait_for_function("document.querySelector('.live').stats.answered > 0")


def stop(page):
    """Clicks Stop and returns once everything was sent."""
    page.click(".lv-go")
    page.wait_for_selector('.live[data-state="stopped"]')


def stats(page) -> dict:
    """The page's own figures."""
    return page.evaluate(STATS)


def drained(page) -> list[tuple[int, np.ndarray]]:
    """The parts (number of the first sample, samples int16) that left the page since the last call."""
    return [(at, np.frombuffer(base64.b64decode(words), "<i2")) for at, words in page.evaluate("window.parts.splice(0)")]


def heard(page, before=()) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Every sample that was sent, int16, and the jumps (at, samples) between parts; overlaps raise. `before`: parts drained earlier."""
    parts, jumps, position = [], [], None
    for at, samples in [*before, *drained(page)]:
        if position is not None and at != position:
            assert at > position, f"sample {at} was sent after {position}"
            jumps.append((position, at - position))
        position = at + len(samples)
        parts.append(samples)
    return np.concatenate(parts), jumps


# ---------------------------------------------------------------------------------------------- played against heard


def noise_wav(path, seconds: float, seed: int = 0) -> np.ndarray:
    """Writes noise below 6 kHz at the fake microphone's own rate -> the samples written."""
    samples = np.concatenate([_noise(seed + i) for i in range(math.ceil(seconds / NOISE_SECONDS))])[: round(seconds * DEVICE_RATE)]
    soundfile.write(path, samples, DEVICE_RATE, subtype="PCM_16")
    return samples


def _noise(seed):
    count = NOISE_SECONDS * DEVICE_RATE
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(count))
    spectrum[np.fft.rfftfreq(count, 1 / DEVICE_RATE) > 6000] = 0
    wave = np.fft.irfft(spectrum, count)
    return (0.7 * 32767 * wave / np.abs(wave).max()).astype(np.int16)


@dataclass(frozen=True)
class Comparison:
    """Samples compared, how many differ by more than one step from what was played, and the slips.

    A slip is (place in what was played, samples left out; negative: played twice).
    """

    compared: int
    different: int
    slips: list[tuple[int, int]]


def compare(played: np.ndarray, got: np.ndarray) -> Comparison:
    """Finds where `got` lies in `played`, int16 both, and compares every sample but the first moments; behind a slip it looks again."""
    at = int(START_SECONDS * DEVICE_RATE) + int(np.flatnonzero(got)[0])
    offset, compared, different, slips = _offset(played, got, at), 0, 0, []
    while at < (last := min(len(got), len(played) - offset)):
        end = min(at + BLOCK_SAMPLES, last)
        wrong = np.flatnonzero(np.abs(got[at:end].astype(int) - played[at + offset : end + offset]) > 1)
        good = int(wrong[0]) if len(wrong) else end - at
        again = at + good + SLIP_SAMPLES
        moved = 0
        if len(wrong) and again + PIECE_SAMPLES <= last and len(slips) < MOST_SLIPS:
            moved = _offset(played, got, again) - offset
        if moved:
            slips.append((at + good + offset, moved))
            compared, at, offset = compared + good, again, offset + moved
        else:
            compared, different, at = compared + end - at, different + len(wrong), end
    return Comparison(compared, different, slips)


def _offset(played, got, at):
    """How much later a piece of `got` lies in `played`, by correlation."""
    piece = got[at : at + PIECE_SAMPLES].astype(float)
    low = max(0, at - REACH_SAMPLES)
    part = played[low : at + PIECE_SAMPLES + REACH_SAMPLES].astype(float)
    size = 1 << (len(part) + len(piece)).bit_length()
    match = np.fft.irfft(np.fft.rfft(part, size) * np.conj(np.fft.rfft(piece, size)), size)[: len(part)]
    return int(match.argmax()) + low - at


# ---------------------------------------------------------------------------------------------- measuring


def memory_mb(process) -> float:
    """Resident memory of a process."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS"))) / 1024


def busy_share(page, session, before=None):
    """Share of the time that the page's main thread worked since `before` -> (share, now)."""
    metrics = {m["name"]: m["value"] for m in session.send("Performance.getMetrics")["metrics"]}
    now = (metrics["TaskDuration"], metrics["Timestamp"])
    return None if before is None else (now[0] - before[0]) / (now[1] - before[1]), now


def percentiles(values) -> dict:
    """p50 and p95, in the values' own unit."""
    return {"p50": round(float(np.percentile(values, 50)), 1), "p95": round(float(np.percentile(values, 95)), 1), "count": len(values)}


def scenario(playwright, seconds: float, listeners: int = 1, delay_seconds: float = 0.0) -> dict:
    """So many pages listen to one noise for so long; one Chromium, one server."""
    with tempfile.TemporaryDirectory() as folder, served(delay_seconds) as (url, process):
        wav = Path(folder) / "noise.wav"
        played = noise_wav(wav, seconds + 30)
        with browser_with(playwright, wav) as browser:
            pages = [open_live(browser, url) for _ in range(listeners)]
            for page in pages:
                start(page)
            pages[0].wait_for_timeout(5000)
            session = pages[0].context.new_cdp_session(pages[0])
            session.send("Performance.enable")
            _, before = busy_share(pages[0], session)
            memory, parts = [memory_mb(process)], [[] for _ in pages]
            for _ in range(10):
                pages[0].wait_for_timeout(round(100 * (seconds - 5)))
                memory.append(memory_mb(process))
                for page, own in zip(pages, parts, strict=True):
                    own += drained(page)
            busy, _ = busy_share(pages[0], session, before)
            for page in pages:
                stop(page)
            figures = [_page_figures(page, played, own) for page, own in zip(pages, parts, strict=True)]
            return {"listeners": listeners, "delay_seconds": delay_seconds, "seconds": seconds, "main_thread_busy": round(busy, 3),
                    "server_memory_mb": [round(m) for m in memory], "pages": figures}  # fmt: skip


def _page_figures(page, played, before):
    samples, jumps = heard(page, before)
    found, own = compare(played, samples), stats(page)
    return {
        "samples_sent": len(samples), "samples_compared": found.compared, "samples_different": found.different, "jumps": len(jumps),
        "slips": found.slips,
        "lost_seconds": round(own["lost"], 4), "windows": len(own["steps"]), "windows_dropped": own["dropped"],
        "page_ms": percentiles(own["latencies"]), "delay_ms": percentiles(own["delays"]),
        "compute_ms": percentiles([step["compute_ms"] for step in own["steps"]]),
        "updates_per_second": round(own["draws"] / (len(samples) / DEVICE_RATE), 1),
    }  # fmt: skip


SCENARIOS = {"one": dict(listeners=1), "slow": dict(listeners=1, delay_seconds=0.6), "four": dict(listeners=4, seconds=1800)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--only", nargs="*", choices=list(SCENARIOS), default=list(SCENARIOS))
    args = parser.parse_args()
    from playwright.sync_api import sync_playwright

    path = record.RESULTS / "live.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    figures = {name: before[name] for name in SCENARIOS if name in before}
    command = "python -m benchmarks.live_browser"
    with sync_playwright() as playwright:
        for name in args.only:
            figures[name] = scenario(playwright, **{"seconds": args.seconds, **SCENARIOS[name]})
            record.write("live", figures, command)


if __name__ == "__main__":
    main()
