"""An evaluation as files: the numbers, the tables, the page."""

import csv
import io
import json

import numpy as np

from .eval_page import eval_page
from .evaluate import Judged, labels_of, predictions, short_name
from .metrics import reached
from .words import shown

NAMES = (
    "metrics.json", "per_class.csv", "confusion_matrix.csv", "thresholds.json", "predictions.csv", "reliability.csv", "false_alarms.csv",
    "report.html",
)  # fmt: skip
MOST_MISTAKES = 20


def eval_files(judged: Judged, found: dict, roots=()) -> dict[str, bytes]:
    """Every file of a report by name, out of the clips judged and their figures; clips are named from the folders `roots`.

    There is no confusion matrix where clips may have several labels, and no table of false alarms where none were counted.
    """
    wanted = {row["label"]: row for row in found["thresholds"]["per_class"]}
    per_class = [{**row, "threshold": wanted[row["label"]]["threshold"]} for row in found["per_class"]]
    files = {
        "metrics.json": as_json(found), "per_class.csv": as_csv(per_class), "thresholds.json": as_json(thresholds(found)),
        "predictions.csv": as_csv(predictions(judged, roots)), "reliability.csv": as_csv(map(_flat, found["calibration"]["bins"])),
        "report.html": eval_page(found, mistakes(judged, roots)),
    }  # fmt: skip
    if found.get("confusion"):
        files["confusion_matrix.csv"] = matrix_csv(found["labels"], found["confusion"])
    if found.get("false_alarms"):
        curve = found["false_alarms"]["curve"]
        files["false_alarms.csv"] = as_csv([_flat({k: v for k, v in row.items() if not k.startswith("labels")}) for row in curve])
    return {name: text.encode() for name, text in files.items()}


def thresholds(found: dict) -> dict:
    """{"precision", "thresholds", "per_class"}; the second is what `EventSettings` takes, without classes no threshold is right for."""
    rows = found["thresholds"]["per_class"]
    usable = {row["label"]: row["threshold"] for row in rows if row["threshold"] is not None}
    return {"precision": found["thresholds"]["precision"], "thresholds": usable, "per_class": rows}


def mistakes(judged: Judged, roots=(), most: int = MOST_MISTAKES) -> list[dict]:
    """The mistakes of which the model was surest, the surest first: {"file", "label", "what", "score"}.

    Of one label those with the highest score; of several, labels that were claimed and are not there, or are there with a low score.
    """
    names = [short_name(clip, roots) for clip in judged.clips]
    found = [
        (certainty, {"file": names[i], "label": _words(labels_of(judged, judged.clips[i])), "what": what, "score": score})
        for i, what, score, certainty in (_several(judged) if judged.several else _single(judged))
    ]
    return [row for _, row in sorted(found, key=lambda pair: -pair[0])[:most]]


def as_json(found) -> str:
    """JSON as people read it, without NaN."""
    return json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def as_csv(rows) -> str:
    """A table with a head; what is not known is empty."""
    rows = list(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def matrix_csv(labels, matrix) -> str:
    """A confusion matrix with the labels before its rows and above its columns."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([["there", *labels], *([label, *row] for label, row in zip(labels, matrix))])
    return text.getvalue()


def _single(judged):
    for i, (truth, scores) in enumerate(zip(judged.truth, judged.scores)):
        best = int(scores.argmax())
        if best != truth:
            yield i, f"heard {shown(judged.labels[best])}", float(scores[best]), float(scores[best])


def _several(judged):
    claimed = reached(judged.scores, judged.threshold)
    for i, j in np.argwhere(claimed != judged.truth.astype(bool)).tolist():
        score, name = float(judged.scores[i, j]), shown(judged.labels[j])
        yield (i, f"heard {name}", score, score) if claimed[i, j] else (i, f"missed {name}", score, 1 - score)


def _words(labels):
    return ", ".join(shown(label) for label in labels)


def _flat(row):
    """An interval as two columns."""
    low, high = row["interval"] or (None, None)
    return {**{key: value for key, value in row.items() if key != "interval"}, "interval_low": low, "interval_high": high}
