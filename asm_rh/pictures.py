"""Arrays to pictures: colour tables, PNG bytes, SVG paths, ticks. Knows neither the page, the model nor a plotting package."""

import base64
import io
import math

import numpy as np
from PIL import Image

# Anchor colours, evenly spaced; between them the tables are straight lines in RGB.
ANCHORS = {
    "magma": ("000004", "180f3d", "440f76", "721f81", "9e2f7f", "cd4071", "f1605d", "fd9668", "feca8d", "fcfdbf"),
    "viridis": ("440154", "482878", "3e4989", "31688e", "26828e", "1f9e89", "35b779", "6ece58", "b5de2b", "fde725"),
    "signed": ("0b3c7d", "2f6fb7", "7fb0d9", "c6dbec", "f5f4f2", "f6cfbb", "e58d6b", "c6413a", "7d0c22"),
}
SIGNED = "signed"


def colour_table(name: str) -> np.ndarray:
    """A table of 256 colours, (256, 3) uint8, by the name of its anchors."""
    anchors = np.array([[int(code[i : i + 2], 16) for i in (0, 2, 4)] for code in ANCHORS[name]], float)
    places = np.linspace(0, len(anchors) - 1, 256)
    columns = [np.interp(places, np.arange(len(anchors)), anchors[:, i]) for i in range(3)]
    return np.stack(columns, 1).round().astype(np.uint8)


def heat_png(values: np.ndarray, low: float, high: float, table: str = "magma") -> bytes:
    """A picture of `values` (rows, columns), row 0 at the bottom, one pixel a value, colours from `low` to `high`."""
    values = np.asarray(values, float)
    if values.ndim != 2 or values.size == 0:
        raise ValueError(f"heat_png: got shape {values.shape}, expected (rows, columns) with at least one value")
    scaled = (values - low) / (high - low) if high > low else np.full(values.shape, 0.5)
    index = (np.clip(np.nan_to_num(scaled), 0, 1) * 255).round().astype(np.uint8)
    image = Image.fromarray(np.ascontiguousarray(index[::-1]), "P")
    image.putpalette(colour_table(table).tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def bar_png(table: str) -> bytes:
    """The colour table itself as a strip, 1 x 256 pixels, low values at the bottom."""
    return heat_png(np.arange(256)[:, None], 0, 255, table)


def png_uri(png: bytes) -> str:
    """PNG bytes as the address of an image inside a page."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def limits(*arrays: np.ndarray) -> tuple[float, float]:
    """The smallest and largest value of several arrays: one pair of colour limits for all of them."""
    return float(min(a.min() for a in arrays)), float(max(a.max() for a in arrays))


def even_limits(values: np.ndarray) -> tuple[float, float]:
    """Limits of a signed picture, as far below 0 as above."""
    reach = float(np.abs(values).max()) or 1.0
    return -reach, reach


def line_path(x: np.ndarray, y: np.ndarray) -> str:
    """An SVG path through points `x`, `y` (n,) in 0..1, y upwards, in a box of 1000 x 1000."""
    across, down = (1000 * np.asarray(x)).round(1), (1000 * (1 - np.asarray(y))).round(1)
    return "M" + "L".join(f"{a:g} {d:g}" for a, d in zip(across.tolist(), down.tolist(), strict=True))


def envelope_path(x: np.ndarray, low: np.ndarray, high: np.ndarray) -> str:
    """A closed SVG path between `low` and `high` (n,) in 0..1 over `x` (n,), in a box of 1000 x 1000."""
    return line_path(np.concatenate([x, x[::-1]]), np.concatenate([high, low[::-1]])) + "Z"


def peak_pool(values: np.ndarray, most: int) -> tuple[np.ndarray, int]:
    """At most `most` rows out of `values` (n, k), each the maximum of `step` neighbours; returns (rows, step)."""
    step = max(1, -(-len(values) // most))
    edges = np.arange(0, len(values), step)
    return (np.maximum.reduceat(values, edges, axis=0) if step > 1 else values), step


def ticks(start: float, stop: float, most: int = 8) -> list[float]:
    """At most `most` round numbers from `start` to `stop`: steps of 1, 2, 5 x 10^k, clock steps from a minute on."""
    reach = stop - start
    if not reach > 0:
        return [start]
    steps = [m * 10.0**k for k in range(-3, 2) for m in (1, 2, 5)] + [60.0 * m for m in (1, 2, 5, 10, 15, 30, 60, 120)]
    step = next((s for s in steps if reach / s <= most - 1), reach)
    first = math.ceil(start / step - 1e-9)
    return [round(i * step, 6) for i in range(first, math.floor(stop / step + 1e-9) + 1)]


def spread(places, gap: float, low: float, high: float) -> list[float]:
    """Labels near their `places`, at least `gap` apart, inside `low`..`high` where there is room; order is kept."""
    order = np.argsort(places, kind="stable")
    moved = np.clip(np.asarray(places, float)[order], low, high)
    for i in range(1, len(moved)):
        moved[i] = max(moved[i], moved[i - 1] + gap)
    if len(moved) and moved[-1] > high:
        moved[-1] = high
        for i in range(len(moved) - 2, -1, -1):
            moved[i] = min(moved[i], moved[i + 1] - gap)
    result = np.empty(len(moved))
    result[order] = moved
    return result.tolist()


def stack_rows(spans) -> list[int]:
    """A row for each (start, end), so that spans in one row do not overlap; as few rows as that takes."""
    free, rows = [], []
    for start, end in spans:
        row = next((i for i, until in enumerate(free) if until <= start + 1e-9), len(free))
        free[row : row + 1] = [end]
        rows.append(row)
    return rows


def packed(values: np.ndarray, kind: str) -> str:
    """Numbers as base64 of little-endian `kind` ("<f4", "<u2"), for a script to read."""
    return base64.b64encode(np.ascontiguousarray(values, dtype=kind).tobytes()).decode()
