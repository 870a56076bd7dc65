"""Training: it learns, it goes on after an interruption to the same bits, and every promise of the schedule is kept."""

import csv
import json
import math
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from interrupts import interrupt_at
from safetensors.torch import load_file
from scipy import stats

from asm_rh import train as room
from asm_rh.augment import AugmentConfig
from asm_rh.classifier import Classifier
from asm_rh.config import FrontendConfig, ModelConfig
from asm_rh.datasets import DataError
from asm_rh.feature_cache import FeatureCache, raw_settings
from asm_rh.frontends import LogMel
from asm_rh.model import AudioMixer
from asm_rh.train import History, Run, TrainConfig, best_model, fit, learning_rate, parameter_groups, progress_line
from asm_rh.transfer import Transfer

RATE = 16_000
LABELS = ("hiss", "tone", "_silence_")
MODEL = ModelConfig(
    labels=LABELS, window_seconds=0.5, frames=48, patch=(16, 16), stride=(16, 16), width=32, depth=2, token_hidden=16,
    channel_hidden=32, roll="grid", drop_path=0.2, frontend=FrontendConfig(bands=32, centre=True, mean=0.0, std=2.1),
)  # fmt: skip
NO_CHANGE = AugmentConfig(
    gain_db=0, shift_frames=0, stretch=0, warp=0, noise_probability=0, time_masks=0, band_masks=0, mixup_probability=0
)
GENTLE = AugmentConfig(gain_db=10, noise_probability=0.2, time_mask=0.1, band_mask=0.1)
SHORT = TrainConfig(epochs=3, batch_size=4, warmup_epochs=0.5, learning_rate=3e-3, average_decay=0.9, bf16=False)
PLAIN = replace(SHORT, augment=NO_CHANGE)


def quiet(line):
    """Reports to nobody."""


def waves(rows, seed, level=0.05):
    """Tones, hiss and quiet hum of half a second, and their labels."""
    random = np.random.default_rng(seed)
    time = np.arange(RATE // 2) / RATE
    found, labels = [], []
    for i in range(rows):
        label = LABELS[i % 3]
        background = random.standard_normal(len(time)) * level
        tone = np.sin(2 * np.pi * random.uniform(900, 1200) * time) * 0.3
        hum = np.sin(2 * np.pi * 50 * time) * 0.01
        found.append({"hiss": background * 5, "tone": tone + background, "_silence_": hum + background * 0.01}[label])
        labels.append(label)
    return np.stack(found).astype(np.float32), np.array(labels)


def cache_of(sounds, labels, split="train", **columns):
    with torch.inference_mode():
        features = LogMel(MODEL.frontend, RATE)(torch.from_numpy(sounds)).half().numpy()
    groups = np.array([f"{split}{i}" for i in range(len(labels))])
    return FeatureCache(features, labels, groups, np.full(len(labels), split), frontend=raw_settings(MODEL), **columns)


@pytest.fixture(scope="module")
def data():
    """A training cache of 100 clips and a validation cache of 30."""
    return cache_of(*waves(100, seed=0)), cache_of(*waves(30, seed=1), "valid")


@pytest.fixture(scope="module")
def straight(data, tmp_path_factory):
    """A run that nobody interrupts, with every source of chance switched on."""
    folder = tmp_path_factory.mktemp("straight")
    return fit(MODEL, *data, CHANCY, folder, report=quiet)


CHANCY = replace(SHORT, augment=AugmentConfig(mixup_probability=0.5), clips_per_epoch=100)


def state_of(folder):
    return torch.load(folder / "last.ckpt", weights_only=True)


def same_numbers(first, second):
    """Nested dicts and lists of tensors and numbers are equal to the bit."""
    if isinstance(first, torch.Tensor):
        return first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same_numbers(first[k], second[k]) for k in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(same_numbers, first, second))
    return first == second


def without_clock(rows):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def assert_same_run(first, second):
    """Weights, averages, optimizer, history and the best weights of two run folders are the same bits."""
    one, two = state_of(first), state_of(second)
    for part in ("model", "average", "optimizer"):
        assert same_numbers(one[part], two[part]), part
    assert without_clock(one["history"]) == without_clock(two["history"])
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()


