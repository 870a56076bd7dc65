"""Maps over the patches of a window as HTML figures with axes in hertz and seconds, colour bars, and their numbers as tables. Pure."""

from dataclasses import dataclass
from html import escape

import numpy as np

from . import pictures
from .insight import LEAST_ENERGY, Mixing, PatchGrid, TokenMaps
from .markup import colour_bar, element, folded, mark, picture, table, tick
from .sentences import column_words, row_words
from .words import frequency, signed

MOST_MARKS = 5
LEAST_DB = -60


@dataclass(frozen=True)
class Place:
    """Where a map lies: the grid of patches, and the window's start in seconds of the sound."""

    grid: PatchGrid
    start: float

    @property
    def hz_marks(self) -> str:
        """The frequency axis."""
        return _marks(self.row_names)

    @property
    def time_ticks(self) -> str:
        """The time axis, in seconds of the sound."""
        count = self.grid.columns
        return "".join(
            tick(100 * (c + 0.5) / count, f"{self.seconds(c):.2f}{' s' if c == count - 1 else ''}") for c in _ends_and_middle(count)
        )

    @property
    def column_names(self) -> list[str]:
        """The middle of every column, in words."""
        return [f"{self.seconds(c):.2f} s" for c in range(self.grid.columns)]

    @property
    def row_names(self) -> list[str]:
        """The middle of every row, in words."""
        return [frequency(hz) for hz in self.grid.hz]

    def seconds(self, column: int) -> float:
        """The middle of a column."""
        return self.start + self.grid.ms[column] / 1000


