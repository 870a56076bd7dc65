"""What the page says about its model, read from the model itself."""

import statistics
import time

import numpy as np

from asm_rh.frontends import band_centres_hz
from asm_rh.markup import element
from asm_rh.mixers import KINDS
from asm_rh.model import count_macs, count_parameters

from .text import escape, frequency, shown, size

COMMIT_DIGITS = 8  # of 40, as the Hub writes it
ROLL_READINGS = {
    "paper": "paper: on the row-major view of the listing (algorithm 1)",
    "grid": "grid: patches move along time and frequency, as the prose describes",
    "off": "off: nothing is moved",
}
HERMIT_READINGS = {
    "lossless": "lossless: n = 2 (width − 1), an exact pair of transforms",
    "truncated": "truncated: n = width, as printed, keeps about half of the information",
    "off": "off: no transform",
}


def window_milliseconds(classifier, times: int = 5) -> float:
    """Median time to score one window, in milliseconds."""
    config, taken = classifier.config, []
    wave = np.zeros((1, config.window_samples), np.float32)
    for _ in range(times + 1):
        began = time.perf_counter()
        classifier.score(wave, config.sample_rate)
        taken.append(1000 * (time.perf_counter() - began))
    return statistics.median(taken[1:])


def status(page) -> str:
    """The header's line of facts about a page's model; its commit in full under the pointer."""
    config, commit = page.config, getattr(page.loaded.source, "commit", None)
    parts = (
        ("model", page.name, ""), *([("commit", commit[:COMMIT_DIGITS], commit)] if commit else []),
        ("window", f"{config.window_seconds:g} s", ""), ("hop", f"{page.hop_seconds:g} s", ""), ("classes", len(config.labels), ""),
        ("per window", f"{page.loaded.milliseconds:.1f} ms", ""), ("on", str(page.classifier.device).upper(), ""),
    )  # fmt: skip
    items = "".join(element("div", element("dt", term) + _fact(str(value), title)) for term, value, title in parts)
    return element("dl", items, kind="status")


def _fact(value, title):
    return element("dd", escape(value), **({"title": title} if title else {}))


def full_name(loaded) -> str:
    """A model's name, for one of the Hub with the beginning of its commit."""
    commit = getattr(loaded.source, "commit", None)
    return f"{loaded.name}@{commit[:COMMIT_DIGITS]}" if commit else loaded.name


def table(page) -> str:
    """The model in numbers and names, from its configuration; for one of the Hub also its commit."""
    commit = getattr(page.loaded.source, "commit", None)
    name, *rest = facts(page.name, page.classifier.model)
    pairs = [name, *([("Commit", commit)] if commit else []), *rest]
    rows = "".join(f'<tr><th scope="row">{term}</th><td>{escape(str(value))}</td></tr>' for term, value in pairs)
    return f'<table class="about"><tbody>{rows}</tbody></table>'


def facts(name: str, model) -> list[tuple[str, str]]:
    """(term, value) pairs for the table."""
    c, f = model.config, model.config.frontend
    mixers = " then ".join(mixer.__name__ for mixer in KINDS[c.kind])
    rows, columns = c.grid
    hz = band_centres_hz(f)
    return [
        ("Model", name),
        ("Kind", f"{c.kind}: {mixers}"),
        ("Roll", ROLL_READINGS.get(c.roll, c.roll)),
        ("Hermitian transform", HERMIT_READINGS.get(c.hermit, c.hermit)),
        ("Labels", ", ".join(map(shown, c.labels))),
        ("Never an event", ", ".join(map(shown, c.background_labels)) or "none"),
        ("Scores", f"{c.output}; events above {c.threshold:.2f} by default"),
        (
            "Window",
            f"{c.window_seconds:g} s at {c.sample_rate} Hz, {c.frames} frames of "
            f"{1000 * f.frame_seconds:g} ms every {1000 * f.hop_seconds:g} ms",
        ),
        (
            "Front end",
            f"{f.name}, {f.bands} bands, {frequency(hz[0])} to {frequency(hz[-1])}"
            + (", loudness removed" if f.centre else ""),
        ),
        (
            "Patches",
            f"{rows} along frequency x {columns} along time = {c.tokens} tokens, "
            f"each {c.patch[0]} bands x {c.patch[1]} frames",
        ),
        ("Blocks", f"{c.depth}, width {c.width}, token layer {c.token_hidden}, channel layer {c.channel_hidden}"),
        ("Parameters", size(count_parameters(model))),
        ("Work per window", f"{count_macs(c) / 1e9:.2f} GMAC"),
        ("Paper", "arXiv 2402.18007"),
    ]


def card(source) -> str:
    """The README.md beside the weights of a `Source`, without its front matter; "" where there is none."""
    path = source and source.folder / "README.md"
    if not path or not path.is_file():
        return ""
    words = path.read_text(encoding="utf-8", errors="replace")
    if words.startswith("---\n") and "\n---\n" in words[4:]:
        words = words[4:].split("\n---\n", 1)[1]
    return words.strip()
