"""Clips that were judged by nobody: random truth and scores, for the report's tests."""

from pathlib import Path

import numpy as np

from asm_rh.datasets import Clip
from asm_rh.evaluate import Judged, figures


def one_label(labels, clips=200, missing=0, background=(), root="sounds"):
    """A judgement in which most of the clips are right, without the last `missing` classes."""
    random = np.random.default_rng(len(labels))
    truth = random.integers(0, len(labels) - missing, clips)
    strength = 3 * random.random((clips, len(labels)))
    strength[np.arange(clips), truth] += 2
    scores = np.exp(strength - strength.max(1, keepdims=True))
    scores = (scores / scores.sum(1, keepdims=True)).astype(np.float32)
    found = [Clip(Path(root) / f"{t}" / f"clip {i}.wav", labels[t], f"speaker{i % 9}") for i, t in enumerate(truth)]
    return Judged(tuple(labels), 0.5, tuple(background), found, truth, scores)


def several_labels(labels, clips=150):
    """A judgement of clips with several labels."""
    random = np.random.default_rng(1)
    truth = random.random((clips, len(labels))) < 0.4
    truth[~truth.any(1), 0] = True
    scores = np.clip(0.4 * truth + 0.6 * random.random(truth.shape), 0, 1).astype(np.float32)
    found = [Clip(Path(f"{i}.wav"), ";".join(np.array(labels)[row]), f"source{i % 20}") for i, row in enumerate(truth)]
    return Judged(tuple(labels), 0.5, (), found, truth, scores)


def told(judged, **more):
    """What metrics.json would hold."""
    cpu = {"cores": 2, "milliseconds": {"1": 6.4, "2": 4.2}}
    return {"model": "owls", "data": ["sounds"], "split": "test", **figures(judged), "cpu": cpu, **more}


def noise(events=(40, 3, 0)):
    """Counts of false alarms over three thresholds."""
    curve = [
        {"threshold": at, "events": n, "per_hour": 2.0 * n, "interval": [1.0 * n, 4.0 * n + 7], "labels": {}, "labels_per_hour": {}}
        for at, n in zip((0.3, 0.6, 0.9), events)
    ]
    own = {**curve[1], "labels": {"no": 3}, "labels_per_hour": {"no": 6.0}}
    files = [{"file": "street <1>.wav", "seconds": 1800.0, "events": 3}]
    return {"hop_seconds": 0.25, **own, "threshold": 0.6, "hours": 0.5, "files": files, "curve": curve, "skipped": ["x.wav: not sound"]}