# ---------------------------------------------------------------------------------------------- learning


@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_tones_and_noise_are_told_apart_after_seconds(data, tmp_path, output):
    config = replace(SHORT, epochs=6, batch_size=8, learning_rate=5e-3, augment=GENTLE)
    history = fit(MODEL.replace(output=output), *data, config, tmp_path / "run", report=quiet)
    assert history.best["valid_accuracy"] > 0.95
    assert history.best["valid_auc"] > 0.97
    assert history.rows[-1]["train_loss"] < history.rows[0]["train_loss"]
    sounds, labels = waves(90, seed=7)
    scores = Classifier(tmp_path / "run", "cpu").score(sounds, RATE)
    assert (np.array(LABELS)[scores.argmax(1)] == labels).mean() > 0.95


@pytest.mark.parametrize("bf16", [True, False])
def test_arithmetic_is_bfloat16_only_when_asked_for(data, tmp_path, bf16):
    run = Run(MODEL, *data, replace(PLAIN, bf16=bf16), tmp_path)
    seen = []
    run.model.stem.register_forward_hook(lambda module, args, out: seen.append(out.dtype))
    before = run.model.head[1].weight.detach().clone()
    loss = run.step(0, np.arange(8), torch.Generator())
    assert seen == [torch.bfloat16 if bf16 else torch.float32]
    assert math.isfinite(loss) and not torch.equal(before, run.model.head[1].weight)
    assert {p.dtype for p in run.model.parameters()} == {torch.float32}


@pytest.mark.parametrize("bf16", [True, False])
def test_whole_run_with_and_without_bfloat16(data, tmp_path, bf16):
    history = fit(MODEL, *data, replace(SHORT, bf16=bf16, epochs=2, batch_size=20), tmp_path / "run", report=quiet)
    assert len(history.rows) == 2
    assert all(math.isfinite(v) for row in history.rows for v in row.values())


def test_run_folder_holds_weights_history_settings_and_state(straight):
    folder = straight.run_dir
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "model.safetensors", "last.ckpt", "history.csv", "train.json",
    }  # fmt: skip
    with open(folder / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    columns = ["epoch", "train_loss", "valid_loss", "valid_accuracy", "valid_macro_f1", "valid_auc", "seconds"]
    assert list(rows[0]) == columns
    assert [{k: float(v) for k, v in row.items()} for row in rows] == straight.rows
    assert [row["epoch"] for row in straight.rows] == [1, 2, 3]
    settings = json.loads((folder / "train.json").read_text())
    assert settings["epochs"] == 3 and settings["augment"]["mixup_probability"] == 0.5
    assert ModelConfig.from_dict(json.loads((folder / "config.json").read_text())) == MODEL


def test_report_tells_steps_and_ends_each_epoch(data, tmp_path):
    lines = []
    fit(MODEL, *data, replace(PLAIN, epochs=2), tmp_path / "run", report=lines.append)
    starts = [line.split("  loss")[0] for line in lines]
    assert starts == [f"epoch {e}/2  step {s}/25" for e in (1, 2) for s in (20, 25)]
    assert lines[-1].endswith("0m00s left in the epoch, 0m00s in all")


def test_progress_line_by_hand():
    # 0.75 s a step: 335 steps left in the epoch, 27 epochs of 375 behind it
    line = progress_line(2, 30, 40, 375, 0.8123, 30.0)
    assert line == "epoch 3/30  step 40/375  loss 0.812  4m11s left in the epoch, 2h10m in all"


# ---------------------------------------------------------------------------------------------- interruption


@pytest.mark.parametrize("count", [1, 3, 4, 6], ids=["first epoch", "mid second", "end of second", "end of last"])
def test_resumed_run_equals_a_straight_one_to_the_bit(data, straight, tmp_path, count):
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        fit(MODEL, *data, CHANCY, folder, report=interrupt_at(count))
    finished = (count - 1) // 2  # two reports an epoch
    assert (folder / "last.ckpt").exists() == bool(finished)
    torch.manual_seed(99)  # whatever went on in between
    history = fit(MODEL, *data, CHANCY, folder, resume=bool(finished), report=quiet)
    assert len(history.rows) == 3
    assert without_clock(history.rows) == without_clock(straight.rows)
    assert_same_run(folder, straight.run_dir)


def test_interruption_between_two_epochs(data, straight, tmp_path, monkeypatch):
    whole = Run.save

    def save_and_stop(run):
        whole(run)
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "save", save_and_stop)
    for finished in (1, 2):  # twice in a row
        with pytest.raises(KeyboardInterrupt):
            fit(MODEL, *data, CHANCY, tmp_path / "run", resume=finished > 1, report=quiet)
        assert len(state_of(tmp_path / "run")["history"]) == finished
    monkeypatch.undo()
    fit(MODEL, *data, CHANCY, tmp_path / "run", resume=True, report=quiet)
    assert_same_run(tmp_path / "run", straight.run_dir)


