"""Made trees in the layouts of published corpora; most files are empty, as readers look at names only."""

from pathlib import Path

import numpy as np
import soundfile


def make(root, *names, text=None):
    """Files below `root`, empty or with `text`."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text or "")
    return root


def by_name(clips, root):
    return {clip.path.relative_to(root).as_posix(): clip for clip in clips}


def tone(path, hz=440.0, seconds=0.5, rate=8000, gain=0.3, channels=1):
    """A file with a tone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = gain * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)
    soundfile.write(path, np.column_stack([wave] * channels), rate)
    return path


def speech_commands(root, speakers=60, words=("yes", "no", "bed")):
    """Every speaker says every word twice; four background recordings; no lists."""
    ids = [f"{7919 * i:08x}" for i in range(1, speakers + 1)]
    make(root, *(f"{word}/{speaker}_nohash_{take}.wav" for word in words for speaker in ids for take in range(2)))
    return make(root, *(f"_background_noise_/noise{i}.wav" for i in range(6)))


URBAN = ("air_conditioner", "car_horn", "children_playing")


def urbansound8k(root, folds=10, ending=".wav"):
    """Each fold has, of each class, three recordings with three slices each."""
    lines = ["slice_file_name,fsID,start,end,salience,fold,classID,class"]
    for fold in range(1, folds + 1):
        for number, label in enumerate(URBAN):
            for source in range(3):
                for piece in range(3):
                    fs_id = 10_000 * fold + 10 * number + source
                    stem = f"{fs_id}-{number}-0-{piece}"
                    lines.append(f"{stem}.wav,{fs_id},0.0,4.0,1,{fold},{number},{label}")
                    make(root, f"audio/fold{fold}/{stem}{ending}")
    make(root, "metadata/UrbanSound8K.csv", text="\n".join(lines) + "\n")
    return root


def esc50(root, ending=".wav"):
    """Five folds; dog and rain belong to ESC-10, cat does not; one recording gives the takes A and B."""
    lines = ["filename,fold,target,category,esc10,src_file,take"]
    for fold in range(1, 6):
        for target, (label, ten) in enumerate((("dog", True), ("rain", True), ("cat", False))):
            for source in range(4):
                for take in "AB":
                    number = 1000 * fold + 100 * target + source
                    lines.append(f"{fold}-{number}-{take}-{target}.wav,{fold},{target},{label},{ten},{number},{take}")
                    make(root, f"audio/{fold}-{number}-{take}-{target}{ending}")
    make(root, "meta/esc50.csv", text="\n".join(lines) + "\n")
    return root


def ravdess(root, actors=24):
    """Two statements of every emotion by every actor."""
    for actor in range(1, actors + 1):
        make(root, *(f"Actor_{actor:02d}/03-01-{e:02d}-01-{s:02d}-01-{actor:02d}.wav" for e in range(1, 9) for s in (1, 2)))
    return root


CASIA_SPEAKERS = ("liuchanhg", "wangzhe", "zhaoquanyin", "ZhaoZuoxiang")


def casia(root):
    """The four speakers and six emotions of CASIA, three utterances each."""
    for speaker in CASIA_SPEAKERS:
        for emotion in ("angry", "fear", "happy", "neutral", "sad", "surprise"):
            make(root, *(f"{speaker}/{emotion}/{number}.wav" for number in (201, 202, 203)))
    return root


def manifest(root):
    """Two stretches of each of 120 recordings by 40 speakers."""
    lines = ["file_name,label,start,end,group"]
    for i in range(120):
        make(root, f"clips/{i}.wav")
        lines += [f"clips/{i}.wav,{('dog', 'rain', 'dog;rain')[i % 3]},{start},{start + 1},speaker{i // 3}" for start in (0, 1)]
    (root / "metadata.csv").write_text("\n".join(lines) + "\n")
    return root


def folder(root):
    """Two classes of 150 files each, whose names say nothing about speakers."""
    return make(root, *(f"{label}/{i}.wav" for label in ("cat", "dog") for i in range(150)))


TREES = {
    "folder": folder, "manifest": manifest, "speech-commands": speech_commands, "speech-commands-35": speech_commands,
    "urbansound8k": urbansound8k, "esc50": esc50, "esc10": esc50, "ravdess": ravdess, "casia": casia,
}  # fmt: skip
REAL = {
    "speech-commands": "speech_commands_v2_12", "speech-commands-35": "speech_commands_v1_bed_cat_happy",
    "urbansound8k": "urbansound8k_subset", "esc50": "esc10", "esc10": "esc10", "ravdess": "ravdess",
}  # fmt: skip


def real(shared_data: Path, name: str) -> Path:
    """The folder of real recordings; skips where it is not there."""
    import pytest

    if not (shared_data / name).is_dir():
        pytest.skip(f"no {name} in ../shared/data")
    return shared_data / name
