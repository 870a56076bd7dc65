"""Chooses the event threshold of a trained keyword model on validation, and puts the weights where they ship.

    python -m benchmarks.keywords_choose DATA RUN [RUN ...] [--rolls RUN RUN ...] [--seed 0]

RUN are folders that `asm-rh train` wrote, each from the weights of the one before; --rolls are shorter runs that differ
in the reading of RollBlock alone. Copies the last one's best epoch into checkpoints/asm-rh-keywords with its threshold, and writes
results/keywords_training.json. Test clips are not read.
"""

import argparse
import csv
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from asm_rh.augment import AugmentConfig
from asm_rh.checkpoint import load, save, shipped_folder
from asm_rh.classifier import Classifier
from asm_rh.model import AudioMixer
from asm_rh.recipes import TrainConfig
from asm_rh.train import History

from . import record
from .keywords_score import words_and_silence

THRESHOLDS = np.round(np.arange(0.50, 0.91, 0.05), 2)
MOST_LOST = 0.03
DATA_COMMAND = "python -m benchmarks.keywords_data DATA keywords.npz"
TRAIN_COMMAND = "asm-rh train --cache keywords.npz --preset asm-rh-keywords"
RULE = (
    "The threshold is the highest, in steps of 0.05 from 0.50, at which at most 3 points fewer of the validation keywords are reported "
    "than at 0.50; validation speakers alone decided it."
)


def recall_by_threshold(model, data: Path, seed: int) -> dict:
    """Share of validation keywords that are the winning class with at least each threshold."""
    classifier = Classifier(model, "cpu")
    clips = [clip for clip in words_and_silence(data, "valid", seed) if not clip.label.startswith("_")]
    scores = np.stack([classifier.windows(clip.path).pooled() for clip in clips])
    own = scores[np.arange(len(clips)), [classifier.labels.index(clip.label) for clip in clips]]
    return {float(t): float(((own >= t) & (own == scores.max(1))).mean()) for t in THRESHOLDS}


def chosen_threshold(recall: dict) -> float:
    """The rule above."""
    return max(t for t, share in recall.items() if share >= recall[0.5] - MOST_LOST)


def history(run: Path) -> list[dict]:
    """The epochs of a run."""
    with open(run / "history.csv", newline="") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def run_facts(run: Path) -> dict:
    """What a run was and how far it got."""
    settings, rows = json.loads((run / "train.json").read_text()), history(run)
    best = History(rows).best
    return {
        "roll": json.loads((run / "config.json").read_text())["roll"], "epochs": settings["epochs"],
        "clips_per_epoch": settings["clips_per_epoch"], "finished_epochs": len(rows), "best_epoch": int(best["epoch"]),
        "valid_accuracy": best["valid_accuracy"], "valid_macro_f1": best["valid_macro_f1"],
        "hours": sum(row["seconds"] for row in rows) / 3600, "settings": settings, "history": rows,
    }  # fmt: skip


def commands_of(stages: list[dict]) -> list[str]:
    """The command of every stage, with the flags that differ from what `asm-rh train` does by itself."""
    told = (
        "epochs", "clips_per_epoch", "learning_rate", "warmup_epochs", "label_smoothing", "finish_share", "finish_approximate",
        "batch_size",
    )  # fmt: skip
    usual = {**{name: getattr(TrainConfig(), name) for name in told}, "seed": None}
    found = []
    for number, stage in enumerate(stages, start=1):
        flags = [f"--run-dir runs/stage{number}"] + ([f"--init runs/stage{number - 1}"] if number > 1 else [])
        flags += [f"--{k.replace('_', '-')} {stage['settings'][k]:g}" for k, value in usual.items() if stage["settings"][k] != value]
        flags += augment_flags(stage["settings"]["augment"])
        if stage["finished_epochs"] < stage["epochs"]:
            flags.append(f"--stop-after {stage['finished_epochs']}")
        found.append(" ".join([TRAIN_COMMAND, *flags]))
    return found


def augment_flags(augment: dict) -> list[str]:
    """What of a run's augmentation is not the usual."""
    usual, flags = asdict(AugmentConfig()), []
    if augment["mixup_probability"] != usual.pop("mixup_probability"):
        flags.append(f"--mixup {augment['mixup_probability']:g}")
    changed = [f"{name}={augment[name]:g}" for name in usual if augment[name] != usual[name]]
    return flags + ([f"--augment {' '.join(changed)}"] if changed else [])


def with_threshold(model: AudioMixer, threshold: float) -> AudioMixer:
    """The same weights in a configuration with another threshold."""
    changed = AudioMixer(model.config.replace(threshold=threshold))
    changed.load_state_dict(model.state_dict())
    return changed.eval()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--rolls", type=Path, nargs="*", default=[])
    parser.add_argument("--seed", type=int, default=0, help="of the split by speakers")
    args = parser.parse_args()
    model, stages = load(args.runs[-1]), [run_facts(run) for run in args.runs]
    recall = recall_by_threshold(model, args.data, args.seed)
    save(with_threshold(model, chosen_threshold(recall)), shipped_folder() / "asm-rh-keywords")
    figures = {
        "data_command": DATA_COMMAND, "commands": commands_of(stages), "stages": stages, "rolls": [run_facts(run) for run in args.rolls],
        "valid_accuracy": stages[-1]["valid_accuracy"], "hours": sum(stage["hours"] for stage in stages),
        "threshold": chosen_threshold(recall), "threshold_rule": RULE, "valid_recall_by_threshold": recall,
    }  # fmt: skip
    record.write("keywords_training", figures, "python -m benchmarks.keywords_choose DATA runs/stage1 runs/stage2")


if __name__ == "__main__":
    main()