def test_interruption_while_saving_keeps_the_epoch_before(data, straight, tmp_path, monkeypatch):
    real, calls = os.replace, []

    def stop_at_second_state(source, target):
        if str(target).endswith("last.ckpt"):
            calls.append(target)
            if len(calls) == 2:
                raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "replace", stop_at_second_state)
    with pytest.raises(KeyboardInterrupt):
        fit(MODEL, *data, CHANCY, tmp_path / "run", report=quiet)
    assert len(state_of(tmp_path / "run")["history"]) == 1
    fit(MODEL, *data, CHANCY, tmp_path / "run", resume=True, report=quiet)
    assert_same_run(tmp_path / "run", straight.run_dir)


def test_resuming_a_finished_run_changes_nothing(data, straight):
    before = {path.name: path.read_bytes() for path in straight.run_dir.iterdir()}
    history = fit(MODEL, *data, CHANCY, straight.run_dir, resume=True, report=quiet)
    assert history.rows == straight.rows
    assert {path.name: path.read_bytes() for path in straight.run_dir.iterdir()} == before


def test_same_seed_same_weights_and_another_seed_others(data, straight, tmp_path):
    torch.manual_seed(5)
    fit(MODEL, *data, CHANCY, tmp_path / "again", report=quiet)
    assert_same_run(tmp_path / "again", straight.run_dir)
    fit(MODEL, *data, replace(CHANCY, seed=1), tmp_path / "other", report=quiet)
    one, other = state_of(straight.run_dir)["model"], state_of(tmp_path / "other")["model"]
    assert not any(torch.equal(one[name], other[name]) for name in one if one[name].unique().numel() > 1)


# ---------------------------------------------------------------------------------------------- refusals


def test_folder_that_holds_a_run_is_refused_and_left_as_it_is(data, straight):
    before = (straight.run_dir / "last.ckpt").read_bytes()
    with pytest.raises(DataError, match="holds a run already: resume it, or give another folder"):
        fit(MODEL, *data, CHANCY, straight.run_dir, report=quiet)
    assert (straight.run_dir / "last.ckpt").read_bytes() == before


@pytest.mark.parametrize(
    "changes", [{"learning_rate": 1e-4}, {"seed": 1}, {"epochs": 4}, {"augment": NO_CHANGE}, {"batch_size": 8}]
)
def test_resume_with_other_settings_is_refused(data, straight, changes):
    with pytest.raises(DataError, match="was started with other settings"):
        fit(MODEL, *data, replace(CHANCY, **changes), straight.run_dir, resume=True, report=quiet)


def test_resume_with_another_model_is_refused(data, straight):
    for model in (MODEL.replace(depth=3), MODEL.replace(labels=LABELS[::-1]), MODEL.replace(drop_path=0.1)):
        with pytest.raises(DataError, match="was started with other settings"):
            fit(model, *data, CHANCY, straight.run_dir, resume=True, report=quiet)


