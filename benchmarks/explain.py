"""Are the attributions of the keyword weights reasons? Deletes the cells they name from real clips, against random cells and a control.

    python -m benchmarks.explain DATA [--clips 100] [--share 0.1] [--seed 0]

The control attributes with randomly initialised weights and deletes from the trained model: it must fail where the model passes, at three
times the fall of random cells. Random cells that are as loud as the strongest are the harder comparison. Writes results/explain.json.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from asm_rh.attribution import METHODS, attribute, control_of, score_without, strongest, support
from asm_rh.audio import decode
from asm_rh.classifier import Classifier
from asm_rh.config import preset
from asm_rh.datasets import KEYWORDS
from asm_rh.explain import explain
from asm_rh.model import AudioMixer
from asm_rh.report import files
from asm_rh.signals import RATE, chirp

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


def as_loud(found, share: float, random, reach: int = 200) -> np.ndarray:
    """Random cells (frames, bands) as loud as the strongest: for each, one within `reach` places in the order of loudness."""
    loudness = (found.features - found.baseline).ravel()
    order = np.argsort(loudness)
    places = np.flatnonzero(strongest(found.weights, share).ravel()[order])
    chosen = np.zeros(loudness.size, bool)
    chosen[order[np.clip(places + random.integers(-reach, reach + 1, len(places)), 0, loudness.size - 1)]] = True
    return chosen.reshape(found.cells.shape)


def figures(classifier, clips, method: str, share: float, seed: int = 0) -> dict:
    """Mean falls of the score of the winning class: own attributions, the control's, random cells, random cells as loud as the own."""
    rows, sums, random = [], [], np.random.default_rng(seed)
    for _, path in clips:
        wave = classifier.prepare(*decode(path))
        label = int(classifier.score(*decode(path))[0].argmax())
        own = attribute(classifier.model, wave, label, method)
        found, chance = (support(classifier.model, one, share) for one in (own, control_of(classifier.model, own, wave)))
        loud = score_without(classifier.model, own, as_loud(own, share, random)[None])
        falls = (found.score, found.fall, found.random_fall, chance.fall, found.score - float(loud[0]))
        rows.append((*falls, found.strongest_alone, found.random_alone))
        sums.append(abs(own.cells.sum() / own.difference - 1))
    names = ("score", "fall", "random_fall", "control_fall", "as_loud_fall", "strongest_alone", "random_alone")
    means = {name: round(float(value), 4) for name, value in zip(names, np.mean(rows, 0))}
    ratios = {"fall_over_random": means["fall"] / means["random_fall"], "control_over_random": means["control_fall"] / means["random_fall"],
              "fall_over_as_loud": means["fall"] / means["as_loud_fall"]}  # fmt: skip
    worst = {"completeness_error": round(float(np.max(sums)), 4)} if method == "integrated-gradients" else {}
    return {**means, **{name: round(value, 2) for name, value in ratios.items()}, **worst}


def seconds(blocks: int, repeats: int = 5) -> dict:
    """Median seconds that every map of one window takes, for a model of the keyword weights' sizes with so many blocks."""
    torch.manual_seed(0)
    classifier = Classifier(AudioMixer(preset("asm-rh-keywords", labels=KEYWORDS, depth=blocks)).eval(), "cpu")
    wave, found = chirp(), []
    for _ in range(1 + repeats):
        began = time.perf_counter()
        files(explain(classifier, wave, RATE))
        found.append(time.perf_counter() - began)
    return {"blocks": blocks, "tokens": classifier.config.tokens, "width": classifier.config.width, "threads": torch.get_num_threads(),
            "seconds": round(statistics.median(found[1:]), 2)}  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="asm-rh-keywords")
    args = parser.parse_args()
    classifier = Classifier(args.model, "cpu")
    clips = test_clips(args.data, args.clips, args.seed)
    found = {method: figures(classifier, clips, method, args.share) for method in METHODS}
    figures_of = {"clips": len(clips), "share": args.share, **found, "all_maps": [seconds(6), seconds(12)]}
    record.write("explain", figures_of, f"python -m benchmarks.explain DATA --clips {args.clips}")


if __name__ == "__main__":
    main()
