"""What `asm-rh live` prints, for people or for programs, and how it ends."""

import json
import math
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from .classifier import warm_up
from .microphone import Microphone
from .scores import SCORE_DECIMALS
from .streaming import StreamSession

SECONDS_DECIMALS = 3
BAR_CELLS, BAR_FROM_DBFS = 12, -60.0
TOP = 3
CLEAR_LINE = "\r\x1b[K"


def listen(session: StreamSession, microphone: Microphone, show: "Show", seconds: float | None = None) -> None:
    """Scores what the microphone hears until Ctrl-C, SIGTERM, a closed output or `seconds` of sound end it.

    However it ends, open events are ended and shown, and one line on standard error says what was heard and lost. Raises MicrophoneError.
    """
    silence = np.zeros((1, session.stream.window_samples), np.float32)
    warm_up(session.score, silence, session.rate, session.settings.hop_seconds / 4)
    with microphone:
        try:
            show.start()
            with ended_by_signals(microphone.stop):
                for position, samples in until(microphone, session.rate, seconds):
                    show.update(samples, session.feed(samples, position))
        finally:
            try:
                show.end(*session.finish())
            finally:
                print(show.summary(), file=sys.stderr)


@contextmanager
def ended_by_signals(stop):
    """Ctrl-C and SIGTERM call `stop`; a second one acts as usual. One that the caller had ignored stays ignored."""
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore():
        for number, handler in usual.items():
            signal.signal(number, handler)

    def handle(*_):
        restore()
        stop()

    for number, handler in usual.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, handle)
    try:
        yield
    finally:
        restore()


def until(stretches, rate: int, seconds: float | None) -> Iterator[tuple[int, np.ndarray]]:
    """The first `seconds` of (position, samples) at `rate` Hz, to the sample; all where None."""
    last = math.inf if seconds is None else max(1, round(seconds * rate))
    for position, samples in stretches:
        if position < last:
            yield position, samples[: int(min(len(samples), last - position))]
        if position + len(samples) >= last:
            return


class Show:
    """Base of the two ways to print: what a session and its microphone did, as it happens, and counts of it."""

    def __init__(self, session: StreamSession, microphone: Microphone, model: str, out=None):
        self.session, self.microphone, self.model, self.out = session, microphone, model, out or sys.stdout
        self.labels, self.settings = session.detector.labels, session.settings
        self.events = Counter()

    def start(self):
        """The microphone is open."""

    def update(self, samples, steps):
        """More sound (n,) came, and `steps` of the session with it."""
        for step in steps:
            self.step(step)
            self.changes(step.changes)

    def end(self, steps, changes):
        """What `StreamSession.finish` gave."""
        self.update(np.zeros(0, np.float32), steps)
        self.changes(changes)

    def step(self, step):
        """One window."""

    def changes(self, changes):
        """News of events."""
        self.events.update(change.event.label for change in changes if change.what == "ended")

    @property
    def heard_samples(self):
        """Samples that were scored or waited for their window."""
        return self.session.position - self.session.lost_samples

    def losses(self):
        """What was lost, in words; an empty list for nothing."""
        mic, dropped = self.microphone, self.session.dropped
        counted = (
            (mic.lost_samples, f"{mic.lost_samples} samples ({mic.lost_samples / self.session.rate:.2f} s) lost"),
            (mic.overflows, f"{mic.overflows} overflow{'s' * (mic.overflows != 1)}"),
            (dropped, f"{dropped} window{'s' * (dropped != 1)} dropped"),
        )
        return [words for count, words in counted if count]

    def summary(self):
        """One line: what was heard, which events, what was lost."""
        events = ", ".join(f"{label} {count}" for label, count in self.events.most_common()) or "none"
        seconds = self.heard_samples / self.session.rate
        return f"heard {seconds:.1f} s; events: {events}; " + (", ".join(self.losses()) or "nothing lost, no window dropped")


