"""Datasets of the Hub, read by the package `datasets` from folders on this machine; skipped where the package is not there."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from trees import make, tone

from asm_rh.corpora import read_layout
from asm_rh.datasets import DataError
from asm_rh.hub_data import read_hub
from asm_rh.protocols import folds


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The package, with its cache in a folder of the test."""
    datasets = pytest.importorskip("datasets", reason="the package datasets is not installed")
    pytest.importorskip("torchcodec", reason="torchcodec, which the package datasets wants for audio, is not installed")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    datasets.disable_progress_bars()
    return datasets


class Notes(list):
    def __call__(self, what, names):
        self.append((what, names))


def recordings(root):
    """(paths, labels): three tones of a dog and three of a cat, in three formats."""
    endings = ("wav", "flac", "ogg")
    return [tone(root / f"{label}{i}.{endings[i]}", 300 + 100 * i) for label in ("cat", "dog") for i in range(3)], ["cat"] * 3 + ["dog"] * 3


def test_an_audio_folder_is_read_from_its_own_files(package, tmp_path):
    for label in ("cat", "dog"):
        for i in range(20):
            tone(tmp_path / "data" / "train" / label / f"{i}.wav", 200 + i)
            tone(tmp_path / "data" / "test" / label / f"{i}.flac", 300 + i)
    clips = read_layout("hub", tmp_path / "data")
    assert Counter((clip.label, clip.split) for clip in clips) == dict.fromkeys(
        ((label, split) for label in ("cat", "dog") for split in ("train", "test")), 20
    )
    assert all(clip.path.is_relative_to(tmp_path / "data") and clip.path.parent.name == clip.label for clip in clips)
    assert Counter(clip.split for clip in folds(clips)[0].clips) == {"train": 36, "valid": 4, "test": 40}


def test_parquet_with_sounds_inside_becomes_files_of_the_same_bytes(package, tmp_path):
    paths, labels = recordings(tmp_path / "source")
    rows = {
        "audio": [{"bytes": path.read_bytes(), "path": path.name} for path in paths], "label": [int(name == "dog") for name in labels],
        "speaker_id": [7, 7, 8, 9, 9, 9], "fold": [1, 1, 2, 2, 1, 2],
    }  # fmt: skip
    features = package.Features({
        "audio": package.Audio(decode=False), "label": package.ClassLabel(names=["cat", "dog"]),
        "speaker_id": package.Value("int64"), "fold": package.Value("int64"),
    })  # fmt: skip
    (tmp_path / "data").mkdir()
    package.Dataset.from_dict(rows, features=features).to_parquet(str(tmp_path / "data" / "train-00000-of-00001.parquet"))
    clips = read_hub(tmp_path / "data")
    found = [(clip.label, clip.group, clip.fold, clip.split) for clip in clips]
    assert found == [(name, str(s), str(f), None) for name, s, f in zip(labels, rows["speaker_id"], rows["fold"])]
    assert [clip.path.read_bytes() for clip in clips] == [path.read_bytes() for path in paths]
    assert [clip.path.suffix for clip in clips] == [path.suffix for path in paths]
    before = [clip.path.stat().st_mtime_ns for clip in clips]
    assert read_hub(tmp_path / "data") == clips and [clip.path.stat().st_mtime_ns for clip in clips] == before
    assert all(clip.path.is_relative_to(tmp_path / "kept") for clip in read_hub(tmp_path / "data", folder=tmp_path / "kept"))


def test_several_labels_texts_and_rows_without_sound_or_label(package, tmp_path):
    paths, _ = recordings(tmp_path / "source")
    sound = {"bytes": paths[0].read_bytes(), "path": None}
    rows = {"audio": [sound, sound, None, sound], "labels": [["rain", "dog"], ["cat"], ["cat"], []]}
    features = package.Features({"audio": package.Audio(decode=False), "labels": package.List(package.Value("string"))})
    (tmp_path / "data").mkdir()
    package.Dataset.from_dict(rows, features=features).to_parquet(str(tmp_path / "data" / "all.parquet"))
    notes = Notes()
    clips = read_hub(tmp_path / "data", notes)
    assert [clip.label for clip in clips] == ["dog;rain", "cat"] and clips[0].path.suffix == ".wav"
    assert notes == [(f"dataset {tmp_path / 'data'}: rows without sound or label, left out", ["train 2", "train 3"])]


def test_other_columns_and_no_dataset_are_refused(package, tmp_path):
    make(tmp_path / "data", "rows.csv", text="sound,class\na,b\n")
    with pytest.raises(DataError, match=r"has the columns sound, class: expected audio and label"):
        read_hub(tmp_path / "data")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"dataset .*empty: .*; expected user/name\[@revision\] of the Hub, or a local folder"):
        read_hub(tmp_path / "empty")


def test_the_sounds_are_what_the_one_prediction_path_decodes(package, tmp_path):
    from asm_rh.audio import decode

    path = tone(tmp_path / "data" / "dog" / "1.wav", 440)
    tone(tmp_path / "data" / "cat" / "1.wav", 220)
    (clip,) = (clip for clip in read_hub(tmp_path / "data") if clip.label == "dog")
    np.testing.assert_array_equal(decode(clip.path)[0], decode(path)[0])


@pytest.mark.slow
def test_without_the_package_the_line_says_what_to_install():
    code = (
        "import sys; sys.modules['datasets'] = None\n"
        "from asm_rh.cli import main\nsys.exit(main(['data', 'check', 'somebody/something', '--layout', 'hub']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent.parent, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    wanted = "a dataset of the Hub needs the package datasets, which is not here: pip install datasets torchcodec (extra hub-data)"
    assert done.stderr == f"asm-rh: error: {wanted}\n"


def test_without_torchcodec_the_line_says_so(package, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "torchcodec"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torchcodec", None)
    tone(tmp_path / "data" / "dog" / "1.wav")
    with pytest.raises(DataError, match=r"torchcodec.*; pip install datasets torchcodec \(extra hub-data\)"):
        read_hub(tmp_path / "data")
