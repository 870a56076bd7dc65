"""Trains asm-rh on a set with the recipe that validation preferred, a model for each fold, and judges each once on its own test fold.

    python -m benchmarks.best DATA environment --runs runs/environment [--folds 1 2] [--jobs 2] [--ship]

Sets: environment (ESC-10), environment-city (the same after other sounds), emotion (RAVDESS, actors apart), emotion-random (RAVDESS, random
split as in the paper, leaky), urbansound8k, and the last two -plain, as they were before longer training. It goes on where it stopped.
Writes results/best_<set>.json; with --ship the weights that were tested on the set's last fold go to checkpoints/, with the threshold that
validation asks for.
"""

import argparse
import json
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from asm_rh import signals
from asm_rh.calibration import thresholds_for
from asm_rh.checkpoint import load, save, shipped_folder
from asm_rh.classifier import Classifier
from asm_rh.config import SILENCE, UNKNOWN, ModelConfig, preset
from asm_rh.corpora import read_layout
from asm_rh.crossval import mean_interval
from asm_rh.datasets import Clip, audio_files
from asm_rh.evaluate import evaluate
from asm_rh.feature_cache import FeatureCache, build, concatenate, raw_features, raw_settings, statistics
from asm_rh.frontends import LogMel
from asm_rh.protocols import Fold, folds
from asm_rh.recipes import RECIPES, TrainConfig
from asm_rh.train import STATE_FILE, History, fit
from asm_rh.transfer import transfer
from asm_rh.weight_files import read_weights

from . import record
from .cards import file_of
from .keywords_data import librispeech_split
from .pretrain import pretrain

COMPUTED_SECONDS = 120  # of each computed sound


@dataclass(frozen=True)
class Target:
    """A set, how it is cut and split, the model's preset and the run's settings."""

    folder: str
    layout: str
    preset: str
    hop_seconds: float
    settings: dict
    quiet_db: float | None = None
    count: int | None = None
    random_split: bool = False
    tested: tuple[str, ...] = ()
    backgrounds: bool = False  # also silence and speech, which are none of the classes
    sizes: dict = field(default_factory=dict)
    start: tuple[str, ...] = ()  # sets that the network learns first

    def folds(self, data: Path) -> list[Fold]:
        """The splits, those that are tested."""
        found = folds(read_layout(self.layout, data / self.folder), self.count, self.random_split)
        return [fold for fold in found if not self.tested or fold.name in self.tested]

    def but(self, start=(), settings=None, augment=None, sizes=None) -> "Target":
        """The same target with some of its settings changed."""
        own = {**self.settings, **(settings or {})}
        own["augment"] = {**own.get("augment", {}), **(augment or {})}
        return replace(self, start=start or self.start, settings=own, sizes={**self.sizes, **(sizes or {})})

    def model(self, clips: list[Clip]) -> ModelConfig:
        """The configuration, all but the mean and spread."""
        labels = sorted({clip.label for clip in clips}) + ([SILENCE, UNKNOWN] if self.backgrounds else [])
        return preset(self.preset, labels, **self.sizes)

    def train(self) -> TrainConfig:
        """The settings of a run."""
        return RECIPES["modern"].train.replace(**self.settings)


AFTER_OTHERS = dict(initial_learning_rate_scale=1.0, epochs=40)
PLAIN = {
    "environment": Target(
        "esc10", "esc10", "asm-rh-environment", 0.25, quiet_db=26, backgrounds=True,
        settings=dict(
            epochs=80, clips_per_epoch=1200, batch_size=32, learning_rate=3e-3, average_decay=0.995,
            augment=dict(mixup_probability=0.5, shift_frames=30.0),
        ),
    ),
    "emotion": Target(
        "ravdess", "ravdess", "asm-rh-emotion", 0.5, quiet_db=12, count=6,
        settings=dict(epochs=60, clips_per_epoch=1200, batch_size=32, learning_rate=2e-3, average_decay=0.995),
    ),
    "emotion-random": Target(
        "ravdess", "ravdess", "asm-rh-emotion", 0.5, quiet_db=12, count=10, random_split=True,
        settings=dict(epochs=60, clips_per_epoch=1200, batch_size=32, learning_rate=2e-3, average_decay=0.995),
    ),
    "urbansound8k": Target(
        "urbansound8k_subset", "urbansound8k", "asm-rh-environment", 0.5, quiet_db=26, tested=("10",),
        settings=dict(
            epochs=50, clips_per_epoch=1600, batch_size=32, learning_rate=2e-3, average_decay=0.995,
            augment=dict(mixup_probability=0.5, shift_frames=30.0),
        ),
    ),
}  # fmt: skip
# What validation preferred among benchmarks/ideas.py. The city's sounds may not be used commercially, so those weights are not shipped.
TARGETS = {
    **PLAIN, "emotion-random-plain": PLAIN["emotion-random"], "urbansound8k-plain": PLAIN["urbansound8k"],
    "environment-city": PLAIN["environment"].but(start=("speech-commands", "urbansound8k"), settings=AFTER_OTHERS),
    "emotion-random": PLAIN["emotion-random"].but(settings=dict(epochs=150)),
    "urbansound8k": PLAIN["urbansound8k"].but(start=("speech-commands", "esc10"), settings={**AFTER_OTHERS, "epochs": 120}),
}  # fmt: skip


