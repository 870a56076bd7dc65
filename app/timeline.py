"""One time axis as HTML: waveform, spectrogram, curves per class, events; `timeline.js` gives it a play head. Pure."""

import json
from dataclasses import dataclass

import numpy as np

from asm_rh import pictures
from asm_rh.markup import colour_bar, element, folded, mark, note, picture, table, tick

from .text import clock, escape, frequency, shown

CURVES = 6
COLUMNS = 1600
SCORE_PIXELS, LABEL_PIXELS, FLAG_PIXELS = 190, 17, 26
RANGE_DB = 70.0
DB = 10 / np.log(10)  # natural log of energy -> decibel
HZ_TICKS = (250, 500, 1000, 2000, 4000)
FLAGS, TABLE_ROWS, SCORE_ROWS = 40, 300, 200
SURFACE_LABEL = "Moment in the sound; arrow keys move it, space plays"


@dataclass(frozen=True)
class Curves:
    """What the score lane draws.

    `names` (k) best first; `scores` (n, k) at `centres` (n,) seconds; `background` (k) bools.
    """

    names: list[str]
    scores: np.ndarray
    centres: np.ndarray
    background: list[bool]


def curves(scores, most: int = CURVES) -> Curves:
    """The `most` classes with the highest peaks; the others become one curve, their maximum."""
    order = np.argsort(-scores.scores.max(0), kind="stable")
    first, rest = order[:most], order[most:]
    columns, names = [scores.scores[:, first]], [shown(scores.labels[i]) for i in first]
    background = [scores.labels[i] in scores.background for i in first]
    if len(rest):
        columns.append(scores.scores[:, rest].max(1, keepdims=True))
        names, background = [*names, f"{len(rest)} others"], [*background, True]
    pooled, step = pictures.peak_pool(np.concatenate(columns, 1), COLUMNS)
    centres = (scores.start + scores.end) / 2
    last = np.minimum(np.arange(0, len(centres), step) + step, len(centres)) - 1
    return Curves(names, pooled, (centres[::step] + centres[last]) / 2, background)


def render(overview, scores, events, threshold: float, hz, moment: float, source: str, window_seconds: float) -> str:
    """The whole view.

    `overview` and `scores` of one sound, `events` to flag, `hz` centre frequencies of the bands, `moment` seconds at
    which the play head stands, `source` address of the sound for the browser, `window_seconds` length of a window.
    """
    seconds, drawn = overview.seconds, curves(scores)
    main = wave_lane(overview) + band_lane(overview, hz) + score_lane(drawn, events, threshold, seconds, moment)
    main = element("div", main + _surface(seconds, moment), kind="tl-main")
    heads = element("div", '<i class="tl-head"></i><i class="tl-hover"></i>', kind="tl-over")
    body = element("div", main + flag_lane(events, seconds) + axis_lane(seconds) + heads, kind="tl-body")
    step = float(np.diff(scores.start[:2])[0]) if len(scores) > 1 else window_seconds
    return element(
        "section",
        _bar(moment) + body + event_table(events) + score_table(scores),
        kind="tl",
        data_source=source,
        data_seconds=f"{seconds:.4f}",
        data_step=f"{step:.4f}",
        data_window=f"{window_seconds:.4f}",
        data_moment=f"{moment:.4f}",
        data_names=json.dumps(drawn.names),
        data_centres=pictures.packed(drawn.centres, "<f4"),
        data_scores=pictures.packed(drawn.scores * 65535, "<u2"),
    )


def _bar(moment):
    play = element("button", '<i class="tl-icon play"></i>Play', type="button", kind="tl-play", aria_pressed="false")
    return element(
        "div", f'{play}<output class="tl-now">{clock(moment)}</output><span class="tl-read"></span>', kind="tl-bar"
    )


def _surface(seconds, moment):
    state = {"aria_valuemin": 0, "aria_valuemax": f"{seconds:.2f}", "aria_valuenow": f"{moment:.2f}"}
    window = '<i class="tl-window"></i>'
    said = {"aria_label": SURFACE_LABEL, "aria_valuetext": clock(moment), **state}
    return element("div", window, kind="tl-surface", role="slider", tabindex=0, **said)


def _lane(kind, left, plot, right=""):
    cells = (("left", left), ("plot", plot), ("right", right))
    inner = "".join(element("div", cell, kind=f"tl-{place}") for place, cell in cells)
    return element("div", inner, kind=f"tl-lane tl-{kind}")


