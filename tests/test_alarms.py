"""False alarms per hour: what files and live would report, counted; and how sure so short a time can be."""

import json

import numpy as np
import pytest
import soundfile
import torch
from scipy.stats import chi2

from asm_rh.alarms import THRESHOLDS, count_events, false_alarms, poisson_interval
from asm_rh.classifier import Classifier
from asm_rh.config import FrontendConfig, ModelConfig
from asm_rh.model import AudioMixer
from asm_rh.scores import WindowScores
from asm_rh.speed import cpu_milliseconds

RATE = 16_000
MODEL = ModelConfig(
    labels=("no", "yes", "_silence_"), window_seconds=0.5, frames=48, patch=(16, 16), stride=(16, 16), width=32, depth=1, token_hidden=16,
    channel_hidden=32, roll="grid", frontend=FrontendConfig(bands=32), threshold=0.45,
)  # fmt: skip


@pytest.fixture(scope="module")
def classifier():
    torch.manual_seed(0)
    model = AudioMixer(MODEL)
    with torch.no_grad():
        model.head[1].weight.mul_(30)
    return Classifier(model, "cpu")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two recordings, hiss and rumble, of 4.3 and 2 seconds."""
    folder, random = tmp_path_factory.mktemp("background"), np.random.default_rng(0)
    for name, seconds, colour in (("hiss.wav", 4.3, lambda w: w), ("rumble.wav", 2.0, np.cumsum)):
        wave = colour(random.standard_normal(round(seconds * RATE)))
        soundfile.write(folder / name, 0.3 * wave / np.abs(wave).max(), RATE)
    return [folder / "hiss.wav", folder / "rumble.wav"]


def test_events_are_those_of_files_per_hour_of_sound(classifier, files):
    found = false_alarms(classifier, files)
    events = [e for path in files for e in classifier.windows(path, hop_seconds=0.125).events(threshold=0.45)]
    assert events, "or this proves nothing"
    assert found["threshold"] == 0.45 and found["hop_seconds"] == 0.125 and found["events"] == len(events)
    assert found["hours"] == pytest.approx(6.3 / 3600) and found["per_hour"] == pytest.approx(len(events) * 3600 / 6.3)
    assert sum(found["labels"].values()) == len(events) and "_silence_" not in found["labels"]
    assert [row["threshold"] for row in found["curve"]] == list(THRESHOLDS) and THRESHOLDS[0] == 0.3 and THRESHOLDS[-1] == 0.95
    assert [row["file"] for row in found["files"]] == ["hiss.wav", "rumble.wav"]
    assert sum(row["events"] for row in found["files"]) == len(events)
    json.dumps(found, allow_nan=False)


def test_settings_and_samples_are_taken_as_given(classifier, files):
    waves = [(RATE, soundfile.read(path)[0]) for path in files]
    found = false_alarms(classifier, waves, hop_seconds=0.25, threshold=0.6, curve=(0.6, 0.9))
    assert found["hop_seconds"] == 0.25 and found["threshold"] == 0.6
    assert found["curve"][0]["events"] == found["events"] == false_alarms(classifier, files, 0.25, 0.6)["events"]


def test_what_cannot_be_read_is_listed_and_settings_that_cannot_be_are_errors(classifier, files, tmp_path):
    (tmp_path / "text.wav").write_text("not sound")
    found = false_alarms(classifier, [files[1], tmp_path / "text.wav", tmp_path / "gone.wav"])
    assert len(found["files"]) == 1 and len(found["skipped"]) == 2 and "text.wav" in found["skipped"][0]
    with pytest.raises(ValueError, match="no background to count false alarms on; the first: .*text.wav"):
        false_alarms(classifier, [tmp_path / "text.wav"])
    with pytest.raises(ValueError, match="got no sound"):
        false_alarms(classifier, [])
    for hop in (0, -1, 0.6, float("nan")):
        with pytest.raises(ValueError, match="hop_seconds: got .*at most the window of 0.5 s"):
            false_alarms(classifier, files, hop)


def test_counting_by_hand():
    scores = np.array([[0.9, 0.1], [0.1, 0.9], [0.9, 0.1], [0.1, 0.2]], np.float32)
    heard = WindowScores(np.arange(4) * 900.0, (np.arange(4) + 1) * 900.0, scores, ("a", "b"))
    found = count_events([heard], 0.5)
    assert found["hours"] == 1 and found["events"] == found["per_hour"] == 3
    assert found["labels"] == {"a": 2, "b": 1} and found["labels_per_hour"] == {"a": 2.0, "b": 1.0}
    assert count_events([heard, heard], 0.5)["per_hour"] == 3 and count_events([heard], 0.95)["per_hour"] == 0


@pytest.mark.parametrize("count", [0, 1, 2, 7, 59, 1000, 20_000])
def test_the_interval_of_a_count_equals_scipys(count):
    low, high = poisson_interval(count)
    assert low == pytest.approx(chi2.ppf(0.025, 2 * count) / 2 if count else 0.0, rel=1e-6)
    assert high == pytest.approx(chi2.ppf(0.975, 2 * count + 2) / 2, rel=1e-6)


def test_milliseconds_are_told_for_each_number_of_threads_and_the_threads_are_put_back(classifier):
    before = torch.get_num_threads()
    found = cpu_milliseconds(classifier, threads=(1, before + 1))
    assert list(found["milliseconds"]) == ["1", str(before + 1)] and min(found["milliseconds"].values()) > 0 and found["cores"] >= 1
    assert torch.get_num_threads() == before
