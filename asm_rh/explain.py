"""One window explained: everything the look inside knows of it, as numbers."""

from dataclasses import dataclass

import numpy as np
import torch

from .activations import record, taps
from .attribution import METHODS, Attribution, Support, attribute, control_of, listen, strongest, support
from .insight import Mixing, PatchGrid, RollMap, TokenMaps, change_of, mixing, patch_grid, reach, roll_map, token_maps
from .interventions import MOST_FOLLOWED, Cause, Followed, Reading, causes, follow, readings

SHARE = 0.1


@dataclass(frozen=True)
class Explanation:
    """What a model says of one window, and why.

    `start`, `end` in seconds of the sound; `label` the class that is explained, `scores` (labels,) as they are; `causes` one per mechanism
    of every block; `rolls` and `mixings` one per block, None where the kind has no such mechanism; `energies` around each mechanism and
    `sizes` how much it changed its tensor, (ratio of norms, cosine), both by name such as `blocks.3.roll`; `wrapped` per block the share of
    energy that its roll carried around an edge; `followed` what single patches change, those that the score rests on most; `readings` the
    same weights with each reading of the roll; `reach` per block how many patches (time, band) the rolls can have carried
    anything by then; `untrained` the same attribution with random weights and `control` its support; `kept` and
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
    energies: dict[str, TokenMaps]
    sizes: dict[str, tuple[float, float]]
    wrapped: list[float]
    followed: Followed
    readings: list[Reading]
    reach: list[tuple[int, int]]
    attribution: Attribution
    support: Support
    untrained: Attribution
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
    kept, removed = listen(model, wave, rate, strongest(why.weights, SHARE))
    untrained = control_of(model, why, prepared)
    grid, names = patch_grid(model.config), [name.removesuffix(".in") for name in tensors if name.endswith(".in")]
    blocks, kinds = range(model.config.depth), {name.rsplit(".", 1)[-1] for name in names}
    rolls = [roll_map(model, b) if "roll" in kinds else None for b in blocks]
    wrapped = [roll.wrapped_energy(tensors[f"blocks.{b}.roll.out"][0].cpu()) if roll else 0.0 for b, roll in enumerate(rolls)]
    return Explanation(
        name, start, start + len(wave) / rate, classifier.labels, classifier.labels[number], scores, grid, found, rolls,
        [mixing(model, b, tensors) if "hermit" in kinds else None for b in blocks],
        {name: token_maps(tensors, name, model.config.grid) for name in names}, {name: _size(tensors, name) for name in names}, wrapped,
        follow(model, prepared, _important(grid, why)), readings(model, prepared), reach(rolls, grid), why, support(model, why, SHARE),
        untrained, support(model, untrained, SHARE), model.config.sample_rate, kept, removed,
    )  # fmt: skip


def _important(grid, why):
    """The patches whose cells matter most, in their order."""
    weights = np.abs(grid.pooled(why.cells, np.sum)).ravel()
    return np.sort(np.argsort(-weights, kind="stable")[:MOST_FOLLOWED])


def _size(tensors, name):
    """What went into a mechanism against what came out."""
    return change_of(tensors[name + ".in"][0].cpu(), tensors[name + ".out"][0].cpu())
