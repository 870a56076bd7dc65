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
    return max(0.0, middle - half), min(1.0, middle + half)


def auc(truth, scores) -> float:
    """Area under the ROC curve of one class: truth (N,) 0 or 1, scores (N,); ties count one half; NaN unless both classes occur."""
    truth, scores = np.asarray(truth, bool), np.asarray(scores, float)
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if not positives or not negatives:
        return math.nan
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[truth].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def class_table(matrix: np.ndarray, labels) -> list[dict]:
    """Per class of a confusion matrix: clips, precision, recall, F1; a share of nothing counts 0."""
    rows = []
    for i, label in enumerate(labels):
        hits, actual, claimed = matrix[i, i], matrix[i].sum(), matrix[:, i].sum()
        precision, recall = _ratio(hits, claimed), _ratio(hits, actual)
        f1 = _ratio(2 * precision * recall, precision + recall)
        rows.append({"label": label, "clips": int(actual), "precision": precision, "recall": recall, "f1": f1})
    return rows


def summarise(truth, scores, labels) -> dict:
    """Accuracy with its 95 % interval, macro F1 over classes that occur, mean one-vs-rest AUC, confusion matrix and class table.

    truth (N,) class numbers, scores (N, classes).
    """
    truth, scores = np.asarray(truth, int), np.asarray(scores, float)
    if len(truth) == 0:
        raise ValueError("no clips to judge: got 0, expected at least one")
    if not np.isfinite(scores).all():
        bad = int((~np.isfinite(scores)).sum())
        raise ValueError(f"{bad} of {scores.size} scores are not finite: the model's weights or input are broken")
    matrix = confusion_matrix(truth, scores.argmax(1), len(labels))
    table = class_table(matrix, labels)
    right, low_high = int(np.trace(matrix)), wilson_interval(int(np.trace(matrix)), len(truth))
    areas = [auc(truth == i, scores[:, i]) for i in range(len(labels))]
    known = [a for a in areas if not math.isnan(a)]
    return {
        "clips": len(truth),
        "accuracy": right / len(truth),
        "accuracy_interval": list(low_high),
        "macro_f1": float(np.mean([row["f1"] for row in table if row["clips"]])),
        "auc": float(np.mean(known)) if known else None,
        "per_class": table,
        "confusion": matrix.tolist(),
    }


def _ratio(part, whole):
    return float(part / whole) if whole else 0.0
