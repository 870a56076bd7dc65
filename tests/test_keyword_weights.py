"""The weights that ship: their size, their promises on computed sounds, and on real recordings of speakers they never heard."""

import json
from pathlib import Path

import numpy as np
import pytest

from asm_rh import signals
from asm_rh.checkpoint import shipped_folder
from asm_rh.classifier import Classifier

ROOT = Path(__file__).parent.parent
FOLDER = shipped_folder() / "asm-rh-keywords"
KEYWORDS = {"yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go"}


@pytest.fixture(scope="module")
def classifier():
    return Classifier("asm-rh-keywords", "cpu")


def test_labels_size_and_page():
    config = json.loads((FOLDER / "config.json").read_text(encoding="utf-8"))
    assert set(config["id2label"].values()) == KEYWORDS | {"_unknown_", "_silence_"}
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 10_000_000
    assert "CC BY 4.0" in (FOLDER / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(signals.BACKGROUNDS))
def test_computed_backgrounds_are_no_keywords(classifier, name):
    random = np.random.default_rng(12345)
    sounds = [signals.BACKGROUNDS[name](random, 2.0) for _ in range(10)]
    events = [e for wave in sounds for e in classifier.windows(wave, sampling_rate=16000).events(classifier.config.threshold)]
    assert len(events) <= 1, events


STILL = {"zeros": np.zeros(16000), "click": signals.click(), "tones": signals.tones(), "constant": np.full(16000, 0.3)}


@pytest.mark.parametrize("name", STILL)
def test_silence_and_test_signals_are_no_keywords(classifier, name):
    wave = STILL[name]
    assert not classifier.windows(wave, sampling_rate=16000).events(classifier.config.threshold)


def real_test_clips(shared_data, per_class):
    pytest.importorskip("benchmarks.keywords_data")
    from benchmarks.keywords_data import speech_split

    for word in sorted(KEYWORDS):
        paths = sorted((shared_data / "speech_commands_v2_12" / word).glob("*_nohash_*"))
        held_out = [path for path in paths if speech_split(path.stem.split("_nohash_")[0], 0) == "test"]
        yield from ((word, path) for path in held_out[:: len(held_out) // per_class][:per_class])


def test_unseen_speakers_are_understood(classifier, shared_data):
    clips = list(real_test_clips(shared_data, 12))
    right = sum(classifier.predict(path, top_k=1)[0]["label"] == word for word, path in clips)
    assert len(clips) == 120
    assert right >= 0.88 * len(clips)


@pytest.mark.parametrize("gain_db", [-20, 20])
def test_microphone_gain_hardly_moves_the_scores(classifier, shared_data, gain_db):
    from asm_rh.audio import decode

    moved = []
    for _, path in real_test_clips(shared_data, 3):
        samples, rate = decode(path)
        before, after = (classifier.windows(samples * gain, sampling_rate=rate).pooled() for gain in (1.0, 10 ** (gain_db / 20)))
        moved.append(np.abs(before - after).max())
    assert np.median(moved) < 0.02
    assert np.mean(np.array(moved) > 0.3) < 0.1


def test_reported_figures_keep_the_promise():
    found = json.loads((ROOT / "benchmarks" / "results" / "keywords.json").read_text(encoding="utf-8"))
    assert found["test"]["accuracy"] >= 0.95
    assert found["test"]["accuracy_interval"][0] <= found["test"]["accuracy"] <= found["test"]["accuracy_interval"][1]
    assert np.trace(found["test"]["confusion"]) / found["test"]["clips"] == pytest.approx(found["test"]["accuracy"])
