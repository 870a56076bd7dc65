"""A model for each fold and seed: every clip is judged by a model that never met it, once, and the mean says how sure it is."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from test_train import GENTLE, MODEL, SHORT, cache_of, quiet, waves

from asm_rh import crossval
from asm_rh.crossval import cross_validate, mean_interval, summary, told
from asm_rh.datasets import Clip
from asm_rh.protocols import folds
from asm_rh.train import best_model, judge_cache

CONFIG = replace(SHORT, epochs=2, batch_size=8, augment=GENTLE)


@pytest.fixture(scope="module")
def data():
    """Ninety clips of fifteen speakers, five for each label, and their folds."""
    sounds, labels = waves(90, seed=3)
    cache = cache_of(sounds, labels)
    cache.group = np.array([f"speaker{i // 3 % 15}" for i in range(90)])
    cache.clip = np.array([f"clip{i}" for i in range(90)])
    clips = [Clip(Path(name), label, group) for name, label, group in zip(cache.clip, cache.label, cache.group)]
    return cache, folds(clips, 3, valid_share=0.2)


def prepared(cache):
    return MODEL, cache


@pytest.fixture(scope="module")
def done(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("folds")
    return folder, cross_validate(data[1], [0, 5], data[0], prepared, CONFIG, folder, report=quiet)


def test_every_clip_is_tested_once_by_each_seed_and_never_trained_on(data, done):
    folder, found = done
    assert found["folds"] == 3 and found["seeds"] == 2 and not found["leaky"] and len(found["runs"]) == 6
    assert sum(run["clips"] for run in found["runs"]) == 2 * 90
    for fold in data[1]:
        table = (folder / f"fold-{fold.name}" / "seed-5" / "split.csv").read_text().splitlines()
        assert table[0] == "file,start,end,label,group,split" and len(table) == 91
        groups = {split: {line.split(",")[4] for line in table[1:] if line.endswith(split)} for split in ("train", "valid", "test")}
        assert not groups["train"] & groups["test"] and not groups["train"] & groups["valid"] and not groups["valid"] & groups["test"]
        assert "torch 2." in (folder / f"fold-{fold.name}" / "seed-5" / "environment.txt").read_text()


def test_a_runs_figures_are_those_of_its_best_weights_on_its_own_test_part(data, done):
    folder, _ = done
    cache, (first, *_) = data
    told_by = json.loads((folder / f"fold-{first.name}" / "seed-0" / "metrics.json").read_text())
    cache.assign({clip.name: clip.split for clip in first.clips})
    truth, scores, _ = judge_cache(best_model(folder / f"fold-{first.name}" / "seed-0"), cache.of_split("test"), CONFIG)
    assert told_by["accuracy"] == pytest.approx(np.mean(scores.argmax(1) == truth)) and told_by["split"] == "test"
    assert told_by["protocol"] == first.protocol and told_by["seed"] == 0 and told_by["leaky"] is False


def test_the_summary_is_the_mean_with_students_interval(done):
    folder, found = done
    values = [run["accuracy"] for run in found["runs"]]
    low, high = stats.t.interval(0.95, 5, loc=np.mean(values), scale=stats.sem(values))
    assert found["accuracy"] == pytest.approx({"mean": np.mean(values), "low": low, "high": high})
    assert json.loads((folder / "summary.json").read_text()) == found
    assert told(found).splitlines()[-1] == found["protocol"] and "95 % interval of the mean" in told(found)


def test_what_is_finished_is_kept_and_what_was_interrupted_goes_on(data, done, tmp_path, monkeypatch):
    cache, found = data
    trained = []
    fit = crossval.fit

    def counting(*args, **settings):
        trained.append(args[4].name)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return fit(*args, **settings)

    monkeypatch.setattr(crossval, "fit", counting)
    with pytest.raises(KeyboardInterrupt):
        cross_validate(found, [0, 5], cache, prepared, CONFIG, tmp_path, report=quiet)
    assert cross_validate(found, [0, 5], cache, prepared, CONFIG, tmp_path, resume=True, report=quiet) == done[1]
    assert len(trained) == 2 + 5, "the first run was not trained again"
    with pytest.raises(ValueError, match="holds a run already"):
        cross_validate(found, [0], cache, prepared, CONFIG, tmp_path, report=quiet)


def test_a_leaky_split_says_so_wherever_it_is_told(data, tmp_path):
    cache, (first, *_) = data
    leaky = folds([replace(clip, split=None) for clip in first.clips], 3, random_split=True)[:1]
    found = cross_validate(leaky, [0], cache, prepared, replace(CONFIG, epochs=1), tmp_path, report=quiet)
    assert found["leaky"] and "leaky" in told(found) and "leaky, paper-style" in found["protocol"]
    assert json.loads((tmp_path / f"fold-{leaky[0].name}" / "seed-0" / "metrics.json").read_text())["leaky"] is True


def test_the_interval_of_a_mean_by_hand():
    mean, low, high = mean_interval([0.8, 0.9])  # t(0.975, 1) = 12.706, standard error 0.05
    assert mean == pytest.approx(0.85) and (low, high) == pytest.approx((0.85 - 12.7062 * 0.05, 0.85 + 12.7062 * 0.05), rel=1e-4)
    assert mean_interval([0.7]) == (0.7, None, None)
    assert not math.isnan(mean_interval([0.5, 0.5])[1])


def test_a_figure_that_one_run_lacks_is_left_out():
    row = {"fold": "1", "seed": 0, "protocol": "p: q", "leaky": False, "clips": 3, "accuracy": 0.5, "macro_f1": 0.5, "auc": None}
    found = summary([row, {**row, "seed": 1}])
    assert "auc" not in found and found["protocol"] == "p: q"