def test_resume_with_nothing_there_is_refused(data, tmp_path):
    with pytest.raises(DataError, match=r"nothing to resume in .*run: no last\.ckpt"):
        fit(MODEL, *data, PLAIN, tmp_path / "run", resume=True, report=quiet)


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 cut"])
def test_resume_from_a_damaged_state_is_one_clear_error(data, tmp_path, content):
    (tmp_path / "last.ckpt").write_bytes(content)
    with pytest.raises(DataError, match=r"last\.ckpt cannot be read"):
        fit(MODEL, *data, PLAIN, tmp_path, resume=True, report=quiet)


@pytest.mark.parametrize("part", ["training", "validation"])
def test_data_that_does_not_fit_the_model_is_refused(data, tmp_path, part):
    def refused(broken, message):
        pair = (broken, data[1]) if part == "training" else (data[0], broken)
        with pytest.raises(DataError, match=message):
            fit(MODEL, *pair, PLAIN, tmp_path / "run", report=quiet)
        assert not (tmp_path / "run").exists()

    whole = data[0]
    labels = whole.label.copy()
    labels[3] = "tone2"
    refused(whole.of_split("nowhere"), f"no clips for {part}")
    refused(replace(whole, label=labels), rf"{part} has labels \['tone2'\] that the model does not: .*hiss")
    refused(replace(whole, features=whole.features[:, :40]), rf"{part} features are \(40, 32\).*window is \(48, 32\)")
    refused(replace(whole, features=whole.features[:, :, :30]), rf"{part} features are \(48, 30\)")
    other = raw_settings(MODEL.replace(frontend={"preemphasis": 0.5}))
    refused(replace(whole, frontend=other), f"{part} features were made by another front end")


def test_front_end_settings_that_come_after_the_cache_may_differ(data, tmp_path):
    changed = MODEL.replace(frontend={"centre": False, "mean": -6.0, "std": 3.0})
    Run(changed, *data, PLAIN, tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"clips_per_epoch": -1},
        {"learning_rate": 0.0},
        {"learning_rate": math.nan},
        {"initial_learning_rate_scale": -0.1},
        {"initial_learning_rate_scale": math.nan},
        {"label_smoothing": 1.5},
        {"finish_share": -0.1},
        {"finish_approximate": -1.0},
        {"warmup_epochs": -1.0},
        {"stop_after": -1},
        {"stop_after": 31},
    ],
)
def test_impossible_settings_are_refused_by_name(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        TrainConfig(**changes)


@pytest.mark.parametrize("weight", [0.0, -1.0, math.nan, math.inf])
def test_weights_from_which_nothing_can_be_drawn_are_refused(data, tmp_path, weight):
    broken = replace(data[0], weight=np.full(100, weight, np.float32))
    with pytest.raises(DataError, match="weights of the training clips"):
        Run(MODEL, broken, data[1], PLAIN, tmp_path)


def test_a_finish_that_leaves_no_clips_is_refused_before_it_starts(data, tmp_path):
    approximate = replace(data[0], approximate=np.ones(100, bool))
    with pytest.raises(DataError, match="leaves no clips to train on"):
        Run(MODEL, approximate, data[1], replace(PLAIN, finish_share=0.5), tmp_path)
    Run(MODEL, approximate, data[1], replace(PLAIN, finish_share=0.5, finish_approximate=0.1), tmp_path)
    Run(MODEL, approximate, data[1], PLAIN, tmp_path)


# ---------------------------------------------------------------------------------------------- part of a run


def test_stop_after_ends_early_on_the_path_of_the_whole_run(data, straight, tmp_path):
    history = fit(MODEL, *data, replace(CHANCY, stop_after=2), tmp_path / "run", report=quiet)
    assert without_clock(history.rows) == without_clock(straight.rows)[:2]
    whole = fit(MODEL, *data, CHANCY, tmp_path / "run", resume=True, report=quiet)
    assert without_clock(whole.rows) == without_clock(straight.rows), "where it was to end is no other setting"


def test_a_run_can_start_from_the_weights_of_another(data, straight, tmp_path):
    initial = best_model(straight.run_dir)
    run = Run(MODEL, *data, PLAIN, tmp_path / "run")
    run.begin(initial)
    for model in (run.model, run.average):
        assert same_numbers(dict(model.state_dict()), dict(initial.state_dict()))
    history = fit(
        MODEL, *data, replace(PLAIN, epochs=1, learning_rate=1e-9), tmp_path / "on", report=quiet, initial=initial
    )
    assert history.rows[0]["valid_accuracy"] == straight.best["valid_accuracy"]


def test_initial_weights_of_another_model_are_refused_by_the_difference(data, tmp_path):
    for changes, message in (({"depth": 3}, "depth is 3, here 2"), ({"labels": LABELS[::-1]}, "id2label is")):
        with pytest.raises(DataError, match=f"the initial weights are of another model: .*{message}"):
            fit(MODEL, *data, PLAIN, tmp_path / "run", report=quiet, initial=AudioMixer(MODEL.replace(**changes)))


# ---------------------------------------------------------------------------------------------- a start from another network


def brought(seed=4):
    """A transfer of the stem, the last norm and the second block, as numbers that no fresh model has."""
    torch.manual_seed(seed)
    source = AudioMixer(MODEL).state_dict()
    names = [name for name in source if name.startswith(("stem.", "norm.", "blocks.1."))]
    return Transfer("somewhere", "some layout", {name: torch.randn(source[name].shape) * 0.1 for name in names})


def test_what_was_brought_has_groups_of_its_own_at_its_own_rate(data, tmp_path):
    config, found = replace(PLAIN, initial_learning_rate_scale=0.25, weight_decay=0.3), brought()
    run = Run(MODEL, *data, config, tmp_path / "run")
    run.begin(found)
    for model in (run.model, run.average):
        assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in found.tensors.items())
    names = {id(p): name for name, p in run.model.named_parameters()}
    for number in (0, 5, 60):
        run.step(number, np.arange(8), torch.Generator())
        rates = {names[id(p)]: group["lr"] for group in run.optimizer.param_groups for p in group["params"]}
        assert rates.keys() == set(names.values())
        for name, rate in rates.items():
            assert rate == pytest.approx(learning_rate(number, 25, config) * (0.25 if name in found.tensors else 1)), name
    for group in run.optimizer.param_groups:
        assert group["weight_decay"] == (0.3 if group["params"][0].ndim > 1 else 0)
        assert len({p.ndim > 1 for p in group["params"]}) == 1