def cache_of(target: Target, data: Path, clips: list[Clip], path: Path) -> FeatureCache:
    """The features of a set, with its backgrounds, computed once."""
    if not path.exists():
        config = target.model(clips)
        parts = [build(clips, config, target.hop_seconds, quiet_db=target.quiet_db)]
        if target.backgrounds:
            parts += [speech(data, config), computed(config)]
        concatenate(parts).save(path)
    return FeatureCache.load(path)


def speech(data: Path, config: ModelConfig) -> FeatureCache:
    """Read speech of half of LibriSpeech's readers, which is none of the classes."""
    clips = [Clip(p, UNKNOWN, f"librispeech/{p.parent.parent.name}") for p in audio_files(data / "librispeech_speakers")]
    return build([clip for clip in clips if librispeech_split(clip.group, 0) == "train"], config, config.window_seconds)


def computed(config: ModelConfig) -> FeatureCache:
    """Digital silence and faint hum as silence; music and sweeps as none of the classes."""
    rate, frontend, size = config.sample_rate, LogMel(config.frontend, config.sample_rate), config.window_samples
    random, count, seconds = np.random.default_rng(0), round(COMPUTED_SECONDS / config.window_seconds), config.window_seconds
    waves = [(np.zeros(size, np.float32), SILENCE)] * 30
    waves += [(signals.BACKGROUNDS["hum"](random, seconds, rate) * 0.1, SILENCE) for _ in range(count)]
    waves += [(signals.BACKGROUNDS[name](random, seconds, rate), UNKNOWN) for name in ("music", "sweep") for _ in range(count)]
    rows = np.stack([raw_features(frontend, wave.astype(np.float32), config) for wave, _ in waves])
    names = np.array([f"computed {i}" for i in range(len(rows))])
    label = np.array([label for _, label in waves])
    return FeatureCache(rows, label, names, np.full(len(rows), "train"), clip=names, frontend=raw_settings(config))


def learn(target: Target, fold: Fold, cache_path: Path, data: Path, folder: Path, start: Path | None = None) -> History:
    """Trains the model of one fold, or goes on with it; `start` is the run that it begins from. One thread."""
    import torch

    torch.set_num_threads(1)
    cache = cache_of(target, data, fold.clips, cache_path)
    own = {clip.name: clip.split for clip in fold.clips}
    cache.assign({name: own.get(name, "train") for name in cache.clip.tolist()})
    cache.weight[:] = balanced(cache)
    train, valid = (cache.of_split(name) for name in ("train", "valid"))
    config = target.model(fold.clips)
    mean, std = statistics(train, config.frontend.centre)
    config = config.replace(frontend={"mean": mean, "std": std})
    initial = start and transfer(read_weights(start), config)
    return fit(config, train, valid, target.train(), folder, (folder / STATE_FILE).is_file(), report=lambda line: None, initial=initial)


def run(target: Target, fold: Fold, cache_path: Path, data: Path, folder: Path, start: Path | None = None) -> None:
    """Trains the model of one fold; then judges it as users would, by whole files."""
    if (folder / "judged.json").exists():
        return
    history = learn(target, fold, cache_path, data, folder, start)
    print(f"fold {fold.name}: best epoch {history.best['epoch']}, validation {history.best['valid_accuracy']:.3f}", flush=True)
    classifier = Classifier(str(folder), "cpu")
    parts = {name: [clip for clip in fold.clips if clip.split == name] for name in ("valid", "test")}
    judged = {name: evaluate(classifier, clips) for name, clips in parts.items()}
    (folder / "judged.json").write_text(json.dumps({"fold": fold.name, "best_epoch": history.best["epoch"], **judged}))


