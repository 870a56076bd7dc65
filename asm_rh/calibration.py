"""What a score is worth: how often it is right, and from which score on it may be believed; numpy in, plain numbers out."""

import numpy as np

from .metrics import membership, ranking, ratio, reached, wilson_interval

BINS = 15
STEPS = tuple(round(0.05 * i, 2) for i in range(1, 20))  # thresholds at which claims are counted


def calibration(truth, scores, bins: int = BINS) -> dict:
    """Expected calibration error and the reliability curve behind it: {"ece", "ece_equal_mass", "bins"}.

    truth and scores as of `metrics.summarise`, scores from 0 to 1. Where a clip has one label, its highest score is compared with whether
    that answer is right; where it may have several, every score with whether the label is there.
    """
    certainty, right = claims(truth, scores)
    rows = reliability(certainty, right, bins)
    return {"ece": error(rows), "ece_equal_mass": error(reliability(certainty, right, bins, equal_mass=True)), "bins": rows}


def claims(truth, scores) -> tuple[np.ndarray, np.ndarray]:
    """(certainty, right), both (M,): the top score of each clip, or every score where clips may have several labels."""
    truth, scores = np.asarray(truth), np.asarray(scores, float)
    if scores.size and not -1e-6 <= scores.min() <= scores.max() <= 1 + 1e-6:
        raise ValueError(f"scores: got {scores.min():g} to {scores.max():g}, expected 0 to 1: calibration is about probabilities")
    if truth.ndim == 2:
        return scores.ravel(), membership(truth, scores.shape[1]).ravel()
    return scores.max(1), scores.argmax(1) == truth


def reliability(certainty, right, bins: int = BINS, equal_mass: bool = False) -> list[dict]:
    """Per bin of certainty: its edges, how many, their mean certainty, the share that was right with its 95 % interval.

    certainty (M,) from 0 to 1, right (M,) 0 or 1. Bins are equally wide, a value on an edge belongs below it; or, `equal_mass`, hold
    equally many, equal values together. What an empty bin cannot say is None.
    """
    certainty, right = np.asarray(certainty, float), np.asarray(right, bool)
    edges = np.linspace(0, 1, bins + 1)
    if equal_mass:
        inner = np.sort(certainty)[np.arange(1, bins) * len(certainty) // bins] if len(certainty) else edges[1:-1]
        edges = np.concatenate([[0.0], np.unique(inner), [1.0]])
    place = np.searchsorted(edges[1:-1], certainty)
    count = np.bincount(place, minlength=len(edges) - 1)
    total = np.bincount(place, weights=certainty, minlength=len(count))
    hits = np.bincount(place, weights=right, minlength=len(count)).astype(int)
    return [_bin(*row) for row in zip(edges[:-1].tolist(), edges[1:].tolist(), count.tolist(), total.tolist(), hits.tolist())]


def error(rows) -> float:
    """Expected calibration error: how far certainty and the share of right answers are apart, a mean over what is in the bins."""
    full = [row for row in rows if row["count"]]
    whole = sum(row["count"] for row in full)
    return float(sum(row["count"] * abs(row["right"] - row["score"]) for row in full) / whole) if whole else 0.0


def thresholds_for(truth, scores, labels, precision: float) -> list[dict]:
    """Per class, the lowest threshold at which at least that share of what it claims is right, on these clips.

    truth and scores as of `metrics.summarise`. {"label", "threshold", "precision", "precision_interval", "recall", "claimed", "right"}; all
    None, and 0 claimed, where no threshold is high enough or the class does not occur. Raises ValueError for a precision outside 0..1.
    """
    if not 0 < precision <= 1:
        raise ValueError(f"precision: got {precision!r}, expected a share above 0 and at most 1")
    there = membership(truth, len(labels))
    return [_threshold(label, yes, column, precision) for label, yes, column in zip(labels, there.T, np.asarray(scores, float).T)]


def by_threshold(truth, scores, thresholds=STEPS, columns=None) -> list[dict]:
    """What reporting every class from a threshold on would give: {"threshold", "claimed", "right", "precision", "recall"} each.

    Claims of all classes together, or of those numbered in `columns`; a clip may be claimed for several. Precision is None without a claim,
    recall without anything to find.
    """
    scores = np.asarray(scores)
    there = membership(truth, scores.shape[1])
    if columns is not None:
        scores, there = scores[:, columns], there[:, columns]
    wanted, found = int(there.sum()), []
    for threshold in thresholds:
        claimed = reached(scores, threshold)
        count, right = int(claimed.sum()), int((claimed & there).sum())
        row = {"threshold": float(threshold), "claimed": count, "right": right}
        found.append({**row, "precision": right / count if count else None, "recall": right / wanted if wanted else None})
    return found


def _bin(low, high, count, total, hits):
    row = {"low": low, "high": high, "count": count}
    if not count:
        return {**row, "score": None, "right": None, "interval": None}
    return {**row, "score": total / count, "right": hits / count, "interval": list(wilson_interval(hits, count))}


def _threshold(label, there, scores, precision):
    claimed, hits, at = ranking(there, scores)
    enough = np.flatnonzero(hits / claimed >= precision)
    if not len(enough):
        names = ("threshold", "precision", "precision_interval", "recall")
        return {"label": label, **dict.fromkeys(names), "claimed": 0, "right": 0}
    lowest = enough[-1]
    count, right = int(claimed[lowest]), int(hits[lowest])
    return {
        "label": label, "threshold": float(at[lowest]), "precision": right / count,
        "precision_interval": list(wilson_interval(right, count)), "recall": ratio(right, int(hits[-1])), "claimed": count, "right": right,
    }  # fmt: skip