def test_at_a_scale_of_nothing_what_was_brought_stays_and_the_rest_learns(data, tmp_path):
    found = brought()
    run = Run(MODEL, *data, replace(PLAIN, initial_learning_rate_scale=0.0), tmp_path / "run")
    run.begin(found)
    before = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
    for number in range(3):
        run.step(number, np.arange(8), torch.Generator())
    for name, tensor in run.model.state_dict().items():
        assert torch.equal(tensor, before[name]) == (name in found.tensors), name


def test_a_resumed_run_from_another_network_equals_a_straight_one_to_the_bit(data, tmp_path):
    fit(MODEL, *data, CHANCY, tmp_path / "straight", report=quiet, initial=brought())
    for count, finished in ((3, 1), (5, 2)):
        folder = tmp_path / str(count)
        with pytest.raises(KeyboardInterrupt):
            fit(MODEL, *data, CHANCY, folder, report=interrupt_at(count), initial=brought())
        assert len(state_of(folder)["history"]) == finished
        torch.manual_seed(99)
        fit(MODEL, *data, CHANCY, folder, resume=True, report=quiet)  # needs the other network no more
        assert_same_run(folder, tmp_path / "straight")
        assert state_of(folder)["transferred"] == sorted(brought().tensors)
    with pytest.raises(DataError, match="was started with other settings"):
        fit(MODEL, *data, replace(CHANCY, initial_learning_rate_scale=0.2), tmp_path / "straight", resume=True, report=quiet)


def test_without_a_transfer_groups_state_and_settings_are_as_ever(data, straight, tmp_path):
    state = state_of(straight.run_dir)
    assert set(state) == {"model", "average", "optimizer", "history", "settings"}
    assert "initial_learning_rate_scale" not in state["settings"]
    assert len(state["optimizer"]["param_groups"]) == 2 and not any("rate_scale" in group for group in state["optimizer"]["param_groups"])