def begun(target: Target, found: list[Fold], data: Path, folder: Path) -> Path | None:
    """The run that every fold's model begins from, made once; None where they begin from nothing."""
    if not target.start:
        return None
    return pretrain(target.start, target.model(found[0].clips), data, {clip.group for clip in found[0].clips}, folder)


def balanced(cache: FeatureCache) -> np.ndarray:
    """Drawing weights: every class of the set as often as the others, silence and other sounds twice as often as one class."""
    label = np.where(cache.quiet, SILENCE, cache.label)
    weight = np.zeros(len(cache), np.float32)
    for name in set(label.tolist()):
        rows = (label == name) & (cache.split == "train")
        weight[rows] = (2.0 if name in (SILENCE, UNKNOWN) else 1.0) / max(1, rows.sum())
    return weight * 1000


def summed(target: Target, runs: Path, found: list[Fold]) -> dict:
    """Figures of every fold that is done, and their mean."""
    rows = []
    for fold in found:
        path = runs / f"fold-{fold.name}" / "judged.json"
        if path.exists():
            own = json.loads(path.read_text())
            test, valid = own["test"], own["valid"]
            rows.append({
                "fold": fold.name, "protocol": fold.protocol, "leaky": fold.leaky, "best_epoch": own["best_epoch"],
                "accuracy": test["accuracy"], "macro_f1": test["macro_f1"], "auc": test["auc"], "clips": test["clips"],
                "groups": test["groups"], "valid_accuracy": valid["accuracy"], "per_class": test["per_class"],
                "confusion": test["confusion"], "labels": test["labels"],
            })  # fmt: skip
    names = ("mean", "low", "high")
    figures = {key: dict(zip(names, mean_interval([row[key] for row in rows]))) for key in ("accuracy", "macro_f1", "auc")}
    right = round(sum(row["accuracy"] * row["clips"] for row in rows))
    return {
        **figures, "clips": sum(row["clips"] for row in rows), "right": right, "folds_done": len(rows), "folds_in_all": len(found),
        "preset": target.preset, "start": list(target.start), "settings": target.settings, "folds": rows,
    }  # fmt: skip


def ship(target: Target, runs: Path, fold: Fold, name: str, precision: float = 0.9) -> float:
    """Puts the weights that were tested on `fold` into checkpoints/ with the threshold at which nine of ten validation events are right."""
    folder = runs / f"fold-{fold.name}"
    classifier = Classifier(str(folder), "cpu")
    clips = [clip for clip in fold.clips if clip.split == "valid"]
    truth = np.array([classifier.labels.index(clip.label) for clip in clips])
    scores = np.stack([classifier.windows(clip.path).pooled() for clip in clips])
    wanted = [row["threshold"] for row in thresholds_for(truth, scores, classifier.labels, precision) if row["threshold"] is not None]
    threshold = float(np.clip(np.round(np.median(wanted), 2), 0.3, 0.9))
    model = load(folder)
    changed = type(model)(model.config.replace(threshold=threshold))
    changed.load_state_dict(model.state_dict())
    save(changed.eval(), shipped_folder() / name)
    return threshold


def parser_for(words: str, sets) -> argparse.ArgumentParser:
    """The flags of every command that trains a model for each fold of one of the `sets`."""
    parser = argparse.ArgumentParser(description=words, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("set", choices=sets)
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--folds", nargs="+", help="only these")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs side by side, a thread each (default: one per core)")
    return parser


def main():
    parser = parser_for(__doc__, TARGETS)
    parser.add_argument("--ship", action="store_true", help="put the last fold's weights into checkpoints/")
    args = parser.parse_args()
    target = TARGETS[args.set]
    found = target.folds(args.data)
    args.runs.mkdir(parents=True, exist_ok=True)
    cache_path = args.runs / "features.npz"
    cache_of(target, args.data, found[0].clips, cache_path)
    start = begun(target, found, args.data, args.runs / "start")
    with ProcessPoolExecutor(args.jobs, max_tasks_per_child=1) as pool:
        wanted = [fold for fold in found if not args.folds or fold.name in args.folds]
        for done in [pool.submit(run, target, f, cache_path, args.data, args.runs / f"fold-{f.name}", start) for f in wanted]:
            done.result()
    figures = summed(target, args.runs, found)
    if args.ship:
        figures["threshold"] = ship(target, args.runs, found[-1], target.preset)
        figures["shipped_fold"] = found[-1].name
    record.write(file_of(args.set), figures, f"python -m benchmarks.best DATA {args.set} --runs runs/{args.set}")


if __name__ == "__main__":
    main()
