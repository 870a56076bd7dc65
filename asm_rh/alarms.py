"""What a model reports where there is nothing to report: events on background recordings, counted per hour."""

from collections import Counter

import numpy as np

from .audio import AudioError
from .classifier import Classifier

THRESHOLDS = tuple(round(0.30 + 0.05 * i, 2) for i in range(14))


def false_alarms(
    classifier: Classifier, sounds, hop_seconds: float | None = None, threshold: float | None = None, curve=THRESHOLDS, progress=lambda s: s
) -> dict:
    """Events over sounds that hold none of the classes, per hour and per class, at a threshold and over a `curve` of them.

    sounds: whatever `Classifier.windows` takes, files or (rate, samples). hop_seconds: default a quarter of the window, as when listening
    live; threshold: default the model's. A sound that cannot be read is listed in `skipped`. Raises ValueError when nothing was heard.
    """
    hop_seconds = checked_hop(classifier.config.window_seconds, hop_seconds)
    threshold = classifier.config.threshold if threshold is None else threshold
    heard, skipped = [], []
    for sound in progress(sounds):
        try:
            heard.append(classifier.windows(sound, hop_seconds=hop_seconds))
        except (AudioError, OSError) as error:
            skipped.append(str(error))
    if not heard:
        raise ValueError("no background to count false alarms on" + (f"; the first: {skipped[0]}" if skipped else ": got no sound"))
    found = {"hop_seconds": hop_seconds, "threshold": threshold, **count_events(heard, threshold)}
    found["files"] = [{"file": one.file, "seconds": _seconds(one), "events": len(one.events(threshold=threshold))} for one in heard]
    return {**found, "curve": [{"threshold": at, **count_events(heard, at)} for at in curve], "skipped": skipped}


def checked_hop(window_seconds: float, hop_seconds: float | None) -> float:
    """The step from one window to the next, by default a quarter of one; ValueError where part of the sound would not be heard."""
    hop_seconds = window_seconds / 4 if hop_seconds is None else hop_seconds
    if not 0 < hop_seconds <= window_seconds:
        raise ValueError(f"hop_seconds: got {hop_seconds!r}, expected above 0 and at most the window of {window_seconds:g} s")
    return hop_seconds


def count_events(heard, threshold: float) -> dict:
    """{"hours", "events", "per_hour", "interval", "labels", "labels_per_hour"} over WindowScores; the interval is of 95 %."""
    seconds = sum(_seconds(one) for one in heard)
    events = [event for one in heard for event in one.events(threshold=threshold)]
    labels = dict(sorted(Counter(event.label for event in events).items()))
    return {
        "hours": seconds / 3600, "events": len(events), "per_hour": len(events) * 3600 / seconds,
        "interval": [limit * 3600 / seconds for limit in poisson_interval(len(events))],
        "labels": labels, "labels_per_hour": {label: count * 3600 / seconds for label, count in labels.items()},
    }  # fmt: skip


def poisson_interval(count: int, outside: float = 0.05) -> tuple[float, float]:
    """95 % confidence interval of the mean of a Poisson count, after Garwood (1936): none counted leaves 0 to 3.7."""
    factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, count + 1)))])

    def at_most(most, mean):
        """The probability of at most so many where `mean` are expected."""
        steps = np.arange(most + 1)
        return float(np.exp(steps * np.log(mean) - mean - factorials[: most + 1]).sum())

    low = _root(lambda mean: 1 - at_most(count - 1, mean) < outside / 2, count) if count else 0.0
    return low, _root(lambda mean: at_most(count, mean) > outside / 2, count)


def _root(below, count):
    """Where `below` ends, above 0."""
    low, high = 0.0, 2.0 * count + 10
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) else (low, middle)
    return high


def _seconds(heard):
    return float(heard.end.max())
