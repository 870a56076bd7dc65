"""Judging on labelled clips: the same scores that users get, and the errors of data that does not fit."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from sklearn.metrics import accuracy_score, average_precision_score, confusion_matrix, f1_score

from asm_rh.audio import decode
from asm_rh.classifier import Classifier
from asm_rh.config import FrontendConfig, ModelConfig
from asm_rh.datasets import Clip, DataError
from asm_rh.evaluate import clip_scores, evaluate, figures, judge, predictions, short_name
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


# ---------------------------------------------------------------------------------------------- more than the summary


def test_what_is_said_of_every_clip_is_kept_on_demand(classifier, clips):
    found = evaluate(classifier, clips, keep=True)
    for row, clip in zip(found["predictions"], clips, strict=True):
        best = classifier.predict(clip.path, top_k=1)[0]
        assert row == {"file": str(clip.path), "label": clip.label, "predicted": best["label"], "score": best["score"], "group": clip.group}
    assert "predictions" not in evaluate(classifier, clips[:2])


def test_groups_are_counted_by_class_and_by_size(classifier, clips):
    found = evaluate(classifier, [*clips, clips[0]])
    assert found["clips_per_group"] == {"least": 3, "median": 3.0, "most": 4}
    for row in found["per_class"]:
        assert row["groups"] == len({clip.group for clip in clips if clip.label == row["label"]})


def test_thresholds_calibration_and_the_models_own_threshold_are_told(classifier, clips):
    found = evaluate(classifier, clips, precision=0.5)
    judged = judge(classifier, clips)
    assert found["thresholds"]["precision"] == 0.5 and [row["label"] for row in found["thresholds"]["per_class"]] == list(LABELS)
    claimed = judged.scores >= np.float32(MODEL.threshold)
    assert found["at_threshold"]["threshold"] == MODEL.threshold and found["at_threshold"]["claimed"] == claimed.sum()
    certainty, right = judged.scores.max(1), judged.scores.argmax(1) == judged.truth
    assert sum(row["count"] for row in found["calibration"]["bins"]) == 12
    assert sum(row["count"] * row["right"] for row in found["calibration"]["bins"] if row["count"]) == pytest.approx(right.sum())
    assert max(row["high"] for row in found["calibration"]["bins"] if row["count"]) >= certainty.max()


def test_background_labels_are_not_claims(clips):
    torch.manual_seed(0)
    quiet = Classifier(AudioMixer(MODEL.replace(labels=("no", "yes", "_silence_"))), "cpu")
    found = judge(quiet, [c for c in clips if c.label != "up"])
    assert found.columns == [0, 1]
    assert figures(found)["by_threshold"][0]["claimed"] == 2 * len(found.clips), "every clip for no and for yes, none for silence"


def test_the_protocol_and_its_leak_are_passed_on(classifier, clips):
    found = evaluate(classifier, clips, protocol="five official folds", leaky=True)
    assert found["protocol"] == "five official folds" and found["leaky"] is True
    assert evaluate(classifier, clips, protocol="by speaker")["leaky"] is False
    assert not {"protocol", "leaky"} & set(evaluate(classifier, clips[:2]))


def test_names_begin_at_the_data_folder(tmp_path, monkeypatch):
    clip = Clip(tmp_path / "sounds" / "dog" / "1.wav", "dog", "g", start=0.5, end=1.0)
    assert short_name(clip, [tmp_path / "other", tmp_path / "sounds"]) == "sounds/dog/1.wav#0.5-1"
    assert short_name(clip) == clip.name
    monkeypatch.chdir(tmp_path)
    assert short_name(Clip(Path("dog/1.wav"), "dog", "g"), [Path(".")]) == f"{tmp_path.name}/dog/1.wav"


# ---------------------------------------------------------------------------------------------- several labels


@pytest.fixture(scope="module")
def mixed():
    """A model whose scores stand each for itself."""
    torch.manual_seed(0)
    model = AudioMixer(MODEL.replace(output="sigmoid"))
    with torch.no_grad():
        model.head[1].weight.mul_(30)
    return Classifier(model, "cpu")


@pytest.fixture
def several(clips):
    """The same files, every third with two labels."""
    return [Clip(c.path, f"{c.label};{LABELS[(i + 1) % 3]}" if i % 3 == 0 else c.label, c.group) for i, c in enumerate(clips)]


def test_several_labels_are_judged_one_by_one(mixed, several):
    found = evaluate(mixed, several, keep=True)
    scores = np.stack([mixed.windows(clip.path).pooled() for clip in several])
    truth = np.array([[label in clip.labels for label in LABELS] for clip in several])
    claimed = scores >= MODEL.threshold
    assert 0 < claimed.sum() < claimed.size, "or the figures prove nothing"
    assert found["multi_label"] and "confusion" not in found
    assert found["subset_accuracy"] == accuracy_score(truth, claimed)
    assert found["micro_f1"] == pytest.approx(f1_score(truth, claimed, average="micro"))
    assert found["macro_f1"] == pytest.approx(f1_score(truth, claimed, average="macro", zero_division=0))
    assert found["map"] == pytest.approx(average_precision_score(truth, scores, average="macro"))
    assert sum(row["count"] for row in found["calibration"]["bins"]) == 36
    assert [row["predicted"] for row in found["predictions"]] == [";".join(np.array(LABELS)[row]) for row in claimed]
    assert [row["groups"] for row in found["per_class"]] == [len({c.group for c in several if label in c.labels}) for label in LABELS]
    json.dumps(found, allow_nan=False)


def test_one_label_each_is_one_answer_whatever_the_output(mixed, clips):
    found = evaluate(mixed, clips)
    assert "multi_label" not in found and len(found["confusion"]) == 3
    assert [row["predicted"] for row in predictions(judge(mixed, clips))].count("no") == sum(row[0] for row in found["confusion"])


def test_several_labels_need_scores_that_do_not_exclude_one_another(classifier, mixed, several):
    with pytest.raises(DataError, match=r"0.wav has several labels, 'no;yes', .* exclude one another \(softmax\).*output sigmoid"):
        evaluate(classifier, several)
    with pytest.raises(DataError, match=r"labels \['cat'\] that the model does not know"):
        evaluate(mixed, [*several, Clip(Path("nowhere.wav"), "no;cat", "g")])
