"""The command line: shapes of what it prints, exit codes, and a model trained from a folder to its scores."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from interrupts import heed_interrupts, interrupt_at

from asm_rh import __version__, cli_train, config, train
from asm_rh.augment import AugmentConfig
from asm_rh.classifier import Classifier
from asm_rh.cli import main
from asm_rh.config import FrontendConfig, ModelConfig
from asm_rh.model import AudioMixer

ROOT = Path(__file__).resolve().parent.parent
RATE = 16_000
TINY = dict(
    window_seconds=0.5, frames=48, patch=(16, 16), stride=(16, 16), width=32, depth=2, token_hidden=16,
    channel_hidden=32, roll="grid", frontend=dict(bands=32, centre=True, mean=0.0, std=2.1),
)  # fmt: skip
MODEL = ModelConfig(labels=("no", "yes", "_silence_"), **{**TINY, "frontend": FrontendConfig(**TINY["frontend"])})


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder with a tiny random model whose scores differ."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    torch.manual_seed(0)
    made = AudioMixer(MODEL)
    with torch.no_grad():
        made.head[1].weight.mul_(5)
    made.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """Two sound files and one that only pretends to be."""
    folder, random = tmp_path_factory.mktemp("sounds"), np.random.default_rng(0)
    soundfile.write(folder / "a.wav", random.standard_normal(round(1.3 * RATE)) * 0.1, RATE)
    tone = np.sin(2 * np.pi * 700 * np.arange(44_100) / 44_100)
    soundfile.write(folder / "b.flac", np.stack([tone, 0.2 * tone], 1) * 0.3, 44_100)
    (folder / "broken.wav").write_text("not sound")
    return {name: str(folder / name) for name in ("a.wav", "b.flac", "broken.wav", "gone.wav")}


@pytest.fixture
def tiny_preset(monkeypatch):
    """A preset that trains in a second."""
    monkeypatch.setitem(config.PRESETS, "test-tiny", TINY)


def one_line_error(capsys):
    """The one line on standard error; standard output is empty."""
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("asm-rh: error: ") and err.count("\n") == 1 and "Traceback" not in err
    return err


# ---------------------------------------------------------------------------------------------- classify


def test_json_has_exactly_the_promised_shape(model, sounds, capsys):
    assert main(["classify", sounds["a.wav"], sounds["b.flac"], "--model", model, "--top-k", "2"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert err == "" and [list(file) for file in found] == [["file", "windows", "top"]] * 2
    assert [file["file"] for file in found] == [sounds["a.wav"], sounds["b.flac"]]
    classifier = Classifier(model, "cpu")
    for file in found:
        expected = classifier.windows(file["file"])
        assert [list(window) for window in file["windows"]] == [["start", "end", "padded", "scores"]] * len(expected)
        for i, window in enumerate(file["windows"]):
            assert (window["start"], window["end"]) == (expected.start[i], expected.end[i])
            assert list(window["scores"]) == ["no", "yes", "_silence_"]
            assert list(window["scores"].values()) == pytest.approx(expected.scores[i].tolist(), abs=1e-6)
        top = sorted(zip(expected.pooled().tolist(), expected.labels), reverse=True)[:2]
        assert [(row["label"], row["score"]) for row in file["top"]] == [
            (label, pytest.approx(score, abs=1e-6)) for score, label in top
        ]


def test_window_and_hop_are_in_seconds(model, sounds, capsys):
    main(["classify", sounds["a.wav"], "--model", model, "--window-seconds", "0.4", "--hop-seconds", "0.3"])
    (found,) = json.loads(capsys.readouterr().out)
    times = [(round(w["start"], 6), round(w["end"], 6)) for w in found["windows"]]
    assert times == [(0.0, 0.4), (0.3, 0.7), (0.6, 1.0), (0.9, 1.3)]


def test_jsonl_is_one_window_a_line(model, sounds, capsys):
    main(["classify", sounds["a.wav"], sounds["b.flac"], "--model", model, "--format", "jsonl"])
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["file"] for row in rows] == [sounds["a.wav"]] * 5 + [sounds["b.flac"]] * 3
    assert all(list(row) == ["file", "start", "end", "padded", "scores"] for row in rows)


def events_of(model, path, threshold):
    return Classifier(model, "cpu").windows(path).events(threshold=threshold)


def test_csv_of_several_files_has_one_header_and_every_event(model, sounds, capsys):
    files = [sounds["a.wav"], sounds["b.flac"]]
    main(["classify", *files, "--model", model, "--format", "csv", "--threshold", "0.2"])
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    expected = [
        (path, e.label, f"{e.start:.3f}", f"{e.end:.3f}") for path in files for e in events_of(model, path, 0.2)
    ]
    assert expected and {row["file"] for row in rows} == set(files)
    assert [(row["file"], row["label"], row["start"], row["end"]) for row in rows] == expected
    assert list(rows[0]) == ["file", "start", "end", "label", "score", "peak_time"]


def test_audacity_and_raven_hold_the_events(model, sounds, capsys):
    expected = events_of(model, sounds["a.wav"], 0.2)
    assert expected
    main(["classify", sounds["a.wav"], "--model", model, "--format", "audacity", "--threshold", "0.2"])
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"{e.start:.3f}\t{e.end:.3f}\t{e.label}" for e in expected]
    main(["classify", sounds["a.wav"], "--model", model, "--format", "raven", "--threshold", "0.2"])
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out), delimiter="\t"))
    assert [(row["Begin Time (s)"], row["Label"]) for row in rows] == [(f"{e.start:.3f}", e.label) for e in expected]


@pytest.mark.parametrize("form", ["audacity", "raven"])
def test_tables_that_name_no_sound_are_written_one_for_each(model, sounds, capsys, tmp_path, form):
    other = tmp_path / "other" / "a.wav"
    other.parent.mkdir()
    other.write_bytes(Path(sounds["a.wav"]).read_bytes())
    files = [sounds["a.wav"], sounds["b.flac"], sounds["broken.wav"], str(other)]
    command = ["classify", *files, "--model", model, "--format", form, "--threshold", "0.2"]
    assert main(command) == 2 and "give -o FOLDER for one each" in capsys.readouterr().err
    assert main([*command, "-o", str(tmp_path / "labels")]) == 1, "one of them is broken"
    written = {path.name: path.read_text() for path in (tmp_path / "labels").iterdir()}
    assert set(written) == {"a.wav.txt", "b.flac.txt", "a.wav-2.txt"} and written["a.wav.txt"] == written["a.wav-2.txt"]
    capsys.readouterr()
    assert main(["classify", sounds["b.flac"], "--model", model, "--format", form, "--threshold", "0.2"]) == 0
    assert written["b.flac.txt"] == capsys.readouterr().out
    (tmp_path / "file").write_text("")
    assert main([*command, "-o", str(tmp_path / "file")]) == 2 and "expected a folder" in capsys.readouterr().err


def test_threshold_is_the_models_unless_given(model, sounds, capsys, tmp_path):
    sure = tmp_path / "sure"
    AudioMixer(MODEL.replace(threshold=1.0)).save_pretrained(sure)
    command = ["classify", sounds["a.wav"], "--model", str(sure), "--format", "audacity"]
    main(command)
    assert capsys.readouterr().out == ""
    main([*command, "--threshold", "0"])
    assert capsys.readouterr().out != ""


def test_output_goes_to_a_file_instead_of_the_terminal(model, sounds, capsys, tmp_path):
    command = ["classify", sounds["a.wav"], "--model", model]
    assert main([*command, "-o", str(tmp_path / "out.json")]) == 0
    assert capsys.readouterr() == ("", "")
    main(command)
    assert (tmp_path / "out.json").read_text() == capsys.readouterr().out


@pytest.mark.parametrize("form", ["json", "csv"])
def test_one_broken_file_of_several_is_named_and_the_others_are_there(model, sounds, capsys, form):
    files = [sounds[name] for name in ("broken.wav", "a.wav", "gone.wav", "b.flac")]
    assert main(["classify", *files, "--model", model, "--format", form, "--threshold", "0.1"]) == 1
    out, err = capsys.readouterr()
    names = (
        [f["file"] for f in json.loads(out)]
        if form == "json"
        else [r["file"] for r in csv.DictReader(io.StringIO(out))]
    )
    assert set(names) == {sounds["a.wav"], sounds["b.flac"]}
    lines = err.splitlines()
    assert len(lines) == 2 and "broken.wav" in lines[0] and "gone.wav" in lines[1]
    assert all(line.startswith("asm-rh: error: ") for line in lines)


def test_all_files_broken_is_exit_code_two(model, sounds, capsys):
    assert main(["classify", sounds["broken.wav"], sounds["gone.wav"], "--model", model]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.splitlines()[-1] == "asm-rh: error: none of 2 files could be scored"
    assert main(["classify", sounds["broken.wav"], "--model", model]) == 2
    assert "broken.wav: not a sound file" in one_line_error(capsys)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--top-k", "0"], "--top-k 0: expected at least 1"),
        (["--threshold", "1.5"], "--threshold 1.5: expected a score from 0 to 1"),
        (["--threshold", "nan"], "--threshold nan: expected a score from 0 to 1"),
        (["--window-seconds", "3"], "window_seconds=3.0 is longer than the model's window of 0.5 s"),
        (["--window-seconds", "0"], "window_seconds: got 0.0"),
        (["--hop-seconds", "0"], "hop_seconds: got 0.0"),
        (["--device", "nonsense"], "no device 'nonsense' here"),
        (["-o", "no_such_folder/out.json"], "expected a file name in a folder that exists"),
        (["-o", "."], "expected a file name in a folder that exists"),
        (["--model", "asm-rh-huge"], "no model 'asm-rh-huge'"),
    ],
)
def test_bad_values_are_one_line_and_exit_code_two(model, sounds, capsys, flags, message):
    assert main(["classify", sounds["a.wav"], "--model", model, *flags]) == 2
    assert message in one_line_error(capsys)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["sing"],
        ["classify"],
        ["classify", "a.wav", "--formt", "csv"],
        ["classify", "a.wav", "--format", "xml"],
        ["classify", "a.wav", "--top-k", "many"],
        ["train", "--run-dir", "x", "--roll", "sideways"],
        ["eval"],
        ["eval", "x", "--split", "most"],
        ["info"],
    ],
)
def test_unknown_flags_are_explained_with_the_usage(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    out, err = capsys.readouterr()
    assert stopped.value.code == 2 and out == "" and err.startswith("usage: asm-rh")


def test_training_needs_a_folder_but_shows_its_recipe_without(capsys):
    assert main(["train", "--data", "x"]) == 2
    assert "--run-dir is missing: give a folder" in one_line_error(capsys)
    assert main(["train", "--recipe", "paper", "--show-recipe", "--epochs", "7", "--augment", "warp=0.1", "mixup_waveforms=0"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["optimizer"] == "adam" and shown["epochs"] == 7 and shown["augment"]["warp"] == 0.1
    assert shown["augment"]["mixup_waveforms"] is False and shown["augment"]["band_mask"] == 0.375


def test_version_and_help(capsys):
    for arguments, part in ((["--version"], __version__), (["--help"], "classify"), (["train", "--help"], "--run-dir")):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == 0 and part in capsys.readouterr().out


def test_interruption_is_130_and_no_traceback(model, sounds, capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Classifier, "windows", interrupted)
    assert main(["classify", sounds["a.wav"], "--model", model]) == 130
    assert capsys.readouterr() == ("", "interrupted\n")


def test_labels_come_in_alphabetical_order_with_reserved_ones_last():
    assert cli_train.ordered_labels(["yes", "_unknown_", "no", "_silence_", "yes"]) == ("no", "yes", "_silence_", "_unknown_")


# ---------------------------------------------------------------------------------------------- train, eval, info


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    """A folder of two classes, tones and hiss, given as train, valid and test."""
    root, random = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for split, count in (("train", 24), ("valid", 6), ("test", 6)):
        for i in range(count):
            hiss = random.standard_normal(RATE // 2) * 0.05
            tone = 0.3 * np.sin(2 * np.pi * random.uniform(900, 1200) * np.arange(RATE // 2) / RATE)
            for label, wave in (("tone", tone + 0.1 * hiss), ("hiss", hiss)):
                path = root / split / label / f"{split}{i:02d}-{label}.WAV"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, wave, RATE)
    (root / "train" / "tone" / "broken.wav").write_text("not sound")
    return root


def training(run, *more):
    """The command of a short training run."""
    return [
        "train", "--preset", "test-tiny", "--run-dir", str(run), "--epochs", "4", "--batch-size", "8",
        "--learning-rate", "0.005", "--no-bf16", *map(str, more),
    ]  # fmt: skip


def test_folder_of_classes_to_a_model_that_every_command_accepts(classes, tiny_preset, sounds, tmp_path, capsys):
    run, cache = tmp_path / "run", tmp_path / "features.npz"
    assert main(training(run, "--data", classes, "--cache", cache)) == 0
    out, err = capsys.readouterr()
    assert "best epoch" in out and str(run) in out and "validation accuracy" in out
    assert "left out: " in err and "broken.wav" in err and "epoch 4/4" in err
    assert cache.is_file()

    assert main(["classify", str(classes / "test" / "tone" / "test00-tone.WAV"), "--model", str(run)]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert {row["label"] for row in found["top"]} == {"tone", "hiss"}
    assert set(found["windows"][0]["scores"]) == {"tone", "hiss"}

    assert main(["eval", str(run), "--data", str(classes), "-o", str(tmp_path / "eval.json")]) == 0
    assert capsys.readouterr().out == ""
    judged = json.loads((tmp_path / "eval.json").read_text())
    assert judged["data"] == [classes.name] and judged["split"] == "test"
    assert judged["clips"] == 12 and judged["labels"] == ["hiss", "tone"] and judged["skipped"] == []
    assert main(["eval", str(run), "--data", str(classes), "--split", "all"]) == 0
    everything = json.loads(capsys.readouterr().out)
    assert everything["clips"] == 72 and len(everything["skipped"]) == 1

    assert main(["info", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["labels"] == ["hiss", "tone"]

    # the same from the cache alone: the same weights
    assert main(training(tmp_path / "again", "--cache", cache)) == 0
    assert (run / "model.safetensors").read_bytes() == (tmp_path / "again" / "model.safetensors").read_bytes()


def test_eval_judges_data_that_is_not_fit_for_training(classes, model, tmp_path, capsys):
    for label in ("no", "yes"):
        (tmp_path / "few" / label).mkdir(parents=True)
        os.link(classes / "test" / "tone" / "test00-tone.WAV", tmp_path / "few" / label / "one.wav")
    assert main(["eval", model, "--data", str(tmp_path / "few"), "--split", "all"]) == 0
    assert json.loads(capsys.readouterr().out)["clips"] == 2
    (tmp_path / "few").rename(tmp_path / "test")
    (tmp_path / "root").mkdir()
    (tmp_path / "test").rename(tmp_path / "root" / "test")
    assert main(["eval", model, "--data", str(tmp_path / "root")]) == 0
    assert json.loads(capsys.readouterr().out)["clips"] == 2


def test_mistakes_in_training_are_one_line_and_exit_code_two(classes, tiny_preset, tmp_path, capsys):
    (tmp_path / "garbage.npz").write_bytes(b"garbage")
    (tmp_path / "flat").mkdir()
    os.link(classes / "test" / "tone" / "test00-tone.WAV", tmp_path / "flat" / "one.wav")
    run = tmp_path / "run"
    cases = [
        ([], "nothing to read: give --data FOLDER, or --cache FILE"),
        (["--data", tmp_path / "nowhere"], "no folder"),
        (["--data", tmp_path / "flat"], "lies in no class folder"),
        (["--data", classes / "test" / "tone", "--layout", "speech-commands"], "lies in no word folder"),
        (["--cache", tmp_path / "garbage.npz"], "garbage.npz is no feature cache"),
        (["--data", classes, "--preset", "huge"], "no preset 'huge'; available: asm-rh-base"),
        (["--data", classes, "--group-pattern", "(["], "is no regular expression"),
        (["--data", classes, "--group-pattern", "(nobody)"], "finds no group in"),
        (["--data", classes, "--valid-share", "2"], "shares of validation 2.0"),
        (["--data", classes, "--device", "nonsense"], "no device 'nonsense' here"),
        (["--data", classes, "--threads", "0"], "--threads 0: expected at least 1"),
        (["--data", classes, "--window-seconds", "0.01"], "window_seconds=0.01 is shorter than one frame"),
    ]
    for flags, message in cases:
        assert main(training(run, *flags)) == 2, flags
        assert message in one_line_error(capsys), flags
    assert main(training(tmp_path / "none", "--data", classes, "--epochs", "0")) == 2
    assert "epochs=0: expected at least 1" in capsys.readouterr().err.splitlines()[-1]


def test_a_start_from_another_network_is_reported_and_resumed_without_it(classes, model, tiny_preset, tmp_path, capsys):
    source = shutil.copytree(model, tmp_path / "source")
    flags = ["--data", classes, "--epochs", "2", "--init"]
    assert main(training(tmp_path / "straight", *flags, source)) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"start from {source} (ASM-RH and its relatives)\nparameters ") and " parameters were copied or adapted\n" in out
    assert "head                         0           0" in out, "for other labels"
    assert main(training(tmp_path / "half", *flags, source, "--stop-after", "1")) == 0
    shutil.rmtree(source)
    assert main(training(tmp_path / "fresh", *flags, source)) == 2
    assert f"no weights {str(source)!r}: expected a file" in capsys.readouterr().err
    state = torch.load(tmp_path / "half" / "last.ckpt", weights_only=True)
    assert "stem.weight" in state["transferred"] and "head.1.weight" not in state["transferred"]
    assert main(training(tmp_path / "half", *flags, source, "--stop-after", "1", "--resume")) == 0


def test_weights_of_the_same_model_go_on_whole_at_the_full_rate_unless_asked_otherwise(classes, tiny_preset, tmp_path, capsys):
    first, flags = tmp_path / "first", ["--data", classes, "--epochs", "1"]
    assert main(training(first, *flags)) == 0
    assert main(training(tmp_path / "on", *flags, "--init", first)) == 0
    assert "start from" not in capsys.readouterr().out
    assert "transferred" not in torch.load(tmp_path / "on" / "last.ckpt", weights_only=True)
    assert main(training(tmp_path / "slow", *flags, "--init", first, "--init-learning-rate-scale", "0.1")) == 0
    assert "100.0% of" in capsys.readouterr().out
    slow = torch.load(tmp_path / "slow" / "last.ckpt", weights_only=True)["transferred"]
    assert len(slow) == len(list(AudioMixer(MODEL).parameters()))


def test_flags_reach_the_run(classes, model, tiny_preset, tmp_path, monkeypatch):
    seen = {}

    def fit(model_config, rows, valid, settings, run_dir, resume, report, initial, workers):
        seen.update(model=model_config, rows=rows, settings=settings, resume=resume, initial=initial)
        return train.History([{"epoch": 1, "valid_accuracy": 1.0, "valid_loss": 0.0}])

    monkeypatch.setattr(train, "fit", fit)
    flags = ["--balanced", "--mixup", "0.3", "--clips-per-epoch", "50", "--seed", "7", "--finish-share", "0.2",
             "--label-smoothing", "0.05", "--finish-approximate", "0.4", "--kind", "asm-r",
             "--hermit", "off"]  # fmt: skip
    data = Path(shutil.copytree(classes, tmp_path / "data"))
    for path in sorted((data / "train" / "hiss").iterdir())[:14]:
        path.unlink()
    assert main(training(tmp_path / "run", "--data", data, *flags)) == 0
    mass = {label: seen["rows"].weight[seen["rows"].label == label].sum() for label in ("tone", "hiss")}
    assert mass["tone"] == pytest.approx(mass["hiss"]) and len(seen["rows"]) == 34
    settings = seen["settings"]
    assert settings.augment.mixup_probability == 0.3 and settings.clips_per_epoch == 50 and settings.seed == 7
    assert settings.finish_share == 0.2 and settings.finish_approximate == 0.4 and settings.label_smoothing == 0.05
    assert settings.epochs == 4 and settings.batch_size == 8 and settings.learning_rate == 0.005 and not settings.bf16
    assert seen["model"].kind == "asm-r" and seen["model"].hermit == "off" and not seen["resume"]
    assert seen["initial"] is None and settings.stop_after == 0
    flags = ["--init", model, "--stop-after", "3", "--warmup-epochs", "0.5", "--augment", "warp=0.12", "time_masks=3"]
    assert main(training(tmp_path / "run", "--data", data, *flags)) == 0
    settings = seen["settings"]
    assert settings.stop_after == 3 and settings.warmup_epochs == 0.5 and settings.initial_learning_rate_scale == 0.1
    brought = {name for name, _ in AudioMixer(MODEL).named_parameters() if not name.startswith("head")}
    assert set(seen["initial"].tensors) == brought, "the labels differ, all else is the same"
    assert main(training(tmp_path / "run", "--data", data, *flags, "--resume", "--init-learning-rate-scale", "0.3")) == 0
    assert seen["resume"] and seen["initial"] is None, "a run that goes on needs no start"
    assert seen["settings"].initial_learning_rate_scale == 0.3
    assert (settings.augment.warp, settings.augment.time_masks, settings.augment.stretch) == (0.12, 3, AugmentConfig().stretch)


@pytest.mark.parametrize("pair", ["warmth=1", "warp", "warp=much", "time_masks=1.5"])
def test_unknown_augmentation_is_refused(pair, classes, tiny_preset, tmp_path, capsys):
    assert main(training(tmp_path / "run", "--data", classes, "--augment", pair)) == 2
    err = capsys.readouterr().err
    assert f"--augment {pair}: expected" in err and "Traceback" not in err


def test_interrupted_training_says_how_to_go_on_and_resume_does(classes, tiny_preset, tmp_path, monkeypatch, capsys):
    cache, run = tmp_path / "features.npz", tmp_path / "run"
    command = training(run, "--data", classes, "--cache", cache)
    monkeypatch.setattr(cli_train, "progress_printer", lambda: interrupt_at(3))
    assert main(command) == 130
    err = capsys.readouterr().err
    assert "Go on with the same command and --resume" in err and str(run) in err and "Traceback" not in err
    monkeypatch.undo()
    monkeypatch.setitem(config.PRESETS, "test-tiny", TINY)
    assert main(command) == 2
    assert "holds a run already: resume it" in one_line_error(capsys)
    assert main([*command, "--resume"]) == 0
    assert main(training(tmp_path / "straight", "--cache", cache)) == 0
    assert (run / "model.safetensors").read_bytes() == (tmp_path / "straight" / "model.safetensors").read_bytes()


def test_interruption_before_the_first_epoch_does_not_promise_to_resume(
    classes, tiny_preset, tmp_path, monkeypatch, capsys
):
    command = training(tmp_path / "run", "--data", classes, "--cache", tmp_path / "features.npz")
    monkeypatch.setattr(cli_train, "progress_printer", lambda: interrupt_at(1))
    assert main(command) == 130
    err = capsys.readouterr().err
    assert "--resume" not in err and "start again with the same command" in err
    monkeypatch.undo()
    monkeypatch.setitem(config.PRESETS, "test-tiny", TINY)
    assert main([*command, "--resume"]) == 2
    assert "nothing to resume" in one_line_error(capsys)
    assert main(command) == 0, "the same command, as it said"


def test_info_in_words_and_json(model, capsys):
    assert main(["info", model]) == 0
    out = capsys.readouterr().out
    assert out.startswith(model) and "labels      3: no, yes, _silence_" in out
    assert main(["info", model, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["width"] == 32
    assert main(["info", "asm-rh-base"]) == 0
    assert "preset: sizes only, no weights" in capsys.readouterr().out
    assert main(["info", "asm-rh-huge"]) == 2
    assert "asm-rh-tiny" in one_line_error(capsys)


# ---------------------------------------------------------------------------------------------- as a program


def program(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "asm_rh", *arguments], cwd=ROOT, capture_output=True, text=True, **options
    )


def test_program_classifies(model, sounds):
    done = program("classify", sounds["a.wav"], sounds["broken.wav"], "--model", model)
    assert done.returncode == 1 and json.loads(done.stdout)[0]["file"] == sounds["a.wav"]
    assert done.stderr.count("\n") == 1 and "broken.wav" in done.stderr


def test_program_gives_one_line_and_no_traceback(sounds):
    done = program("classify", sounds["a.wav"], "--model", "asm-rh-huge")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("asm-rh: error: no model 'asm-rh-huge'") and done.stderr.count("\n") == 1


WITH_TINY_PRESET = """
import sys
from asm_rh import cli, config

