"""Curves and points between their axes, as HTML around an SVG that stretches; knows neither model nor data."""

import math
from dataclasses import dataclass

from . import pictures
from .markup import element, mark, picture, tick


@dataclass(frozen=True)
class Axis:
    """Where a value stands between 0 and 1: linear, or, `stretched`, by the logarithm of 1 + value; `title` in words, with the unit."""

    title: str
    low: float = 0.0
    high: float = 1.0
    stretched: bool = False

    def place(self, value: float) -> float:
        """0 at `low`, 1 at `high`, values outside on the edge."""
        low, high, value = (math.log1p(v) if self.stretched else v for v in (self.low, self.high, value))
        return min(1.0, max(0.0, (value - low) / (high - low)))

    def ticks(self) -> list[float]:
        """A few round values."""
        if self.stretched:
            return [0.0, *(10.0**k for k in range(math.floor(math.log10(self.high)) + 1))]
        return even_ticks(self.low, self.high)


@dataclass(frozen=True)
class Series:
    """One curve: (x, y) values, y None where nothing is known, a (low, high) interval or None for each; `kind` is c0 or c1, dash."""

    name: str
    points: list
    kind: str = "c0"
    intervals: list | None = None
    joined: bool = True


def even_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """At most `most` values between, 1, 2 or 5 times a power of ten apart."""
    rough = (high - low) / (most - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(step for step in (m * power for m in (1, 2, 5, 10)) if step >= rough * (1 - 1e-9))
    return [round(i * step, 10) for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def chart(series, x: Axis, y: Axis, label: str, line=None, upright: tuple[float, str] | None = None) -> str:
    """A figure: curves with points, grid, ticks and a key; `label` is its text alternative.

    `line` is ((x, y), (x, y), words), a dotted line to compare with; `upright` a value of x with its words.
    """
    drawn = element("path", kind="grid", d="".join(f"M0 {_down(y, at)}H1000" for at in y.ticks()))
    keys = [element("span", one.name, kind=f"key {one.kind}") for one in series]
    if line:
        start, end, words = line
        drawn += element("path", kind="compare", d=f"M{_point(x, y, *start)}L{_point(x, y, *end)}")
        keys.append(element("span", words, kind="key compared"))
    if upright:
        drawn += element("path", kind="upright", d=f"M{_across(x, upright[0])} 0V1000")
        keys.append(element("span", upright[1], kind="key marked"))
    drawn += "".join(_curve(one, x, y) for one in series)
    marks = "".join(mark(100 * (1 - y.place(at)), f"{at:g}") for at in y.ticks())
    ticks = "".join(tick(100 * x.place(at), f"{at:g}") for at in x.ticks())
    body = element("div", marks, kind="chart-left") + element("div", picture(drawn, "", label), kind="chart-plot")
    head = element("figcaption", element("span", f"↑ {y.title}", kind="chart-title") + element("span", "".join(keys), kind="keys"))
    below = element("div", ticks, kind="chart-ticks") + element("div", f"{x.title} →", kind="chart-title under")
    return element("figure", head + element("div", body, kind="chart-body") + below, kind="chart")


def _curve(one, x, y):
    known = [(a, b) for a, b in one.points if b is not None]
    drawn = ""
    if one.intervals:
        spans = zip(one.points, one.intervals, strict=True)
        path = "".join(f"M{_across(x, a)} {_down(y, span[0])}V{_down(y, span[1])}" for (a, _), span in spans if span)
        drawn += element("path", kind=f"span {one.kind}", d=path)
    if one.joined and len(known) > 1:
        places = [(x.place(a), y.place(b)) for a, b in known]
        drawn += element("path", kind=f"curve {one.kind}", d=pictures.line_path(*zip(*places)))
    # A line without length and with round ends: a dot that stays round however the picture is stretched.
    dots = "".join(f"M{_point(x, y, a, b)}h0" for a, b in known)
    return drawn + element("path", kind=f"dots {one.kind}", d=dots)


def _point(x, y, across, up):
    return f"{_across(x, across)} {_down(y, up)}"


def _across(axis, value):
    return f"{1000 * axis.place(value):.1f}"


def _down(axis, value):
    return f"{1000 * (1 - axis.place(value)):.1f}"