def test_a_transfer_for_another_model_is_refused(data, tmp_path):
    for name, shape in (("blocks.7.norm1.weight", (32,)), ("norm.weight", (16,))):
        with pytest.raises(DataError, match=f"made for another model: {name} does not fit"):
            fit(MODEL, *data, PLAIN, tmp_path / "run", report=quiet, initial=Transfer("x", "y", {name: torch.zeros(shape)}))
        assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------------------------------------- the best epoch


def test_weights_in_the_folder_are_those_of_the_best_epoch(data, tmp_path, monkeypatch):
    judged = iter([(0.5, 1.0), (0.9, 0.5), (0.9, 0.4), (0.7, 0.1), (0.9, 0.4)])
    averages = []

    def judge(run):
        accuracy, loss = next(judged)
        averages.append({name: tensor.clone() for name, tensor in run.average.state_dict().items()})
        return {"valid_loss": loss, "valid_accuracy": accuracy, "valid_macro_f1": 0.0, "valid_auc": 0.0}

    monkeypatch.setattr(Run, "judge", judge)
    history = fit(MODEL, *data, replace(PLAIN, epochs=5, batch_size=20), tmp_path / "run", report=quiet)
    assert history.best["epoch"] == 3, "of equal accuracy the lower loss, of equal both the first"
    assert same_numbers(load_file(tmp_path / "run" / "model.safetensors"), averages[2])
    assert not same_numbers(averages[2], averages[4])


def test_classifier_on_the_saved_weights_reproduces_the_best_validation_row(tmp_path):
    sounds, labels = waves(120, seed=3, level=0.05)
    random = np.random.default_rng(0)
    labels[random.random(120) < 0.3] = "hiss"  # so that the accuracy is no round number
    history = fit(
        MODEL, cache_of(*waves(60, seed=0)), cache_of(sounds, labels, "valid"), replace(SHORT, epochs=4),
        tmp_path / "run", report=quiet,
    )  # fmt: skip
    scores = Classifier(tmp_path / "run", "cpu").score(sounds, RATE)
    accuracy = (np.array(LABELS)[scores.argmax(1)] == labels).mean()
    assert 0.3 < accuracy < 0.95
    assert accuracy == pytest.approx(history.best["valid_accuracy"], abs=1e-6)
    weights = best_model(tmp_path / "run").state_dict()
    assert same_numbers(weights, load_file(tmp_path / "run" / "model.safetensors"))


def test_best_of_a_history_by_accuracy_then_loss():
    rows = [(1, 0.5, 0.1), (2, 0.8, 0.9), (3, 0.8, 0.7), (4, 0.7, 0.01)]
    history = History([{"epoch": e, "valid_accuracy": a, "valid_loss": x} for e, a, x in rows])
    assert history.best["epoch"] == 3


def test_judging_equals_scikit_learn_on_the_averaged_weights(data, tmp_path):
    from sklearn.metrics import accuracy_score, f1_score, log_loss, roc_auc_score

    run = Run(MODEL, *data, PLAIN, tmp_path)
    for number in range(5):
        run.step(number, np.arange(number * 8, number * 8 + 8), torch.Generator())
    found = run.judge()
    raw = torch.from_numpy(data[1].features).float()
    with torch.inference_mode():
        scores = run.average.forward_features(run.average.normalise(raw)).double().softmax(1).numpy()
    truth = np.array([LABELS.index(label) for label in data[1].label])
    assert found["valid_accuracy"] == pytest.approx(accuracy_score(truth, scores.argmax(1)))
    assert found["valid_macro_f1"] == pytest.approx(f1_score(truth, scores.argmax(1), average="macro"))
    assert found["valid_auc"] == pytest.approx(roc_auc_score(truth, scores, multi_class="ovr"), abs=1e-6)
    assert found["valid_loss"] == pytest.approx(log_loss(truth, scores), abs=1e-5), "without smoothing"


# ---------------------------------------------------------------------------------------------- the schedule


