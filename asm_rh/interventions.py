"""What happens to the scores when something is changed: a mechanism switched off, a patch taken out, the roll read another way."""

import copy
from dataclasses import dataclass

import numpy as np
import torch

from .activations import record, switched_off, switches
from .attribution import pause_of
from .config import ROLLS, ConfigError
from .insight import LEAST_ENERGY, RollMap, TokenMaps, roll_map, token_maps

MOST_FOLLOWED = 64


# ---------------------------------------------------------------------------------------------- a mechanism switched off


@dataclass(frozen=True)
class Cause:
    """What switching one mechanism off does: its name, its block, its part ("roll", "hermit" or "block") and the scores (labels,) then."""

    name: str
    block: int
    part: str
    scores: np.ndarray


@torch.inference_mode()
def causes(model, wave) -> tuple[np.ndarray, list[Cause]]:
    """Scores (labels,) of one window (1, samples) as the model is, and with each mechanism of each block switched off, in one pass.

    The pass carries one row per switch from the block where it acts, so that every block runs once per switch before it and no more.
    """
    model.eval()
    x = model.pooling.add(_patches(model, model.features(wave)))
    found = []
    for index, block in enumerate(model.blocks):
        own = [name for name in switches(model) if name == f"blocks.{index}" or name.startswith(f"blocks.{index}.")]
        without = []
        for name in own:
            with switched_off(model, [name]):
                without.append(block(x[:1]))
            found.append((name, index, name.removeprefix(f"blocks.{index}").removeprefix(".") or "block"))
        x = torch.cat([block(x), *without])
    scores = _scores(model, x)
    return scores[0], [Cause(*names, row) for names, row in zip(found, scores[1:], strict=True)]


# ---------------------------------------------------------------------------------------------- a patch taken out


@dataclass(frozen=True)
class Followed:
    """Where the effect of single patches is, block after block; class tokens are left out.

    `tokens` (n,) the patches that were taken out, one at a time; `energy` (n, 1 + blocks, tokens) the squared change of every token then,
    first behind the patch stem, then behind each block; `scores` (n, labels) the scores without the patch.
    """

    tokens: np.ndarray
    energy: np.ndarray
    scores: np.ndarray

    @property
    def shares(self) -> np.ndarray:
        """`energy` as shares of its sum per block."""
        return self.energy / np.maximum(self.energy.sum(-1, keepdims=True), LEAST_ENERGY)


@torch.inference_mode()
def follow(model, wave, tokens) -> Followed:
    """Replaces single patches of one window (1, samples) by the pause's, and measures what changes where, in one pass."""
    features = model.features(wave)
    heard, silent = (_patches(model, x)[0] for x in (features, pause_of(model, features)))
    x, tokens = heard.repeat(1 + len(tokens), 1, 1), np.asarray(tokens)
    for row, token in enumerate(tokens.tolist()):
        x[1 + row, token] = silent[token]
    first, x = model.config.class_tokens, model.pooling.add(x)
    energy = [_squared_change(x[:, first:])]
    for block in model.blocks:
        x = block(x)
        energy.append(_squared_change(x[:, first:]))
    return Followed(tokens, torch.stack(energy, 1).cpu().numpy(), _scores(model, x[1:]))


def _patches(model, features):
    return model.stem(features.transpose(1, 2).unsqueeze(1)).flatten(2).transpose(1, 2)


def _squared_change(x):
    return (x[1:] - x[:1]).double().square().sum(-1)


def _scores(model, x):
    return model.probabilities(model.head(model.pooling(model.norm(x)))).cpu().numpy()


# ---------------------------------------------------------------------------------------------- another reading of the roll


@dataclass(frozen=True)
class Reading:
    """The same weights with one reading of RollBlock.

    Its name, whether the weights were trained with it, the scores (labels,), and per block the energy around the roll and its moves.
    """

    name: str
    trained: bool
    scores: np.ndarray
    energies: list[TokenMaps]
    rolls: list[RollMap]


@torch.inference_mode()
def readings(model, wave) -> list[Reading]:
    """One window (1, samples) under every reading of the roll that the model's sizes allow; none for a kind without a roll."""
    if not hasattr(model.blocks[0], "roll"):
        return []
    other = copy.deepcopy(model)
    return [_reading(other, wave, name, name == model.config.roll) for name in ROLLS if _allowed(model.config, name)]


def _allowed(config, name):
    try:
        return bool(config.replace(roll=name))
    except ConfigError:
        return False


def _reading(other, wave, name, trained):
    blocks = range(other.config.depth)
    for block in other.blocks:
        block.roll.reading = name
    with record(other, [f"blocks.{b}.roll.{end}" for b in blocks for end in ("in", "out")]) as tensors:
        scores = other.probabilities(other(wave))[0].cpu().numpy()
    energies = [token_maps(tensors, f"blocks.{b}.roll", other.config.grid) for b in blocks]
    return Reading(name, trained, scores, energies, [roll_map(other, b) for b in blocks])
