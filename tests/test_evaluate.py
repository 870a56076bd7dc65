"""Judging on labelled clips: the same scores that users get, and the errors of data that does not fit."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from asm_rh.audio import decode
from asm_rh.classifier import Classifier
from asm_rh.config import FrontendConfig, ModelConfig
from asm_rh.datasets import Clip, DataError
from asm_rh.evaluate import clip_scores, evaluate
from asm_rh.model import AudioMixer

RATE = 16_000
LABELS = ("no", "yes", "up")
MODEL = ModelConfig(
    labels=LABELS, window_seconds=0.5, frames=48, patch=(16, 16), stride=(16, 16), width=32, depth=2, token_hidden=16,
    channel_hidden=32, roll="grid", frontend=FrontendConfig(bands=32),
)  # fmt: skip


@pytest.fixture(scope="module")
def classifier():
    torch.manual_seed(0)
    model = AudioMixer(MODEL)
    with torch.no_grad():
        model.head[1].weight.mul_(30)  # untrained scores are nearly equal: make them differ
    return Classifier(model, "cpu")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Twelve files of half a second to two seconds, of four speakers."""
    folder, random = tmp_path_factory.mktemp("clips"), np.random.default_rng(0)
    found = []
    for i in range(12):
        seconds = [0.5, 1.3, 2.0][i % 3]
        colour = (
            np.cumsum(random.standard_normal(round(seconds * RATE)))
            if i % 2
            else random.standard_normal(round(seconds * RATE))
        )
        path = folder / f"{i}.wav"
        soundfile.write(path, 0.3 * colour / np.abs(colour).max(), RATE)
        found.append(Clip(path, LABELS[i % 3], f"speaker{i % 4}"))
    return found


def test_figures_are_those_of_the_scores_that_users_get(classifier, clips):
    found = evaluate(classifier, clips)
    scores = np.stack([classifier.windows(clip.path).pooled() for clip in clips])
    truth, predicted = [LABELS.index(clip.label) for clip in clips], scores.argmax(1)
    assert len(set(predicted)) > 1, "or the figures prove nothing"
    assert found["accuracy"] == pytest.approx(accuracy_score(truth, predicted))
    assert found["macro_f1"] == pytest.approx(f1_score(truth, predicted, average="macro"))
    assert found["confusion"] == confusion_matrix(truth, predicted, labels=range(3)).tolist()
    assert found["labels"] == list(LABELS) and found["clips"] == 12 and found["groups"] == 4 and found["skipped"] == []
    json.dumps(found, allow_nan=False)


def test_unreadable_files_are_listed_and_not_counted(classifier, clips, tmp_path):
    (tmp_path / "text.wav").write_text("not sound")
    found = evaluate(classifier, [*clips[:4], Clip(tmp_path / "text.wav", "no", "stranger")])
    assert found["clips"] == 4 and found["groups"] == 4
    assert len(found["skipped"]) == 1 and "text.wav" in found["skipped"][0]
    whole = evaluate(classifier, clips[:4])
    assert {k: v for k, v in found.items() if k != "skipped"} == {k: v for k, v in whole.items() if k != "skipped"}


def test_only_the_marked_stretch_is_judged(classifier, clips, tmp_path):
    samples, _ = decode(clips[2].path)
    soundfile.write(tmp_path / "part.wav", samples[8000:20000], RATE, subtype="FLOAT")
    part = classifier.windows(tmp_path / "part.wav").pooled()
    rest = classifier.windows(samples[8000:], sampling_rate=RATE).pooled()
    whole = classifier.windows(clips[2].path).pooled()
    assert len({scores.tobytes() for scores in (part, rest, whole)}) == 3, "or this proves nothing"
    marked = Clip(clips[2].path, "up", "g", start=0.5, end=1.25)
    np.testing.assert_array_equal(clip_scores(classifier, marked), part)
    np.testing.assert_array_equal(clip_scores(classifier, Clip(clips[2].path, "up", "g", start=0.5)), rest)
    np.testing.assert_array_equal(clip_scores(classifier, clips[2]), whole)
    found = evaluate(classifier, [marked])
    assert found["confusion"][2][part.argmax()] == 1 and found["auc"] is None


def test_progress_sees_every_clip(classifier, clips):
    seen = []
    evaluate(classifier, clips[:3], progress=lambda items: (seen.append(item) or item for item in items))
    assert seen == clips[:3]


def test_labels_the_model_does_not_know_are_named_before_any_work(classifier, clips):
    strange = Clip(Path("nowhere.wav"), "cat", "g")
    with pytest.raises(DataError, match=r"labels \['cat'\] that the model does not know: its labels are .*yes"):
        evaluate(classifier, [*clips, strange])


def test_nothing_to_judge_is_an_error(classifier, tmp_path):
    with pytest.raises(DataError, match="no clips in this split"):
        evaluate(classifier, [])
    with pytest.raises(DataError, match=r"none of 1 clips could be judged; the first: .*gone\.wav"):
        evaluate(classifier, [Clip(tmp_path / "gone.wav", "no", "g")])
