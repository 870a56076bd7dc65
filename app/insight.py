"""What one block does to one window: numbers for the maps, and the scores with its mechanisms switched off."""

from dataclasses import dataclass

import numpy as np
import torch

from asm_rh.activations import record, switched_off, switches, taps
from asm_rh.audio import as_stream


@dataclass(frozen=True)
class TokenMaps:
    """Energy (RMS over the features) of every token before and after a mechanism.

    (rows, columns) of the patch grid, row 0 lowest in frequency.
    """

    before: np.ndarray
    after: np.ndarray

    @property
    def change(self) -> np.ndarray:
        """After minus before."""
        return self.after - self.before

    @property
    def relative(self) -> float:
        """Size of the change against the size of the map before it."""
        return float(np.linalg.norm(self.change) / max(np.linalg.norm(self.before), 1e-12))


@dataclass(frozen=True)
class Roll:
    """RollBlock of one block: its energy maps and the share of features that it moves to another place."""

    maps: TokenMaps
    moved: float


@dataclass(frozen=True)
class Hermit:
    """Frequency mixing of one block: energy maps, and RMS over the tokens per Hermitian bin around the learned mixing.

    `transformed` is False where the model's transform is the identity: then the bins are plain features.
    """

    maps: TokenMaps
    spectrum: np.ndarray
    mixed: np.ndarray
    transformed: bool


@dataclass(frozen=True)
class Look:
    """One window seen through one block.

    `start`, `end` in seconds of the sound; `features` (frames, bands) as the model gets them; `label` the best class
    and `scores` its score by what was switched off (None: the model as it is). `roll` and `hermit` are None where the
    kind has no such mechanism.
    """

    block: int
    start: float
    end: float
    features: np.ndarray
    label: str
    scores: dict[str | None, float]
    roll: Roll | None
    hermit: Hermit | None


def window_at(path, start_seconds: float, end_seconds: float) -> tuple[np.ndarray, int]:
    """The samples of one window of a file and their rate, read as a stream so that long files need no memory."""
    rate, blocks = as_stream(path)
    first, last = round(start_seconds * rate), round(end_seconds * rate)
    parts, at = [], 0
    for block in blocks:
        if at + len(block) > first:
            parts.append(block[max(0, first - at) : last - at])
        at += len(block)
        if at >= last:
            break
    if not parts:
        raise ValueError(f"{start_seconds:.2f} s lies behind the end of the sound at {at / rate:.2f} s")
    return np.concatenate(parts), rate


def look(classifier, wave: np.ndarray, rate: int, block: int, start: float = 0.0) -> Look:
    """Everything the page shows of one window (samples,) at `rate` and block number `block` from 0."""
    model, prefix = classifier.model, f"blocks.{block}."
    if not 0 <= block < model.config.depth:
        raise ValueError(f"block {block}: expected 0 to {model.config.depth - 1}")
    names = [name for name in taps(model) if name.startswith(prefix)] + ["features"]
    with record(model, names) as tensors:
        scores = classifier.score(wave, rate)[0]
    best = int(scores.argmax())
    effects = {None: float(scores[best])}
    for name in _parts(model, prefix):
        with switched_off(model, [prefix + name]):
            effects[name] = float(classifier.score(wave, rate)[0, best])
    tensors = {name.removeprefix(prefix): tensor[0].float() for name, tensor in tensors.items()}
    return Look(
        block, start, start + len(wave) / rate, tensors["features"].cpu().numpy(), classifier.labels[best], effects,
        _roll(model, block, tensors) if "roll.in" in tensors else None,
        _hermit(model, block, tensors) if "hermit.in" in tensors else None,
    )  # fmt: skip


def _parts(model, prefix):
    return [name.removeprefix(prefix) for name in switches(model) if name.startswith(prefix)]


def _roll(model, block, tensors):
    return Roll(
        _maps(model, tensors["roll.in"], tensors["roll.out"]),
        moved_share(model.blocks[block].roll, *tensors["roll.in"].shape),
    )


def _hermit(model, block, tensors):
    matrix = model.blocks[block].hermit.forward_matrix
    maps = _maps(model, tensors["hermit.in"], tensors["hermit.out"])
    return Hermit(maps, _rms(tensors["hermit.spectrum"], 0), _rms(tensors["hermit.mixed"], 0), matrix is not None)


def moved_share(mixer, tokens: int, width: int) -> float:
    """The share of the (tokens, width) features whose place a RollTimeMixing changes."""
    places = torch.arange(tokens * width, dtype=torch.float64).reshape(1, tokens, width)
    return float((mixer.move(places) != places).double().mean())


def _maps(model, before, after):
    grid = model.config.grid
    return TokenMaps(_rms(before, 1).reshape(grid), _rms(after, 1).reshape(grid))


def _rms(tensor, axis):
    return tensor.square().mean(axis).sqrt().cpu().numpy()
