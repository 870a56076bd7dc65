"""Which cells of the spectrogram a score rests on, how well that is supported, and how it sounds.

Cells are (frames, bands) of the model's normalised features. What is taken away is replaced by the window's own pause, its quietest frame.
"""

import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from .audio import resample
from .model import AudioMixer

METHODS = ("integrated-gradients", "occlusion")
STEPS, MOST_STEPS, TOLERANCE = 64, 512, 0.02
CONTROL_STEPS = 16  # of untrained weights only the order of the cells is wanted
LEAST_CHANGE = 0.1  # of a normalised feature
TILE = (8, 5)  # frames, bands of one occluded tile
TILES_AT_ONCE = 32
STFT_SAMPLES = 512


@dataclass(frozen=True)
class Attribution:
    """How much each cell (frames, bands) contributes to the logit of `label`, a number of the class.

    `features` and `baseline` (frames, bands) as the model sees the window and its pause; `difference` is the logit at `features` less
    that at `baseline`, to which integrated gradients sum up.
    """

    method: str
    label: int
    cells: np.ndarray
    features: np.ndarray
    baseline: np.ndarray
    difference: float

    @property
    def weights(self) -> np.ndarray:
        """The contribution per unit of what is taken away (frames, bands): loud cells do not count for being loud alone.

        An untrained model's contributions are large wherever the sound is loud, its weights are not.
        """
        return self.cells / (np.abs(self.features - self.baseline) + LEAST_CHANGE)


def attribute(model, wave, label: int, method: str = "integrated-gradients", steps: int | None = None) -> Attribution:
    """Attribution of one window (1, samples) at the model's rate; raises ValueError for another method.

    Integrated gradients (arXiv 1703.01365) and occlusion over tiles are Captum's. Without `steps` they are doubled until the gradients sum
    up to the difference of the logits within 2 %: near the pause the layer norms bend the path sharply.
    """
    if method not in METHODS:
        raise ValueError(f"no attribution method {method!r}; available: {', '.join(METHODS)}")
    with torch.no_grad():
        features = model.features(wave).detach()
        baseline = pause_of(model, features)
        ends = model.forward_features(torch.cat([baseline, features]))[:, label].double()
        difference = float(ends[1] - ends[0])
    if method == "occlusion":
        cells = _occlusion(model, features, baseline, label)
    else:
        cells = _gradients(model, features, baseline, label, difference, steps)
    cells, features, baseline = (tensor[0].detach().float().cpu().numpy() for tensor in (cells, features, baseline))
    return Attribution(method, label, cells, features, baseline, difference)


def pause_of(model, features):
    """The quietest frame of the window's sound in place of every frame: (1, frames, bands) -> the same shape."""
    heard = features[:, : model.config.window_frames]
    return heard[:, heard[0].mean(1).argmin()][:, None].expand_as(features).clone()


