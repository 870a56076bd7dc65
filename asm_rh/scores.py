"""Scores of a sound over time: one row per window, pooled for the whole clip, turned into events, written to files."""

import csv
import io
import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from .events import Event, EventSettings, find_events
from .files import write_output

SCORE_DECIMALS = 6

CSV_COLUMNS = ("file", "start", "end", "label", "score", "peak_time")
RAVEN_COLUMNS = (
    "Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)",
    "Label", "Score",
)  # fmt: skip


@dataclass(eq=False)
class WindowScores:
    """The scores of every window of one sound.

    `start`, `end` (N,) in seconds; `scores` (N, C) float32; `labels` C names; `padded` (N,) bool, True where the window
    was longer than the sound left; `background` names of labels that are never reported as events; `file` its name.
    Raises ValueError when the shapes disagree, times run backwards, scores are not finite or names are unknown.
    """

    start: np.ndarray
    end: np.ndarray
    scores: np.ndarray
    labels: tuple[str, ...]
    padded: np.ndarray | None = None
    background: frozenset[str] = frozenset()
    file: str | None = None

    def __post_init__(self) -> None:
        self.start = np.asarray(self.start, dtype=np.float64)
        self.end = np.asarray(self.end, dtype=np.float64)
        self.scores = np.asarray(self.scores, dtype=np.float32)
        self.padded = np.zeros(self.start.shape, dtype=bool) if self.padded is None else np.asarray(self.padded, bool)
        self.labels, self.background = _names(self.labels, "labels"), frozenset(_names(self.background, "background"))
        self.file = None if self.file is None else os.fspath(self.file)
        self._check_shapes()
        self._check_values()

    def _check_shapes(self) -> None:
        count = len(self.start) if self.start.ndim == 1 else -1
        expected = {"start": (count,), "end": (count,), "padded": (count,), "scores": (count, len(self.labels))}
        got = {name: getattr(self, name).shape for name in expected}
        if count < 0 or got != expected:
            raise ValueError(
                f"WindowScores: got shapes {got} and {len(self.labels)} labels, expected start, end and padded (N,) "
                "and scores (N, labels)"
            )

    def _check_values(self) -> None:
        if len(set(self.labels)) != len(self.labels) or not self.labels:
            raise ValueError(f"labels: got {list(self.labels)}, expected at least one and each name once")
        _check_known(self.background, self.labels, "background")
        finite = np.isfinite(self.start).all() and np.isfinite(self.end).all()
        if not finite or (self.end <= self.start).any() or (np.diff(self.start) < 0).any():
            raise ValueError(
                "window times: expected finite seconds, start in rising order and every end after its start"
            )
        if not np.isfinite(self.scores).all():
            bad = int((~np.isfinite(self.scores)).sum())
            raise ValueError(f"scores: got {bad} NaN or infinite of {self.scores.size}, expected finite numbers")

    def __len__(self) -> int:
        return len(self.start)

    # ------------------------------------------------------------------------------------------ the whole clip

    def pooled(self) -> np.ndarray:
        """Return the scores for the whole clip, float32 (C,).

        Without background labels the mean over the windows. With them the scores of the window that is most certain
        of any other label, so that pauses do not hide the one word in a clip. Raises ValueError without windows.
        """
        if len(self) == 0:
            raise ValueError("WindowScores: got 0 windows, expected at least one to give scores for the clip")
        return pool(self.scores, self.labels, self.background)

    def top(self, k: int | None = 5) -> list[dict[str, Any]]:
        """Return the `k` best labels of the whole clip (None: all) as [{"label": str, "score": float}], best first."""
        if k is not None and (isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1):
            raise ValueError(f"top: got {k!r}, expected a whole number from 1, or None for all labels")
        pooled = self.pooled()
        best = np.argsort(-pooled, kind="stable")[:k]
        return [{"label": self.labels[index], "score": float(pooled[index])} for index in best]

    # ------------------------------------------------------------------------------------------ events

    def events(self, threshold: float = 0.5, exit_threshold: float | None = None, **settings: Any) -> list[Event]:
        """Find when each label that is not background was heard, sorted by start.

        `threshold`, `exit_threshold` and `settings` (`min_duration_seconds`, `merge_seconds`, `thresholds`, `confirmations`,
        `of`, `hold_off_seconds`) as of `EventSettings`, which live sound obeys as well; errors too.
        """
        chosen = EventSettings(threshold, exit_threshold, **settings)
        return find_events(zip(self.start.tolist(), self.end.tolist(), self.scores), self.labels, self.background, chosen)

    # ------------------------------------------------------------------------------------------ writers

    def to_dict(self, top_k: int | None = 5) -> dict[str, Any]:
        """Return plain and exact {"file", "windows": [{"start", "end", "padded", "scores": {label: score}}], "top"}."""
        return {"file": self.file, "windows": list(self._rows()), "top": self.top(top_k)}

    def to_csv(self, path: str | os.PathLike | TextIO | None = None, **event_options: Any) -> str:
        """Write the events as a table with the columns file, start, end, label, score, peak_time (seconds).

        `path`: where to write, whole or not at all; a text file object; or None. `event_options` as of `events`.
        Returns the text. Raises ValueError when the folder does not exist.
        """
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(CSV_COLUMNS)
        for event in self.events(**event_options):
            start, end, peak = (f"{seconds:.3f}" for seconds in (event.start, event.end, event.peak))
            writer.writerow((self.file or "", start, end, event.label, f"{event.score:.{SCORE_DECIMALS}f}", peak))
        return _write(path, buffer.getvalue())

    def to_jsonl(self, path: str | os.PathLike | TextIO | None = None) -> str:
        """Write one window per line as {"file", "start", "end", "padded", "scores": {label: score}}.

        Seconds with 3 decimals; `path` as of `to_csv`. Returns the text.
        """
        lines = []
        for row in self._rows(seconds_digits=3, score_digits=SCORE_DECIMALS):
            lines.append(json.dumps({"file": self.file, **row}, ensure_ascii=False, allow_nan=False) + "\n")
        return _write(path, "".join(lines))

    def to_audacity(self, path: str | os.PathLike | TextIO | None = None, **event_options: Any) -> str:
        """Write the events as an Audacity label track, start<TAB>end<TAB>label; `path` and options as of `to_csv`."""
        lines = [f"{e.start:.3f}\t{e.end:.3f}\t{_one_field(e.label)}\n" for e in self.events(**event_options)]
        return _write(path, "".join(lines))

    def to_raven(
        self,
        path: str | os.PathLike | TextIO | None = None,
        low_hz: float = 0.0,
        high_hz: float = 8000.0,
        **event_options: Any,
    ) -> str:
        """Write the events as a Raven selection table, tab separated; `path` and options as of `to_csv`.

        `low_hz`, `high_hz`: the edges of every box, as scores know no frequency. Raises ValueError when not low < high.
        """
        if not 0 <= low_hz < high_hz < math.inf:
            raise ValueError(f"Raven table: got low_hz={low_hz!r}, high_hz={high_hz!r}, expected 0 <= low_hz < high_hz")
        lines = ["\t".join(RAVEN_COLUMNS) + "\n"]
        for number, event in enumerate(self.events(**event_options), start=1):
            box = (f"{event.start:.3f}", f"{event.end:.3f}", f"{low_hz:.1f}", f"{high_hz:.1f}")
            named = (_one_field(event.label), f"{event.score:.{SCORE_DECIMALS}f}")
            lines.append("\t".join((str(number), "Spectrogram 1", "1", *box, *named)) + "\n")
        return _write(path, "".join(lines))

    def _rows(self, seconds_digits: int | None = None, score_digits: int | None = None) -> Iterator[dict[str, Any]]:
        seconds, score = _rounder(seconds_digits), _rounder(score_digits)
        rows = zip(self.start.tolist(), self.end.tolist(), self.padded.tolist(), self.scores.tolist(), strict=True)
        for start, end, padded, scores in rows:
            named = {label: score(value) for label, value in zip(self.labels, scores, strict=True)}
            yield {"start": seconds(start), "end": seconds(end), "padded": padded, "scores": named}


