"""An explanation as files: a page that needs nothing else, the maps, the numbers."""

import io
import json
from html import escape
from pathlib import Path

import numpy as np

from .explain import SHARE, Explanation
from .look import body, script, style
from .sentences import sentences, told_mixing, told_readings, told_roll_maps
from .words import shown

PAGE = """
:root {
  --accent: #0e7490; --c0: #0b6cc4; --c1: #c2410c; --body-background-fill: #f6f8fa; --background-fill-primary: #ffffff;
  --background-fill-secondary: #f1f4f7; --border-color-primary: #dde4ea; --body-text-color: #16202b; --body-text-color-subdued: #566473;
}
@media (prefers-color-scheme: dark) { :root {
  --accent: #4cc9e0; --c0: #6cb6ff; --c1: #ff9d6b; --body-background-fill: #0d1218; --background-fill-primary: #151c25;
  --background-fill-secondary: #1b2430; --border-color-primary: #2a3542; --body-text-color: #e4eaf1; --body-text-color-subdued: #93a1b1;
} }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1180px; margin: 0 auto; padding: 24px 16px; background: var(--body-background-fill);
  color: var(--body-text-color); }
"""


def report(found: Explanation, view: str | None = None) -> str:
    """The whole page; `view` is `look.body` where it was made before."""
    title = f"{escape(shown(found.label))} {found.score:.2f}"
    meta = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    still = "<noscript><style>.look-block[hidden] { display: block; }</style></noscript>"
    top = f"<head>{meta}<title>{title}</title><style>{PAGE}{style()}</style>{still}</head>"
    inner = f"{view or body(found)}<script>{script()}lookInside(document.body);</script>"
    return f"<!doctype html><html lang=en>{top}<body>{inner}</body></html>\n"


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
