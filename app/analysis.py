"""From a sound file to results, stoppable between batches; events, files to download, the words above them."""

import json
import math
import os
import threading
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from asm_rh.audio import AudioError, as_stream
from asm_rh.markup import element
from asm_rh.scores import Event, WindowScores

from . import overview, text
from .models import OWN
from .zerogpu import file_sized

MOST_WINDOWS = 20_000
READING_SHARE = 0.2  # of the progress bar; the rest is scoring
FORMATS = (
    ("csv", "events.csv"),
    ("audacity", "audacity.txt"),
    ("raven", "raven.txt"),
    ("jsonl", "scores.jsonl"),
    ("json", "scores.json"),
)


class Cancelled(Exception):
    """The visitor no longer wants this result."""


@dataclass(frozen=True)
class Request:
    """One wish to analyse: a file, the name to show, the ticket under which it may be called off, and the key of the model."""

    path: str
    name: str
    ticket: int
    model: str = OWN


@dataclass(frozen=True)
class Analysis:
    """A finished result: its picture, its scores, the hop used and a note where that is not the one asked for."""

    request: Request
    picture: overview.Overview
    scores: WindowScores
    hop_seconds: float
    compute_seconds: float
    note: str = ""


class Tickets:
    """Who wants what now: a newer wish of a visitor, or a cancel, makes the older work stop. Safe across threads."""

    def __init__(self):
        self._numbers, self._wanted, self._lock = count(1), {}, threading.Lock()

    def draw(self, visitor: str) -> int:
        """A new ticket; the visitor's older one is void."""
        with self._lock:
            self._wanted[visitor] = number = next(self._numbers)
        return number

    def void(self, visitor: str) -> None:
        """Calls off whatever the visitor waits for."""
        with self._lock:
            self._wanted.pop(visitor, None)

    def check(self, visitor: str, ticket: int) -> None:
        """Raises Cancelled when the ticket is no longer the visitor's."""
        with self._lock:
            if self._wanted.get(visitor) != ticket:
                raise Cancelled


def fitting_hop(seconds: float, hop_seconds: float) -> tuple[float, str]:
    """The hop to use so that there are at most MOST_WINDOWS windows, and a note where it had to be raised."""
    least = math.ceil(100 * seconds / MOST_WINDOWS - 1e-9) / 100
    if hop_seconds >= least:
        return hop_seconds, ""
    return (
        least,
        f"hop raised from {hop_seconds:.2f} to {least:.2f} s, as this page computes at most {MOST_WINDOWS} windows",
    )


def check_size(path, most_mb: float) -> None:
    """Raises AudioError for a file larger than `most_mb` megabytes."""
    megabytes = os.path.getsize(path) / 1e6
    if megabytes > most_mb:
        raise AudioError(
            f"{Path(path).name}: {megabytes:.1f} MB, expected at most {most_mb:g} MB; cut the recording into parts"
        )


def check_length(path, most_seconds: float) -> float:
    """The length of a sound file in seconds, read to its end; raises AudioError as soon as it is longer than `most_seconds`."""
    rate, blocks = as_stream(path)
    samples = 0
    for block in blocks:
        samples += len(block)
        if samples > most_seconds * rate:
            raise AudioError(f"longer than {most_seconds / 60:g} minutes, the most taken here; cut the recording into parts")
    return samples / rate


def lent_seconds(path, *_) -> float:
    """How long a GPU is asked for to work on a whole file: most of the time goes into reading it."""
    return min(120.0, 20 + os.path.getsize(path) / 1e6)