def _rounder(digits: int | None) -> Callable[[float], float]:
    return float if digits is None else lambda value: round(value, digits)


# ---------------------------------------------------------------------------------------------- checks


def _names(names: Any, what: str) -> tuple[str, ...]:
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{what}: got {names!r}, expected a list of names")
    return tuple(names)


def _check_known(names: Any, labels: tuple[str, ...], what: str) -> None:
    unknown = sorted(str(name) for name in names if name not in labels)
    if unknown:
        raise ValueError(f"{what}: got unknown label {', '.join(unknown)}; known are {', '.join(labels)}")


# ---------------------------------------------------------------------------------------------- text to files


def _one_field(label: str) -> str:
    # A tab or a line break inside a name would shift every following column.
    return " ".join(label.split())


def pool(scores: np.ndarray, labels, background) -> np.ndarray:
    """The scores (C,) of a whole clip from those of its windows (N, C), at least one; see `WindowScores.pooled`."""
    foreground = [index for index, label in enumerate(labels) if label not in background]
    if not background or not foreground:
        return scores.mean(axis=0, dtype=np.float64).astype(np.float32)
    return scores[scores[:, foreground].max(axis=1).argmax()].copy()


def _write(path: str | os.PathLike | TextIO | None, text: str) -> str:
    if hasattr(path, "write"):
        path.write(text)
    elif path is not None:
        _write_path(Path(path), text)
    return text


def _write_path(path: Path, text: str) -> None:
    if path.is_dir() or not path.parent.is_dir():
        raise ValueError(f"output: got {path}, expected a file name in a folder that exists; make the folder first")
    write_output(path, text)
