"""Front ends: waveform to a time-frequency picture, batched and differentiable, on any device."""

import math

import torch
from torch import nn

from .config import FrontendConfig

LOG_FLOOR = torch.finfo(torch.float32).eps  # Kaldi takes the logarithm of at least this energy: 1.19e-7


class LogMel(nn.Module):
    """Log-mel energies by Kaldi's conventions: 25 ms hanning frames every 10 ms, whole frames only, per-frame mean removed, pre-emphasis.

    Call with (B, samples) in [-1, 1] -> (B, frames, bands) natural logarithms, floor 1.19e-7; each waveform's mean goes first (AST).
    Raises ValueError when the waveform is shorter than one frame.
    """

    def __init__(self, config: FrontendConfig, sample_rate: int):
        super().__init__()
        self.sample_rate = sample_rate
        self.frame_samples = round(config.frame_seconds * sample_rate)
        self.hop_samples = round(config.hop_seconds * sample_rate)
        self.fft_samples, self.preemphasis = config.fft_samples, config.preemphasis
        if self.frame_samples > self.fft_samples:
            raise ValueError(f"a frame of {self.frame_samples} samples does not fit fft_samples={self.fft_samples}: raise fft_samples")
        if config.high_hz > sample_rate / 2:
            raise ValueError(f"high_hz={config.high_hz} is above half the sample rate, {sample_rate / 2} Hz: lower high_hz")
        self.register_buffer("window", torch.hann_window(self.frame_samples, periodic=False), persistent=False)
        banks = mel_banks(config.bands, self.fft_samples, sample_rate, config.low_hz, config.high_hz)
        self.register_buffer("banks", banks, persistent=False)

    def forward(self, wave):
        """(B, samples) -> (B, frames, bands)."""
        if wave.shape[-1] < self.frame_samples:
            raise ValueError(f"got {wave.shape[-1]} samples, expected at least one frame of {self.frame_samples} ({self.sample_rate} Hz)")
        wave = wave - wave.mean(-1, keepdim=True)
        frames = wave.unfold(-1, self.frame_samples, self.hop_samples)  # (B, frames, frame_samples)
        frames = frames - frames.mean(-1, keepdim=True)
        before = torch.cat([frames[..., :1], frames[..., :-1]], -1)  # Kaldi repeats the first sample
        frames = (frames - self.preemphasis * before) * self.window
        power = torch.fft.rfft(frames, n=self.fft_samples).abs().square()
        return (power @ self.banks).clamp_min(LOG_FLOOR).log()


def mel_banks(bands: int, fft_samples: int, sample_rate: int, low_hz: float, high_hz: float) -> torch.Tensor:
    """Kaldi's triangular filters, equally wide on the mel scale 1127 ln(1 + f / 700): (fft_samples // 2 + 1, bands)."""
    edges = torch.linspace(_mel(low_hz), _mel(high_hz), bands + 2, dtype=torch.float64)
    bins = torch.arange(fft_samples // 2 + 1, dtype=torch.float64) * sample_rate / fft_samples
    mels = 1127.0 * torch.log1p(bins / 700.0)[:, None]
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    banks = torch.minimum((mels - left) / (centre - left), (right - mels) / (right - centre)).clamp_min(0)
    banks[-1] = 0  # Kaldi gives the Nyquist bin no weight
    return banks.float()


def fill_with_pause(features, frames: int):
    """Repeats each clip's quietest frame behind its last: (B, n, bands) raw log-mel -> (B, max(n, frames), bands)."""
    missing = frames - features.shape[1]
    if missing <= 0:
        return features
    quietest = features.mean(2).argmin(1)
    pause = features[torch.arange(len(features), device=features.device), quietest]
    return torch.cat([features, pause[:, None].expand(-1, missing, -1)], 1)


def band_centres_hz(config: FrontendConfig) -> list[float]:
    """Centre frequency of each band in Hz, lowest first."""
    low, high = _mel(config.low_hz), _mel(config.high_hz)
    step = (high - low) / (config.bands + 1)
    return [700.0 * math.expm1((low + step * (i + 1)) / 1127.0) for i in range(config.bands)]


def _mel(hz):
    return 1127.0 * math.log1p(hz / 700.0)


FRONTENDS = {"logmel": LogMel}