def test_learning_rate_by_hand():
    config = TrainConfig(epochs=4, warmup_epochs=2, learning_rate=1e-2, least_learning_rate=1e-4)
    rates = [learning_rate(step, 5, config) for step in range(20)]
    assert rates[:10] == pytest.approx([i * 1e-3 for i in range(1, 11)])
    assert rates[10] == pytest.approx(1e-2)
    assert rates[15] == pytest.approx((1e-2 + 1e-4) / 2)
    assert rates[19] == pytest.approx(1e-4 + (1e-2 - 1e-4) * (1 + math.cos(0.9 * math.pi)) / 2)
    assert rates[10:] == sorted(set(rates[10:]), reverse=True) and rates[-1] > 1e-4
    flat = replace(config, warmup_epochs=0)
    assert learning_rate(0, 5, flat) == pytest.approx(1e-2)
    assert learning_rate(20, 5, flat) == pytest.approx(1e-4)


def test_the_optimizer_gets_the_scheduled_rate(data, tmp_path):
    run = Run(MODEL, *data, PLAIN, tmp_path)
    for number in (0, 5, 60):
        run.step(number, np.arange(4), torch.Generator())
        assert {g["lr"] for g in run.optimizer.param_groups} == {learning_rate(number, 25, PLAIN)}


def test_weight_decay_is_on_matrices_and_kernels_only(data, tmp_path):
    model = AudioMixer(MODEL)
    names = {id(p): name for name, p in model.named_parameters()}
    decayed, plain = parameter_groups(model, 0.3)
    assert decayed["weight_decay"] == 0.3 and plain["weight_decay"] == 0.0
    found = [[names[id(p)] for p in group["params"]] for group in (decayed, plain)]
    assert sorted([*found[0], *found[1]]) == sorted(names.values())
    assert "stem.weight" in found[0] and "head.1.weight" in found[0]
    assert {"stem.bias", "norm.weight", "norm.bias", "head.1.bias"} <= set(found[1])
    assert all(name.endswith("bias") or "norm" in name or name == "head.0.weight" for name in found[1])
    run = Run(MODEL, *data, replace(PLAIN, weight_decay=0.7), tmp_path)
    assert [g["weight_decay"] for g in run.optimizer.param_groups] == [0.7, 0.0]


def test_gradients_are_clipped_to_a_norm_of_one(data, tmp_path):
    run = Run(MODEL, *data, PLAIN, tmp_path)
    with torch.no_grad():
        run.model.head[1].weight.mul_(1000)
    run.step(0, np.arange(8), torch.Generator())
    norm = math.sqrt(sum(p.grad.double().square().sum().item() for p in run.model.parameters() if p.grad is not None))
    assert norm == pytest.approx(1.0, abs=1e-4)


def test_averaged_weights_follow_the_formula(data, tmp_path):
    run = Run(MODEL, *data, replace(PLAIN, average_decay=0.25), tmp_path)
    expected = {name: p.detach().double().clone() for name, p in run.average.named_parameters()}
    for number in range(6):
        for _, p in run.model.named_parameters():
            p.data.normal_()  # far apart, so that another decay would show
        run.update_average(number)
        decay = [1 / 10, 2 / 11, 1 / 4, 1 / 4, 1 / 4, 1 / 4][number]  # (1 + n) / (10 + n), at most 0.25
        for name, p in run.model.named_parameters():
            expected[name] = decay * expected[name] + (1 - decay) * p.detach().double()
    found = dict(run.average.named_parameters())
    for name, wanted in expected.items():
        np.testing.assert_allclose(found[name], wanted, atol=1e-5)
    before = {name: p.clone() for name, p in found.items()}
    run.step(0, np.arange(8), torch.Generator())
    assert not torch.equal(before["stem.weight"], found["stem.weight"]), "every step moves the average"
    assert not run.average.training and not any(p.requires_grad for p in found.values())


# ---------------------------------------------------------------------------------------------- drawing


def test_without_weights_every_row_comes_once_an_epoch(data, tmp_path):
    run = Run(MODEL, *data, PLAIN, tmp_path)
    orders = [run.draw(epoch, torch.Generator().manual_seed(epoch)) for epoch in range(2)]
    assert [sorted(order) for order in orders] == [list(range(100))] * 2
    assert orders[0].tolist() != orders[1].tolist() != list(range(100))


