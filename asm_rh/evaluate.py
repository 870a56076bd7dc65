"""Judging a model on labelled clips, through the same prediction path that users have."""

import numpy as np

from .audio import AudioError, decode
from .classifier import Classifier
from .datasets import Clip, DataError
from .metrics import summarise


def evaluate(classifier: Classifier, clips: list[Clip], progress=lambda items: items) -> dict:
    """Accuracy with its 95 % interval, macro F1, AUC, confusion and class table over whole clips, with the unreadable files listed.

    Clips longer than the window are scored as `WindowScores.pooled` says. Raises DataError for labels the model does not have,
    or when there is nothing to judge.
    """
    check_labels(classifier.labels, clips)
    truth, scores, groups, skipped = [], [], set(), []
    for clip in progress(clips):
        try:
            scores.append(clip_scores(classifier, clip))
        except AudioError as error:
            skipped.append(f"{clip.path}: {error}")
            continue
        truth.append(classifier.labels.index(clip.label))
        groups.add(clip.group)
    if not truth:
        raise DataError(f"none of {len(clips)} clips could be judged" + (f"; the first: {skipped[0]}" if skipped else ""))
    found = summarise(truth, np.stack(scores), classifier.labels)
    return {"labels": list(classifier.labels), "groups": len(groups), **found, "skipped": skipped}


def clip_scores(classifier: Classifier, clip: Clip) -> np.ndarray:
    """(classes,) scores of one clip."""
    if clip.start == 0 and clip.end is None:
        return classifier.windows(clip.path).pooled()
    samples, rate = decode(clip.path)
    end = None if clip.end is None else round(clip.end * rate)
    return classifier.windows(samples[round(clip.start * rate) : end], sampling_rate=rate).pooled()


def check_labels(labels, clips) -> None:
    """Raises DataError when a clip's label is none of the model's."""
    unknown = sorted({clip.label for clip in clips} - set(labels))
    if unknown:
        raise DataError(f"the data has labels {unknown} that the model does not know: its labels are {list(labels)}")
    if not clips:
        raise DataError("no clips in this split: give larger shares, or --split all")