def analyse(
    classifier, request: Request, hop_seconds: float, max_seconds: float, check=None, progress=None
) -> Analysis:
    """Reads and scores a file.

    `check()` is called per block and per batch, what it raises ends the work; `progress(fraction, words)`. Raises
    AudioError, with the shown name in place of the path, for files that cannot be used.
    """
    check, progress = check or (lambda: None), progress or (lambda fraction, words: None)

    def reading(seconds):
        check()
        progress(READING_SHARE * seconds / (seconds + 600), f"{request.name}: reading, {text.span(seconds)}")

    try:
        check()
        began = time.perf_counter()
        picture = overview.read(request.path, classifier.model.frontend, max_seconds, reading)
        hop, note = fitting_hop(picture.seconds, hop_seconds)

        def scoring(seconds):
            check()
            share = min(1.0, seconds / picture.seconds)
            words = (
                f"{request.name}: scoring, {text.span(min(seconds, picture.seconds))} of {text.span(picture.seconds)}"
            )
            progress(READING_SHARE + (1 - READING_SHARE) * share, words)

        scores = classifier.windows(request.path, hop_seconds=hop, progress=scoring, name=request.name)
    except AudioError as error:
        raise AudioError(str(error).replace(str(request.path), request.name)) from error
    return Analysis(request, picture, scores, hop, time.perf_counter() - began, note)


@file_sized(lambda request, *_: lent_seconds(request.path))
def analysed(classifier, request, hop_seconds, max_seconds, **callbacks) -> Analysis:
    """`analyse` where a GPU is worth its while."""
    return analyse(classifier, request, hop_seconds, max_seconds, **callbacks)


def nearest(scores: WindowScores):
    """(label, score, seconds) of the best class that may be an event, or None where every class is background."""
    columns = [i for i, label in enumerate(scores.labels) if label not in scores.background]
    if not columns:
        return None
    window, column = divmod(int(scores.scores[:, columns].argmax()), len(columns))
    at = float(scores.start[window] + scores.end[window]) / 2
    return scores.labels[columns[column]], float(scores.scores[window, columns[column]]), at


def best_moment(scores: WindowScores, events: list[Event]) -> float:
    """Seconds at which something is worth a look: the first event's peak, or the best class's."""
    if events:
        return events[0].peak
    found = nearest(scores)
    return found[2] if found else float(scores.start[0] + scores.end[0]) / 2


def window_near(scores: WindowScores, seconds: float) -> int:
    """The number of the window whose centre is nearest to a moment."""
    return int(abs((scores.start + scores.end) / 2 - seconds).argmin())


def documents(analysis: Analysis, threshold: float) -> dict[str, tuple[str, str]]:
    """Every download as format -> (file name, text)."""
    scores, stem = analysis.scores, Path(analysis.request.name).stem or "sound"
    texts = {
        "csv": scores.to_csv(threshold=threshold),
        "audacity": scores.to_audacity(threshold=threshold),
        "raven": scores.to_raven(threshold=threshold),
        "jsonl": scores.to_jsonl(),
        "json": json.dumps(scores.to_dict(), ensure_ascii=False) + "\n",
    }
    return {name: (f"{stem}.{ending}", texts[name]) for name, ending in FORMATS}


def facts(analysis: Analysis) -> str:
    """One line about the sound and the work: name, length, rate, windows, speed, notes."""
    picture, scores = analysis.picture, analysis.scores
    speed = picture.seconds / max(analysis.compute_seconds, 1e-6)
    windows = f"{len(scores)} window{'s' if len(scores) > 1 else ''} every {analysis.hop_seconds:.2f} s"
    parts = [
        text.span(picture.seconds),
        f"{picture.rate / 1000:g} kHz",
        windows,
        f"{speed:.0f} times faster than real time",
    ]
    if 0 < picture.peak < 0.01:
        parts.append("very quiet recording")
    if analysis.note:
        parts.append(analysis.note)
    return f"<b>{text.escape(analysis.request.name)}</b> · " + " · ".join(map(text.escape, parts))


def headline(analysis: Analysis, threshold: float) -> str:
    """The large line and what stands below it, as HTML."""
    events = analysis.scores.events(threshold)
    large, small = text.heard(events, threshold, nearest(analysis.scores))
    lines = ((large, "heard-large"), (small, "heard-small"))
    inner = "".join(element("p", text.escape(words), kind=name) for words, name in lines)
    return element("div", inner, kind="heard" if events else "heard none")
