"""Tries ideas for better weights, one change at a time against the plain recipe of benchmarks/best.py, on validation data alone.

    python -m benchmarks.ideas DATA environment --runs runs/ideas [--idea start-with-words ...] [--folds 1 2 3] [--jobs 2]

It goes on where it stopped. Writes results/ideas_<set>.json: the best validation accuracy of each fold's run, whole clips counted once.
"""

import csv
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from . import record
from .best import AFTER_OTHERS, PLAIN, begun, cache_of, learn, parser_for
from .cards import file_of

AS_IT_IS = "as it is"
GENTLE = dict(initial_learning_rate_scale=0.3, epochs=40)
IDEAS = {
    "environment": {
        AS_IT_IS: {},
        "start-with-words": dict(start=("speech-commands",), settings=AFTER_OTHERS),
        "start-with-words-and-city": dict(start=("speech-commands", "urbansound8k"), settings=AFTER_OTHERS),
        "start-with-words-and-city-gently": dict(start=("speech-commands", "urbansound8k"), settings=GENTLE),
        "stronger-warp": dict(augment=dict(stretch=0.4, warp=0.3)),
        "full-band": dict(sizes=dict(sample_rate=32000, frontend=dict(fft_samples=1024, high_hz=16000.0))),
        "no-noise": dict(augment=dict(noise_probability=0.0)),
        "wider": dict(sizes=dict(width=192, token_hidden=96, channel_hidden=768)),
    },
    "urbansound8k": {
        AS_IT_IS: {},
        "start-with-words-and-esc10": dict(start=("speech-commands", "esc10"), settings=AFTER_OTHERS),
        "start-with-words-and-esc10-longer": dict(start=("speech-commands", "esc10"), settings={**AFTER_OTHERS, "epochs": 120}),
        "stronger-warp": dict(augment=dict(stretch=0.4, warp=0.3)),
        "no-noise": dict(augment=dict(noise_probability=0.0)),
        "two-seconds": dict(sizes=dict(window_seconds=2.0, frames=208)),
    },
    "emotion": {AS_IT_IS: {}, "longer": dict(settings=dict(epochs=150))},
    "emotion-random": {
        AS_IT_IS: {},
        "longer": dict(settings=dict(epochs=150)),
        "finer-time": dict(sizes=dict(stride=(16, 8))),
        "wider": dict(sizes=dict(width=192, token_hidden=96, channel_hidden=768)),
    },
}


def best_valid(folder: Path, epochs: int) -> float | None:
    """The best validation accuracy of a run; None while it has not finished."""
    with open(folder / "history.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return round(max(float(row["valid_accuracy"]) for row in rows), 6) if len(rows) == epochs else None


def summed(name: str, runs: Path) -> dict:
    """Validation accuracy of every run that is there: {idea: {fold: accuracy}}, and each idea's mean difference to the recipe as it is."""
    found = {}
    for idea, change in IDEAS[name].items():
        epochs = PLAIN[name].but(**change).train().epochs
        runs_of = {path.parent.name.removeprefix("fold-"): path.parent for path in sorted((runs / idea).glob("fold-*/history.csv"))}
        values = {fold: best_valid(folder, epochs) for fold, folder in runs_of.items()}
        found[idea] = {fold: value for fold, value in values.items() if value is not None}
    base, gains = found[AS_IT_IS], {}
    for idea, own in found.items():
        both = sorted(own.keys() & base.keys())
        if both and idea != AS_IT_IS:
            gains[idea] = round(sum(own[fold] - base[fold] for fold in both) / len(both), 4)
    return {"validation_accuracy": {idea: own for idea, own in found.items() if own}, "gain": gains}


def main():
    parser = parser_for(__doc__, IDEAS)
    parser.add_argument("--idea", nargs="+", help="only these")
    args = parser.parse_args()
    runs = args.runs / args.set
    with ProcessPoolExecutor(args.jobs, max_tasks_per_child=1) as pool:
        waiting = []
        for idea, change in IDEAS[args.set].items():
            if args.idea and idea not in args.idea:
                continue
            target = PLAIN[args.set].but(**change)
            found = target.folds(args.data)
            cache_path = runs / (f"features-{idea}.npz" if "sizes" in change else "features.npz")
            cache_path.parent.mkdir(parents=True, exist_ok=True)
            cache_of(target, args.data, found[0].clips, cache_path)
            start = begun(target, found, args.data, runs / f"start-{'-'.join(target.start)}")
            wanted = [fold for fold in found if not args.folds or fold.name in args.folds]
            waiting += [pool.submit(learn, target, f, cache_path, args.data, runs / idea / f"fold-{f.name}", start) for f in wanted]
        for done in waiting:
            done.result()
    command = f"python -m benchmarks.ideas DATA {args.set} --runs runs/ideas"
    record.write(file_of(args.set, "ideas"), summed(args.set, runs), command)


if __name__ == "__main__":
    main()
