"""Windows on a fixed grid, counted in samples at the sound's own rate: the same cut for files and for live sound. numpy only."""

import math
from collections.abc import Iterator

import numpy as np

MIN_SECONDS = 0.025


class WindowStream:
    """Cuts mono blocks of any lengths into windows.

    Window i starts at round(i * hop_seconds * rate) and has round(window_seconds * rate) samples, whatever the blocks are.
    Raises ValueError for a window below 25 ms or a hop below one sample.
    """

    def __init__(self, rate: int, window_seconds: float, hop_seconds: float):
        if not MIN_SECONDS <= window_seconds < math.inf:
            raise ValueError(f"window_seconds: got {window_seconds!r}, expected at least {MIN_SECONDS} s")
        if not hop_seconds > 0 or not 1 <= hop_seconds * rate < math.inf:
            raise ValueError(f"hop_seconds: got {hop_seconds!r} at {rate} Hz, expected above 0 and at least one sample")
        self.rate, self.window_samples, self.hop_samples = rate, round(window_seconds * rate), hop_seconds * rate
        self.begin = self.end = self.index = self.reached = 0
        self.pieces: list[np.ndarray] = []

    @property
    def start(self) -> int:
        """First sample of the window that comes next."""
        return round(self.index * self.hop_samples)

    def push(self, block: np.ndarray) -> list[tuple[int, np.ndarray]]:
        """Takes float32 samples (n,) -> every window they complete, as (first sample, (window_samples,))."""
        return list(self.each(block))

    def each(self, block: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """As `push`, one window at a time: a long block needs no memory for all of its windows. Exhaust it before the next block."""
        block = np.asarray(block, dtype=np.float32)
        if block.ndim != 1:
            raise ValueError(f"block: got shape {block.shape}, expected mono samples (n,); mix with to_mono first")
        self.pieces.append(block)
        self.end += len(block)
        while self.end >= self.start + self.window_samples:
            start, self.reached = self.start, self.start + self.window_samples
            self.index += 1
            yield start, self._cut(start, self.reached)
        self._forget(self.start)

    def tail(self) -> tuple[int, np.ndarray] | None:
        """What no window holds yet, as one short window; None where there is nothing new, or less than 25 ms after a full one."""
        if self.end <= self.reached:
            return None
        if self.index and (self.end - self.start) / self.rate < MIN_SECONDS:
            return None
        return self.start, self._cut(self.start, self.end)

    def _cut(self, start, stop):
        # Joined only when a window is full: joining at each of many tiny blocks would copy the window every time.
        if len(self.pieces) > 1:
            self.pieces = [np.concatenate(self.pieces)]
        return self.pieces[0][start - self.begin : stop - self.begin].copy()

    def _forget(self, start):
        while self.pieces and self.begin + len(self.pieces[0]) <= start:
            self.begin += len(self.pieces.pop(0))
        if self.pieces and self.begin < start:
            self.pieces[0] = self.pieces[0][start - self.begin :]
            self.begin = start
