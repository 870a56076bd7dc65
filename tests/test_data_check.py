"""The look at recordings before training: what it counts, what it finds, and how it ends."""

import json

import numpy as np
import pytest
import soundfile
from trees import esc50, make, real, tone

from asm_rh.audio import AudioError
from asm_rh.cli import main
from asm_rh.data_check import examine, window_seconds
from asm_rh.datasets import Clip, read_folder
from asm_rh.protocols import folds


def sounds(root, count=30, labels=("cat", "dog"), speakers=15):
    """Tones, each of its own pitch, `CLASS/SPEAKER-TAKE.wav`."""
    for row, label in enumerate(labels):
        for i in range(count):
            tone(root / label / f"{label}{i % speakers}-{i}.wav", 200 + 10 * i + 3 * row, seconds=0.5 + 0.01 * i)
    return root


def run(capsys, *words):
    """(exit code, standard output, standard error)."""
    code = main(["data", "check", *map(str, words)])
    said = capsys.readouterr()
    return code, said.out, said.err


def found(capsys, *words):
    code, out, _ = run(capsys, *words, "--json")
    return code, json.loads(out)


PATTERN = ("--group-pattern", r"^(\w+)-")


# ---------------------------------------------------------------------------------------------- what is there


def test_a_set_that_is_fit_for_training(tmp_path, capsys):
    code, facts = found(capsys, sounds(tmp_path / "my sounds"), *PATTERN)
    assert code == 0 and facts["problems"] == facts["warnings"] == facts["left_out"] == facts["unreadable"] == []
    assert (facts["clips"], facts["layout"], facts["groups_known"], len(facts["groups"])) == (60, "folder", True, 30)
    assert set(facts["groups"].values()) == {2}
    seconds = [0.5 + 0.01 * i for i in range(30)]
    assert [(row["label"], row["clips"], row["groups"]) for row in facts["classes"]] == [("cat", 30, 15), ("dog", 30, 15)]
    assert all(row["train"] + row["valid"] + row["test"] == 30 for row in facts["classes"])
    assert facts["classes"][0]["seconds"] == pytest.approx(sum(seconds), abs=0.01)
    assert facts["seconds"] == pytest.approx({"min": 0.5, "median": np.median(seconds), "max": 0.79, "total": 2 * sum(seconds)}, abs=0.01)
    assert facts["rates_hz"] == {"8000": 60} and facts["channels"] == {"1": 60}
    assert facts["digital_silence"] == facts["quiet"] == facts["clipped"] == [] and facts["duplicates"]["sets"] == 0
    assert facts["protocol"].startswith("split by speaker or source") and facts["folds"] == ["split"]
    words = f"--data '{tmp_path / 'my sounds'}' --group-pattern '^(\\w+)-' --window-seconds 0.8 --run-dir 'runs/my sounds'"
    assert facts["command"] == f"asm-rh train {words}"


def test_the_text_says_the_same_in_lines(tmp_path, capsys):
    code, out, err = run(capsys, sounds(tmp_path / "mine"), *PATTERN)
    lines = out.splitlines()
    assert code == 0 and max(map(len, lines)) < 300
    assert lines[:2] == [f"{tmp_path / 'mine'}, read as folder", "60 clips, 2 classes, 30 speakers or sources of 2 clips each"]
    assert lines[3].split() == ["class", "clips", "groups", "seconds", "train", "valid", "test"]
    assert [line.split()[:4] for line in lines[4:6]] == [["cat", "30", "15", "19"], ["dog", "30", "15", "19"]]
    assert "lengths     0.50 s to 0.79 s, median 0.65 s, 39 s in all" in lines
    assert {"rates       8000 Hz: 60", "channels    1: 60", "silent      none", "clipped     none", "duplicates  none"} <= set(lines)
    assert lines[-2] == "Fit for training:" and lines[-1].startswith("  asm-rh train --data ")
    assert "listening" in err and "listening" not in out


def test_rates_channels_and_capital_endings(tmp_path, capsys):
    sounds(tmp_path)
    tone(tmp_path / "cat" / "cat1-99.WAV", 777, rate=44100, channels=2)
    _, facts = found(capsys, tmp_path, *PATTERN)
    assert facts["rates_hz"] == {"8000": 60, "44100": 1} and facts["channels"] == {"1": 60, "2": 1}


def test_a_layout_is_recognised_or_taken_as_asked(tmp_path, capsys):
    for path in (esc50(tmp_path) / "audio").iterdir():
        tone(path, 100 + int(path.stem.split("-")[1]) / 8 + 20 * path.stem.count("B"), seconds=0.1)
    code, facts = found(capsys, tmp_path)
    assert (code, facts["layout"], facts["folds"], facts["clips"]) == (0, "esc50", list("12345"), 120)
    _, facts = found(capsys, tmp_path, "--layout", "esc10", "--fold", "2")
    assert (facts["layout"], facts["folds"], facts["clips"]) == ("esc10", ["2"], 80)
    _, facts = found(capsys, tmp_path, "--random-split")
    assert facts["leaky"] and "the split is leaky: scores will be too high" in facts["warnings"]
    assert "--random-split" in facts["command"] and "--layout esc50" in facts["command"]


