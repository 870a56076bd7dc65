"""The comparison of kinds: every configuration can be built, runs are paired, and the tables say what the rows say."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from asm_rh.model import AudioMixer, count_parameters
from benchmarks import record, reproduce, tables
from benchmarks.reproduce import CORPORA, PAPER, PLAIN, SIZES, VARIANTS, compared, planned

DATA = Path(__file__).parent.parent.parent / "shared" / "data"


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", CORPORA)
def test_every_kind_fits_every_set_and_differs_in_nothing_else(name, variant):
    for size in SIZES:
        config, plain = (CORPORA[name].model(["a", "b"], kind, size) for kind in (variant, PLAIN))
        changed = {key for key, value in config.to_dict().items() if plain.to_dict()[key] != value}
        assert changed == {key for key in VARIANTS[variant] if plain.to_dict()[key] != VARIANTS[variant][key]}
        with torch.device("meta"):
            parameters = [count_parameters(AudioMixer(one)) for one in (config, plain)]
        if variant != "asm":
            assert parameters[0] == parameters[1], "roll and transform have no parameters"
        assert CORPORA[name].train(3, size, "cpu").seed == 3


def row(variant, seed, accuracy):
    return {"variant": variant, "seed": seed, "fold": str(seed), "accuracy": accuracy, "auc": accuracy, "protocol": "p: q"}


def test_differences_are_paired_by_run():
    """A kind that is a point better on every fold is surely better, however much the folds differ."""
    random = np.random.default_rng(0)
    folds = random.uniform(0.3, 0.9, 4)
    noise = random.normal(0, 0.002, 4)
    rows = [row(PLAIN, i, folds[i]) for i in range(4)] + [row(PAPER, i, folds[i] + 0.01 + noise[i]) for i in range(4)]
    rows += [row("asm-h", 9, 0.5)]
    found = compared(rows)
    one = found["paired_differences"][f"{PAPER} - {PLAIN}"]
    test = stats.ttest_rel(folds + 0.01 + noise, folds).confidence_interval(0.95)
    assert (one["low"], one["high"]) == pytest.approx((test.low, test.high), abs=2e-5) and one["low"] > 0 and one["runs"] == 4
    assert found["means"][PLAIN]["accuracy"]["mean"] == pytest.approx(folds.mean(), abs=1e-5)
    assert not [pair for pair in found["paired_differences"] if "asm-h" in pair], "a run that the others lack is compared with nothing"


def test_all_kinds_get_their_first_run_before_any_gets_its_second():
    found = planned({"esc10": None, "ravdess": None}, ["mixer", "asm-rh"], 3, {"esc10": ["a", "b"], "ravdess": ["c"]})
    assert [one[:2] for one in found[:4]] == [("esc10", "mixer"), ("ravdess", "mixer"), ("esc10", "asm-rh"), ("ravdess", "asm-rh")]
    assert [fold for name, variant, fold, _ in found if (name, variant) == ("esc10", "mixer")] == ["a", "b", "a"]
    assert [seed for name, variant, _, seed in found if (name, variant) == ("esc10", "mixer")] == [0, 1, 2]


def test_rows_are_kept_one_by_one_and_told(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    monkeypatch.setattr("benchmarks.figures.RESULTS", tmp_path)
    assert tables.reproduce_section() == "Not measured yet."
    for seed, (plain, paper) in enumerate([(0.50, 0.61), (0.40, 0.49), (0.60, 0.70)]):
        reproduce.keep("esc10", "tiny", row(PAPER, seed, paper))
        reproduce.keep("esc10", "tiny", row(PLAIN, seed, plain))
    kept = json.loads((tmp_path / "reproduce_esc10.json").read_text())
    assert [(r["variant"], r["seed"]) for r in kept["rows"]] == [(kind, i) for kind in (PLAIN, PAPER) for i in range(3)]
    told, ten = tables.reproduce_section(), "**+10.0 (+7.5 to +12.5)**"
    assert "| plain mixer, mean over the patches | 50.0 (25 to 75), n = 3 |" in told and f"| ASM-RH | {ten} | {ten} |" in told
    assert f"- both against the plain mixer: better on 1 of 1 sets; over all 3 runs {ten} points: better" in told
    reproduce.keep("ravdess", "tiny", row(PAPER, 0, 0.2))
    reproduce.keep("ravdess", "tiny", row(PLAIN, 0, 0.4))
    found = {name: json.loads((tmp_path / f"reproduce_{name}.json").read_text()) for name in ("esc10", "ravdess")}
    every = tables.pooled(found, PAPER, PLAIN)
    differences = np.array([0.11, 0.09, 0.10, -0.20])
    assert every["runs"] == 4 and every["mean"] == pytest.approx(differences.mean(), abs=1e-5)
    assert every["high"] - every["mean"] == pytest.approx(stats.t.ppf(0.975, 3) * stats.sem(differences), abs=2e-5)
    assert "not told apart" in tables.reproduce_section()
    again = reproduce.checked({**row(PLAIN, 1, 0.45), "clips": 80}, "esc10", "tiny")
    assert "0.4500" in again and "kept 0.4000" in again


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the recordings in ../shared/data")
@pytest.mark.parametrize("name", CORPORA)
def test_no_speaker_or_source_is_on_two_sides_of_a_comparison(name):
    for fold in CORPORA[name].folds(DATA):
        groups = {split: {clip.group for clip in fold.clips if clip.split == split} for split in ("train", "valid", "test")}
        shared = groups["train"] & groups["test"] | groups["valid"] & groups["test"] | groups["train"] & groups["valid"]
        assert bool(shared) == fold.leaky == (name == "ravdess-random")
        assert "_silence_" not in {clip.label for clip in fold.clips}
