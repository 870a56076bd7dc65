"""The Live tab: our own microphone component and what it needs from the server. Layout and wiring only."""

import asyncio
import base64
import json
from concurrent.futures import ThreadPoolExecutor

import gradio as gr

from asm_rh import pictures
from asm_rh.activations import switches
from asm_rh.markup import element, table
from asm_rh.sentences import PARTS

from . import theme
from .live import LEAST_HOP_SECONDS, LiveServer
from .page import PRIVATE, Page
from .text import escape, frequency, shown

SCRIPTS = ("capture.js", "live_view.js", "live.js")
MOST_THREADS = 32
START = "Start listening"


def live_tab(page: Page, model: gr.State, server: LiveServer) -> gr.HTML:
    """Builds the tab inside the current Blocks; the component tells by `select` when the last ten seconds are wanted as a file."""
    live = gr.HTML(
        view(page),
        elem_id="live",
        elem_classes="card",
        js_on_load="\n".join(theme.script(name) for name in SCRIPTS),
        server_functions=server_functions(server),
    )
    model.change(lambda key: view(page.of(key)), model, live, queue=False, show_progress="hidden", **PRIVATE)
    return live


def server_functions(server: LiveServer) -> list:
    """What the page may call, in threads that stay: each thread that ever computed keeps memory, and those of Gradio come and go."""
    threads = ThreadPoolExecutor(min(server.most, MOST_THREADS), "live")
    return [callable_of(method, threads) for method in (server.open, server.push, server.change, server.bye, server.inside)]


def callable_of(method, threads: ThreadPoolExecutor):
    """A function of the method's name: Gradio marks what it serves, and a method takes no mark."""

    async def call(message: dict) -> dict:
        return await asyncio.get_running_loop().run_in_executor(threads, method, message)

    call.__name__ = method.__name__
    return call


def view(page: Page) -> str:
    """The whole tab as HTML; the scripts fill it."""
    parts = (bar(), heard(), lanes(page), status(), inside(page), controls(page), lists(page))
    return element("section", "".join(parts), kind="live", data_facts=json.dumps(facts(page)), data_state="stopped")


def facts(page: Page) -> dict:
    """What the scripts must know of the model."""
    config = page.config
    return {
        "model": page.loaded.key,
        "name": page.name,
        "labels": [shown(label) for label in config.labels],
        "background": [label in config.background_labels for label in config.labels],
        "bands": config.frontend.bands,
        "column_seconds": config.frontend.hop_seconds,
        "window_seconds": config.window_seconds,
        "threshold": config.threshold,
        "colours": base64.b64encode(pictures.colour_table("magma").tobytes()).decode(),
    }


def bar() -> str:
    """Start, pause, the choice of microphone and the level."""
    go = element("button", START, type="button", kind="tl-play lv-go")
    pause = element("button", "Pause", type="button", kind="lv-quiet lv-pause", hidden="hidden")
    select = element("select", element("option", "System default", value=""), kind="lv-mic", aria_label="Microphone")
    meter = element(
        "div", "<i></i>", kind="lv-level", role="meter", aria_label="Level in dBFS", aria_valuemin=-70, aria_valuemax=0, aria_valuenow=-70
    )
    level = element("span", meter + '<span class="lv-db">silence</span><b class="lv-clip">too loud</b>', kind="lv-meter")
    return element("div", go + pause + select + level, kind="lv-bar")


def heard() -> str:
    """The label that is heard, large enough to read across a room, and a polite voice for screen readers."""
    large = '<p class="heard-large">not listening</p><p class="heard-small"></p>'
    spoken = '<p class="lv-aria sr-only" aria-live="polite"></p><p class="lv-say" role="status"></p>'
    return element("div", large, kind="lv-heard none") + spoken


