"""Trains the paper's kinds of mixer on real recordings, every kind alike, and writes what came of it.

    python -m benchmarks.reproduce DATA [--set esc10 ...] [--variant asm-rh ...] [--runs 3] [--jobs 2] [--hours 2] [--check]
    python -m benchmarks.reproduce DATA --size base --device cuda --jobs 1 --runs 30     # the whole, at the paper's size

DATA is the folder that holds ravdess, esc10, urbansound8k_subset and speech_commands_v2_12. Run number i of a set is its fold i (around
again when they are used up) with seed i: the first runs of all kinds come first, so that whatever time there is gives pairs. It goes on
where it stopped, row by row, in results/reproduce_<set>.json; with --check it trains the chosen rows anew, writes nothing, and compares.
"""

import argparse
import json
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from asm_rh.config import SILENCE, ModelConfig, frames_for, preset
from asm_rh.corpora import read_layout
from asm_rh.crossval import judge_test, mean_interval
from asm_rh.feature_cache import FeatureCache, build, statistics
from asm_rh.metrics import wilson_interval
from asm_rh.protocols import Fold, folds
from asm_rh.recipes import RECIPES, TrainConfig
from asm_rh.train import best_model, fit

from . import record

PLAIN, PAPER = "mixer", "asm-rh"
VARIANTS = {
    PLAIN: dict(kind="asm", roll="off"),
    "asm": dict(kind="asm", roll="off", class_tokens=2),
    "asm-h": dict(kind="asm-h", roll="off"),
    "asm-r": dict(kind="asm-r", roll="paper"),
    PAPER: dict(kind="asm-rh", roll="paper"),
    "asm-rh-grid": dict(kind="asm-rh", roll="grid"),
    "asm-rh-truncated": dict(kind="asm-rh", roll="paper", hermit="truncated"),
}
SIZES = {
    "tiny": dict(depth=6, width=96, token_hidden=48, channel_hidden=192, drop_path=0.1, stride=(16, 16), bands=64),
    "base": dict(depth=12, width=768, token_hidden=384, channel_hidden=3072, drop_path=0.1, stride=(10, 10), bands=128),
}


@dataclass(frozen=True)
class Corpus:
    """One set of recordings, how it is split, and what every kind is trained with."""

    folder: str
    layout: str
    window_seconds: float
    epochs: int
    count: int | None = None  # of folds that are computed
    random_split: bool = False
    tested: tuple[str, ...] = ()  # only these folds are tested
    stride: tuple[int, int] | None = None  # of the tiny size, where it is another

    def folds(self, data: Path) -> list[Fold]:
        """The splits, those that are tested."""
        clips = [clip for clip in read_layout(self.layout, data / self.folder) if clip.label != SILENCE]
        found = folds(clips, self.count, self.random_split)
        return [fold for fold in found if not self.tested or fold.name in self.tested]

    def model(self, labels, variant: str, size: str) -> ModelConfig:
        """The configuration of a kind, all but the mean and spread."""
        sizes = dict(SIZES[size])
        if size == "tiny" and self.stride:
            sizes["stride"] = self.stride
        plain = preset("asm-rh-base", labels, roll="off", stride=sizes["stride"], frontend={"bands": sizes.pop("bands")}, frames=1024)
        fitting = plain.replace(window_seconds=self.window_seconds, frames=frames_for(plain, self.window_seconds))
        return fitting.replace(**sizes, **VARIANTS[variant])

    def train(self, seed: int, size: str, device: str) -> TrainConfig:
        """The settings of a run."""
        rate = {"tiny": 2e-3, "base": 5e-4}[size]
        settings = dict(batch_size=32, learning_rate=rate, average_decay=0.99, epochs=self.epochs, device=device)
        return RECIPES["modern"].train.replace(**settings, seed=seed)


CORPORA = {
    "speech-commands": Corpus("speech_commands_v2_12", "speech-commands", 1.0, 20, count=5, stride=(16, 8)),
    "ravdess": Corpus("ravdess", "ravdess", 4.0, 30, count=6),
    "ravdess-random": Corpus("ravdess", "ravdess", 4.0, 30, count=10, random_split=True),
    "esc10": Corpus("esc10", "esc10", 5.0, 60),
    "urbansound8k": Corpus("urbansound8k_subset", "urbansound8k", 4.0, 15, tested=("10",)),
}


def cache_of(corpus: Corpus, data: Path, found: list[Fold], folder: Path, size: str) -> Path:
    """The features of a set in a file, computed once."""
    path = folder / f"{corpus.folder}-{corpus.window_seconds:g}-{size}.npz"
    if not path.exists():
        build(found[0].clips, corpus.model(labels_of(found), PLAIN, size)).save(path)
    return path


def labels_of(found: list[Fold]) -> list[str]:
    """Every label of a set."""
    return sorted({clip.label for clip in found[0].clips})


def run(corpus: Corpus, fold: Fold, cache_path: Path, variant: str, seed: int, size: str, device: str) -> dict:
    """Trains one kind on one fold with one seed -> its row. One thread, so that rows can be computed side by side."""
    import torch

    torch.set_num_threads(1)
    os.nice(5)
    started, cache = time.monotonic(), FeatureCache.load(cache_path)
    cache.assign({clip.name: clip.split for clip in fold.clips})
    train, valid = (cache.of_split(name) for name in ("train", "valid"))
    mean, std = statistics(train)
    config = corpus.model(labels_of([fold]), variant, size).replace(frontend={"mean": mean, "std": std})
    settings = corpus.train(seed, size, device)
    with tempfile.TemporaryDirectory() as folder:
        history = fit(config, train, valid, settings, folder, report=lambda line: None)
        found = judge_test(best_model(folder), cache.of_split("test"), settings)
    return {
        "variant": variant, "fold": fold.name, "seed": seed, **{key: round(found[key], 6) for key in ("accuracy", "macro_f1", "auc")},
        "clips": found["clips"], "groups": found["groups"], "best_epoch": history.best["epoch"],
        "valid_accuracy": history.best["valid_accuracy"], "protocol": fold.protocol, "seconds": round(time.monotonic() - started),
    }  # fmt: skip


