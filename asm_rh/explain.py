"""One window explained: everything the look inside knows of it, as numbers, sentences and files."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from .activations import record, taps
from .attribution import METHODS, Attribution, Support, attribute, listen, strongest, support, with_random_weights
from .insight import Cause, Mixing, PatchGrid, RollMap, causes, change_of, mixing, patch_grid, roll_map

SHARE = 0.1
UNCHANGED = 0.005
PARTS = {"roll": "its roll", "hermit": "its Hermitian transform", "block": "the whole block"}


@dataclass(frozen=True)
class Explanation:
    """What a model says of one window, and why.

    `start`, `end` in seconds of the sound; `label` the class that is explained, `scores` (labels,) as they are; `causes` one per mechanism
    of every block; `rolls` and `mixings` one per block, None where the kind has no such mechanism; `sizes` how much each mechanism
    changed its tensor, (ratio of norms, cosine) by name; `control` the support of the same attribution with random weights; `kept` and
    `removed` (samples,) at `rate` Hz, the sound of the strongest tenth of the cells and the rest.
    """

    model: str
    start: float
    end: float
    labels: tuple[str, ...]
    label: str
    scores: np.ndarray
    grid: PatchGrid
    causes: list[Cause]
    rolls: list[RollMap | None]
    mixings: list[Mixing | None]
    sizes: dict[str, tuple[float, float]]
    attribution: Attribution
    support: Support
    control: Support
    rate: int
    kept: np.ndarray
    removed: np.ndarray

    @property
    def score(self) -> float:
        """Score of the explained class."""
        return float(self.scores[self.labels.index(self.label)])

    def falls(self) -> dict[str, float]:
        """How far the explained class falls when a mechanism is switched off, by name; negative where it rises."""
        column = self.labels.index(self.label)
        return {cause.name: float(self.scores[column] - cause.scores[column]) for cause in self.causes}


def explain(
    classifier, wave: np.ndarray, rate: int, start: float = 0.0, label: str | None = None, method: str = METHODS[0], name: str = ""
) -> Explanation:
    """Explains one window (samples,) at `rate` Hz for `label`, by default the winning class; `start` is its moment in the sound.

    Raises ValueError for a label the model does not have.
    """
    model = classifier.model
    if label is not None and label not in classifier.labels:
        raise ValueError(f"no class {label!r} in this model; available: {', '.join(classifier.labels)}")
    prepared = classifier.prepare(wave, rate)
    scores, found = causes(model, prepared)
    number = int(scores.argmax()) if label is None else classifier.labels.index(label)
    with torch.no_grad(), record(model, taps(model)) as tensors:
        model(prepared)
    why = attribute(model, prepared, number, method)
    other = attribute(with_random_weights(model), prepared, number, method)
    kept, removed = listen(model, wave, rate, strongest(why.cells, SHARE))
    blocks, kinds = range(model.config.depth), {name.rsplit(".", 2)[-2] for name in tensors if name.startswith("blocks.0.")}
    return Explanation(
        name, start, start + len(wave) / rate, classifier.labels, classifier.labels[number], scores, patch_grid(model.config), found,
        [roll_map(model, b) if "roll" in kinds else None for b in blocks],
        [mixing(model, b, tensors) if "hermit" in kinds else None for b in blocks], _sizes(tensors), why,
        support(model, why, SHARE), support(model, replace(why, cells=other.cells), SHARE), model.config.sample_rate, kept, removed,
    )  # fmt: skip


def _sizes(tensors):
    """What went into each mechanism against what came out."""
    names = [name.removesuffix(".in") for name in tensors if name.endswith(".in")]
    return {name: change_of(tensors[name + ".in"][0].cpu(), tensors[name + ".out"][0].cpu()) for name in names}


# ---------------------------------------------------------------------------------------------- in words


def sentences(found: Explanation) -> list[str]:
    """What happened in this window in plain sentences: the whole, then one per block, then what the score rests on."""
    falls = found.falls()
    words = [f"From {found.start:.2f} to {found.end:.2f} s the model says {found.label} {found.score:.2f}."]
    for block, (roll, mixed) in enumerate(zip(found.rolls, found.mixings, strict=True)):
        told = [told_roll(roll, found.grid)] if roll else []
        if mixed:
            told.append(f"its frequency mixing sent {100 * mixed.moved_share:.0f} % of the energy it passed on from one patch to another")
        effects = [f"without {PARTS[c.part]} {found.label} {fell(falls[c.name])}" for c in found.causes if c.block == block]
        words.append(f"Block {block}: {'; '.join([*told, *effects])}.")
    fall, chance = found.support.fall, found.support.random_fall
    words.append(
        f"Without the tenth of the spectrogram's cells that speak most for it {found.label} {fell(fall)}, without as many random cells it "
        f"{fell(chance)}, and without the cells that an untrained model names it {fell(found.control.fall)}."
    )
    return words


def told_roll(roll: RollMap, grid: PatchGrid) -> str:
    """What a RollBlock moved: "its roll moved 25 % of the features 80 ms later, ..."."""
    if not roll.moved_share:
        return "its roll only turned features inside their patches" if roll.rotated_share else "its roll moved nothing"
    ways = [f"{100 * share:.0f} % {_way(t, b, grid)}" for t, b, share in roll.moves() if (t or b)]
    rest = ", ".join(ways[:4]) + (f" and {len(ways) - 4} more ways" if len(ways) > 4 else "")
    return f"its roll moved {rest} ({100 * roll.wrapped.mean():.0f} % went around an edge)"


def _way(time, band, grid):
    words = []
    if time:
        words.append(f"{abs(time) * grid.column_ms:.0f} ms {'later' if time > 0 else 'earlier'}")
    if band:
        words.append(f"{abs(band)} band{'s' * (abs(band) != 1)} {'up' if band > 0 else 'down'}")
    return " and ".join(words)


def fell(change: float) -> str:
    """ "falls by 0.21", "rises by 0.03", "stays"."""
    if abs(change) < UNCHANGED:
        return "stays"
    return f"{'falls' if change > 0 else 'rises'} by {abs(change):.2f}"


# ---------------------------------------------------------------------------------------------- as files


def summary(found: Explanation) -> dict:
    """The numbers as plain JSON."""
    falls = found.falls()
    blocks = [
        {
            "block": b, "roll": None if roll is None else _roll_summary(roll, found.grid),
            "frequency_mixing": None if mixed is None else {"moved_share": mixed.moved_share},
            "falls": {c.part: falls[c.name] for c in found.causes if c.block == b},
        }
        for b, (roll, mixed) in enumerate(zip(found.rolls, found.mixings, strict=True))
    ]  # fmt: skip
    both = {name: {"score": s.score, "fall": s.fall, "random_fall": s.random_fall, "strongest_alone": s.strongest_alone}
            for name, s in (("model", found.support), ("random_weights", found.control))}  # fmt: skip
    return {
        "model": found.model, "start": found.start, "end": found.end, "label": found.label,
        "scores": dict(zip(found.labels, map(float, found.scores))), "sentences": sentences(found), "blocks": blocks,
        "sizes": {name: {"ratio": r, "cosine": c} for name, (r, c) in found.sizes.items()},
        "attribution": {"method": found.attribution.method, "share": SHARE, "difference": found.attribution.difference, **both},
    }  # fmt: skip


def _roll_summary(roll, grid):
    moves = [{"patches_later": t, "patches_up": b, "ms_later": t * grid.column_ms, "share": s} for t, b, s in roll.moves()]
    shares = {"moved_share": roll.moved_share, "rotated_share": roll.rotated_share, "wrapped_share": float(roll.wrapped.mean())}
    return {**shares, "moves": moves}


def arrays(found: Explanation) -> dict[str, np.ndarray]:
    """The maps by name, for an .npz file."""
    maps = {"features": found.attribution.features, "attribution": found.attribution.cells, "baseline": found.attribution.baseline,
            "scores": found.scores, "patch_ms": found.grid.ms, "patch_hz": found.grid.hz}  # fmt: skip
    for b, (roll, mixed) in enumerate(zip(found.rolls, found.mixings, strict=True)):
        if roll:
            maps |= {f"block{b}_roll_{name}": getattr(roll, name) for name in ("token", "feature", "time", "band", "wrapped")}
        if mixed:
            maps |= {f"block{b}_mixing_{name}": getattr(mixed, name) for name in ("from_to", "gain_db", "before", "after")}
    return maps
