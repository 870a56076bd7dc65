"""Judges the keyword model on speakers and backgrounds it was never trained on.

    python -m benchmarks.keywords_score DATA [--model asm-rh-keywords] [--split test] [--name keywords]

Writes results/<name>.json: accuracy with its interval and per class on clips of unseen speakers, accuracy at other microphone gains, false
keywords per hour at the shipped threshold on background recordings and read speech, and on computed hum, noise, music, clicks and sweeps.
"""

import argparse
from pathlib import Path

import numpy as np

from asm_rh import signals
from asm_rh.alarms import false_alarms
from asm_rh.audio import decode
from asm_rh.classifier import Classifier
from asm_rh.config import NOISE
from asm_rh.datasets import Clip, audio_files
from asm_rh.evaluate import evaluate
from asm_rh.metrics import wilson_interval

from . import record
from .keywords_data import ESC_TEST_FOLD, NOISE_SPLITS, librispeech_split, split_clips

HOP_SECONDS = 0.25
GAINS_DB = (-20, -10, 10, 20)


def words_and_silence(data: Path, split: str, seed: int) -> list[Clip]:
    """One-second clips of a split."""
    clips = split_clips(data / "speech_commands_v2_12", seed)
    return [clip for clip in clips if clip.split == split and clip.path.parent.name != NOISE]


def accuracy_at_gains(classifier: Classifier, clips: list[Clip]) -> dict:
    """Accuracy when every clip is made louder or softer by so many dB, not clipped."""
    truth = np.array([classifier.labels.index(clip.label) for clip in clips])
    waves = [decode(clip.path) for clip in clips]
    found = {}
    for gain_db in GAINS_DB:
        scores = [classifier.windows(wave * 10 ** (gain_db / 20), sampling_rate=rate).pooled() for wave, rate in waves]
        found[f"{gain_db:+d} dB"] = float((np.argmax(scores, 1) == truth).mean())
    return found


def false_keywords(classifier: Classifier, sounds, threshold: float) -> dict:
    """Keyword events per hour over (audio, rate) pairs that hold none; windows every 0.25 s."""
    found = false_alarms(classifier, [(rate, audio) for audio, rate in sounds], HOP_SECONDS, threshold, curve=())
    return {name: found[name] for name in ("hours", "events", "per_hour", "labels")}


def backgrounds(data: Path, seed: int) -> dict:
    """Sounds without keywords by name: (held out of training, list of (samples, rate))."""
    found = {}
    for path in audio_files(data / "speech_commands_v2_12" / NOISE):
        found[path.stem] = (NOISE_SPLITS.get(path.stem) == "test", [decode(path)])
    books = audio_files(data / "librispeech_speakers")
    for name, split in (("held out", "test"), ("trained on", "train")):
        paths = [p for p in books if librispeech_split(f"librispeech/{p.parent.parent.name}", seed) == split]
        found[f"read speech, speakers {name}"] = (split == "test", [decode(p) for p in paths])
    scenes = [p for p in audio_files(data / "esc10") if p.stem.startswith(f"{ESC_TEST_FOLD}-")]
    found["environment sounds, fold held out"] = (True, [decode(p) for p in scenes])
    random = np.random.default_rng(seed + 1000)
    for name, make in signals.BACKGROUNDS.items():
        found[f"computed {name}"] = (True, [(make(random, 10.0), signals.RATE) for _ in range(60)])
    return found


def judge(classifier: Classifier, data: Path, split: str, seed: int) -> dict:
    """All figures of one model."""
    clips = words_and_silence(data, split, seed)
    threshold = classifier.config.threshold
    plain = evaluate(classifier, clips)
    spoken = [clip for clip in clips if not clip.label.startswith("_")]
    certain = [c for c in spoken if any(e.label == c.label for e in classifier.windows(c.path).events(threshold=threshold))]
    return {
        "split": split, "seed": seed, "threshold": threshold, "hop_seconds": HOP_SECONDS, "test": plain,
        "keywords_found_at_threshold": {
            "share": len(certain) / len(spoken), "interval": list(wilson_interval(len(certain), len(spoken))), "clips": len(spoken),
        },
        "accuracy_at_gain": accuracy_at_gains(classifier, clips),
        "false_keywords": {
            name: {"held_out": held_out, **false_keywords(classifier, sounds, threshold)}
            for name, (held_out, sounds) in backgrounds(data, seed).items()
        },
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="asm-rh-keywords")
    parser.add_argument("--split", default="test", choices=("valid", "test"))
    parser.add_argument("--seed", type=int, default=0, help="of the split by speakers")
    parser.add_argument("--name", default="keywords", help="of the file in results/")
    args = parser.parse_args()
    figures = judge(Classifier(args.model, "cpu"), args.data, args.split, args.seed)
    flags = f"--model {Path(args.model).name} --split {args.split} --seed {args.seed} --name {args.name}"
    command = f"python -m benchmarks.keywords_score DATA {flags}"
    record.write(args.name, figures, command)


if __name__ == "__main__":
    main()
