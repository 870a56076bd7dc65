"""What the page says about its model, read from the model itself."""

import statistics
import time

import numpy as np

from asm_rh.checkpoint import CheckpointError, find
from asm_rh.frontends import band_centres_hz
from asm_rh.mixers import KINDS
from asm_rh.model import count_macs, count_parameters

from .text import escape, frequency, shown, size

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


def status(name: str, classifier, hop_seconds: float, milliseconds: float) -> str:
    """The header's line of facts."""
    config = classifier.config
    parts = (
        ("model", name), ("window", f"{config.window_seconds:g} s"), ("hop", f"{hop_seconds:g} s"),
        ("classes", len(config.labels)), ("per window", f"{milliseconds:.1f} ms"),
        ("on", str(classifier.device).upper()),
    )  # fmt: skip
    items = "".join(f"<div><dt>{term}</dt><dd>{escape(str(value))}</dd></div>" for term, value in parts)
    return f'<dl class="status">{items}</dl>'


def table(name: str, model) -> str:
    """The model in numbers and names, from its configuration."""
    rows = "".join(
        f'<tr><th scope="row">{term}</th><td>{escape(str(value))}</td></tr>' for term, value in facts(name, model)
    )
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
    """The README.md beside the weights, without its front matter; "" where there is none."""
    try:
        path = find(source, local_files_only=True).folder / "README.md"
    except CheckpointError:
        return ""
    if not path.is_file():
        return ""
    words = path.read_text(encoding="utf-8", errors="replace")
    if words.startswith("---\n") and "\n---\n" in words[4:]:
        words = words[4:].split("\n---\n", 1)[1]
    return words.strip()
