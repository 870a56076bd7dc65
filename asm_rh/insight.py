"""What the mechanisms of a model did to one window, as numbers: what RollBlock moved, what frequency mixing changed.

No pictures. Axes are in milliseconds or hertz only where the tensor's axis really is time or frequency: the bins of the Hermitian
transform are of the embedding axis and are called Hermitian bins.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from .frontends import band_centres_hz

LEAST_ENERGY = 1e-12
BINS_AT_ONCE = 32
DB = 10 / math.log(10)


# ---------------------------------------------------------------------------------------------- the grid of patches


@dataclass(frozen=True)
class PatchGrid:
    """Where tokens lie: `rows` x `columns` patches, row 0 lowest in frequency.

    `hz_ranges` (rows, 2) and `ms_ranges` (columns, 2) what each patch hears, from the window's start; neighbours overlap where patches are
    wider than their stride. `cover` (frames, bands): the part of the spectrogram that cells one stride wide stand for.
    """

    rows: int
    columns: int
    hz_ranges: np.ndarray
    ms_ranges: np.ndarray
    cover: tuple[slice, slice]

    @property
    def hz(self) -> np.ndarray:
        """Centre frequencies (rows,)."""
        return self.hz_ranges.mean(1)

    @property
    def ms(self) -> np.ndarray:
        """Centres (columns,) from the window's start."""
        return self.ms_ranges.mean(1)

    @property
    def column_ms(self) -> float:
        """Time from one patch to the next."""
        return float(self.ms[1] - self.ms[0]) if self.columns > 1 else 0.0

    def pooled(self, cells, how=np.mean) -> np.ndarray:
        """Values of the spectrogram (frames, bands) put together per cell of the grid: (rows, columns)."""
        covered = np.asarray(cells)[self.cover].T
        heights, widths = covered.shape[0] // self.rows, covered.shape[1] // self.columns
        return how(covered.reshape(self.rows, heights, self.columns, widths), axis=(1, 3))


