"""Training from a feature cache: plain enough to read aloud, resumable, the same weights for the same seed."""

import copy
import csv
import json
import math
import os
import pickle
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import one_hot

from .augment import AugmentConfig, augment, mixup
from .checkpoint import load, save
from .config import RESERVED_LABELS, UNKNOWN, ModelConfig
from .datasets import DataError
from .feature_cache import FeatureCache, raw_settings
from .losses import classification_loss
from .metrics import summarise
from .model import AudioMixer
from .transfer import Transfer

STATE_FILE, HISTORY_FILE = "last.ckpt", "history.csv"


@dataclass(frozen=True)
class TrainConfig:
    """One training run. `finish_share` is the last part of the epochs, in which rows marked approximate are left out."""

    epochs: int = 30
    stop_after: int = 0  # end there, the learning rate planned for all epochs; 0: do not
    clips_per_epoch: int = 0  # 0: every row once; otherwise drawn by weight
    batch_size: int = 128
    learning_rate: float = 1e-3
    initial_learning_rate_scale: float = 0.1  # of parameters that a Transfer brought, as a share of the others' rate
    least_learning_rate: float = 1e-5
    weight_decay: float = 0.05
    warmup_epochs: float = 2.0
    label_smoothing: float = 0.1
    average_decay: float = 0.999
    finish_share: float = 0.0
    finish_approximate: float = 0.0
    seed: int = 0
    bf16: bool = True
    device: str = "cpu"
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self):
        for name, least in (("epochs", 1), ("batch_size", 1), ("clips_per_epoch", 0), ("warmup_epochs", 0), ("finish_approximate", 0)):
            if not getattr(self, name) >= least:
                raise ValueError(f"{name}={getattr(self, name)!r}: expected at least {least}")
        for name in ("label_smoothing", "finish_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)!r}: expected a share from 0 to 1")
        if not 0 <= self.stop_after <= self.epochs:
            raise ValueError(f"stop_after={self.stop_after!r}: expected 0 (do not) to epochs={self.epochs}")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate={self.learning_rate!r}: expected a number above 0")
        if not 0 <= self.initial_learning_rate_scale < math.inf:
            raise ValueError(f"initial_learning_rate_scale={self.initial_learning_rate_scale!r}: expected a number of 0 (keep) or more")


@dataclass
class History:
    """One row per epoch, and where the best by validation accuracy is."""

    rows: list[dict] = field(default_factory=list)
    run_dir: Path | None = None

    @property
    def best(self) -> dict:
        """The epoch with the highest validation accuracy; of equals, the one with the lowest loss."""
        return max(self.rows, key=lambda row: (row["valid_accuracy"], -row["valid_loss"]))


def fit(
    model_config: ModelConfig, train: FeatureCache, valid: FeatureCache, config: TrainConfig, run_dir, resume=False, report=print,
    initial: AudioMixer | Transfer | None = None,
) -> History:
    """Trains a model, keeps the best epoch by validation in `run_dir` and everything needed to go on in last.ckpt.

    With `resume` it goes on where the last finished epoch ended and reaches the weights of a straight run. On KeyboardInterrupt the
    finished epochs are kept. `initial` gives a new run the weights of an earlier one, or what a Transfer found in those of another
    network, which then learn at `initial_learning_rate_scale` times the rate. Raises DataError for labels, front ends, rows or initial
    weights that do not fit.
    """
    run = Run(model_config, train, valid, config, Path(run_dir))
    if resume:
        run.restore()
    elif run.state_path.exists():
        raise DataError(f"{run.dir} holds a run already: resume it, or give another folder")
    else:
        run.begin(initial)
    for epoch in range(len(run.history.rows), config.stop_after or config.epochs):
        run.epoch(epoch, report)
    return run.history