def _marks(names):
    """At most MOST_MARKS of the rows' names along a vertical axis, row 0 lowest."""
    count = len(names)
    return "".join(mark(100 - 100 * (r + 0.5) / count, names[r]) for r in range(0, count, -(-count // MOST_MARKS)))


def _ends_and_middle(count):
    return sorted({0, (count - 1) // 2, count - 1})


# ---------------------------------------------------------------------------------------------- maps of patches


def patch_map(title: str, values: np.ndarray, limits, colours: str, place: Place, unit: str = "energy (RMS)") -> str:
    """One value (rows, columns) per patch, as cells."""
    return _map(title, values, values, limits, colours, place, "cells", unit)


def input_map(title: str, cells: np.ndarray, limits, colours: str, place: Place, unit: str, how=np.mean) -> str:
    """A spectrogram (frames, bands), cut to what the patches' cells cover; its numbers are put together per patch."""
    drawn = cells[place.grid.cover].T
    return _map(title, drawn, place.grid.pooled(cells, how), limits, colours, place, "smooth", unit)


def _map(title, drawn, values, limits, colours, place, kind, unit):
    alt = f"{title}: {unit}, lowest {drawn.min():.2f}, highest {drawn.max():.2f}"
    image = f'<img class="{kind}" alt="{escape(alt)}" src="{pictures.png_uri(pictures.heat_png(drawn, *limits, colours))}">'
    low, high = limits
    ends = (signed(high), signed(low), "0") if colours == pictures.SIGNED else (plain(high), plain(low))
    data = {"data_cells": pictures.packed(values, "<f4"), "data_rows": values.shape[0], "data_columns": values.shape[1]}
    return figure(title, place.hz_marks, image, place.time_ticks, colour_bar(colours, *ends), "map patches", **data)


def before_and_after(maps: TokenMaps, place: Place, titles) -> str:
    """Before, after (same colour limits) and the change (around 0)."""
    shared = pictures.limits(maps.before, maps.after)
    pair = [patch_map(title, values, shared, "viridis", place) for title, values in zip(titles, (maps.before, maps.after), strict=True)]
    return "".join(pair) + patch_map("change", maps.change, pictures.even_limits(maps.change), pictures.SIGNED, place, "after − before")


def map_table(title: str, place: Place, heads, *maps: np.ndarray) -> str:
    """Maps (rows, columns) as numbers, folded away: a row per patch row, `before → after` in a cell."""
    grid = place.grid
    rows = [
        (row_words(grid, r), *(" → ".join(plain(values[r, c]) for values in maps) for c in range(grid.columns)))
        for r in reversed(range(grid.rows))
    ]
    heads = (escape(heads), *(column_words(grid, c, place.start) for c in range(grid.columns)))
    return folded(escape(title), table(heads, rows))


# ---------------------------------------------------------------------------------------------- from and to


def sent_maps(mixed: Mixing, place: Place) -> str:
    """The energy that the learned mixing sent, time x time and band x band, in percent of all that it passed on."""
    return _sent("from time (right) to time (up)", mixed.time_to_time, place.column_names, "time") + _sent(
        "from band (right) to band (up)", mixed.band_to_band, place.row_names, "band"
    )


def _sent(title, matrix, names, axis):
    percent = _percent(matrix)
    high = float(percent.max())
    uri = pictures.png_uri(pictures.heat_png(percent, 0.0, high, "viridis"))
    image = f'<img class="cells" alt="{escape(title)}: share of the energy, highest {high:.1f} %" src="{uri}">'
    count = len(names)
    ticks = "".join(tick(100 * (i + 0.5) / count, names[i]) for i in _ends_and_middle(count))
    data = {"data_cells": pictures.packed(percent, "<f4"), "data_rows": count, "data_columns": count, "data_axis": axis,
            "data_names": "|".join(names)}  # fmt: skip
    return figure(title, _marks(names), image, ticks, colour_bar("viridis", f"{high:.1f} %", "0 %"), "map sent", **data)


def sent_table(title: str, matrix: np.ndarray, names) -> str:
    """A from-to matrix in percent, folded away."""
    rows = [(f"to {name}", *(f"{value:.1f}" for value in row)) for name, row in zip(names, _percent(matrix), strict=True)]
    return folded(escape(title), table(("%", *(f"from {name}" for name in names)), rows))


def _percent(matrix):
    return 100 * matrix / max(matrix.sum(), LEAST_ENERGY)


# ---------------------------------------------------------------------------------------------- bins


def bin_profiles(mixed: Mixing) -> str:
    """Energy per bin before and after the learned mixing, and the gain between them, in dB; bins are never hertz."""
    what = "Hermitian bin" if mixed.transformed else "feature"
    top = max(mixed.before.max(), mixed.after.max(), 1e-12)
    before, after = (10 * np.log10(np.maximum(energy / top, 10 ** (LEAST_DB / 10))) for energy in (mixed.before, mixed.after))
    keys = element("span", "before", kind="key c0") + " " + element("span", "after", kind="key c1 dash")
    reach = 10.0 * np.ceil(max(1.0, np.abs(mixed.gain_db).max() / 10))
    energy = _profile(f"energy per {what}, dB below the highest {keys}", [(before, "c0"), (after, "c1 dash")], LEAST_DB, 0.0,
                      f"Energy per {what} before and after the learned mixing")  # fmt: skip
    return energy + _profile(f"gain per {what}, dB", [(mixed.gain_db, "c0")], -reach, reach, f"Gain of the learned mixing per {what}")


def _profile(title, curves, low, high, label):
    count = len(curves[0][0])
    x = np.linspace(0, 1, count) if count > 1 else np.zeros(1)
    lines = "".join(
        element("path", kind=f"curve {kind}", d=pictures.line_path(x, np.clip((values - low) / (high - low), 0, 1)))
        for values, kind in curves
    )
    grid = element("path", kind="grid", d="M0 0H1000M0 500H1000M0 1000H1000")
    marks = "".join(mark(100 * (1 - y), plain(low + y * (high - low), 0)) for y in (0, 0.5, 1))
    ticks = "".join(tick(100 * place, words) for place, words in ((0, "bin 0"), (0.5, f"{count // 2}"), (1, f"{count - 1}")))
    return figure(title, marks, picture(grid + lines, "", label), ticks, "", "map profile", finished=True)


def bin_table(mixed: Mixing) -> str:
    """The profiles as numbers, folded away."""
    rows = [(str(i), f"{a:.4g}", f"{b:.4g}", signed(g)) for i, (a, b, g) in enumerate(zip(mixed.before, mixed.after, mixed.gain_db))]
    return folded("Energy per bin as numbers", table(("bin", "before", "after", "gain, dB"), rows))


# ---------------------------------------------------------------------------------------------- figures


def figure(title: str, marks: str, plot: str, ticks: str, bar: str = "", kind: str = "map", finished: bool = False, **data) -> str:
    """A picture between its axes, with buttons that save it; the title is text unless `finished` HTML."""
    words = title if finished else escape(title)
    saves = "".join(element("button", end.upper(), kind="save", type="button", data_save=end) for end in ("png", "svg"))
    reached = {"tabindex": 0} if "patches" in kind else {}
    body = element("div", marks, kind="tl-left") + element("div", plot, kind="map-plot", **reached) + (bar or element("span", kind="bar"))
    below = element("div", element("div", ticks, kind="tl-plot"), kind="map-times")
    head = element("figcaption", element("span", words) + element("span", saves, kind="saves"))
    return element("figure", head + element("div", body, kind="map-body") + below, kind=kind, **data)


def plain(value: float, digits: int = 2) -> str:
    """A number with a real minus."""
    words = f"{value:.{digits}f}".replace("-", "−")
    return words.lstrip("−") if not float(words.replace("−", "-")) else words
