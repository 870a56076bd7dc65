"""Which cells of the spectrogram a score rests on, how well that is supported, and how it sounds.

Cells are (frames, bands) of the model's normalised features. What is taken away is replaced by the window's own pause, its quietest frame.
"""

from dataclasses import dataclass

import numpy as np
import torch

from .audio import resample
from .model import AudioMixer

METHODS = ("integrated-gradients", "occlusion")
STEPS = 64
TILE = (8, 5)  # frames, bands of one occluded tile
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


def attribute(model, wave, label: int, method: str = "integrated-gradients", steps: int = STEPS) -> Attribution:
    """Attribution of one window (1, samples) at the model's rate; raises ValueError for another method.

    Integrated gradients (arXiv 1703.01365) and occlusion over tiles are Captum's.
    """
    if method not in METHODS:
        raise ValueError(f"no attribution method {method!r}; available: {', '.join(METHODS)}")
    with torch.no_grad():
        features = model.features(wave).detach()
        baseline = pause_of(model, features)
        ends = model.forward_features(torch.cat([baseline, features]))[:, label].double()
    cells = _captum(model, method, features, baseline, label, steps)[0].detach()
    cells, features, baseline = (tensor.float().cpu().numpy() for tensor in (cells, features[0], baseline[0]))
    return Attribution(method, label, cells, features, baseline, float(ends[1] - ends[0]))


def pause_of(model, features):
    """The quietest frame of the window's sound in place of every frame: (1, frames, bands) -> the same shape."""
    heard = features[:, : model.config.window_frames]
    return heard[:, heard[0].mean(1).argmin()][:, None].expand_as(features).clone()


def _captum(model, method, features, baseline, label, steps):
    from captum.attr import IntegratedGradients, Occlusion  # brings a plotting package along: only where it is needed

    if method == "occlusion":
        return Occlusion(model.forward_features).attribute(
            features, sliding_window_shapes=TILE, strides=tuple(size // 2 or 1 for size in TILE), baselines=baseline, target=label
        )
    method = IntegratedGradients(model.forward_features)
    return method.attribute(features, baseline, target=label, n_steps=steps, internal_batch_size=16)


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
    """Deletes and inserts the strongest cells, and random cells `draws` times for comparison."""
    random = np.random.default_rng(seed)
    best = strongest(found.cells, share)
    others = np.stack([strongest(random.random(best.shape), share) for _ in range(draws)])
    masks = np.concatenate([np.zeros_like(best)[None], best[None], ~best[None], others, ~others])
    scores = score_without(model, found, masks)
    deleted, alone = scores[3 : 3 + draws], scores[3 + draws :]
    return Support(float(scores[0]), float(scores[1]), float(deleted.mean()), float(scores[2]), float(alone.mean()))


def with_random_weights(model: AudioMixer, seed: int = 0) -> AudioMixer:
    """A model of the same sizes that has learned nothing: what its maps show is the sound, not a reason."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        control = AudioMixer(model.config)
    return control.to(model.norm.weight.device).eval()


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
