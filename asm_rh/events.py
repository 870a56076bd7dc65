"""From scores of windows, one after the other, to events: the one decision of files and of live sound. numpy only."""

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

EXIT_BELOW_THRESHOLD = 0.15
# Times are sums of floats: 0.1 + 0.2 must still touch 0.3.
TIME_TOLERANCE_SECONDS = 1e-6


@dataclass(frozen=True)
class Event:
    """A stretch of time in which one label was heard.

    `start`, `end` and `peak` in seconds; `score` is the highest score inside, `peak` the centre of the window with it.
    """

    label: str
    start: float
    end: float
    score: float
    peak: float


@dataclass(frozen=True)
class EventSettings:
    """When scores are an event.

    One opens when `confirmations` of the last `of` windows reach the label's threshold (its own in `thresholds`, else `threshold`) and
    lasts while the score is at `exit_threshold` or above (default: threshold - 0.15, at least 0). Events of one label at most
    `merge_seconds` apart become one; then those shorter than `min_duration_seconds` are dropped. After an event has ended, its label
    is left alone for `hold_off_seconds`. Raises ValueError for thresholds outside 0 to 1, an exit above its threshold, and counts or
    seconds that cannot be.
    """

    threshold: float = 0.5
    exit_threshold: float | None = None
    thresholds: Mapping[str, float] = field(default_factory=dict)
    confirmations: int = 1
    of: int | None = None
    min_duration_seconds: float = 0.0
    merge_seconds: float = 0.0
    hold_off_seconds: float = 0.0

    def __post_init__(self):
        object.__setattr__(self, "thresholds", dict(self.thresholds or {}))
        object.__setattr__(self, "of", self.confirmations if self.of is None else self.of)
        for name in ("min_duration_seconds", "merge_seconds", "hold_off_seconds"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}: got {getattr(self, name)!r}, expected 0 or more seconds")
        if not 1 <= self.confirmations <= self.of:
            raise ValueError(f"confirmations: got {self.confirmations} of {self.of} windows, expected 1 or more of at least as many")
        _threshold_pair("threshold", self.threshold, None if self.thresholds else self.exit_threshold)
        for label, own in self.thresholds.items():
            _threshold_pair(f"threshold of {label!r}", own, self.exit_threshold)

    def pair(self, label: str) -> tuple[float, float]:
        """(threshold, exit threshold) of a label."""
        return _threshold_pair(f"threshold of {label!r}", self.thresholds.get(label, self.threshold), self.exit_threshold)

    def sentence(self, window_seconds: float, hop_seconds: float) -> str:
        """What the settings ask for, computed: "An event needs 3 of 3 windows at 0.60 or more: it is reported 0.50 s after the first."."""
        windows = f"{self.confirmations} of {self.of} windows" if self.of > 1 else "1 window"
        wait = max((self.confirmations - 1) * hop_seconds, self.min_duration_seconds - window_seconds)
        when = f"it is reported {wait:.2f} s after the first" if wait > 0 else "it is reported at once"
        return f"An event needs {windows} at {self.threshold:.2f} or more: {when}."


@dataclass(frozen=True)
class Change:
    """News of an event: `what` is "began" (its end still moves) or "ended" (it is final)."""

    what: str
    event: Event


class EventDetector:
    """Turns scores of consecutive windows into events, for all labels but the background ones.

    `feed` takes one window at a time; `finish` ends what is open. The events that have "ended" do not depend on how far apart in time
    the calls are made, so a file and a stream agree. `refused` says per label why a score above its threshold is no event (yet).
    """

    def __init__(self, labels: Iterable[str], background: Iterable[str] = (), settings: EventSettings | None = None):
        self.labels, self.settings = tuple(labels), settings or EventSettings()
        unknown = sorted(str(name) for name in self.settings.thresholds if name not in self.labels)
        if unknown:
            raise ValueError(f"thresholds: got unknown label {', '.join(unknown)}; known are {', '.join(self.labels)}")
        background = set(background)
        self.watched = [_Watch(label, self.settings) for label in self.labels if label not in background]
        self.columns = np.array([i for i, label in enumerate(self.labels) if label not in background], int)
        self.exits = np.array([watch.exit for watch in self.watched], np.float32)

    def feed(self, start: float, end: float, scores: np.ndarray) -> list[Change]:
        """One window from `start` to `end` seconds with its scores (labels,) -> what changed."""
        own = np.asarray(scores, np.float32)[self.columns]
        news = []
        for watch, score, heard in zip(self.watched, own, own >= self.exits):
            if heard or watch.busy:
                news += watch.feed(start, end, float(score))
        return sorted(news, key=lambda change: (change.event.start, change.event.end))

    def finish(self) -> list[Change]:
        """The sound is over: ends every event and forgets every confirmation."""
        news = [change for watch in self.watched for change in watch.finish()]
        return sorted(news, key=lambda change: (change.event.start, change.event.end))

    @property
    def refused(self) -> dict[str, str]:
        """Label -> why the newest window's score is above the threshold and still no event."""
        return {watch.label: watch.reason for watch in self.watched if watch.reason}


