"""An explanation in plain sentences: each is computed from the numbers it speaks of."""

import numpy as np

from .explain import Explanation
from .insight import PatchGrid, RollMap, TokenMaps, off_diagonal
from .words import frequency, shown, signed

UNCHANGED = 0.005
PARTS = {"roll": "its roll", "hermit": "its Hermitian transform", "block": "the whole block"}
READINGS = {"paper": "the paper's listing", "grid": "the grid of patches", "off": "no roll"}


def sentences(found: Explanation) -> list[str]:
    """What happened in this window: the whole, then one sentence per block, then what the score rests on."""
    return [told_whole(found), *(told_block(found, block) for block in range(len(found.rolls))), told_support(found)]


def told_whole(found: Explanation) -> str:
    """What the model says of the window."""
    return f"From {found.start:.2f} to {found.end:.2f} s the model says {shown(found.label)} {found.score:.2f}."


def told_block(found: Explanation, block: int) -> str:
    """What a block did, and what happens without it."""
    falls, roll, mixed = found.falls(), found.rolls[block], found.mixings[block]
    told = [told_roll(roll, found.grid)] if roll else []
    if mixed:
        told.append(f"its frequency mixing sent {100 * mixed.moved_share:.0f} % of the energy it passed on from one patch to another")
    own = {c.part: falls[c.name] for c in found.causes if c.block == block}
    told += [f"without {words} {shown(found.label)} {fell(own[part])}" for part, words in PARTS.items() if part in own]
    return f"Block {block}: {'; '.join(told)}."


def told_support(found: Explanation) -> str:
    """How much the named cells carry, against random cells and an untrained model's."""
    own, control = found.support, found.control
    return (
        f"Without the tenth of the spectrogram's cells that speak most for it {shown(found.label)} {fell(own.fall)}, without as many "
        f"random cells it {fell(own.random_fall)}, and without the cells that an untrained model names it {fell(control.fall)}. "
        f"With nothing but the first it is {own.strongest_alone:.2f}, with nothing but as many random cells {own.random_alone:.2f}."
    )


def told_roll(roll: RollMap, grid: PatchGrid) -> str:
    """What a RollBlock moved: "its roll moved 25 % of the features 80 ms later, ..."."""
    if not roll.moved_share:
        return "its roll only turned features inside their patches" if roll.rotated_share else "its roll moved nothing"
    ways = [f"{100 * share:.0f} % {_way(t, b, grid)}" for t, b, share in roll.moves() if (t or b)]
    ways[0] = ways[0].replace(" %", " % of the features", 1)
    rest = ", ".join(ways[:4]) + (f" and {len(ways) - 4} more ways" if len(ways) > 4 else "")
    return f"its roll moved {rest} ({100 * roll.wrapped.mean():.0f} % went around an edge)"


def _way(time, band, grid):
    words = []
    if time:
        words.append(f"{abs(time) * grid.column_ms:.0f} ms {'later' if time > 0 else 'earlier'}")
    if band:
        words.append(f"{abs(band)} band{'s' * (abs(band) != 1)} {'up' if band > 0 else 'down'}")
    return " and ".join(words)


def told_roll_maps(found: Explanation, block: int) -> str:
    """What the roll did to the energy, and how far it can have carried anything by now."""
    maps, turned = found.energies[f"blocks.{block}.roll"], not found.rolls[block].moved_share
    if turned:
        return "Nothing goes to another patch here: the maps before and after are the same, and there is no time or frequency to name."
    around = 100 * found.wrapped[block]
    changed = f"The map of energy changed by {100 * maps.relative:.0f} %{_most(found, maps)}"
    later, up = found.reach[block]
    far = f"{later * found.grid.column_ms:.0f} ms and {up} band{'s' * (up != 1)}"
    return f"{changed}; {around:.0f} % of the energy went around an edge. Rolls alone can have carried a feature {far} by now."


def told_mixing(found: Explanation, block: int) -> str:
    """Where the learned mixing sent energy, and in how few bins it lies."""
    mixed, maps = found.mixings[block], found.energies[f"blocks.{block}.hermit"]
    other_time, other_band = (100 * off_diagonal(matrix) for matrix in (mixed.time_to_time, mixed.band_to_band))
    bins = "Hermitian bins" if mixed.transformed else "features (the transform of this model is off)"
    before, after = mixed.half_bins
    return (
        f"Of the energy it passed on {other_time:.0f} % went to another time and {other_band:.0f} % to another band. The patches came in "
        f"with {_rms(maps.before):.2f} and left with {_rms(maps.after):.2f} (RMS){_most(found, maps)}. Half of the energy lies in "
        f"{before} of {len(mixed.before)} {bins} before the learned mixing and in {after} after it."
    )


def told_readings(found: Explanation) -> str:
    """What the same weights say with another roll."""
    column = found.labels.index(found.label)
    told = [f"with {READINGS[r.name]} {r.scores[column]:.2f}{' (as trained)' if r.trained else ''}" for r in found.readings]
    return f"The same weights on the same window give {shown(found.label)}: {', '.join(told)}."


def fell(change: float) -> str:
    """ "falls by 0.21", "rises by 0.03", "stays"."""
    if abs(change) < UNCHANGED:
        return "stays"
    return f"{'falls' if change > 0 else 'rises'} by {abs(change):.2f}"


def row_words(grid: PatchGrid, row: int) -> str:
    """What a row of patches hears: "250 Hz to 480 Hz"."""
    low, high = grid.hz_ranges[row]
    return f"{frequency(low)} to {frequency(high)}"


def column_words(grid: PatchGrid, column: int, start: float) -> str:
    """When a column of patches is, in seconds of the sound: "0.32 to 0.50 s"."""
    first, last = grid.ms_ranges[column] / 1000 + start
    return f"{first:.2f} to {last:.2f} s"


def _most(found, maps: TokenMaps):
    row, column = np.unravel_index(np.abs(maps.change).argmax(), maps.change.shape)
    if not maps.change[row, column]:
        return ""
    place = f"{row_words(found.grid, row)}, {column_words(found.grid, column, found.start)}"
    return f", most at {place} ({signed(maps.change[row, column])})"


def _rms(values):
    return float(np.sqrt(np.mean(np.square(values))))
