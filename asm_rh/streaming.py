"""Live sound of one listener: chunks in, steps out, on a clock of samples. Holds no model; numpy only.

Files take the same path: the windows of `WindowStream` and the decision of `EventDetector`, so that a recording heard live, cut into
chunks of any length, has the scores and the events of the file.
"""

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from .events import Change, Event, EventDetector, EventSettings
from .windows import MIN_SECONDS, WindowStream

__all__ = ["Change", "Event", "EventDetector", "EventSettings", "Smoother", "Step", "StreamSession", "StreamSettings", "WindowStream"]


@dataclass(frozen=True)
class StreamSettings:
    """How a listener wants to be heard, in seconds.

    `drop_late`: when scoring takes longer than the sound lasts, only the newest windows are scored; no sample is lost by it.
    """

    window_seconds: float = 1.0
    hop_seconds: float = 0.25
    smoothing_seconds: float = 0.0
    events: EventSettings = field(default_factory=EventSettings)
    drop_late: bool = False


@dataclass(frozen=True)
class Step:
    """One scored window.

    `start` and `at` are its first and last moment in seconds of the stream's audio; `scores` and `smoothed` (labels,); `changes`
    what began or ended; `refused` why a high score is no event (yet); `gap_seconds` of sound lost just before; `dropped`
    windows left out just before because they came late; `compute_ms` of scoring it; `padded` where the sound ended in it.
    """

    start: float
    at: float
    scores: np.ndarray
    smoothed: np.ndarray
    changes: list[Change]
    refused: dict[str, str]
    gap_seconds: float
    dropped: int
    compute_ms: float
    padded: bool = False

    @property
    def events(self) -> list[Event]:
        """Events that are final with this window."""
        return [change.event for change in self.changes if change.what == "ended"]


class Smoother:
    """Mean of the scores of the windows that ended within the last `seconds`; 0 leaves scores as they are."""

    def __init__(self, seconds: float):
        if not 0 <= seconds < math.inf:
            raise ValueError(f"smoothing_seconds: got {seconds!r}, expected 0 or more seconds")
        self.seconds, self.held = seconds, deque()

    def feed(self, at: float, scores: np.ndarray) -> np.ndarray:
        """Scores (labels,) of the window that ended `at` seconds -> smoothed (labels,)."""
        if self.seconds == 0:
            return scores
        self.held.append((at, scores))
        while at - self.held[0][0] > self.seconds - 1e-6 and len(self.held) > 1:
            self.held.popleft()
        return np.mean([row for _, row in self.held], axis=0, dtype=np.float64).astype(np.float32)

    def reset(self) -> None:
        """Forgets every window."""
        self.held.clear()


class StreamSession:
    """The state of one listener: samples that wait for their window, smoothing, events, and what was lost.

    `score(waves (B, samples), rate)` -> (B, labels), as `Classifier.score`; `rate` in Hz is the microphone's own. Not safe for two
    threads at once.
    """

    def __init__(self, score: Callable, rate: int, labels, background=(), settings: StreamSettings | None = None):
        self.score, self.rate, self.settings = score, rate, settings or StreamSettings()
        self.smoother = Smoother(self.settings.smoothing_seconds)
        self.detector = EventDetector(labels, background, self.settings.events)
        self.origin = self.position = self.lost_samples = self.dropped = 0
        self.window_ms = 0.0
        self.waiting = _Waiting()
        self._new_grid(0)

    @property
    def lost_seconds(self) -> float:
        """Sound that never arrived, in seconds."""
        return self.lost_samples / self.rate

    def start_at(self, position: int) -> None:
        """Counts the samples from `position` on, with a grid that begins there; for a session that goes on where another ended."""
        self.position = position
        self._new_grid(position)

    def feed(self, chunk: np.ndarray, position: int | None = None) -> list[Step]:
        """Mono samples (n,), the first being number `position` of the stream -> a step per window they complete.

        Without `position` the chunk follows the one before. A jump forward is a gap: events end, the grid starts anew behind it, and what
        was smoothed or confirmed is forgotten. Raises ValueError when the position lies before samples that were fed already.
        """
        steps = self._jump(position) if position is not None and position != self.position else []
        windows = self.stream.push(chunk)
        self.position += len(chunk)
        most = self._affordable(len(chunk) / self.rate) if self.settings.drop_late else len(windows)
        late = max(0, len(windows) - most)
        self.dropped += late
        self.waiting.dropped += late
        return steps + self._steps(windows[late:])

    def finish(self) -> tuple[list[Step], list[Change]]:
        """The sound is over: scores what no window held yet, as in a file, and ends every event -> (steps, what ended)."""
        tail = self.stream.tail()
        steps = self._steps([tail], padded=True) if tail and len(tail[1]) / self.rate >= MIN_SECONDS else []
        # What a gap ended is told by the step behind it: where none came, now.
        ended, self.waiting.changes = [*self.waiting.changes, *self.detector.finish()], []
        self.smoother.reset()
        self._new_grid(self.position)
        return steps, ended

    def _jump(self, position):
        if position < self.position:
            raise ValueError(f"position: got sample {position}, expected {self.position} or later: those before were fed already")
        gap = position - self.position
        steps, ended = self.finish()
        self.lost_samples += gap
        self.waiting.gap_samples += gap
        self.waiting.changes += ended
        self.position = position
        self._new_grid(position)
        return steps

    def _new_grid(self, position):
        self.origin = position
        self.stream = WindowStream(self.rate, self.settings.window_seconds, self.settings.hop_seconds)

    def _affordable(self, seconds):
        """Windows that can be scored while as much sound arrives as just did."""
        return max(1, int(1000 * seconds / self.window_ms)) if self.window_ms else 1 << 30

    def _steps(self, windows, padded=False):
        if not windows:
            return []
        began = time.perf_counter()
        rows = self.score(np.stack([wave for _, wave in windows]), self.rate)
        compute_ms = 1000 * (time.perf_counter() - began) / len(windows)
        self.window_ms = compute_ms if not self.window_ms else 0.7 * self.window_ms + 0.3 * compute_ms
        return [self._step(first, len(wave), row, compute_ms, padded) for (first, wave), row in zip(windows, rows, strict=True)]

    def _step(self, first, samples, row, compute_ms, padded):
        start, at = (self.origin + first) / self.rate, (self.origin + first + samples) / self.rate
        smoothed = self.smoother.feed(at, row)
        held, self.waiting = self.waiting, _Waiting()
        changes = held.changes + self.detector.feed(start, at, smoothed)
        gap = held.gap_samples / self.rate
        return Step(start, at, row, smoothed, changes, self.detector.refused, gap, held.dropped, compute_ms, padded)


@dataclass
class _Waiting:
    """What the next step has to tell."""

    changes: list[Change] = field(default_factory=list)
    gap_samples: int = 0
    dropped: int = 0