# ---------------------------------------------------------------------------------------------- what spoils training


def test_unreadable_files_are_listed_and_the_exit_code_is_one(tmp_path, capsys):
    make(sounds(tmp_path), "cat/cat1-77.wav", text="this is no sound")
    (tmp_path / "cat" / "cat1-78.wav").write_bytes((tmp_path / "cat" / "cat1-1.wav").read_bytes()[:1000])
    code, facts = found(capsys, tmp_path, *PATTERN)
    assert code == 1 and [row["clip"] for row in facts["unreadable"]] == [str(tmp_path / "cat" / f"cat1-{n}.wav") for n in (77, 78)]
    assert "truncated" in facts["unreadable"][1]["why"]
    assert facts["problems"] == ["2 clips cannot be read: repair or remove them"]
    _, out, _ = run(capsys, tmp_path, *PATTERN)
    assert "\ncannot be read:\n  cat/cat1-77.wav: not a sound file" in out and "Something would spoil training" in out


def test_a_class_with_few_clips_is_a_problem(tmp_path, capsys):
    sounds(tmp_path)
    for i in range(19):
        tone(tmp_path / "owl" / f"owl{i}-0.wav", 900 + i)
    code, facts = found(capsys, tmp_path, *PATTERN)
    assert code == 1 and "classes with fewer than 20 clips: owl (19): add recordings, or leave them out" in facts["problems"]


def test_one_class_is_a_problem(tmp_path, capsys):
    code, facts = found(capsys, sounds(tmp_path, labels=("cat",)), *PATTERN)
    assert code == 1 and "one class only: add a second one, such as _background_noise_" in facts["problems"]


def test_the_same_sound_in_two_splits_is_a_problem_and_within_a_speaker_is_none(tmp_path, capsys):
    sounds(tmp_path)
    soundfile.write(tmp_path / "cat" / "cat3-copy.flac", *soundfile.read(tmp_path / "cat" / "cat3-3.wav"))
    code, facts = found(capsys, tmp_path, *PATTERN)
    assert code == 0 and facts["duplicates"] == {"sets": 1, "clips": 2, "across_labels": [], "across_groups": [], "across_splits": []}
    clips = folds(read_folder(tmp_path, PATTERN[1]))[0].clips
    trained, tested = (next(c.path for c in clips if c.split == split and c.label == "dog") for split in ("train", "test"))
    copy = tested.with_name(f"{tested.stem}0.wav")
    copy.write_bytes(trained.read_bytes())
    code, facts = found(capsys, tmp_path, *PATTERN)
    assert code == 1 and facts["duplicates"]["across_splits"] == facts["duplicates"]["across_groups"] == [sorted([str(trained), str(copy)])]
    assert any("the same sound is in two splits, 1 time:" in line for line in facts["problems"])
    assert any("the same sound is under two speakers or sources, 1 time" in line for line in facts["warnings"])


def test_the_same_sound_with_two_labels_is_a_warning(tmp_path, capsys):
    sounds(tmp_path)
    (tmp_path / "dog" / "cat3-3.wav").write_bytes((tmp_path / "cat" / "cat3-3.wav").read_bytes())
    code, facts = found(capsys, tmp_path, *PATTERN)
    assert code == 0 and facts["warnings"] == ["the same sound has two labels, 1 time"]


def test_silent_quiet_and_clipped_clips(tmp_path, capsys):
    sounds(tmp_path)
    tone(tmp_path / "cat" / "cat1-50.wav", gain=0)
    tone(tmp_path / "cat" / "cat1-51.wav", gain=0)
    tone(tmp_path / "cat" / "cat1-52.wav", gain=0.001)
    tone(tmp_path / "cat" / "cat1-53.wav", gain=3)
    tone(tmp_path / "dog" / "dog1-54.wav", hz=2000, gain=0.9999)  # at the peak for one sample at a time
    code, facts = found(capsys, tmp_path, *PATTERN)
    names = {key: [name.rsplit("-")[-1] for name in facts[key]] for key in ("digital_silence", "quiet", "clipped")}
    assert names == {"digital_silence": ["50.wav", "51.wav"], "quiet": ["52.wav"], "clipped": ["53.wav"]}
    assert code == 0 and facts["duplicates"]["sets"] == 0
    assert facts["warnings"] == ["3 clips with next to no sound bear the label of a sound"]
    (tmp_path / "cat").rename(tmp_path / "_silence_")
    assert found(capsys, tmp_path, *PATTERN)[1]["warnings"] == [], "silence may be silent"


def test_unknown_speakers_and_unequal_classes_are_warnings(tmp_path, capsys):
    sounds(tmp_path)
    for i in range(200):
        tone(tmp_path / "owl" / f"owl{i}.wav", 900 + i, seconds=0.05)
    code, facts = found(capsys, tmp_path, "--valid-share", "0.2", "--test-share", "0.2")
    assert code == 0 and len(facts["warnings"]) == 2 and "--balanced" in facts["command"]
    assert facts["warnings"][0].startswith("no speakers or sources are known") and "6.7 times" in facts["warnings"][1]