class Run:
    """The moving parts of one training run."""

    def __init__(self, model_config, train, valid, config, run_dir):
        check_cache(train, model_config, "training")
        check_cache(valid, model_config, "validation")
        check_weights(train, config)
        self.config, self.train_rows, self.valid_rows, self.dir = config, train, valid, run_dir
        torch.manual_seed(config.seed)
        self.model = AudioMixer(model_config).to(config.device)
        self.average = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.set_optimizer(transferred=())
        self.forward = self.model.forward_features
        self.labels = {label: i for i, label in enumerate(model_config.labels)}
        self.train_targets, self.valid_targets = (class_numbers(c, self.labels) for c in (train, valid))
        self.noise_rows = np.flatnonzero(np.isin(train.label, [label for label in RESERVED_LABELS if label != UNKNOWN]))
        self.history = History(run_dir=run_dir)
        self.steps = math.ceil((config.clips_per_epoch or len(train)) / config.batch_size)

    def set_optimizer(self, transferred):
        """A fresh optimizer; parameters named in `transferred` learn more slowly."""
        self.transferred = tuple(transferred)
        groups = parameter_groups(self.model, self.config.weight_decay, self.transferred, self.config.initial_learning_rate_scale)
        self.optimizer = torch.optim.AdamW(groups, lr=self.config.learning_rate, fused=True)

    @property
    def state_path(self):
        return self.dir / STATE_FILE

    def begin(self, initial=None):
        if isinstance(initial, Transfer):
            self.take(initial)
        elif initial is not None:
            self.start_from(initial)
        self.dir.mkdir(parents=True, exist_ok=True)
        (self.dir / "train.json").write_text(json.dumps(asdict(self.config), indent=2) + "\n")

    def start_from(self, initial):
        """Copies the weights of another model of the same sizes and labels."""
        mine, other = self.model.config.replace(threshold=0.5), initial.config.replace(threshold=0.5)
        if mine != other:
            pairs = zip(mine.to_dict().items(), other.to_dict().items())
            differ = [f"{key} is {b!r}, here {a!r}" for (key, a), (_, b) in pairs if a != b]
            raise DataError(f"the initial weights are of another model: {'; '.join(differ)}")
        for model in (self.model, self.average):
            model.load_state_dict(initial.state_dict())

    def take(self, found):
        """Puts the tensors of a Transfer into the model, where they learn at their own rate."""
        mine = self.model.state_dict()
        wrong = [name for name, tensor in found.tensors.items() if name not in mine or mine[name].shape != tensor.shape]
        if wrong:
            raise DataError(f"the transfer was made for another model: {wrong[0]} does not fit this one; make it with this configuration")
        for model in (self.model, self.average):
            model.load_state_dict(found.tensors, strict=False)
        self.set_optimizer(sorted(found.tensors))

    def epoch(self, epoch, report):
        """Trains one epoch, judges the averaged weights, saves."""
        started = time.monotonic()
        torch.manual_seed(self.config.seed * 100_003 + epoch)  # drop path
        generator = torch.Generator().manual_seed(self.config.seed * 100_003 + epoch)
        rows = self.draw(epoch, generator)
        self.model.train()
        losses = []
        for step in range(self.steps):
            losses.append(self.step(epoch * self.steps + step, rows[step :: self.steps], generator))
            if step % 20 == 19 or step == self.steps - 1:
                report(progress_line(epoch, self.config.epochs, step + 1, self.steps, np.mean(losses[-100:]), time.monotonic() - started))
        row = {"epoch": epoch + 1, "train_loss": float(np.mean(losses)), **self.judge(), "seconds": time.monotonic() - started}
        self.history.rows.append({k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()})
        self.save()

    def draw(self, epoch, generator):
        """Row numbers of one epoch: every row once in random order, or `clips_per_epoch` drawn by weight."""
        weights = torch.from_numpy(self.train_rows.weight.astype(np.float64))
        if epoch >= round(self.config.epochs * (1 - self.config.finish_share)):
            weights = weights * torch.where(torch.from_numpy(self.train_rows.approximate), self.config.finish_approximate, 1.0)
        if not self.config.clips_per_epoch and bool((weights == weights[0]).all()):
            return torch.randperm(len(weights), generator=generator).numpy()
        count = self.config.clips_per_epoch or len(weights)
        return torch.multinomial(weights, count, replacement=True, generator=generator).numpy()

    def step(self, number, rows, generator):
        """One optimizer step on the given rows -> loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(number, self.steps, self.config) * group.get("rate_scale", 1)
        features, targets = self.batch(rows, generator)
        with autocast(self.config):
            logits = self.forward(features)
        loss = classification_loss(logits.float(), targets, self.model.config.output, self.config.label_smoothing)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.update_average(number)
        return loss.item()

    def batch(self, rows, generator):
        """Augmented, normalised features and their target shares."""
        device, classes = self.config.device, len(self.labels)
        features = torch.from_numpy(self.train_rows.features[rows]).to(device).float()
        targets = one_hot(torch.from_numpy(self.train_targets[rows]).to(device), classes).float()
        noise = None
        if len(self.noise_rows):
            picked = self.noise_rows[torch.randint(len(self.noise_rows), (len(rows),), generator=generator).numpy()]
            noise = torch.from_numpy(self.train_rows.features[picked]).to(device).float()
        features, targets = mixup(features, targets, self.config.augment, generator)
        features = augment(features, noise, self.config.augment, generator)
        return self.model.normalise(features), targets

    def update_average(self, number):
        decay = min(self.config.average_decay, (1 + number) / (10 + number))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - decay)

    def judge(self):
        """Loss, accuracy, macro F1 and AUC of the averaged weights on the validation rows."""
        scores, loss = predict_cache(self.average, self.valid_rows, self.valid_targets, self.config)
        found = summarise(self.valid_targets, scores, list(self.labels))
        return {
            "valid_loss": loss, "valid_accuracy": found["accuracy"], "valid_macro_f1": found["macro_f1"],
            "valid_auc": math.nan if found["auc"] is None else found["auc"],
        }

    def save(self):
        if self.history.best is self.history.rows[-1]:
            save(self.average, self.dir)
        state = {
            "model": self.model.state_dict(), "average": self.average.state_dict(), "optimizer": self.optimizer.state_dict(),
            "history": self.history.rows, "settings": self.settings(),
        }
        if self.transferred:
            state["transferred"] = list(self.transferred)
        temporary = self.state_path.with_suffix(".part")
        torch.save(state, temporary)
        os.replace(temporary, self.state_path)
        with open(self.dir / HISTORY_FILE, "w", newline="") as file:
            writer = csv.DictWriter(file, self.history.rows[0])
            writer.writeheader()
            writer.writerows(self.history.rows)

    def settings(self):
        config = asdict(self.config)
        if not self.transferred:
            del config["initial_learning_rate_scale"]  # has no effect
        return json.dumps([self.model.config.to_dict(), config], sort_keys=True)

    def restore(self):
        if not self.state_path.is_file():
            raise DataError(f"nothing to resume in {self.dir}: no {STATE_FILE}")
        try:
            state = torch.load(self.state_path, map_location=self.config.device, weights_only=True)
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise DataError(f"{self.state_path} cannot be read, so the run cannot go on: start again in another folder") from error
        self.set_optimizer(state.get("transferred", ()))
        if state["settings"] != self.settings():
            raise DataError(f"the run in {self.dir} was started with other settings: give the same ones, or another folder")
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history.rows = state["history"]


def check_cache(cache: FeatureCache, config: ModelConfig, part: str) -> None:
    """Refuses an empty cache, labels the model does not have, and features of another front end or length."""
    if len(cache) == 0:
        raise DataError(f"no clips for {part}: expected at least one")
    unknown = sorted(set(cache.label.tolist()) - set(config.labels))
    if unknown:
        raise DataError(f"{part} has labels {unknown} that the model does not: its labels are {list(config.labels)}")
    shape = (config.window_frames, config.frontend.bands)
    if cache.features.shape[1:] != shape:
        found = cache.features.shape[1:]
        raise DataError(f"{part} features are {found} (frames, bands), the model's window is {shape}: build the cache again")
    if cache.frontend and cache.frontend != raw_settings(config):
        raise DataError(f"{part} features were made by another front end {cache.frontend}, expected {raw_settings(config)}")


def check_weights(cache: FeatureCache, config: TrainConfig) -> None:
    """Refuses weights from which nothing can be drawn, now or once the approximate rows are left out."""
    if not (np.isfinite(cache.weight).all() and (cache.weight >= 0).all() and cache.weight.any()):
        raise DataError("weights of the training clips: expected finite numbers of 0 or more, at least one above 0")
    if round(config.epochs * config.finish_share) and not config.finish_approximate and not cache.weight[~cache.approximate].any():
        raise DataError(f"finish_share={config.finish_share} leaves no clips to train on: all of them are approximate")


def class_numbers(cache: FeatureCache, labels: dict) -> np.ndarray:
    """The class number of every row."""
    return np.array([labels[label] for label in cache.label.tolist()], np.int64)


def parameter_groups(model, weight_decay: float, transferred=(), rate_scale: float = 1.0) -> list[dict]:
    """Weight decay on matrices and kernels, none on biases and norms; where names were `transferred`, two groups more for these.

    The groups of transferred parameters carry their `rate_scale`.
    """
    names = set(transferred)
    new, old = ([p for name, p in model.named_parameters() if (name in names) == known] for known in (False, True))
    groups = _decay_groups(new, weight_decay)
    return groups + [{**group, "rate_scale": rate_scale} for group in _decay_groups(old, weight_decay)] if names else groups


def _decay_groups(parameters, weight_decay):
    groups = [[], []]
    for parameter in parameters:
        groups[parameter.ndim < 2].append(parameter)
    return [{"params": groups[0], "weight_decay": weight_decay}, {"params": groups[1], "weight_decay": 0.0}]


def learning_rate(step: int, steps_per_epoch: int, config: TrainConfig) -> float:
    """Linear warm-up, then a half cosine down to the least rate."""
    warmup, total = config.warmup_epochs * steps_per_epoch, config.epochs * steps_per_epoch
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    share = (step - warmup) / max(1, total - warmup)
    return config.least_learning_rate + (config.learning_rate - config.least_learning_rate) * (1 + math.cos(math.pi * share)) / 2


def predict_cache(model, cache: FeatureCache, targets, config: TrainConfig) -> tuple[np.ndarray, float]:
    """Scores (rows, classes) of a cache's rows, and the mean loss."""
    scores, loss, classes = [], 0.0, len(model.config.labels)
    with torch.inference_mode(), autocast(config):
        for start in range(0, len(cache), 256):
            raw = torch.from_numpy(cache.features[start : start + 256]).to(config.device).float()
            logits = model.forward_features(model.normalise(raw)).float()
            truth = one_hot(torch.from_numpy(targets[start : start + 256]).to(config.device), classes).float()
            loss += classification_loss(logits, truth, model.config.output).item() * len(raw)
            scores.append(model.probabilities(logits).cpu().numpy())
    return np.concatenate(scores), loss / len(cache)


def autocast(config: TrainConfig):
    """bfloat16 arithmetic where the run asks for it."""
    return torch.autocast(torch.device(config.device).type, torch.bfloat16) if config.bf16 else nullcontext()


def progress_line(epoch, epochs, step, steps, loss, seconds) -> str:
    """`epoch 3/30  step 40/375  loss 0.812  4m10s left in the epoch, 1h52m in all`."""
    each = seconds / step
    left, rest = each * (steps - step), each * (steps - step + steps * (epochs - epoch - 1))
    return f"epoch {epoch + 1}/{epochs}  step {step}/{steps}  loss {loss:.3f}  {_clock(left)} left in the epoch, {_clock(rest)} in all"


def _clock(seconds):
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{seconds:02d}s"


def best_model(run_dir) -> AudioMixer:
    """The best epoch's averaged weights of a run."""
    return load(run_dir)
