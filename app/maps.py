"""The look inside one moment as HTML: true sentences, maps, a profile, and what switching off changes. Pure."""

import numpy as np

from asm_rh import pictures

from .markup import colour_bar, element, folded, mark, picture, table, tick
from .text import clock, escape, frequency, shown, signed

PARTS = {"roll": "roll", "hermit": "frequency mixing"}
OFF_MEANS = {"roll": "nothing is moved", "hermit": "features are mixed without the transform"}
NO_ROLL = "This kind of model has no roll in its blocks: nothing is moved, nothing to show."
ROLL_OFF = 'The roll of this model is set to "off": it moves nothing, so there is nothing to show.'
NO_HERMIT = "This kind of model mixes tokens without the Hermitian transform: there are no bins to show."


class Axes:
    """Where the patches of one window lie.

    `hz` (rows) pairs of lowest and highest, `seconds` (columns) pairs of first and last; `start` of the window in the
    sound, in seconds.
    """

    def __init__(self, config, hz, start: float = 0.0):
        (bands, frames), (band_step, frame_step) = config.patch, config.stride
        (rows, columns), hop = config.grid, config.frontend.hop_seconds
        self.hz = [(hz[r * band_step], hz[r * band_step + bands - 1]) for r in range(rows)]
        self.seconds = [(start + c * frame_step * hop, start + (c * frame_step + frames) * hop) for c in range(columns)]
        first_band, first_frame = max(0, (bands - band_step) // 2), max(0, (frames - frame_step) // 2)
        # The part of the input that the cells of a map cover when each is drawn one stride wide.
        last_band, last_frame = first_band + rows * band_step, first_frame + columns * frame_step
        self.cover = slice(first_frame, last_frame), slice(first_band, last_band)

    def row(self, r: int) -> str:
        """The band range of a row: "250 Hz to 480 Hz"."""
        return f"{frequency(self.hz[r][0])} to {frequency(self.hz[r][1])}"

    def column(self, c: int) -> str:
        """The time range of a column."""
        return f"{self.seconds[c][0]:.2f} to {self.seconds[c][1]:.2f} s"


def render(look, axes: Axes) -> str:
    """The whole section for one Look."""
    parts = (element("div", part(look, axes), kind="look-part") for part in (roll_part, hermit_part))
    return element("div", effects(look) + "".join(parts), kind="look")


def say(words: str) -> str:
    """A sentence above a picture."""
    return element("p", words, kind="say")


# ---------------------------------------------------------------------------------------------- switching off


def effects(look) -> str:
    """The score of the best class as it is and with each mechanism of the block off: a sentence and bars."""
    now, name = look.scores[None], escape(shown(look.label))
    words = [f"In the window from {clock(look.start)} to {clock(look.end)} the model says <b>{name} {now:.2f}</b>."]
    bars = [effect_bar("as it is", now)]
    for part, title in PARTS.items():
        if part not in look.scores:
            words.append(f"Block {look.block} has no {title} to switch off.")
            continue
        score = look.scores[part]
        change = signed(round(score, 2) - round(now, 2))  # the difference of the numbers beside it
        words.append(f"With the {title} of block {look.block} off ({OFF_MEANS[part]}): {score:.2f} ({change}).")
        bars.append(effect_bar(f"{title} off", score, change))
    return say(" ".join(words)) + element("div", "".join(bars), kind="effects")


def effect_bar(title: str, score: float, change: str = "") -> str:
    """One score as a bar with its number."""
    moved = " " + element("span", change, kind="effect-change") if change else ""
    track = element("span", element("i", style=f"width:{100 * score:.1f}%"), kind="effect-track")
    number = element("span", f"{score:.2f}{moved}", kind="effect-score")
    return element("div", element("span", title, kind="effect-name") + track + number, kind="effect")


# ---------------------------------------------------------------------------------------------- the two mechanisms


def roll_part(look, axes: Axes) -> str:
    """RollBlock before and after."""
    head = element("h4", f"Roll in block {look.block}")
    if look.roll is None:
        return head + say(NO_ROLL)
    if look.roll.moved == 0:
        return head + say(ROLL_OFF)
    maps = look.roll.maps
    words = (
        f"Block {look.block} moved {100 * look.roll.moved:.0f} % of the features to another place; "
        f"the energy map changed by {100 * maps.relative:.0f} %{_most(maps, axes)}."
    )
    panels = input_panel(look, axes) + map_panels(maps, axes, ("before the roll", "after the roll"))
    numbers = map_table(maps, axes, "before and after the roll")
    return head + say(words) + element("div", panels, kind="panels") + numbers


def hermit_part(look, axes: Axes) -> str:
    """Frequency mixing: what went in, what came out, and the energy per Hermitian bin."""
    head, hermit = element("h4", f"Frequency mixing in block {look.block}"), look.hermit
    if hermit is None:
        return head + say(NO_HERMIT)
    maps = hermit.maps
    words = (
        f"The tokens came in with energy {_rms(maps.before):.2f} and left with {_rms(maps.after):.2f} (RMS)"
        f"{_most(maps, axes)}. {_profile_words(hermit)}"
    )
    panels = map_panels(maps, axes, ("before mixing", "after mixing")) + profile_panel(hermit)
    numbers = map_table(maps, axes, "before and after mixing") + profile_table(hermit)
    return head + say(words) + element("div", panels, kind="panels") + numbers


def _profile_words(hermit):
    before, after, count = half_energy(hermit.spectrum), half_energy(hermit.mixed), len(hermit.spectrum)
    what = "Hermitian bins" if hermit.transformed else "features (the transform of this model is off)"
    return f"Half of the energy lies in {before} of {count} {what} before the learned mixing and in {after} after it."


def half_energy(rms: np.ndarray) -> int:
    """The fewest bins that hold half of the energy of a profile of RMS values (bins,)."""
    power = np.sort(np.asarray(rms, float) ** 2)[::-1]
    return int(np.searchsorted(np.cumsum(power), power.sum() / 2 - 1e-12) + 1)


def _rms(values):
    return float(np.sqrt(np.mean(np.square(values))))


def _most(maps, axes):
    r, c = np.unravel_index(np.abs(maps.change).argmax(), maps.change.shape)
    if maps.change[r, c] == 0:
        return ""
    return f", most at {axes.row(r)}, {axes.column(c)} ({signed(maps.change[r, c])})"


# ---------------------------------------------------------------------------------------------- panels


def input_panel(look, axes: Axes) -> str:
    """The features of the window as the model gets them, on the same axes as the maps."""
    values = look.features[axes.cover].T
    alt = "normalised log-mel energy of the window"
    return panel("what the model gets", values, pictures.limits(values), "magma", axes, alt, "smooth")


def map_panels(maps, axes: Axes, titles) -> str:
    """Before, after (same colour limits) and the change (around 0)."""
    shared = pictures.limits(maps.before, maps.after)
    pair = (
        panel(title, values, shared, "viridis", axes, f"energy (RMS) of every patch {title}")
        for title, values in zip(titles, (maps.before, maps.after), strict=True)
    )
    alt = "energy after minus before"
    return "".join(pair) + panel("change", maps.change, pictures.even_limits(maps.change), pictures.SIGNED, axes, alt)


def panel(title: str, values, limits, colours: str, axes: Axes, alt: str, kind: str = "cells") -> str:
    """One map with axes in Hz and seconds and its colour bar; `values` (rows, columns) with row 0 lowest."""
    uri = pictures.png_uri(pictures.heat_png(values, *limits, colours))
    alt = f"{alt}; lowest {values.min():.2f}, highest {values.max():.2f}"
    rows, (low, high) = len(axes.hz), limits
    marks = "".join(
        mark(100 - 100 * (r + 0.5) / rows, frequency(sum(axes.hz[r]) / 2)) for r in range(0, rows, -(-rows // 5))
    )
    ends = (signed(high), signed(low), "0") if colours == pictures.SIGNED else (_plain(high), _plain(low))
    bar = colour_bar(colours, *ends)
    image = f'<img class="{kind}" alt="{escape(alt)}" src="{uri}">'
    return figure(escape(title), marks, image, _time_ticks(axes), bar)


def figure(title: str, marks: str, plot: str, ticks: str, bar: str = "", kind: str = "map") -> str:
    """A picture between its axes."""
    body = element("div", marks, kind="tl-left") + element("div", plot, kind="map-plot") + bar
    below = element("div", element("div", ticks, kind="tl-plot"), kind="map-times")
    return element("figure", element("figcaption", title) + element("div", body, kind="map-body") + below, kind=kind)


def _time_ticks(axes):
    count = len(axes.seconds)
    return "".join(
        tick(100 * (c + 0.5) / count, f"{sum(axes.seconds[c]) / 2:.2f}{' s' if c == count - 1 else ''}")
        for c in sorted({0, (count - 1) // 2, count - 1})
    )


def _plain(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def profile_panel(hermit) -> str:
    """Energy per bin before and after the learned mixing: a solid and a dashed line on one scale."""
    count, top = len(hermit.spectrum), float(max(hermit.spectrum.max(), hermit.mixed.max())) or 1.0
    x = np.linspace(0, 1, count) if count > 1 else np.zeros(1)
    lines = "".join(
        element("path", kind=f"curve {kind}", d=pictures.line_path(x, np.clip(values / top, 0, 1)))
        for kind, values in (("c0", hermit.spectrum), ("c1 dash", hermit.mixed))
    )
    what = "Hermitian bin" if hermit.transformed else "feature"
    label = f"Energy per {what} before and after the learned mixing, up to {top:.2f}; numbers in the table below"
    grid = element("path", kind="grid", d="M0 0H1000M0 500H1000M0 1000H1000")
    keys = element("span", "spectrum", kind="key c0") + " " + element("span", "mixed", kind="key c1 dash")
    marks = "".join(mark(100 * (1 - y), f"{top * y:.2f}") for y in (0, 0.5, 1))
    ends = ((0, "bin 0"), (0.5, f"{count // 2}"), (1, f"{count - 1}"))
    ticks = "".join(tick(100 * place, words) for place, words in ends)
    return figure(f"energy per {what} {keys}", marks, picture(grid + lines, "", label), ticks, "", "map profile")


# ---------------------------------------------------------------------------------------------- tables


def map_table(maps, axes: Axes, what: str) -> str:
    """Both maps as numbers, folded away."""
    rows = [
        (axes.row(r), *(f"{b:.2f} → {a:.2f}" for b, a in zip(maps.before[r], maps.after[r], strict=True)))
        for r in reversed(range(len(axes.hz)))
    ]
    heads = ("band", *(axes.column(c) for c in range(len(axes.seconds))))
    return folded(f"Energy {what} as numbers", table(heads, rows))


def profile_table(hermit) -> str:
    """The profile as numbers, folded away."""
    pairs = zip(hermit.spectrum, hermit.mixed, strict=True)
    rows = [(str(i), f"{a:.3f}", f"{b:.3f}") for i, (a, b) in enumerate(pairs)]
    return folded("Energy per bin as numbers", table(("bin", "spectrum", "mixed"), rows))
