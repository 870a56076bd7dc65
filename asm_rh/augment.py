"""Changes to training clips that a listener would not mind, on raw log-mel batches (B, frames, bands).

All randomness comes from the generator that is handed in. Features are natural logarithms of energy, as `LogMel` gives them.
"""

import math
from dataclasses import dataclass

import torch
from torch.nn.functional import grid_sample

LOG_FLOOR = math.log(torch.finfo(torch.float32).eps)
NEPERS_PER_DB = math.log(10) / 10


@dataclass(frozen=True)
class AugmentConfig:
    """How far each change may go; zero switches it off.

    Levels in dB, shift in frames; stretch and warp, time masks and band masks as shares of the time and mel axis. Mixup shares out
    energies as it does targets; with `mixup_waveforms` it shares out amplitudes, as mixing the waveforms would but for their cross terms.
    """

    gain_db: float = 20.0
    shift_frames: float = 10.0
    stretch: float = 0.15
    warp: float = 0.08
    noise_probability: float = 0.3
    snr_low_db: float = 0.0
    snr_high_db: float = 30.0
    time_masks: int = 1
    time_mask: float = 0.15
    band_masks: int = 1
    band_mask: float = 0.125
    mixup_probability: float = 0.0
    mixup_alpha: float = 0.4
    mixup_waveforms: bool = False

    def __post_init__(self):
        for name in ("noise_probability", "mixup_probability", "time_mask", "band_mask"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)!r}: expected a share from 0 to 1")
        if not self.mixup_alpha > 0:
            raise ValueError(f"mixup_alpha={self.mixup_alpha!r}: expected a number above 0")


def augment(features, noise, config: AugmentConfig, generator):
    """Warps, adds noise, changes the level and masks: (B, frames, bands) raw log-mel, noise of the same shape or None -> the same shape."""
    features = warp(features, config, generator)
    if noise is not None and config.noise_probability:
        features = add_noise(features, noise, config, generator)
    features = change_gain(features, config.gain_db, generator)
    features = mask(features, 1, config.time_masks, config.time_mask, generator)
    return mask(features, 2, config.band_masks, config.band_mask, generator)


def warp(features, config: AugmentConfig, generator):
    """Shifts and stretches time and stretches the mel axis, each clip by its own amount; the edge frame fills what is left empty."""
    if not (config.shift_frames or config.stretch or config.warp):
        return features
    batch, frames, bands = features.shape
    theta = torch.zeros(batch, 2, 3)
    theta[:, 0, 0] = 1 + _spread(batch, config.warp, generator)
    theta[:, 1, 1] = 1 + _spread(batch, config.stretch, generator)
    theta[:, 1, 2] = _spread(batch, 2 * config.shift_frames / frames, generator)
    theta[:, 0, 2] = theta[:, 0, 0] - 1  # the mel axis is stretched from its low end
    grid = torch.nn.functional.affine_grid(theta.to(features.device), (batch, 1, frames, bands), align_corners=False)
    return grid_sample(features[:, None], grid, padding_mode="border", align_corners=False)[:, 0]


def add_noise(features, noise, config: AugmentConfig, generator):
    """Adds the energy of a noise clip at a random signal-to-noise ratio to a random share of the clips."""
    batch = len(features)
    snr_db = config.snr_low_db + (config.snr_high_db - config.snr_low_db) * torch.rand(batch, generator=generator)
    level = _mean_energy(features) - _mean_energy(noise) - snr_db.to(features) * NEPERS_PER_DB
    chosen = torch.rand(batch, generator=generator) < config.noise_probability
    noisy = torch.logaddexp(features, noise + level[:, None, None])
    return torch.where(chosen.to(features.device)[:, None, None], noisy, features)


def change_gain(features, gain_db: float, generator):
    """Raises or lowers each clip by up to gain_db; what falls below Kaldi's floor stays there, as in a quiet recording."""
    if not gain_db:
        return features
    gain = _spread(len(features), gain_db * NEPERS_PER_DB, generator).to(features)
    return (features + gain[:, None, None]).clamp_min(LOG_FLOOR)


def mask(features, axis: int, count: int, share: float, generator):
    """SpecAugment: sets `count` stripes across `axis`, each of up to `share` of its cells, to the clip's mean."""
    batch, size = features.shape[0], features.shape[axis]
    width = round(share * size)
    if not count or not width:
        return features
    lengths = (torch.rand(batch, count, 1, generator=generator) * (width + 1)).floor()
    starts = (torch.rand(batch, count, 1, generator=generator) * (size - lengths + 1)).floor()
    cells = torch.arange(size)
    hidden = ((cells >= starts) & (cells < starts + lengths)).any(1).to(features.device)  # (B, size)
    hidden = hidden[:, :, None] if axis == 1 else hidden[:, None, :]
    return torch.where(hidden, features.mean((1, 2), keepdim=True), features)


def mixup(features, targets, config: AugmentConfig, generator):
    """Adds the energy of another clip of the batch to a random share of the clips and shares the targets out accordingly."""
    if not config.mixup_probability:
        return features, targets
    batch = len(features)
    share = torch.distributions.Beta(config.mixup_alpha, config.mixup_alpha)
    with torch.random.fork_rng([]):
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
        kept = share.sample((batch,))
    chosen = torch.rand(batch, generator=generator) < config.mixup_probability
    kept = torch.where(chosen, torch.maximum(kept, 1 - kept), 1.0).to(features)
    order = torch.randperm(batch, generator=generator)
    power = 2 if config.mixup_waveforms else 1
    mixed = torch.logaddexp(features + power * kept.log()[:, None, None], features[order] + power * (1 - kept).log()[:, None, None])
    return mixed, targets * kept[:, None] + targets[order] * (1 - kept)[:, None]


def _spread(count, limit, generator):
    return (2 * torch.rand(count, generator=generator) - 1) * limit


def _mean_energy(features):
    return features.flatten(1).logsumexp(1) - math.log(features[0].numel())