def test_what_one_split_does_not_suit_is_told_how_many_folds_do(tmp_path, capsys):
    sounds(tmp_path, speakers=4)
    code, facts = found(capsys, tmp_path, *PATTERN)
    assert code == 1 and facts["problems"] == [f"cannot be split: {facts['cannot_be_split']}"]
    assert "train" not in facts["classes"][0] and "--folds 4" in facts["command"]
    code, facts = found(capsys, tmp_path, *PATTERN, "--folds", "4")
    assert code == 0 and facts["folds"] == list("1234") and "--folds 4" in facts["command"]
    assert "the table shows fold 1" in run(capsys, tmp_path, *PATTERN, "--folds", "4")[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "no folder"),
        (["nowhere", "--layout", "esc50"], "no folder"),
        (["."], "no audio in"),
        ([".", "--layout", "manifest"], "no metadata.csv"),
    ],
)
def test_what_cannot_be_read_at_all_is_one_line_and_exit_code_two(tmp_path, capsys, words, message):
    code, out, err = run(capsys, tmp_path / words[0], *words[1:])
    assert code == 2 and out == "" and err.startswith("asm-rh: error: ") and message in err and len(err.splitlines()) == 1


def test_a_table_of_which_files_are_missing_is_checked_for_the_rest(tmp_path, capsys):
    sounds(tmp_path / "data")
    rows = [f"{path.relative_to(tmp_path).as_posix()},{path.parent.name}" for path in sorted((tmp_path / "data").rglob("*.wav"))]
    (tmp_path / "rows.csv").write_text("\n".join(["file_name,label", *rows, "gone.wav,dog"]))
    _, facts = found(capsys, tmp_path / "rows.csv", "--valid-share", "0.2")
    assert facts["layout"] == "manifest" and facts["clips"] == 60
    assert facts["left_out"] == [{"what": "rows of rows.csv without a file", "names": ["gone.wav"]}]
    assert "left out:\n  rows of rows.csv without a file: gone.wav\n" in run(capsys, tmp_path / "rows.csv")[1]


# ---------------------------------------------------------------------------------------------- one clip


def test_a_stretch_is_judged_by_itself_and_must_lie_in_the_file(tmp_path):
    wave = np.concatenate([np.zeros(8000), 0.5 * np.ones(8000)])
    soundfile.write(tmp_path / "a.wav", wave, 8000, subtype="FLOAT")
    silent, loud = (examine(Clip(tmp_path / "a.wav", "dog", "a", start=s, end=e)) for s, e in ((0.0, 1.0), (1.0, None)))
    assert silent.level_dbfs == -np.inf and silent.seconds == 1.0
    assert loud.level_dbfs == pytest.approx(20 * np.log10(0.5)) and loud.seconds == 1.0
    for start, end in ((2.0, None), (1.0, 3.0)):
        with pytest.raises(AudioError, match="the file lasts 2 s"):
            examine(Clip(tmp_path / "a.wav", "dog", "a", start=start, end=end))


@pytest.mark.parametrize(
    ("seconds", "window"),
    [([], None), ([1.0] * 9 + [0.4], 1.0), ([5.0] * 95 + [5.05] * 5, 5.0), ([0.02], 0.1), ([60.0] * 3, 10.0), ([1.0, 4.0] * 5, 4.0)],
)
def test_the_suggested_window_holds_nine_of_ten_clips(seconds, window):
    assert window_seconds(seconds) == window


def test_names_below_the_folder_are_shortened_in_the_text_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make(sounds(tmp_path / "a"), "cat/aa/a/bad1-1.wav", text="no sound")
    out = run(capsys, "a", *PATTERN)[1]
    assert "  cat/aa/a/bad1-1.wav: " in out and "--data a " in out


# ---------------------------------------------------------------------------------------------- real recordings


@pytest.mark.slow
def test_real_esc10_is_fit_for_training(shared_data, capsys):
    code, facts = found(capsys, real(shared_data, "esc10"))
    assert code == 0 and facts["window_seconds"] == 5.0 and facts["unreadable"] == []
    assert facts["clips"] == 400 and len(facts["groups"]) == 304 and facts["rates_hz"] == {"32000": 400}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "layout", "window"), [
    ("ravdess", "ravdess", 4.1), ("urbansound8k_subset", "urbansound8k", 4.0), ("speech_commands_v2_12", "speech-commands", 1.0),
])  # fmt: skip
def test_real_sets_are_fit_for_training(shared_data, capsys, name, layout, window):
    code, facts = found(capsys, real(shared_data, name))
    assert (code, facts["layout"], facts["window_seconds"]) == (0, layout, window)
    assert facts["unreadable"] == facts["duplicates"]["across_splits"] == facts["problems"] == []