def patch_grid(config) -> PatchGrid:
    """The patches of a model's window in time and frequency."""
    rows, columns = config.grid
    (patch_bands, patch_frames), (stride_bands, stride_frames) = config.patch, config.stride
    front, hop_ms = config.frontend, 1000 * config.frontend.hop_seconds
    bands, frames = np.arange(rows) * stride_bands, np.arange(columns) * stride_frames
    hz = np.asarray(band_centres_hz(front))[np.stack([bands, bands + patch_bands - 1], 1)]
    ms = np.stack([frames * hop_ms, (frames + patch_frames - 1) * hop_ms + 1000 * front.frame_seconds], 1)
    band, frame = max(0, (patch_bands - stride_bands) // 2), max(0, (patch_frames - stride_frames) // 2)
    cover = slice(frame, frame + columns * stride_frames), slice(band, band + rows * stride_bands)
    return PatchGrid(rows, columns, hz, ms, cover)


# ---------------------------------------------------------------------------------------------- energy


@dataclass(frozen=True)
class TokenMaps:
    """Energy (RMS over the features) of every patch before and after a mechanism: (rows, columns), row 0 lowest in frequency."""

    before: np.ndarray
    after: np.ndarray

    @property
    def change(self) -> np.ndarray:
        """After minus before."""
        return self.after - self.before

    @property
    def relative(self) -> float:
        """Size of the change against the size of the map before it."""
        return float(np.linalg.norm(self.change) / max(np.linalg.norm(self.before), LEAST_ENERGY))


def token_maps(tensors: dict, name: str, grid: tuple[int, int]) -> TokenMaps:
    """The energy that a mechanism (`blocks.3.roll`) got and gave, from its recorded `.in` and `.out` (1, tokens, width)."""
    before, after = (tensors[f"{name}.{end}"][0].detach().double().square().mean(1).sqrt().cpu().numpy() for end in ("in", "out"))
    patches = math.prod(grid)  # class tokens stand before them
    return TokenMaps(before[-patches:].reshape(grid), after[-patches:].reshape(grid))


# ---------------------------------------------------------------------------------------------- RollBlock


@dataclass(frozen=True)
class RollMap:
    """Where each feature behind RollBlock came from, exactly.

    All (tokens, width): `token` and `feature` the source of every place; `time` and `band` how many patches later and higher it lies now
    than there; `wrapped` whether it went around an edge of the window on its way.
    """

    token: np.ndarray
    feature: np.ndarray
    time: np.ndarray
    band: np.ndarray
    wrapped: np.ndarray

    @property
    def moved_share(self) -> float:
        """Share of the features that come from another token."""
        return float((self.token != np.arange(len(self.token))[:, None]).mean())

    @property
    def rotated_share(self) -> float:
        """Share of the features that stay in their token and only change their place inside it: no time, no frequency."""
        stays = self.token == np.arange(len(self.token))[:, None]
        return float((stays & (self.feature != np.arange(self.feature.shape[1]))).mean())

    def moves(self) -> list[tuple[int, int, float]]:
        """Every way a feature goes as (patches later, patches higher, share of all features), the commonest first."""
        ways, counts = np.unique(np.stack([self.time[~self.wrapped], self.band[~self.wrapped]], 1), axis=0, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        return [(int(ways[i, 0]), int(ways[i, 1]), float(counts[i] / self.time.size)) for i in order]

    def wrapped_energy(self, rolled) -> float:
        """Share of the energy of RollBlock's output (tokens, width) that went around an edge."""
        energy = np.asarray(rolled, np.float64) ** 2
        return float(energy[self.wrapped].sum() / max(energy.sum(), LEAST_ENERGY))

    def apply(self, x):
        """The output that this map says for an input (tokens, width)."""
        return np.asarray(x)[self.token, self.feature]


def roll_map(model, block: int) -> RollMap:
    """The permutation of a block's RollBlock, read off by moving the numbers of the places (arXiv 2402.18007, algorithm 1)."""
    tokens, width, columns = model.config.tokens, model.config.width, model.config.grid[1]
    places = torch.arange(tokens * width, dtype=torch.float64).reshape(1, tokens, width)
    source = model.blocks[block].roll.move(places)[0].long().numpy()
    token, here = source // width, np.arange(tokens)[:, None]
    time, band = here % columns - token % columns, here // columns - token // columns
    return RollMap(token, source % width, time, band, _wrapped(time, band))


def _wrapped(time, band):
    """A feature that did not go the way most of its column went has gone around an edge."""
    span = 2 * int(np.abs(band).max()) + 1
    ways = (time - time.min()) * span + band - band.min()
    usual = np.array([np.bincount(column).argmax() for column in ways.T])
    return ways != usual


def reach(rolls: list[RollMap | None], grid: PatchGrid) -> list[tuple[int, int]]:
    """How many patches (time, band) the rolls of the blocks alone can have carried a feature after each block."""
    furthest, total = [], np.zeros(2, int)
    for roll in rolls:
        if roll:
            total = total + np.max([[abs(t), abs(b)] for t, b, _ in roll.moves()], axis=0)
        furthest.append((int(min(total[0], grid.columns - 1)), int(min(total[1], grid.rows - 1))))
    return furthest


# ---------------------------------------------------------------------------------------------- frequency mixing


@dataclass(frozen=True)
class Mixing:
    """Frequency mixing of one block.

    Energies (bins,) per Hermitian bin: of the transformed input, `before`, and of what the learned mixing made of it, `after`. `from_to`
    (patches, patches): energy that patch j sent to patch i through the learned mixing, linearised at this input. Where the model's
    transform is the identity `transformed` is false, and the bins are plain features.
    """

    before: np.ndarray
    after: np.ndarray
    from_to: np.ndarray
    grid: tuple[int, int]
    transformed: bool = True

    @property
    def gain_db(self) -> np.ndarray:
        """Gain of the learned mixing per bin in dB."""
        return DB * np.log(np.maximum(self.after, LEAST_ENERGY) / np.maximum(self.before, LEAST_ENERGY))

    @property
    def moved_share(self) -> float:
        """Share of the energy that went from one token to another."""
        return off_diagonal(self.from_to)

    @property
    def half_bins(self) -> tuple[int, int]:
        """The fewest bins that hold half of the energy, before and after the learned mixing."""
        return _half(self.before), _half(self.after)

    @property
    def time_to_time(self) -> np.ndarray:
        """The energy from column to column (to, from) of the patch grid."""
        return self._grid().sum((0, 2))

    @property
    def band_to_band(self) -> np.ndarray:
        """The energy from row to row (to, from) of the patch grid."""
        return self._grid().sum((1, 3))

    def _grid(self):
        return self.from_to.reshape(*self.grid, *self.grid)


def off_diagonal(matrix) -> float:
    """The share of a matrix's sum that lies off its diagonal."""
    return float(1 - np.trace(matrix) / max(matrix.sum(), LEAST_ENERGY))


def _half(energy):
    falling = np.sort(energy)[::-1].cumsum()
    return int(np.searchsorted(falling, falling[-1] / 2 - LEAST_ENERGY) + 1)


def even_energy(x) -> np.ndarray:
    """Energy of the even extension of x (..., width): its ends counted once, the rest twice; the Hermitian transform keeps it."""
    weights = np.full(np.shape(x)[-1], 2.0)
    weights[[0, -1]] = 1.0
    return (np.asarray(x, np.float64) ** 2 * weights).sum(-1)


def mixing(model, block: int, tensors: dict) -> Mixing:
    """Frequency mixing of a block, from `blocks.{i}.hermit.spectrum` and `.mixed` (1, tokens, bins) as `record` captured them."""
    prefix = f"blocks.{block}.hermit."
    spectrum, mixed = (tensors[prefix + name][0].detach() for name in ("spectrum", "mixed"))
    before, after = (tensor.double().square().sum(0).cpu().numpy() for tensor in (spectrum, mixed))
    mixer = model.blocks[block].hermit
    sent = from_to(mixer.mlp, spectrum)[model.config.class_tokens :, model.config.class_tokens :]
    return Mixing(before, after, sent, model.config.grid, mixer.forward_matrix is not None)


def from_to(mlp, spectrum) -> np.ndarray:
    """Energy (to, from) that each token of `spectrum` (tokens, bins) sends to each through an MLP over the tokens, linearised there."""
    first, second, sent = mlp.fc1.weight.detach(), mlp.fc2.weight.detach(), spectrum.T.to(mlp.fc1.weight)
    slope = _gelu_slope(sent @ first.T + mlp.fc1.bias.detach())  # (bins, hidden)
    energy = torch.zeros(len(spectrum), len(spectrum), dtype=torch.float64, device=first.device)
    # Some bins at a time: all at once would be bins x tokens x tokens.
    for own_slope, own_sent in zip(slope.split(BINS_AT_ONCE), sent.split(BINS_AT_ONCE)):
        jacobian = (second * own_slope[:, None]) @ first  # (bins, to, from)
        energy += (jacobian * own_sent[:, None]).square().sum(0)
    return energy.cpu().numpy()


def _gelu_slope(x):
    """Derivative of GELU, Phi(x) + x phi(x)."""
    return 0.5 * (1 + torch.erf(x / math.sqrt(2))) + x * torch.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)


# ---------------------------------------------------------------------------------------------- sizes


def change_of(before, after) -> tuple[float, float]:
    """Size of a change against what was there, and the cosine between before and after."""
    before, after = (np.asarray(x, np.float64).ravel() for x in (before, after))
    norms = np.linalg.norm(before), np.linalg.norm(after)
    ratio = float(np.linalg.norm(after - before) / max(norms[0], LEAST_ENERGY))
    return ratio, float(before @ after / max(norms[0] * norms[1], LEAST_ENERGY))
