"""What goes to the Hub beside the weights: the model card and the front end's settings, filled from the folder and never invented."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

from .config import ModelConfig

CARD_FILE, METRICS_FILE, HISTORY_FILE, SETTINGS_FILE = "README.md", "metrics.json", "history.csv", "train.json"
UNKNOWN_LICENSE = "unknown"
SPLIT = (
    "`asm-rh` splits by speaker or source: where training read the same folders with the same split seed, none of those it was judged on "
    "was trained on."
)
LEAKY = "**These scores leak**: speakers, sources or recordings were both trained on and judged on, so they say nothing about new ones."
METRICS = (
    ("accuracy", "accuracy", "Accuracy"), ("macro_f1", "f1", "Macro F1"), ("auc", "roc_auc", "Mean one-vs-rest AUC"),
    ("map", "mean_average_precision", "Mean average precision"),
)  # fmt: skip
REPORT_FOLDER = "report"  # beside the weights, where `asm-rh eval runs/mine -o runs/mine/report` puts its files
MOST_CONFUSION_LABELS = 30  # a wider table cannot be read


class CardError(ValueError):
    """A folder whose README.md or metrics cannot be used for a model card."""


@dataclass(frozen=True)
class Evidence:
    """What a folder knows of its model beside the weights.

    `metrics` is the metrics.json that `asm-rh eval -o` writes, `best` the best row of the training's history of so many `epochs`,
    `training` its settings; each None (0) where there is none.
    """

    metrics: dict | None = None
    best: dict | None = None
    epochs: int = 0
    training: dict | None = None


def read_evidence(folder, config: ModelConfig) -> Evidence:
    """The metrics and the training history in `folder`; CardError where a file is there and cannot be read.

    Metrics are in the folder itself, or else in its `report` folder.
    """
    folder = Path(folder)
    places = (folder / METRICS_FILE, folder / REPORT_FOLDER / METRICS_FILE)
    place = next((path for path in places if path.is_file()), places[0])
    metrics = _json(place)
    if metrics is not None:
        _check_metrics(place, metrics, config)
    rows = _history(folder / HISTORY_FILE)
    best = max(rows, key=lambda row: (row["valid_accuracy"], -row["valid_loss"]), default=None)
    return Evidence(metrics, best, len(rows), _json(folder / SETTINGS_FILE))


def model_card(config: ModelConfig, repo: str, evidence: Evidence, license: str | None = None) -> str:
    """The text of a README.md for a model that has none."""
    name = repo.split("/")[-1]
    sections = [
        f"# {name}", _what(config), _labels(config), _front_end(config), _data(evidence), _scores(evidence), _training(evidence),
        _use(config), _how(repo),
    ]
    return _with_front_matter(_front_matter(config, name, evidence, license), "\n\n".join(part for part in sections if part) + "\n")


def completed_card(text: str, config: ModelConfig, repo: str, evidence: Evidence, license: str | None = None) -> str:
    """A README.md that is there, word for word, with the front matter it lacks; CardError where its own cannot be read."""
    import yaml
    from huggingface_hub.repocard import REGEX_YAML_BLOCK
    from huggingface_hub.utils import yaml_dump

    found = REGEX_YAML_BLOCK.search(text)
    try:
        have = (yaml.safe_load(found[2]) if found else None) or {}
    except yaml.YAMLError as error:
        raise CardError(f"the front matter of {CARD_FILE} is not YAML ({' '.join(str(error).split())}): correct it") from error
    if not isinstance(have, dict):
        raise CardError(f"the front matter of {CARD_FILE} is a {type(have).__name__}, expected keys and values")
    wanted = _front_matter(config, repo.split("/")[-1], evidence, license)
    missing = {key: value for key, value in wanted.items() if key not in have}
    if license and have.get("license", license) != license:
        raise CardError(f"{CARD_FILE} says license {have['license']!r}, you say {license!r}: change one of them")
    if not missing:
        return text
    if not found:
        return _with_front_matter(missing, text)
    return text[: found.end(2)].rstrip() + "\n" + yaml_dump(missing).rstrip() + text[found.end(2) :]


def preprocessor_config(config: ModelConfig) -> dict:
    """preprocessor_config.json: the front end in the keys that other libraries use, where they mean the same.

    The type names this project's own front end: none of the known ones computes the same frames, bands and centring.
    """
    front = config.frontend
    return {
        "feature_extractor_type": "AsmRhFeatureExtractor",
        "feature_size": 1,
        "sampling_rate": config.sample_rate,
        "num_mel_bins": front.bands,
        "max_length": config.frames,
        "nb_max_samples": config.window_samples,
        "fft_window_size": front.fft_samples,
        "win_length": round(front.frame_seconds * config.sample_rate),
        "hop_length": round(front.hop_seconds * config.sample_rate),
        "frequency_min": front.low_hz,
        "frequency_max": front.high_hz,
        "preemphasis": front.preemphasis,
        "do_normalize": True,
        "mean": front.mean,
        "std": front.std,
        "padding_side": "right",
        "padding_value_normalized": front.padding,
        "center_each_window": front.centre,
        "pad_with_quietest_frame": front.pause,
    }


def _front_matter(config, name, evidence, license):
    """The keys that the Hub reads, built and checked by its own client."""
    from huggingface_hub import EvalResult, ModelCardData

    shares, where = _shares(evidence)
    results = [
        EvalResult(
            task_type="audio-classification", dataset_type="custom", dataset_name=where["name"], dataset_split=where["split"],
            metric_type=kind, metric_name=title, metric_value=round(shares[key], 6),
        )
        for key, kind, title in METRICS if shares.get(key) is not None
    ]  # fmt: skip
    return ModelCardData(
        library_name="asm-rh", pipeline_tag="audio-classification", license=license or UNKNOWN_LICENSE,
        tags=["audio-classification", "asm-rh", config.kind] if config.kind != "asm-rh" else ["audio-classification", "asm-rh"],
        model_name=name if results else None, eval_results=results or None,
    ).to_dict()  # fmt: skip


def _shares(evidence):
    """The best known metrics, and what they were measured on: tests before validation."""
    if evidence.metrics is not None:
        name = ", ".join(evidence.metrics.get("data") or ["recordings judged with asm-rh eval"])
        return evidence.metrics, {"name": name, "split": evidence.metrics.get("split", "test")}
    best = evidence.best or {}
    shares = {key: best.get(f"valid_{key}") for key, _, _ in METRICS}
    return shares, {"name": "validation clips of the training data", "split": "validation"}


def _with_front_matter(fields, body):
    from huggingface_hub import ModelCard
    from huggingface_hub.utils import yaml_dump

    text = f"---\n{yaml_dump(fields).rstrip()}\n---\n\n{body}"
    ModelCard(text)  # reads it back as the Hub would
    return text


def _what(config):
    kinds = {"asm-rh": "Hermitian frequency mixing and RollBlock", "asm-h": "Hermitian frequency mixing", "asm-r": "RollBlock"}
    mixing = kinds.get(config.kind, "plain mixing over tokens and features")
    return (
        f"An audio classifier of the kind `{config.kind}` ({mixing}; arXiv 2402.18007): {config.depth} blocks of width {config.width} over "
        f"{config.tokens} patches of a log-mel spectrogram. It scores windows of {config.window_seconds:g} s."
    )


def _labels(config):
    scores = "exclude one another (softmax)" if config.output == "softmax" else "stand each for itself (sigmoid)"
    background = f"; never an event: {_names(config.background_labels)}" if config.background_labels else ""
    return (
        f"## Labels\n\n{len(config.labels)}: {_names(config.labels)}{background}. The scores {scores}; events begin at "
        f"{config.threshold:g} unless you say otherwise."
    )


def _front_end(config):
    front = config.frontend
    more = [f"pre-emphasis {front.preemphasis:g}"]
    more += ["each window's own mean is removed, so the microphone's gain does not matter"] if front.centre else []
    more += ["a sound that ends early goes on with its quietest frame"] if front.pause else []
    return (
        f"## Front end\n\n`{front.name}`, computed inside the model from sound at {config.sample_rate} Hz: frames of "
        f"{1000 * front.frame_seconds:g} ms every {1000 * front.hop_seconds:g} ms, {front.bands} mel bands from {front.low_hz:g} to "
        f"{front.high_hz:g} Hz; {'; '.join(more)}. Sound at other rates is resampled. `config.json` holds every setting; "
        "`preprocessor_config.json` repeats them for other tools."
    )


def _data(evidence):
    said = ["The folder of the weights does not name the recordings they were trained on, nor their licence."]
    if metrics := evidence.metrics:
        sources = f" of {metrics['groups']} speakers or sources" if metrics.get("groups") else ""
        said.append(f"The scores below are from {metrics['clips']} clips{sources}. {metrics.get('protocol') or ''}".strip())
        said.append(LEAKY if metrics.get("leaky") else "" if metrics.get("protocol") else SPLIT)
    return "## Data and split\n\n" + " ".join(filter(None, said))


def _scores(evidence):
    if evidence.metrics is None and evidence.best is None:
        return "## Scores\n\nNot measured: there is neither a metrics.json nor a training history beside the weights."
    shares, where = _shares(evidence)
    titles = {"accuracy": "Accuracy, all labels of a clip right"} if (evidence.metrics or {}).get("multi_label") else {}
    rows = [f"| {titles.get(key, title)} | {_share(shares, key)} |" for key, _, title in METRICS if shares.get(key) is not None]
    table = "\n".join([f"| {where['split']} | |", "|---|---|", *rows])
    intro = "The best epoch on validation clips, which also chose it." if evidence.metrics is None else (
        f"{evidence.metrics['clips']} clips, split `{where['split']}`."
    )  # fmt: skip
    return "\n\n".join(part for part in ("## Scores", intro, table, _classes(evidence.metrics), _confusion(evidence.metrics)) if part)


def _share(shares, key):
    text = f"{shares[key]:.4f}"
    if key == "accuracy" and shares.get("accuracy_interval"):
        low, high = shares["accuracy_interval"]
        text += f" (95 % interval {low:.4f} to {high:.4f})"
    return text


def _classes(metrics):
    if not metrics or not metrics.get("per_class"):
        return ""
    rows = [f"| {_cell(r['label'])} | {r['clips']} | {r['precision']:.3f} | {r['recall']:.3f} |" for r in metrics["per_class"]]
    return "\n".join(["| class | clips | precision | recall |", "|---|---|---|---|", *rows])


def _confusion(metrics):
    if not metrics or not metrics.get("confusion") or len(metrics["confusion"]) > MOST_CONFUSION_LABELS:
        return ""
    names = [_cell(label) for label in metrics["labels"]]
    rows = [f"| **{name}** | " + " | ".join(map(str, row)) + " |" for name, row in zip(names, metrics["confusion"])]
    head = ["Rows are what was there, columns what was heard:\n", "| | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    return "\n".join(head + rows)


def _training(evidence):
    if not evidence.best:
        return ""
    told = {key: (evidence.training or {}).get(key) for key in ("batch_size", "learning_rate", "label_smoothing", "seed")}
    settings = "; ".join(f"{key.replace('_', ' ')} {value:g}" for key, value in told.items() if isinstance(value, (int, float)))
    best = f"Epoch {evidence.best['epoch']:g} of {evidence.epochs}, the best on validation"
    return f"## Training\n\n{best}" + (f"; {settings}." if settings else ".")


def _use(config):
    return (
        "## Intended use\n\nDemonstrations, teaching and experiments with sounds like those it was trained on.\n\n"
        "## Limits\n\nIt knows its labels and nothing else: every sound is scored as one of them, and sounds, voices, rooms and "
        "microphones that were not in the data may be wrong with a high score. "
        f"A window is {config.window_seconds:g} s; what is longer is scored in pieces. Not for anything that must not fail."
    )


def _how(repo):
    return (
        "## How to use\n\n```python\nfrom asm_rh.classifier import Classifier\n\n"
        f'Classifier("{repo}").predict("clip.wav")\n```\n\n```\nasm-rh classify clip.wav --model {repo}\nasm-rh live --model {repo}\n```'
    )


def _names(labels):
    return ", ".join(f"`{_cell(label)}`" for label in labels)


def _cell(label):
    """A label that breaks neither a table nor a code mark."""
    return " ".join(label.replace("|", "/").replace("`", "'").split())


def _json(path):
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CardError(f"{path}: {error}") from error
    if not isinstance(found, dict):
        raise CardError(f"{path} holds a {type(found).__name__}, expected an object")
    return found


def _check_metrics(path, metrics, config):
    """Refuses what `asm-rh eval` cannot have written for this model."""
    def share(value):
        return isinstance(value, (int, float)) and 0 <= value <= 1

    classes, table, matrix = len(config.labels), metrics.get("per_class") or [], metrics.get("confusion") or []
    interval = metrics.get("accuracy_interval") or (0, 1)
    fits = (
        share(metrics.get("accuracy")) and isinstance(metrics.get("clips"), int)
        and all(metrics.get(key) is None or share(metrics[key]) for key, _, _ in METRICS)
        and isinstance(interval, (list, tuple)) and len(interval) == 2 and all(map(share, interval))
        and isinstance(table, list) and isinstance(matrix, list)
        and isinstance(metrics.get("split", "test"), str) and isinstance(metrics.get("data", []), list)
        and isinstance(metrics.get("protocol") or "", str)
        and all(isinstance(name, str) for name in metrics.get("data", []))
        and all(isinstance(row, dict) and {"label", "clips", "precision", "recall"} <= set(row) for row in table)
        and len(matrix) in (0, classes) and all(isinstance(row, list) and len(row) == classes for row in matrix)
    )  # fmt: skip
    if not fits:
        raise CardError(f"{path} is not what `asm-rh eval MODEL --data FOLDER -o {METRICS_FILE}` writes: write it again, or take it away")
    if metrics.get("labels", list(config.labels)) != list(config.labels):
        raise CardError(f"{path} is about labels {metrics['labels']}, the model has {list(config.labels)}: it belongs to another model")
    metrics.setdefault("labels", list(config.labels))


def _history(path):
    """The rows of a training's history as numbers, without what could not be measured."""
    if not path.is_file():
        return []
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
        return [{key: value for key, value in row.items() if value == value or key in ("valid_accuracy", "valid_loss")} for row in rows
                if row["valid_accuracy"] == row["valid_accuracy"] and row["epoch"] and "valid_loss" in row]  # fmt: skip
    except (ValueError, TypeError, KeyError) as error:
        raise CardError(f"{path} is not the history of a training run ({error}): write it again, or take it away") from error