def lanes(page: Page) -> str:
    """The scrolling spectrogram above the curves, on one time axis that ends now."""
    low, high = frequency(page.hz[0]), frequency(page.hz[-1])
    words = f"Spectrogram of the last 12 seconds, {low} to {high}, newest at the right"
    picture = element("div", element("canvas", role="img", aria_label=words), kind="lv-bands")
    label = "Scores of the classes over the last 12 seconds; the table below holds the numbers"
    curves = element("div", element("canvas", role="img", aria_label=label), kind="lv-curves")
    marks = element("div", element("span", high) + element("span", low), kind="lv-hz")
    ticks = "".join(element("span", f"−{s} s" if s else "now") for s in (12, 9, 6, 3, 0))
    axis = element("div", ticks, kind="lv-axis")
    key = '<span class="lv-key">thin: each window · thick: smoothed · dotted: threshold · dashed: never an event</span>'
    return element("div", picture + marks + curves + '<div class="lv-names"></div>' + axis, kind="lv-lanes") + key


def status() -> str:
    """Delay, compute time, lost sound; what the browser made of the microphone."""
    return '<p class="lv-status note">delay, compute time and lost sound are shown here</p><p class="lv-facts note"></p>'


def inside(page: Page) -> str:
    """What each block does for the newest window; computed only while it is open."""
    own = {name.rsplit(".", 1)[-1] for name in switches(page.classifier.model)}
    known = [part for part in PARTS if part == "block" or part in own]
    choice = element("select", "".join(element("option", f"without {PARTS[part]}", value=part) for part in known), aria_label="What is off")
    bar = '<span class="lv-cause"><i></i></span><output>–</output>'
    rows = "".join(element("div", element("b", f"block {block}") + bar, kind="lv-block") for block in range(page.config.depth))
    words = '<p class="note lv-inside-say">While you listen: how far the score of the best class falls when a part of a block is off.</p>'
    head = element("summary", "What each block does now")
    return element("details", head + choice + words + element("div", rows, kind="lv-blocks"), kind="lv-inside")


def controls(page: Page) -> str:
    """Settings with units and meaning, and the sentence the server computes from them."""
    window = page.config.window_seconds
    fields = (
        setting("hop_seconds", "Hop", LEAST_HOP_SECONDS, window, 0.05, page.hop_seconds, "from one window to the next", " s"),
        setting("smoothing_seconds", "Smoothing", 0, 3, 0.25, 0, "mean of the scores over this time; 0 is none", " s"),
        setting("threshold", "Threshold", 0, 1, 0.01, page.config.threshold, "a score from here on may be an event", ""),
        setting("confirmations", "Confirmations", 1, 10, 1, 1, "windows in a row that must reach it", ""),
    )
    inner = element("div", "".join(fields), kind="lv-fields") + '<p class="lv-sentence note"></p>'
    return element("details", element("summary", "Settings") + inner, kind="lv-settings")


def setting(name: str, title: str, low: float, high: float, step: float, value: float, words: str, unit: str) -> str:
    """One slider with its name, its meaning and its value."""
    slider = element("input", type="range", min=low, max=high, step=step, value=value, data_setting=name, data_unit=unit, aria_label=title)
    inner = f"<b>{escape(title)}</b><span>{escape(words)}</span>{slider.removesuffix('</input>')}<output></output>"
    return element("label", inner, kind="lv-field")


def lists(page: Page) -> str:
    """Events with their clock time, what to do with them, and the scores as numbers for screen readers."""
    buttons = (
        '<button type="button" class="lv-quiet lv-replay">Look at the last 10 s in the File tab</button>'
        '<button type="button" class="lv-quiet lv-save" disabled>Download the events (CSV)</button>'
    )
    rows = [(escape(shown(label)), "", "") for label in page.config.labels]
    inner = element("summary", "Scores as numbers") + table(("class", "smoothed", "newest window"), rows)
    numbers = element("details", inner, kind="lv-numbers")
    events = '<h3>Events</h3><ol class="lv-list"></ol><p class="lv-none note">No event yet.</p>'
    return element("div", buttons, kind="lv-buttons") + events + numbers