def planned(corpora: dict, variants, runs: int, found: dict) -> list[tuple]:
    """(set, variant, fold, seed) of every wanted row, run number by run number."""
    return [(name, variant, found[name][i % len(found[name])], i) for i in range(runs) for variant in variants for name in corpora]


def path_of(name: str, size: str = "tiny") -> Path:
    """The results file of a set."""
    return record.RESULTS / f"reproduce_{name.replace('-', '_')}{'' if size == 'tiny' else '_' + size}.json"


def rows_of(name: str, size: str = "tiny") -> list[dict]:
    """The rows that are there."""
    return json.loads(path_of(name, size).read_text(encoding="utf-8"))["rows"] if path_of(name, size).exists() else []


def keep(name: str, size: str, row: dict) -> None:
    """Adds a row to its file and works the comparisons out anew."""
    order = list(VARIANTS)
    rows = sorted([*rows_of(name, size), row], key=lambda r: (order.index(r["variant"]), r["seed"]))
    corpus = CORPORA[name]
    sizes = corpus.model(["a", "b"], PAPER, size)
    figures = {
        "set": name, "size": size, "depth": sizes.depth, "width": sizes.width, "tokens": sizes.tokens, "epochs": corpus.epochs,
        "window_seconds": corpus.window_seconds,
    }
    more = "" if size == "tiny" else f" --size {size} --device cuda --jobs 1"
    command = f"python -m benchmarks.reproduce DATA --set {name}{more}"
    record.write(path_of(name, size).stem, {**figures, **compared(rows), "rows": rows}, command)


def compared(rows: list[dict]) -> dict:
    """Means of each kind, and differences to the plain mixer and to the paper's model over the runs that both have."""
    by = {variant: [row for row in rows if row["variant"] == variant] for variant in VARIANTS}
    means = {variant: {key: spread([row[key] for row in own]) for key in ("accuracy", "auc")} for variant, own in by.items() if own}
    pairs = {}
    for base in (PLAIN, PAPER):
        for variant in VARIANTS:
            if variant != base and (found := differences(rows, variant, base)):
                pairs[f"{variant} - {base}"] = spread(found)
    return {"means": means, "paired_differences": pairs}


def differences(rows: list[dict], kind: str, base: str) -> list[float]:
    """By how much a kind is more accurate than another, of every run that both have."""
    own, other = ({row["seed"]: row["accuracy"] for row in rows if row["variant"] == name} for name in (kind, base))
    return [own[seed] - other[seed] for seed in sorted(own.keys() & other.keys())]


def spread(values) -> dict:
    """Mean with its 95 % interval, and the number of runs."""
    mean, low, high = mean_interval(values)
    return {"mean": round(mean, 5), "low": low and round(low, 5), "high": high and round(high, 5), "runs": len(values)}


def checked(row: dict, name: str, size: str) -> str:
    """A row trained anew against the one that is kept."""
    old = next((r for r in rows_of(name, size) if (r["variant"], r["seed"]) == (row["variant"], row["seed"])), None)
    kept = "none kept" if old is None else f"kept {old['accuracy']:.4f}"
    low, high = wilson_interval(round(row["accuracy"] * row["clips"]), row["clips"])
    return f"{name} {row['variant']} fold {row['fold']} seed {row['seed']}: {row['accuracy']:.4f} ({low:.4f} to {high:.4f}), {kept}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--set", nargs="+", choices=CORPORA, default=list(CORPORA))
    parser.add_argument("--variant", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--runs", type=int, default=3, help="runs of each kind (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs side by side, a thread each (default: one per core)")
    parser.add_argument("--hours", type=float, default=1e9, help="begin no run after so long")
    parser.add_argument("--size", choices=SIZES, default="tiny", help="of all kinds; base is the paper's (default: %(default)s)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--features", type=Path, default=Path(tempfile.gettempdir()) / "asm-rh-features", help="where features are kept")
    parser.add_argument("--check", action="store_true", help="train rows anew and compare them with what is kept")
    args = parser.parse_args()
    args.features.mkdir(parents=True, exist_ok=True)
    corpora = {name: CORPORA[name] for name in args.set}
    found = {name: corpus.folds(args.data) for name, corpus in corpora.items()}
    caches = {name: cache_of(corpus, args.data, found[name], args.features, args.size) for name, corpus in corpora.items()}
    wanted = planned(corpora, args.variant, args.runs, found)
    if not args.check:
        there = {(name, row["variant"], row["seed"]) for name in corpora for row in rows_of(name, args.size)}
        wanted = [(name, variant, fold, seed) for name, variant, fold, seed in wanted if (name, variant, seed) not in there]
    end = time.monotonic() + 3600 * args.hours
    with ProcessPoolExecutor(args.jobs, max_tasks_per_child=1) as pool:
        waiting, going = list(reversed(wanted)), {}
        while waiting or going:
            while waiting and len(going) < args.jobs and time.monotonic() < end:
                name, variant, fold, seed = waiting.pop()
                going[pool.submit(run, corpora[name], fold, caches[name], variant, seed, args.size, args.device)] = name
            if not going:
                break
            done = next(as_completed(going))
            name, row = going.pop(done), done.result()
            print(checked(row, name, args.size), f"in {row['seconds']} s; {len(waiting)} to come", flush=True)
            if not args.check:
                keep(name, args.size, row)


if __name__ == "__main__":
    main()
