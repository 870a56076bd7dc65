"""A network that has learned other sounds first: its weights are where a run on a small set may begin.

Every label of every set is a class of its own. What shares a source with the set that comes after it is left out, so that nothing of the
later test is heard here.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from asm_rh.config import ModelConfig
from asm_rh.corpora import read_layout
from asm_rh.datasets import Clip, hashed_split
from asm_rh.feature_cache import FeatureCache, build, concatenate, statistics
from asm_rh.recipes import RECIPES
from asm_rh.train import STATE_FILE, fit

SETTINGS = dict(
    epochs=30, clips_per_epoch=4000, batch_size=64, learning_rate=2e-3, average_decay=0.995,
    augment=dict(mixup_probability=0.5, shift_frames=20.0),
)  # fmt: skip
VALID = 0.06


@dataclass(frozen=True)
class Lesson:
    """A set to learn first: its folder, layout, and how it is cut into windows."""

    folder: str
    layout: str
    hop_seconds: float
    quiet_db: float | None = None


LESSONS = {
    "speech-commands": Lesson("speech_commands_v2_12", "speech-commands", 1.0),
    "urbansound8k": Lesson("urbansound8k_subset", "urbansound8k", 0.5, 26),
    "esc10": Lesson("esc10", "esc10", 0.25, 26),
}


def lesson_clips(name: str, data: Path, without: set[str]) -> list[Clip]:
    """The clips of a set but for those of the groups `without`, labels marked with the set's name, split by group."""
    lesson = LESSONS[name]
    clips = [clip for clip in read_layout(lesson.layout, data / lesson.folder) if clip.group not in without]
    marked = [replace(clip, label=f"{name} {clip.label.strip('_')}", group=f"{name}/{clip.group}") for clip in clips]
    return [replace(clip, split=hashed_split(clip.group, VALID, 0)) for clip in marked]


def lesson_cache(names, config: ModelConfig, data: Path, without: set[str], path: Path) -> FeatureCache:
    """The features of several sets, computed once, quiet windows left out, every label drawn as often as the others."""
    if not path.exists():
        parts = [
            build(lesson_clips(name, data, without), config, LESSONS[name].hop_seconds, quiet_db=LESSONS[name].quiet_db) for name in names
        ]
        concatenate(parts).save(path)
    cache = FeatureCache.load(path).with_silence(False)
    cache.balance()
    return cache


def pretrain(names, config: ModelConfig, data: Path, without: set[str], folder: Path) -> Path:
    """Trains a network of this shape on the named sets, or goes on with it -> its run folder. `without`: groups of the later set."""
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    cache = lesson_cache(names, config, data, without, folder / "features.npz")
    train, valid = (cache.of_split(part) for part in ("train", "valid"))
    mean, std = statistics(train, config.frontend.centre)
    shape = config.replace(labels=tuple(sorted(set(cache.label.tolist()))), frontend={"mean": mean, "std": std})
    settings, resume = RECIPES["modern"].train.replace(**SETTINGS), (folder / STATE_FILE).is_file()
    history = fit(shape, train, valid, settings, folder, resume, report=lambda line: None)
    print(f"{' + '.join(names)}: best epoch {history.best['epoch']}, validation {history.best['valid_accuracy']:.3f}", flush=True)
    return folder