class JsonLines(Show):
    """One JSON object per line, each flushed at once, for programs."""

    def start(self):
        settings, events = self.settings, self.settings.events
        self.line(
            type="start", model=self.model, device=self.microphone.device.name, rate=self.session.rate,
            window_seconds=settings.window_seconds, hop_seconds=settings.hop_seconds, smoothing_seconds=settings.smoothing_seconds,
            threshold=events.threshold, confirmations=events.confirmations,
        )  # fmt: skip

    def step(self, step):
        row = {"start": of_seconds(step.start), "end": of_seconds(step.at), "scores": self.named(step.scores)}
        if self.settings.smoothing_seconds:
            row["smoothed"] = self.named(step.smoothed)
        if step.refused:
            row["refused"] = step.refused
        row.update(gap_seconds=of_seconds(step.gap_seconds), dropped=step.dropped, compute_ms=round(step.compute_ms, 2))
        self.line(type="window", **row)

    def changes(self, changes):
        super().changes(changes)
        for change in changes:
            event = change.event
            self.line(
                type="event", what=change.what, label=event.label, start=of_seconds(event.start), end=of_seconds(event.end),
                score=of_score(event.score),
            )  # fmt: skip

    def end(self, steps, changes):
        super().end(steps, changes)
        mic, rate = self.microphone, self.session.rate
        self.line(
            type="end", heard_seconds=of_seconds(self.heard_samples / rate), lost_seconds=of_seconds(mic.lost_samples / rate),
            lost_samples=mic.lost_samples, overflows=mic.overflows, dropped=self.session.dropped,
        )  # fmt: skip

    def named(self, scores):
        return {label: of_score(score) for label, score in zip(self.labels, scores)}

    def line(self, **fields):
        print(json.dumps(fields, ensure_ascii=False, allow_nan=False), file=self.out, flush=True)


class StatusLine(Show):
    """For people: a line that rewrites itself with level and best classes, and above it one line per event."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.newest, self.open, self.refused_at = None, [], {}

    def start(self):
        settings = self.settings
        print(f"Listening to {self.microphone.device} at {self.session.rate} Hz with {self.model}; Ctrl-C ends.", file=self.out)
        print(settings.events.sentence(settings.window_seconds, settings.hop_seconds), file=self.out, flush=True)

    def update(self, samples, steps):
        super().update(samples, steps)
        if len(samples):
            self.write(self.status(samples)[: shutil.get_terminal_size().columns - 1])

    def step(self, step):
        self.newest = step
        scores = dict(zip(self.labels, step.smoothed))
        for label, reason in step.refused.items():
            if step.at - self.refused_at.get(label, -math.inf) >= 1:
                self.refused_at[label] = step.at
                self.permanent(step.start, f"{label} {scores[label]:.2f}: {reason}")

    def changes(self, changes):
        super().changes(changes)
        for change in changes:
            event = change.event
            if change.what == "began":
                self.open.append(event.label)
            else:
                self.open.remove(event.label)
                self.permanent(event.start, f"{event.label:<12} {event.score:.2f}  {event.end - event.start:.2f} s")

    def end(self, steps, changes):
        super().end(steps, changes)
        self.write("")

    def status(self, samples):
        """Level, losses, best classes with a star where an event lasts, time to score a window."""
        parts = [level(samples), *self.losses()]
        if self.newest:
            best = np.argsort(-self.newest.smoothed)[:TOP]
            parts.append("  ".join(f"{self.mark(self.labels[i])}{self.labels[i]} {self.newest.smoothed[i]:.2f}" for i in best))
            parts.append(f"{self.newest.compute_ms:.0f} ms")
        return " | ".join(parts)

    def mark(self, label):
        return "*" if label in self.open else ""

    def permanent(self, at, text):
        """A line that stays, about the moment `at` in seconds of audio."""
        clock = time.localtime(time.time() - (self.session.position / self.session.rate - at))
        self.write(f"{time.strftime('%H:%M:%S', clock)}  {at:9.2f} s  {text}\n")

    def write(self, text):
        print(CLEAR_LINE + text, end="", file=self.out, flush=True)


def level(samples: np.ndarray) -> str:
    """A bar and the level of samples (n,) in dBFS, 0 being that of a full square wave; clipping is named."""
    power, peak = float(np.mean(np.square(samples, dtype=np.float64))), float(np.abs(samples).max())
    dbfs = 10 * math.log10(power) if power else -math.inf
    full = round(BAR_CELLS * min(1, max(0, 1 - dbfs / BAR_FROM_DBFS)))
    return f"[{'#' * full:<{BAR_CELLS}}] {dbfs:5.1f} dBFS{' CLIPPED' if peak >= 1 else ''}"


def of_seconds(value):
    return round(float(value), SECONDS_DECIMALS)


def of_score(value):
    return round(float(value), SCORE_DECIMALS)
