"""Are the attributions of the keyword weights reasons? Deletes the cells they name from real clips, against random cells and a control.

    python -m benchmarks.explain DATA [--clips 100] [--share 0.1] [--seed 0]

The control attributes with randomly initialised weights and deletes from the trained model: it must do no better than chance.
Writes results/explain.json.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from asm_rh.attribution import METHODS, attribute, support, with_random_weights
from asm_rh.audio import decode
from asm_rh.classifier import Classifier
from asm_rh.datasets import KEYWORDS

from . import record
from .keywords_data import speech_split


def test_clips(data: Path, count: int, seed: int) -> list[tuple[str, Path]]:
    """(word, path) of keywords of test speakers, as many of each word."""
    found = []
    for word in KEYWORDS:
        paths = sorted((data / "speech_commands_v2_12" / word).glob("*_nohash_*"))
        held_out = [path for path in paths if speech_split(path.stem.split("_nohash_")[0], seed) == "test"]
        each = count // len(KEYWORDS)
        found += [(word, path) for path in held_out[:: max(1, len(held_out) // each)][:each]]
    return found


def figures(classifier, control, clips, method: str, share: float) -> dict:
    """Mean falls of the score of the winning class, for the model's own attributions and the control's."""
    rows, sums = [], []
    for _, path in clips:
        wave = classifier.prepare(*decode(path))
        label = int(classifier.score(*decode(path))[0].argmax())
        own = attribute(classifier.model, wave, label, method)
        other = replace(own, cells=attribute(control, wave, label, method).cells)
        found, chance = (support(classifier.model, one, share) for one in (own, other))
        rows.append((found.score, found.fall, found.random_fall, chance.fall, found.strongest_alone, found.random_alone))
        sums.append(abs(own.cells.sum() / own.difference - 1))
    names = ("score", "fall", "random_fall", "control_fall", "strongest_alone", "random_alone")
    means = {name: round(float(value), 4) for name, value in zip(names, np.mean(rows, 0))}
    ratios = {"fall_over_random": means["fall"] / means["random_fall"], "control_over_random": means["control_fall"] / means["random_fall"]}
    worst = {"completeness_error": round(float(np.max(sums)), 4)} if method == "integrated-gradients" else {}
    return {**means, **{name: round(value, 2) for name, value in ratios.items()}, **worst}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="asm-rh-keywords")
    args = parser.parse_args()
    classifier = Classifier(args.model, "cpu")
    control = with_random_weights(classifier.model, args.seed)
    clips = test_clips(args.data, args.clips, args.seed)
    found = {method: figures(classifier, control, clips, method, args.share) for method in METHODS}
    record.write("explain", {"clips": len(clips), "share": args.share, **found}, f"python -m benchmarks.explain DATA --clips {args.clips}")


if __name__ == "__main__":
    main()
