"""Waveform to scores: the one prediction path of files, streams, evaluation and the page."""

import os
import time
from pathlib import Path

import numpy as np
import torch

from .audio import as_stream, resample, windows
from .checkpoint import DEFAULT_MODEL, load
from .model import AudioMixer
from .scores import Event, WindowScores

__all__ = ["Classifier", "Event", "WindowScores"]


class Classifier:
    """Scores audio of any kind, rate and length with one model; safe to share between threads.

    `model` is an AudioMixer, a folder, a shipped name or a Hub id; `device` is chosen by torch where it is None;
    `progress(done_bytes, total_bytes)` is called while the Hub sends.
    """

    def __init__(self, model=DEFAULT_MODEL, device: str | None = None, progress=None):
        self.model = model if isinstance(model, AudioMixer) else load(model, progress=progress)
        self.device = checked_device(device or best_device())
        self.model = self.model.to(self.device).eval()

    @property
    def config(self):
        """The model's configuration."""
        return self.model.config

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of the scores."""
        return self.config.labels

    def score(self, waves: np.ndarray, rate: int) -> np.ndarray:
        """Windows of equal length (B, samples) at `rate` -> scores (B, classes) float32.

        Resamples whole windows; shorter ones are padded by the model, longer ones are cut to its window.
        """
        return self.model.probabilities(self.logits(waves, rate)).cpu().numpy()

    def logits(self, waves: np.ndarray, rate: int) -> torch.Tensor:
        """Windows of equal length (B, samples) at `rate` -> logits (B, classes)."""
        with torch.inference_mode():
            return self.model(self.prepare(waves, rate))

    def prepare(self, waves: np.ndarray, rate: int) -> torch.Tensor:
        """Windows (B, samples) at `rate` -> what the model takes: its own rate, one frame to one window long, on its device."""
        waves = resample(np.atleast_2d(waves), rate, self.config.sample_rate)[:, : self.config.window_samples]
        missing = max(0, self.model.frontend.frame_samples - waves.shape[1])
        return torch.from_numpy(np.pad(waves, ((0, 0), (0, missing)))).to(self.device)

    def windows(
        self, audio, window_seconds=None, hop_seconds=None, sampling_rate=None, batch_size=16, progress=None, name=None
    ) -> WindowScores:
        """Scores of sliding windows over audio of any length, decoded as a stream.

        audio: path, bytes, file, array or tensor with `sampling_rate`, `(rate, array)`, or `{"array", "sampling_rate"}`.
        window_seconds: at most the model's window (the default); hop_seconds: default half a window. The last, partly filled window is
        marked in `padded`. `progress(seconds_done)` is called per batch; an exception it raises ends the work.
        Raises AudioError for audio that cannot be used, ValueError for settings.
        """
        window_seconds = self.config.window_seconds if window_seconds is None else window_seconds
        if window_seconds > self.config.window_seconds:
            raise ValueError(
                f"window_seconds={window_seconds} is longer than the model's window of {self.config.window_seconds} s: give at most that"
            )
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: expected at least 1")
        hop_seconds = window_seconds / 2 if hop_seconds is None else hop_seconds
        rate, blocks = as_stream(audio, sampling_rate)
        rows = []
        for batch in _batches(windows(rate, blocks, window_seconds, hop_seconds), batch_size):
            scores = self.score(np.stack([wave for _, wave, _ in batch]), rate)
            rows += [(start, start + len(wave), padded, row) for (start, wave, padded), row in zip(batch, scores)]
            if progress:
                progress(rows[-1][1] / rate)
        start, end, padded, scores = (np.array(column) for column in zip(*rows))
        return WindowScores(
            start / rate, end / rate, scores, self.labels, padded, self.config.background_labels,
            name or (Path(audio).name if isinstance(audio, (str, os.PathLike)) else None),
        )

    def window_at(
        self, audio, at_seconds: float | None = None, hop_seconds: float | None = None, sampling_rate=None
    ) -> tuple[float, np.ndarray, int]:
        """The window around a moment, by default the one most certain of a class that counts: (start in seconds, samples (m,), rate).

        Windows lie every `hop_seconds` (default: a quarter of a window); `audio` and errors as in `windows`, and ValueError for a moment
        outside the sound.
        """
        hop_seconds = self.config.window_seconds / 4 if hop_seconds is None else hop_seconds
        if at_seconds is None:
            at_seconds = self._most_certain(audio, hop_seconds, sampling_rate)
        rate, blocks = as_stream(audio, sampling_rate)
        near, end = None, 0
        for start, wave, _ in windows(rate, blocks, self.config.window_seconds, hop_seconds):
            distance, end = abs(start + len(wave) / 2 - at_seconds * rate), start + len(wave)
            if near and distance >= near[0] and end / rate >= at_seconds >= 0:
                break
            if near is None or distance < near[0]:
                near = (distance, start, wave)
        if not 0 <= at_seconds <= end / rate:
            raise ValueError(f"at {at_seconds:g} s: the sound lasts from 0 to {end / rate:.2f} s")
        return near[1] / rate, near[2], rate

    def _most_certain(self, audio, hop_seconds, sampling_rate):
        found = self.windows(audio, hop_seconds=hop_seconds, sampling_rate=sampling_rate)
        counts = [i for i, label in enumerate(self.labels) if label not in self.config.background_labels] or slice(None)
        best = int(found.scores[:, counts].max(1).argmax())
        return (found.start[best] + found.end[best]) / 2

    def predict(self, audio, sampling_rate=None, top_k: int | None = 5) -> list[dict]:
        """The best classes of a whole clip, `[{"label", "score"}]`, best first; `top_k=None` gives all.

        Clips longer than the window are scored as `WindowScores.pooled` says. Errors as in `windows`.
        """
        return self.windows(audio, sampling_rate=sampling_rate).top(top_k)


def warm_up(score, waves: np.ndarray, rate: int, quick_seconds: float) -> None:
    """Makes a model's slow first call, and leaves torch one thread here where `score(waves, rate)` then takes at most `quick_seconds`.

    One window is little work: on a busy computer several threads wait for one another, 800 ms where one thread takes 30.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    score(waves, rate)
    began = time.perf_counter()
    score(waves, rate)
    if time.perf_counter() - began > quick_seconds:
        torch.set_num_threads(threads)


def checked_device(name: str) -> torch.device:
    """The device of that name; ValueError where there is none on this machine."""
    try:
        return torch.empty(1, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"no device {name!r} here, expected cpu, cuda or mps: {str(error).splitlines()[0]}") from error


def best_device() -> str:
    """cuda or mps where there is one, else cpu."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _batches(items, size):
    """Lists of up to `size` windows of one length: a shorter, last window comes alone."""
    batch = []
    for item in items:
        if batch and (len(batch) == size or len(item[1]) != len(batch[0][1])):
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch
