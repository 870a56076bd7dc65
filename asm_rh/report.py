"""An explanation as files: a page that needs nothing else, the maps, the numbers."""

import io
import json
from pathlib import Path

import numpy as np

from .explain import SHARE, Explanation
from .look import body, script, style
from .markup import page
from .sentences import sentences, told_mixing, told_readings, told_roll_maps
from .words import shown


def report(found: Explanation, view: str | None = None) -> str:
    """The whole page; `view` is `look.body` where it was made before."""
    still = "<noscript><style>.look-block[hidden] { display: block; }</style></noscript>"
    title = f"{shown(found.label)} {found.score:.2f}"
    return page(title, view or body(found), style(), f"{script()}lookInside(document.body);", still)


def files(found: Explanation, view: str | None = None) -> dict[str, bytes]:
    """report.html, maps.npz and summary.json, by name; `view` as in `report`."""
    maps = io.BytesIO()
    np.savez_compressed(maps, **arrays(found))
    numbers = json.dumps(summary(found), indent=1, ensure_ascii=False) + "\n"
    return {"report.html": report(found, view).encode(), "maps.npz": maps.getvalue(), "summary.json": numbers.encode()}


def save(found: Explanation, folder: Path) -> list[Path]:
    """Writes the files into a folder; gives their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {folder / name: data for name, data in files(found).items()}
    for path, data in made.items():
        path.write_bytes(data)
    return list(made)


# ---------------------------------------------------------------------------------------------- numbers


def summary(found: Explanation) -> dict:
    """The numbers as plain JSON."""
    support = {name: {"score": s.score, "fall": s.fall, "random_fall": s.random_fall, "strongest_alone": s.strongest_alone,
                      "random_alone": s.random_alone}
               for name, s in (("model", found.support), ("random_weights", found.control))}  # fmt: skip
    return {
        "model": found.model, "start": found.start, "end": found.end, "label": found.label,
        "scores": _by_label(found, found.scores), "sentences": sentences(found),
        "blocks": [_block_summary(found, b) for b in range(len(found.rolls))],
        "sizes": {name: {"ratio": r, "cosine": c} for name, (r, c) in found.sizes.items()},
        "readings": {r.name: _by_label(found, r.scores) for r in found.readings},
        "attribution": {"method": found.attribution.method, "share": SHARE, "difference": found.attribution.difference, **support},
    }  # fmt: skip


def _by_label(found, scores):
    return dict(zip(found.labels, map(float, scores)))


def _block_summary(found, b):
    roll, mixed, falls = found.rolls[b], found.mixings[b], found.falls()
    told = [told_roll_maps(found, b)] if roll else []
    told += [told_mixing(found, b)] if mixed else []
    told += [told_readings(found)] if found.readings else []
    return {
        "block": b, "sentences": told, "falls": {c.part: falls[c.name] for c in found.causes if c.block == b},
        "roll": None if roll is None else _roll_summary(found, b),
        "frequency_mixing": None if mixed is None else {"moved_share": mixed.moved_share},
    }  # fmt: skip


def _roll_summary(found, b):
    roll = found.rolls[b]
    moves = [{"patches_later": t, "patches_up": f, "ms_later": t * found.grid.column_ms, "share": s} for t, f, s in roll.moves()]
    shares = {"moved_share": roll.moved_share, "rotated_share": roll.rotated_share, "wrapped_share": float(roll.wrapped.mean())}
    later, up = found.reach[b]
    reach = {"patches_later": later, "patches_up": up, "ms_later": later * found.grid.column_ms}
    return {**shares, "wrapped_energy_share": found.wrapped[b], "reach": reach, "moves": moves}


def arrays(found: Explanation) -> dict[str, np.ndarray]:
    """The maps by name, for an .npz file."""
    grid, why = found.grid, found.attribution
    maps = {
        "scores": found.scores, "features": why.features, "baseline": why.baseline, "attribution": why.cells,
        "untrained_attribution": found.untrained.cells, "patch_ms": grid.ms, "patch_hz": grid.hz,
        "followed_tokens": found.followed.tokens, "followed_shares": found.followed.shares, "followed_scores": found.followed.scores,
    }  # fmt: skip
    for name, around in found.energies.items():
        block, part = name.split(".")[1:]
        maps |= {f"block{block}_{part}_energy_before": around.before, f"block{block}_{part}_energy_after": around.after}
    for b, (roll, mixed) in enumerate(zip(found.rolls, found.mixings, strict=True)):
        if roll:
            maps |= {f"block{b}_roll_{name}": getattr(roll, name) for name in ("token", "feature", "time", "band", "wrapped")}
        if mixed:
            maps |= {f"block{b}_mixing_{name}": getattr(mixed, name) for name in ("from_to", "gain_db", "before", "after")}
    return maps
