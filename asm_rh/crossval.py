"""One model for each fold and seed, each judged once on the test part of its fold; means with intervals over the runs."""

import json
import math
from pathlib import Path

import numpy as np

from .feature_cache import FeatureCache
from .files import write_text
from .metrics import summarise
from .protocols import Fold
from .recipes import TrainConfig
from .run_folder import describe_run
from .train import STATE_FILE, best_model, fit, judge_cache
from .workers import Workers

METRICS_FILE, SUMMARY_FILE = "metrics.json", "summary.json"


def cross_validate(
    folds: list[Fold], seeds, cache: FeatureCache, prepare, config: TrainConfig, run_dir, start=lambda _: None, resume=False, report=print,
    workers: Workers | None = None,
) -> dict:
    """Trains and judges a model for each fold and seed in `run_dir`/fold-NAME/seed-N -> what `summary` says, also kept as summary.json.

    `prepare(cache with the fold's splits)` gives (model configuration, cache), `start(model configuration)` what a run starts from. With
    `resume`, what is finished is kept and what was interrupted goes on. Every model is that of its best epoch by validation, and its test
    clips are looked at once, through the cache.
    """
    workers, rows = workers or Workers(), []
    for fold in folds:
        cache.assign({clip.name: clip.split for clip in fold.clips})
        model_config, part = prepare(cache)
        for seed in seeds:
            folder = Path(run_dir) / f"fold-{fold.name}" / f"seed-{seed}"
            settings = config.replace(seed=seed)
            if not (resume and (folder / METRICS_FILE).is_file()):
                say = _headed(report, f"fold {fold.name} seed {seed}: ")
                going = resume and (folder / STATE_FILE).is_file()
                initial = None if going else start(model_config)
                fit(model_config, part.of_split("train"), part.of_split("valid"), settings, folder, going, say, initial, workers)
                workers.from_first(lambda folder=folder, part=part, fold=fold, seed=seed: _finish(folder, part, config, fold, seed))
            rows.append(json.loads((folder / METRICS_FILE).read_text(encoding="utf-8")))
    found = summary(rows)
    if workers.is_first:
        write_text(Path(run_dir) / SUMMARY_FILE, json.dumps(found, indent=2) + "\n")
    return found


def _headed(report, head):
    return lambda line: report(head + line)


def _finish(folder, cache, config, fold, seed):
    found = judge_test(best_model(folder), cache.of_split("test"), config)
    told = {"fold": fold.name, "seed": seed, "protocol": fold.protocol, "leaky": fold.leaky, "split": "test", **found}
    describe_run(folder, fold.clips)
    write_text(folder / METRICS_FILE, json.dumps(told, indent=2) + "\n")


def judge_test(model, cache: FeatureCache, config: TrainConfig) -> dict:
    """What `summarise` says of whole clips in a cache, in float32."""
    truth, scores, _ = judge_cache(model.to(config.device), cache, config.replace(bf16=False))
    return {"groups": len(set(cache.group.tolist())), **summarise(truth, scores, list(model.config.labels))}


def summary(rows: list[dict]) -> dict:
    """Mean and 95 % interval over the runs for accuracy, macro F1 and AUC, whether any split leaks, and the runs' own figures."""
    folds = {row["fold"] for row in rows}
    keys = [key for key in ("accuracy", "macro_f1", "auc", "map") if all(isinstance(row.get(key), float) for row in rows)]
    return {
        "protocol": rows[0]["protocol"] if len(folds) == 1 else rows[0]["protocol"].partition(":")[0],
        "leaky": any(row["leaky"] for row in rows), "folds": len(folds), "seeds": len({row["seed"] for row in rows}),
        **{key: dict(zip(("mean", "low", "high"), mean_interval([row[key] for row in rows]))) for key in keys},
        "runs": [{"fold": row["fold"], "seed": row["seed"], "clips": row["clips"], **{key: row[key] for key in keys}} for row in rows],
    }  # fmt: skip


def mean_interval(values, share: float = 0.95) -> tuple[float, float | None, float | None]:
    """Mean, lower and upper end of Student's interval of the mean; the ends are None for a single value.

    It takes the values for independent. Runs on folds of the same data share training clips, so for them it is a little too narrow.
    """
    from scipy.stats import t

    values = np.asarray(values, float)
    mean = float(values.mean())
    if len(values) < 2:
        return mean, None, None
    half = float(t.ppf((1 + share) / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    return mean, mean - half, mean + half


def told(found: dict) -> str:
    """A summary in lines: one for each run, and the means."""
    keys = [key for key in ("accuracy", "macro_f1", "auc", "map") if key in found]
    lines = [f"fold {run['fold']} seed {run['seed']}: " + ", ".join(f"{key} {run[key]:.4f}" for key in keys) for run in found["runs"]]
    lines += [f"{key} {found[key]['mean']:.4f}" + _ends(found[key]) for key in keys]
    return "\n".join([*lines, found["protocol"] + (" (leaky: not comparable to an honest split)" if found["leaky"] else "")])


def _ends(row):
    return "" if row["low"] is None else f" (95 % interval of the mean {row['low']:.4f} to {row['high']:.4f})"