config.PRESETS["test-tiny"] = __import__("ast").literal_eval(sys.argv.pop(1))
sys.exit(cli.main())
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_ctrl_c_in_a_real_program_and_resume(classes, tmp_path):
    run = tmp_path / "run"
    command = [sys.executable, "-c", WITH_TINY_PRESET, repr(TINY), *training(run, "--data", classes), "--epochs", "40"]
    straight = [part if part != str(run) else str(tmp_path / "straight") for part in command]
    started = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed_interrupts)
    deadline = time.monotonic() + 900
    while not (run / "last.ckpt").exists() and started.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    started.send_signal(signal.SIGINT)
    out, err = started.communicate(timeout=300)
    assert started.returncode == 130, err
    assert "Go on with the same command and --resume" in err and "Traceback" not in err and out == ""
    epochs = len((run / "history.csv").read_text().splitlines()) - 1
    assert 1 <= epochs < 40
    resumed = subprocess.run([*command, "--resume"], cwd=ROOT, capture_output=True, text=True)
    assert resumed.returncode == 0, resumed.stderr
    assert f"epoch {epochs + 1}/40" in resumed.stderr and "epoch 1/40" not in resumed.stderr
    whole = subprocess.run(straight, cwd=ROOT, capture_output=True, text=True)
    assert whole.returncode == 0, whole.stderr
    assert (run / "model.safetensors").read_bytes() == (tmp_path / "straight" / "model.safetensors").read_bytes()
