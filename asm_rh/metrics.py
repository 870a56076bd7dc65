"""Numbers that judge scores against truth: numpy in, plain numbers out."""

import math

import numpy as np


def confusion_matrix(truth, predicted, classes: int) -> np.ndarray:
    """(classes, classes) counts; row = true class, column = predicted class."""
    matrix = np.zeros((classes, classes), np.int64)
    np.add.at(matrix, (np.asarray(truth, int), np.asarray(predicted, int)), 1)
    return matrix


def wilson_interval(right: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """95 % confidence interval of a share by Wilson's score, which stays inside 0..1."""
    if total == 0:
        return 0.0, 1.0
    share, spread = right / total, z * z / total
    middle = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / total + spread / (4 * total)) / (1 + spread)
    # By rounding alone the interval of all right could end just below 1.
    return (max(0.0, middle - half) if right else 0.0), (min(1.0, middle + half) if right < total else 1.0)


def auc(truth, scores) -> float:
    """Area under the ROC curve of one class: truth (N,) 0 or 1, scores (N,); ties count one half; NaN unless both classes occur."""
    truth, scores = np.asarray(truth, bool), np.asarray(scores, float)
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if not positives or not negatives:
        return math.nan
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[truth].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def average_precision(truth, scores) -> float:
    """Mean precision over the true clips of one class, each at its own score, as scikit-learn's `average_precision_score`.

    truth (N,) 0 or 1, scores (N,); clips with equal scores are claimed together; NaN when the class does not occur.
    """
    claimed, hits, _ = ranking(truth, scores)
    if not len(hits) or not hits[-1]:
        return math.nan
    return float((np.diff(hits, prepend=0) * hits / claimed).sum() / hits[-1])


def ranking(truth, scores) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What claiming every clip from a score on would give: (clips claimed, true ones among them, that score), best score first.

    truth (N,) 0 or 1, scores (N,) -> three arrays (K,) over the K different scores.
    """
    truth, scores = np.asarray(truth, bool), np.asarray(scores, float)
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)) if len(ordered) else np.zeros(0, int)
    return last + 1, np.cumsum(truth[order])[last], ordered[last]


def class_table(matrix: np.ndarray, labels) -> list[dict]:
    """Per class of a confusion matrix: clips, precision, recall, F1; a share of nothing counts 0."""
    return _rows(labels, np.diag(matrix), matrix.sum(1), matrix.sum(0))


def membership(truth, classes: int) -> np.ndarray:
    """Truth as a table of yes and no, (N, classes) bool, from class numbers (N,) or from such a table; ValueError for anything else."""
    truth = np.asarray(truth)
    if truth.ndim == 2 and truth.shape[1] == classes and np.isin(truth, (0, 1)).all():
        return truth.astype(bool)
    if truth.ndim != 1 or truth.size and (truth.min() < 0 or truth.max() >= classes):
        raise ValueError(f"truth: got shape {truth.shape}, expected class numbers (N,) below {classes}, or 0 and 1 as (N, {classes})")
    return truth.astype(int)[:, None] == np.arange(classes)


def reached(scores: np.ndarray, threshold: float) -> np.ndarray:
    """Where scores are at the threshold or above; 0.7 among scores of 32 bits reaches 0.7, as it does for events."""
    return scores >= (np.float32(threshold) if scores.dtype == np.float32 else threshold)


def summarise(truth, scores, labels, threshold: float = 0.5) -> dict:
    """Accuracy with its 95 % interval, macro F1, mean one-vs-rest AUC and mean average precision over classes that occur, class table.

    truth (N,) class numbers, or (N, classes) 0 and 1 where a clip may have several labels or none; scores (N, classes). Of one label the
    highest score is the answer, and the confusion matrix is told. Of several, every label at `threshold` or above is: accuracy counts
    clips with all labels right, and there is micro F1. Raises ValueError without clips, for shapes that disagree, scores not finite.
    """
    truth, given = np.asarray(truth), np.asarray(scores)
    scores = given.astype(float)
    if len(truth) == 0:
        raise ValueError("no clips to judge: got 0, expected at least one")
    if scores.shape != (len(truth), len(labels)):
        raise ValueError(f"scores: got shape {scores.shape}, expected {(len(truth), len(labels))}: a row per clip, a column per label")
    if not np.isfinite(scores).all():
        bad = int((~np.isfinite(scores)).sum())
        raise ValueError(f"{bad} of {scores.size} scores are not finite: the model's weights or input are broken")
    several, there = truth.ndim == 2, membership(truth, len(labels))
    claimed = reached(given, threshold) if several else scores.argmax(1)[:, None] == np.arange(len(labels))
    right = int((claimed == there).all(1).sum())
    table = _rows(labels, (claimed & there).sum(0), there.sum(0), claimed.sum(0))
    for row, yes, column in zip(table, there.T, scores.T):
        row["auc"], row["average_precision"] = _known(auc(yes, column)), _known(average_precision(yes, column))
    found = {
        "clips": len(truth), "accuracy": right / len(truth), "accuracy_interval": list(wilson_interval(right, len(truth))),
        "macro_f1": _mean(row["f1"] for row in table if row["clips"]), "auc": _mean(row["auc"] for row in table),
        "map": _mean(row["average_precision"] for row in table), "per_class": table,
    }  # fmt: skip
    if several:
        more = {"subset_accuracy": found["accuracy"], "micro_f1": _micro(claimed, there)}
        return {**found, "multi_label": True, "threshold": threshold, **more}
    return {**found, "confusion": confusion_matrix(truth, scores.argmax(1), len(labels)).tolist()}


def _rows(labels, hits, actual, claimed):
    """A dict per class out of three counts (classes,): rightly claimed, there, claimed."""
    rows = []
    for label, hit, there, claim in zip(labels, hits, actual, claimed):
        precision, recall = ratio(hit, claim), ratio(hit, there)
        f1 = ratio(2 * precision * recall, precision + recall)
        rows.append({"label": label, "clips": int(there), "precision": precision, "recall": recall, "f1": f1})
    return rows


def _micro(claimed, there):
    """F1 over all pairs of clip and label."""
    return ratio(2 * int((claimed & there).sum()), int(claimed.sum()) + int(there.sum()))


def _mean(values):
    """The mean of what is known; None where nothing is."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _known(value):
    """JSON has no NaN: what cannot be said is None."""
    return None if math.isnan(value) else value


def ratio(part, whole) -> float:
    """A share; of nothing it is 0."""
    return float(part / whole) if whole else 0.0
