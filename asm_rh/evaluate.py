"""Judging a model on labelled clips, through the same prediction path that users have."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .audio import AudioError, decode
from .calibration import by_threshold, calibration, thresholds_for
from .classifier import Classifier
from .datasets import LABEL_SEPARATOR, Clip, DataError
from .metrics import reached, summarise

WANTED_PRECISION = 0.95


@dataclass
class Judged:
    """The clips that could be scored, with the truth and their scores (N, classes); `truth` as of `metrics.summarise`."""

    labels: tuple[str, ...]
    threshold: float
    background: tuple[str, ...]
    clips: list[Clip]
    truth: np.ndarray
    scores: np.ndarray
    skipped: list[str] = field(default_factory=list)

    @property
    def several(self) -> bool:
        """Whether clips may have several labels."""
        return self.truth.ndim == 2

    @property
    def columns(self) -> list[int]:
        """The classes that can be an event."""
        return [i for i, label in enumerate(self.labels) if label not in self.background] or list(range(len(self.labels)))


def evaluate(
    classifier: Classifier, clips: list[Clip], progress=lambda items: items, *,
    keep: bool = False, precision: float = WANTED_PRECISION, protocol: str | None = None, leaky: bool = False,
) -> dict:  # fmt: skip
    """All figures over whole clips, with the unreadable files listed: what `figures` says of what `judge` found; errors as there."""
    return figures(judge(classifier, clips, progress), keep=keep, precision=precision, protocol=protocol, leaky=leaky)


def judge(classifier: Classifier, clips: list[Clip], progress=lambda items: items) -> Judged:
    """Scores every clip; those longer than the window as `WindowScores.pooled` says.

    Where scores stand each for itself and a clip has several labels, the truth is a table. Raises DataError for labels the model does not
    have, for several labels where scores exclude one another, or when there is nothing to judge.
    """
    several = check_labels(classifier.labels, clips, classifier.config.output)
    done, scores, skipped = [], [], []
    for clip in progress(clips):
        try:
            scores.append(clip_scores(classifier, clip))
        except (AudioError, OSError) as error:
            skipped.append(f"{clip.path}: {error}")
            continue
        done.append(clip)
    if not done:
        raise DataError(f"none of {len(clips)} clips could be judged" + (f"; the first: {skipped[0]}" if skipped else ""))
    names, config = classifier.labels, classifier.config
    truth = [[name in clip.labels for name in names] for clip in done] if several else [names.index(clip.label) for clip in done]
    return Judged(names, config.threshold, config.background_labels, done, np.array(truth), np.stack(scores), skipped)


def figures(
    judged: Judged, keep: bool = False, precision: float = WANTED_PRECISION, protocol: str | None = None, leaky: bool = False
) -> dict:
    """What `metrics.summarise` says, calibration, thresholds for a wanted precision, and what was left out, as plain JSON.

    `keep` adds what was said of every clip; `protocol`, the words for how training and judging were kept apart, and `leaky` are passed on.
    """
    truth, scores, names = judged.truth, judged.scores, judged.labels
    found = {"labels": list(names), "groups": len({clip.group for clip in judged.clips})}
    found |= summarise(truth, scores, names, judged.threshold)
    for row in found["per_class"]:
        row["groups"] = len({clip.group for clip in judged.clips if row["label"] in labels_of(judged, clip)})
    found["clips_per_group"] = _spread(Counter(clip.group for clip in judged.clips).values())
    found["calibration"] = calibration(truth, scores)
    found["thresholds"] = {"precision": precision, "per_class": thresholds_for(truth, scores, names, precision)}
    found["by_threshold"] = by_threshold(truth, scores, columns=judged.columns)
    (found["at_threshold"],) = by_threshold(truth, scores, (judged.threshold,), judged.columns)
    if protocol is not None or leaky:
        found |= {"protocol": protocol, "leaky": bool(leaky)}
    if keep:
        found["predictions"] = predictions(judged)
    return {**found, "skipped": judged.skipped}


def predictions(judged: Judged, roots=()) -> list[dict]:
    """Per clip {"file", "label", "predicted", "score", "group"}: the best label and its score, or all labels at the threshold.

    A file below one of the folders `roots` is named from there.
    """
    rows = []
    for clip, scores in zip(judged.clips, judged.scores):
        best = [int(scores.argmax())]
        said = np.flatnonzero(reached(scores, judged.threshold)) if judged.several else best
        row = {"file": short_name(clip, roots), "label": clip.label, "predicted": LABEL_SEPARATOR.join(judged.labels[i] for i in said)}
        rows.append({**row, "score": float(scores[best[0]]), "group": clip.group})
    return rows


def short_name(clip: Clip, roots=()) -> str:
    """A clip's name from the folder of `roots` that it lies in, with that folder's own name; its whole name where it lies in none."""
    stretch = clip.name[len(str(clip.path)) :]
    for root in roots:
        if clip.path.is_relative_to(root):
            return (Path(root).resolve().name / clip.path.relative_to(root)).as_posix() + stretch
    return clip.name


def labels_of(judged: Judged, clip: Clip) -> tuple[str, ...]:
    """What is there in a clip, one label or several."""
    return clip.labels if judged.several else (clip.label,)


def clip_scores(classifier: Classifier, clip: Clip) -> np.ndarray:
    """(classes,) scores of one clip."""
    if clip.start == 0 and clip.end is None:
        return classifier.windows(clip.path).pooled()
    samples, rate = decode(clip.path)
    end = None if clip.end is None else round(clip.end * rate)
    return classifier.windows(samples[round(clip.start * rate) : end], sampling_rate=rate).pooled()


def check_labels(labels, clips, output: str = "softmax") -> bool:
    """Whether clips have several labels; DataError where one of them is none of the model's, or scores exclude one another."""
    several = any(len(clip.labels) > 1 and clip.label not in labels for clip in clips)
    unknown = sorted({name for clip in clips for name in (clip.labels if several else (clip.label,))} - set(labels))
    if unknown:
        raise DataError(f"the data has labels {unknown} that the model does not know: its labels are {list(labels)}")
    if not clips:
        raise DataError("no clips in this split: give larger shares, or --split all")
    if several and output != "sigmoid":
        first = next(clip for clip in clips if clip.label not in labels)
        raise DataError(
            f"{first.path.name} has several labels, {first.label!r}, and the model's scores exclude one another (softmax): judge a model "
            "with output sigmoid, or give every clip one label"
        )
    return several


def _spread(counts):
    counts = sorted(counts)
    return {"least": counts[0], "median": float(np.median(counts)), "most": counts[-1]}
