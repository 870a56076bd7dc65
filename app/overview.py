"""A sound of any length as a picture of fixed size: its envelope and the model's own spectrogram, read as a stream."""

from dataclasses import dataclass

import numpy as np
import torch

from asm_rh.audio import AudioError, as_stream, resample

COLUMNS = 1600
HOP_SECONDS = 0.010


@dataclass(frozen=True)
class Overview:
    """What a sound looks like.

    `envelope` (n, 2) lowest and highest sample per column; `bands` (m, bands) natural log energies, the highest of the
    frames that a column stands for; `column_seconds` and `band_seconds` their widths; `band_start` seconds at which the
    first column of bands begins.
    """

    seconds: float
    rate: int
    envelope: np.ndarray
    column_seconds: float
    bands: np.ndarray
    band_seconds: float
    band_start: float

    @property
    def peak(self) -> float:
        """The largest sample, 1.0 being full scale."""
        return float(np.abs(self.envelope).max())


class PeakColumns:
    """At most `limit` columns of a stream of rows, each the maximum of `step` rows; `step` doubles when needed."""

    def __init__(self, width: int, limit: int = COLUMNS):
        self.limit, self.step, self.count = limit + limit % 2, 1, 0
        self.values = np.full((self.limit, width), -np.inf, np.float32)

    def add(self, rows: np.ndarray) -> None:
        """Takes `rows` (n, width)."""
        total = self.count + len(rows)
        while -(-total // self.step) > self.limit:
            pairs = self.values.reshape(self.limit // 2, 2, -1).max(1)
            self.values[: self.limit // 2], self.values[self.limit // 2 :] = pairs, -np.inf
            self.step *= 2
        np.maximum.at(self.values, np.arange(self.count, total) // self.step, rows)
        self.count = total

    def columns(self) -> np.ndarray:
        """The columns so far, (n, width)."""
        return self.values[: -(-self.count // self.step)]


def read(path, frontend, max_seconds: float, progress=None) -> Overview:
    """Reads a sound file once, in constant memory.

    `frontend` is the model's; `progress(seconds)` is called per block, an exception it raises ends the work. Raises
    AudioError for a file that cannot be read or lasts longer than `max_seconds`.
    """
    rate, blocks = as_stream(path)
    waves, mels = _Waves(rate), _Mels(frontend, rate)
    samples = 0
    for block in blocks:
        samples += len(block)
        if samples > max_seconds * rate:
            raise AudioError(
                f"longer than {max_seconds / 60:g} minutes, the most this page takes; cut the recording into parts"
            )
        waves.add(block)
        mels.add(block)
        if progress:
            progress(samples / rate)
    return Overview(samples / rate, rate, *waves.finish(), *mels.finish())


class _Waves:
    """The waveform's envelope in columns of 10 ms or more."""

    def __init__(self, rate):
        self.hop = max(1, round(HOP_SECONDS * rate))
        self.rate, self.rest, self.columns = rate, np.zeros(0, np.float32), PeakColumns(2)

    def add(self, block):
        block = np.concatenate([self.rest, block])
        whole = len(block) // self.hop * self.hop
        frames, self.rest = block[:whole].reshape(-1, self.hop), block[whole:]
        if len(frames):
            self.columns.add(np.stack([-frames.min(1), frames.max(1)], 1))

    def finish(self):
        if len(self.rest):
            self.columns.add(np.array([[-self.rest.min(), self.rest.max()]]))
        return self.columns.columns() * (-1, 1), self.columns.step * self.hop / self.rate


class _Mels:
    """The model's spectrogram in columns of one hop or more."""

    def __init__(self, frontend, rate):
        self.frontend, self.rate = frontend, rate
        self.rest, self.columns = np.zeros(0, np.float32), None

    def add(self, block):
        front = self.frontend
        wave = np.concatenate([self.rest, resample(block, self.rate, front.sample_rate)])
        if len(wave) < front.frame_samples:
            self.rest = wave
            return
        with torch.inference_mode():
            tensor = torch.from_numpy(wave)[None].to(next(front.buffers()).device)
            rows = front(tensor)[0].float().cpu().numpy()
        self.rest = wave[len(rows) * front.hop_samples :]
        self.columns = self.columns or PeakColumns(rows.shape[1])
        self.columns.add(rows)

    def finish(self):
        front = self.frontend
        start = (front.frame_samples - front.hop_samples) / 2 / front.sample_rate
        if self.columns is None:  # shorter than a frame: nothing to draw
            return np.zeros((0, 0), np.float32), front.hop_samples / front.sample_rate, start
        return self.columns.columns(), self.columns.step * front.hop_samples / front.sample_rate, start