# ---------------------------------------------------------------------------------------------- lanes


def wave_lane(overview) -> str:
    """The waveform between its lowest and highest samples, scaled to its own peak, which is written beside it."""
    peak = overview.peak
    envelope = 0.5 + (0.47 / peak if peak > 0 else 0) * overview.envelope
    envelope[:, 1] = np.maximum(envelope[:, 1], envelope[:, 0] + 0.012)
    x = np.minimum((np.arange(len(envelope)) + 0.5) * overview.column_seconds / overview.seconds, 1)
    level = f"{20 * np.log10(peak):.0f} dBFS".replace("-", "−") if peak > 0 else "digital silence"
    label = f"Waveform of {overview.seconds:.2f} s, highest sample {peak:.2f} of full scale, {level}"
    path = element("path", d=pictures.envelope_path(x, envelope[:, 0], envelope[:, 1]))
    return _lane("wave", mark(50, "wave"), picture(path, "tl-wave-line", label), note(f"peak {level}"))


def band_lane(overview, hz) -> str:
    """The model's own log-mel bands in dB below the loudest; frequencies at the left, colour bar at the right."""
    if overview.bands.size == 0:
        return _lane("bands", "", note("too short for a spectrogram"))
    decibel = DB * overview.bands
    top = float(decibel.max())
    uri = pictures.png_uri(pictures.heat_png(decibel.T, top - RANGE_DB, top))
    left = 100 * overview.band_start / overview.seconds
    width = 100 * len(decibel) * overview.band_seconds / overview.seconds
    label = f"Spectrogram, {frequency(hz[0])} to {frequency(hz[-1])}; {_loudest(overview, hz)}"
    image = f'<img alt="{escape(label)}" src="{uri}" style="left:{left:.3f}%;width:{width:.3f}%">'
    marks = mark(5, "Hz") + "".join(
        mark(
            100 - 100 * (np.interp(f, hz, np.arange(len(hz))) + 0.5) / len(hz), f"{f // 1000}k" if f >= 1000 else f"{f}"
        )
        for f in HZ_TICKS
        if hz[0] < f < hz[-1]
    )
    return _lane("bands", marks, image, colour_bar("magma", "0 dB", f"−{RANGE_DB:.0f} dB"))


def _loudest(overview, hz):
    column, band = np.unravel_index(overview.bands.argmax(), overview.bands.shape)
    at = overview.band_start + (column + 0.5) * overview.band_seconds
    return f"loudest at {clock(at)} near {frequency(hz[band])}"


def score_lane(drawn: Curves, events, threshold: float, seconds: float, moment: float) -> str:
    """Curves, the threshold, shaded events, and the names at the ends of the lines."""
    x = np.concatenate([[0], drawn.centres / seconds, [1]]).clip(0, 1)
    padded = np.concatenate([drawn.scores[:1], drawn.scores, drawn.scores[-1:]])
    lines = "".join(
        element("path", kind=f"curve c{i}{' bg' if drawn.background[i] else ''}", d=pictures.line_path(x, padded[:, i]))
        for i in reversed(range(len(drawn.names)))
    )
    grid = element("path", kind="grid", d="M0 0H1000M0 500H1000M0 1000H1000")
    limit = element("path", kind="limit", d=f"M0 {1000 * (1 - threshold):.0f}H1000")
    label = f"Scores of {', '.join(drawn.names)} over time; the table below holds the numbers"
    marks = "".join(mark(100 * (1 - y), f"{y:g}") for y in (0, 0.5, 1) if abs(y - threshold) > 0.09)
    marks += mark(100 * (1 - threshold), f"{threshold:.2f}", "tl-limit")
    now = drawn.scores[int(np.abs(drawn.centres - moment).argmin())]
    curves_svg = picture(_shades(events, seconds) + grid + limit + lines, "tl-curves", label)
    return _lane("scores", marks, curves_svg, _line_names(drawn, padded[-1], now))


def _shades(events, seconds):
    if len(events) > FLAGS:
        return ""
    spans = ((1000 * e.start / seconds, 1000 * min(e.end, seconds) / seconds) for e in events)
    return "".join(
        element("rect", kind="shade", x=f"{a:.1f}", y=0, width=f"{b - a:.1f}", height=1000) for a, b in spans
    )