def _occlusion(model, features, baseline, label):
    from captum.attr import Occlusion  # brings a plotting package along: only where it is needed

    strides = tuple(size // 2 or 1 for size in TILE)
    return Occlusion(model.forward_features).attribute(
        features, sliding_window_shapes=TILE, strides=strides, baselines=baseline, target=label, perturbations_per_eval=TILES_AT_ONCE
    )


def _gradients(model, features, baseline, label, difference, steps):
    from captum.attr import IntegratedGradients

    method, tries = IntegratedGradients(model.forward_features), steps or STEPS
    while True:
        cells = method.attribute(features, baseline, target=label, n_steps=tries, internal_batch_size=32)
        missing = abs(float(cells.double().sum()) - difference)
        if steps or missing <= TOLERANCE * abs(difference) or tries >= MOST_STEPS:
            return cells
        tries *= 2


# ---------------------------------------------------------------------------------------------- is it so?


@torch.inference_mode()
def score_without(model, found: Attribution, masks: np.ndarray) -> np.ndarray:
    """Score of the label when the cells where `masks` (n, frames, bands) is true are replaced by the pause: (n,)."""
    features, baseline = (torch.from_numpy(x)[None].to(model.norm.weight.device) for x in (found.features, found.baseline))
    chosen = torch.from_numpy(np.asarray(masks, bool)).to(features.device)
    changed = torch.where(chosen, baseline, features)
    rows = [model.probabilities(model.forward_features(part))[:, found.label] for part in changed.split(32)]
    return torch.cat(rows).cpu().numpy()


def strongest(cells: np.ndarray, share: float) -> np.ndarray:
    """True for that share of the cells, those with the highest values."""
    count = max(1, round(share * cells.size))
    chosen = np.zeros(cells.size, bool)
    chosen[np.argpartition(-cells.ravel(), count - 1)[:count]] = True
    return chosen.reshape(cells.shape)


@dataclass(frozen=True)
class Support:
    """Falls of the score: without the strongest cells, without as many random ones (mean); and with nothing but the strongest."""

    score: float
    without_strongest: float
    without_random: float
    strongest_alone: float
    random_alone: float

    @property
    def fall(self) -> float:
        """How much the strongest cells carried."""
        return self.score - self.without_strongest

    @property
    def random_fall(self) -> float:
        """How much random cells carried."""
        return self.score - self.without_random


def support(model, found: Attribution, share: float = 0.1, draws: int = 20, seed: int = 0) -> Support:
    """Deletes and inserts the cells with the highest weights, and random cells `draws` times for comparison."""
    random = np.random.default_rng(seed)
    best = strongest(found.weights, share)
    others = np.stack([strongest(random.random(best.shape), share) for _ in range(draws)])
    masks = np.concatenate([np.zeros_like(best)[None], best[None], ~best[None], others, ~others])
    scores = score_without(model, found, masks)
    deleted, alone = scores[3 : 3 + draws], scores[3 + draws :]
    return Support(float(scores[0]), float(scores[1]), float(deleted.mean()), float(scores[2]), float(alone.mean()))


def control_of(model, found: Attribution, wave) -> Attribution:
    """The same window attributed with untrained weights, in place of what the model's own named."""
    other = attribute(with_random_weights(model), wave, found.label, found.method, CONTROL_STEPS)
    return replace(found, cells=other.cells)


def with_random_weights(model: AudioMixer, seed: int = 0) -> AudioMixer:
    """A model of the same sizes that has learned nothing: what its maps show is the sound, not a reason.

    Weights are drawn as torch initialises linear layers and convolutions, from a generator of their own: threads never share it.
    """
    control, random = copy.deepcopy(model).cpu().eval(), torch.Generator().manual_seed(seed)
    for module in control.modules():
        if isinstance(module, nn.LayerNorm):
            module.reset_parameters()
        elif isinstance(module, (nn.Linear, nn.Conv2d)):
            reach = module.weight[0].numel() ** -0.5
            for tensor in (module.weight, module.bias):
                nn.init.uniform_(tensor, -reach, reach, random)
    return control.to(model.norm.weight.device)


# ---------------------------------------------------------------------------------------------- how it sounds


def listen(model, wave: np.ndarray, rate: int, keep: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sound (samples,) of the cells that `keep` (frames, bands; 0 to 1) holds, and the rest of it, both with the original phase.

    Kept and removed add up to the window at the model's rate, sample by sample.
    """
    wave = torch.from_numpy(resample(np.asarray(wave, np.float32), rate, model.config.sample_rate))
    window = torch.hann_window(STFT_SAMPLES)
    spectrum = torch.stft(wave, STFT_SAMPLES, model.frontend.hop_samples, window=window, return_complex=True)  # (bins, columns)
    mask = _bin_mask(model, np.asarray(keep, np.float32), spectrum.shape)
    kept = torch.istft(spectrum * mask, STFT_SAMPLES, model.frontend.hop_samples, window=window, length=len(wave))
    return kept.numpy(), (wave - kept).numpy()


def _bin_mask(model, keep, shape):
    """Cells (frames, bands) as a mask of STFT bins (bins, columns): bands by their filters, frames by their centres."""
    frontend = model.frontend
    banks = frontend.banks.cpu().numpy()  # (its own bins, bands)
    weight = banks.sum(1)
    own = (banks @ keep.T) / np.maximum(weight, 1e-9)[:, None] * (weight > 0)[:, None]  # (its own bins, frames)
    hz = np.linspace(0, 1, len(own))
    wanted = np.stack([np.interp(np.linspace(0, 1, shape[0]), hz, column) for column in own.T], 1)  # (bins, frames)
    at = (np.arange(shape[1]) * frontend.hop_samples - frontend.frame_samples / 2) / frontend.hop_samples
    return torch.from_numpy(np.stack([np.interp(at, np.arange(wanted.shape[1]), row) for row in wanted])).float()