def test_an_epoch_uses_each_drawn_row_once_in_batches_no_larger_than_asked(data, tmp_path, monkeypatch):
    batches = []
    monkeypatch.setattr(Run, "step", lambda run, number, rows, generator: batches.append((number, rows)) or 0.0)
    run = Run(MODEL, *data, replace(PLAIN, batch_size=32), tmp_path)
    run.begin()
    run.epoch(0, quiet)
    run.epoch(1, quiet)
    assert [number for number, _ in batches] == list(range(8))
    assert all(len(rows) <= 32 for _, rows in batches)
    assert sorted(np.concatenate([rows for _, rows in batches[:4]])) == list(range(100))


def test_weighted_drawing_follows_the_weights(data, tmp_path):
    weight = np.repeat(np.array([0.0, 1.0, 3.0, 6.0], np.float32), 25)
    run = Run(MODEL, replace(data[0], weight=weight), data[1], replace(PLAIN, clips_per_epoch=20_000), tmp_path)
    counts = np.bincount(run.draw(0, torch.Generator().manual_seed(0)), minlength=100)
    assert counts.sum() == 20_000 and not counts[:25].any()
    expected = weight[25:] / weight.sum() * 20_000
    assert stats.chisquare(counts[25:], expected * counts.sum() / expected.sum()).pvalue > 0.001
    assert run.steps == 5000
    uneven = Run(MODEL, replace(data[0], weight=weight), data[1], PLAIN, tmp_path)
    drawn = uneven.draw(0, torch.Generator().manual_seed(0))
    assert len(drawn) == 100 and drawn.min() >= 25, "weights count without clips_per_epoch, too"


def test_approximate_rows_drop_out_in_the_finish(data, tmp_path):
    approximate = np.arange(100) < 60
    config = replace(PLAIN, epochs=10, finish_share=0.3, clips_per_epoch=10_000)
    run = Run(MODEL, replace(data[0], approximate=approximate), data[1], config, tmp_path)
    share = [approximate[run.draw(e, torch.Generator().manual_seed(e))].mean() for e in range(10)]
    assert share[:7] == pytest.approx([0.6] * 7, abs=0.03) and share[7:] == [0, 0, 0]
    fewer = replace(config, finish_approximate=0.5)
    run = Run(MODEL, replace(data[0], approximate=approximate), data[1], fewer, tmp_path)
    share = approximate[run.draw(9, torch.Generator().manual_seed(0))].mean()
    assert share == pytest.approx(30 / 70, abs=0.03)
    once = Run(MODEL, replace(data[0], approximate=approximate), data[1], replace(config, clips_per_epoch=0), tmp_path)
    assert len(set(once.draw(0, torch.Generator()))) == 100
    assert once.draw(9, torch.Generator()).min() >= 60


def test_batch_without_augmentation_is_the_normalised_cache_and_one_hot_targets(data, tmp_path):
    run = Run(MODEL, *data, PLAIN, tmp_path)
    rows = np.array([5, 0, 99])
    features, targets = run.batch(rows, torch.Generator())
    raw = data[0].features[rows].astype(np.float64)
    expected = (raw - raw.mean((1, 2), keepdims=True)) / (2 * 2.1)
    np.testing.assert_allclose(features, expected, atol=1e-5)
    assert targets.tolist() == [[float(data[0].label[r] == label) for label in LABELS] for r in rows]


def test_noise_for_augmentation_comes_from_background_rows_only(data, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(room, "augment", lambda features, noise, config, generator: seen.append(noise) or features)
    run = Run(MODEL, *data, SHORT, tmp_path)
    run.batch(np.arange(90), torch.Generator().manual_seed(0))
    silence = {row.tobytes() for row in data[0].features[data[0].label == "_silence_"]}
    assert {row.half().numpy().tobytes() for row in seen[0]} <= silence and len(silence) > 10
    words = data[0].part(data[0].label != "_silence_")
    Run(MODEL, words, data[1], SHORT, tmp_path).batch(np.arange(4), torch.Generator())
    assert seen[1] is None