def _line_names(drawn, ends, now):
    tops = SCORE_PIXELS * (1 - np.asarray(ends))
    places = pictures.spread(tops, LABEL_PIXELS, LABEL_PIXELS / 2, SCORE_PIXELS - LABEL_PIXELS / 2)
    leaders = "".join(
        element("path", kind=f"curve c{i}", d=f"M0 {top:.1f}C9 {top:.1f} 5 {place:.1f} 14 {place:.1f}")
        for i, (top, place) in enumerate(zip(tops, places, strict=True))
    )
    names = "".join(
        element("span", f"<b>{escape(name)}</b> {_value(value)}", kind=f"tl-name c{i}", style=f"top:{place:.1f}px")
        for i, (name, place, value) in enumerate(zip(drawn.names, places, now, strict=True))
    )
    return element("svg", leaders, kind="tl-leaders", viewBox=f"0 0 14 {SCORE_PIXELS}", aria_hidden="true") + names


def _value(score):
    return element("span", f"{score:.2f}", kind="tl-value")


def flag_lane(events, seconds: float) -> str:
    """Every event as a button over the time it lasted, which goes there; plain marks where they are too many."""
    left = mark(50, "events")
    if not events:
        return _lane("flags", left, element("div", note("no event"), style="height:22px"))
    if len(events) > FLAGS:
        marks = "".join(element("path", d=f"M{1000 * e.peak / seconds:.1f} 0V1000") for e in events)
        drawn = picture(marks, "tl-marks", f"{len(events)} events; the table lists them")
        return _lane("flags", left, element("div", drawn, style="height:22px"), note(f"{len(events)} in all"))
    rows = pictures.stack_rows([(e.start, min(e.end, seconds)) for e in events])
    flags = "".join(_flag(e, row, seconds) for e, row in zip(events, rows, strict=True))
    return _lane("flags", left, element("div", flags, style=f"height:{FLAG_PIXELS * (max(rows) + 1)}px"))


def _flag(event, row, seconds):
    left, width = 100 * event.start / seconds, 100 * (min(event.end, seconds) - event.start) / seconds
    label = shown(event.label)
    title = f"{label} from {clock(event.start)} to {clock(event.end)}, score {event.score:.2f} at {clock(event.peak)}"
    style = f"left:{left:.3f}%;width:{width:.3f}%;top:{FLAG_PIXELS * row}px"
    words = f"⚑ {escape(label)} {event.score:.2f}"
    return element("button", words, type="button", kind="flag", data_seek=f"{event.peak:.4f}", title=title, style=style)


def axis_lane(seconds: float) -> str:
    """The time axis: round moments from 0 to the end."""
    places = pictures.ticks(0, seconds)
    step = places[1] - places[0] if len(places) > 1 else 0.01
    marks = "".join(tick(100 * place / seconds, clock(place, step).removesuffix(" s")) for place in places)
    return _lane("axis", mark(60, "s" if seconds < 60 else "m:s"), marks)


# ---------------------------------------------------------------------------------------------- tables


def event_table(events) -> str:
    """The events as a table; the moment of each is a button that goes there."""
    if not events:
        words = "No event to list: every score of a class that counts stays below the threshold."
        return element("p", words, kind="tl-none")
    rows = [
        (
            escape(shown(e.label)), clock(e.start), clock(e.end), f"{e.score:.2f}",
            element("button", clock(e.peak), type="button", kind="go", data_seek=f"{e.peak:.4f}"),
        )
        for e in events[:TABLE_ROWS]
    ]  # fmt: skip
    rest = f"first {TABLE_ROWS} of {len(events)}; the downloads hold all" if len(events) > TABLE_ROWS else ""
    return table(("event", "start", "end", "score", "peak"), rows, "events", rest)


def score_table(scores) -> str:
    """The scores of every window as numbers, folded away: the same as the curves."""
    spans = zip(scores.start[:SCORE_ROWS], scores.end, strict=False)
    rows = [
        (f"{clock(start)} to {clock(end)}", *(f"{value:.2f}" for value in row))
        for (start, end), row in zip(spans, scores.scores[:SCORE_ROWS].tolist(), strict=True)
    ]
    count = f"{len(scores)} windows" + (f", the first {SCORE_ROWS} shown" if len(scores) > SCORE_ROWS else "")
    heads = ("window", *(escape(shown(name)) for name in scores.labels))
    return folded(f"Scores as numbers ({count})", table(heads, rows))