class _Watch:
    """The state of one label."""

    def __init__(self, label, settings):
        self.label, self.settings = label, settings
        # Scores are float32: 0.52 among them must reach a threshold of 0.52.
        self.threshold, self.exit = (float(np.float32(value)) for value in settings.pair(label))
        self.reset()

    def reset(self):
        self.hits = deque(maxlen=self.settings.of)  # windows that reached the threshold, or None
        self.open, self.closed, self.begun, self.reason = None, None, False, ""
        self.deaf_until = -math.inf

    @property
    def busy(self):
        return self.open is not None or self.closed is not None or any(self.hits) or bool(self.reason)

    def feed(self, start, end, score):
        self.reason, news = "", self._settle(start)
        window = Event(self.label, start, end, score, (start + end) / 2)
        if self.open and score >= self.exit:
            self.open = _joined(self.open, window)
        elif self.open:
            self.closed, self.open = self.open, None
            self.hits.clear()
        if not self.open:
            self._confirm(window)
        return news + self._announce()

    def finish(self):
        self.closed, self.open = self.open or self.closed, None
        news = self._settle(math.inf)
        self.reset()
        return news

    def _settle(self, now):
        """Ends the closed event once nothing that starts at `now` or later can be merged with it."""
        if self.closed is None or now - self.closed.end <= self.settings.merge_seconds + TIME_TOLERANCE_SECONDS:
            return []
        event, self.closed = self.closed, None
        if not self._long_enough(event):
            return []
        news = [] if self.begun else [Change("began", event)]
        self.begun, self.deaf_until = False, event.end + self.settings.hold_off_seconds
        return [*news, Change("ended", event)]

    def _confirm(self, window):
        """Opens an event when enough of the last windows reached the threshold."""
        hit = window.score >= self.threshold
        if hit and window.start < self.deaf_until - TIME_TOLERANCE_SECONDS:
            self.reason = f"held off for another {self.deaf_until - window.start:.2f} s"
            hit = False
        self.hits.append(window if hit else None)
        found = [w for w in self.hits if w]
        if hit and len(found) < self.settings.confirmations:
            self.reason = f"{len(found)} of {self.settings.confirmations} confirmations"
        elif hit:
            self.open = self.closed or found[0]
            self.closed = None
            for w in found:
                self.open = _joined(self.open, w)
            self.hits.clear()

    def _announce(self):
        if self.open is None or self.begun:
            return []
        if not self._long_enough(self.open):
            length = self.open.end - self.open.start
            self.reason = f"{length:.2f} of {self.settings.min_duration_seconds:.2f} s"
            return []
        self.begun = True
        return [Change("began", self.open)]

    def _long_enough(self, event):
        return event.end - event.start >= self.settings.min_duration_seconds - TIME_TOLERANCE_SECONDS


def find_events(rows, labels, background, settings: EventSettings) -> list[Event]:
    """Every event of a whole sound; `rows` are (start, end, scores) of its windows in order."""
    detector = EventDetector(labels, background, settings)
    news = [change for row in rows for change in detector.feed(*row)]
    ended = [change.event for change in news + detector.finish() if change.what == "ended"]
    return sorted(ended, key=lambda event: (event.start, event.end))


def _joined(event, window):
    """The event with one more window; the better score and its peak win, the earlier of equals."""
    best = window if window.score > event.score else event
    return replace(event, end=max(event.end, window.end), score=best.score, peak=best.peak)


def _threshold_pair(name, threshold, exit_threshold):
    """(threshold, exit threshold), the exit filled in when None."""
    threshold = float(threshold)
    if not 0 <= threshold <= 1:
        raise ValueError(f"{name}: got {threshold!r}, expected a score from 0 to 1")
    if exit_threshold is None:
        return threshold, max(0.0, threshold - EXIT_BELOW_THRESHOLD)
    if not 0 <= exit_threshold <= threshold:
        raise ValueError(f"exit_threshold: got {exit_threshold!r}, expected from 0 to the {name}, {threshold!r}")
    return threshold, float(exit_threshold)
