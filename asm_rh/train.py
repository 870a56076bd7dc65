"""Training from a feature cache: plain enough to read aloud, resumable, the same weights for the same seed."""

import copy
import csv
import io
import json
import math
import pickle
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from .augment import augment, mixup
from .checkpoint import load, save
from .config import RESERVED_LABELS, SILENCE, UNKNOWN, ModelConfig
from .datasets import DataError, split_labels
from .feature_cache import FeatureCache, raw_settings
from .files import write_text, write_whole
from .losses import classification_loss
from .metrics import summarise
from .model import BRANCHES, AudioMixer, plan_drop_paths
from .recipes import TrainConfig
from .scores import pool
from .transfer import Transfer
from .workers import Workers

STATE_FILE, HISTORY_FILE = "last.ckpt", "history.csv"
OPTIMIZERS = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}


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
    initial: AudioMixer | Transfer | None = None, workers: Workers | None = None,
) -> History:
    """Trains a model, keeps the best epoch by validation in `run_dir` and everything needed to go on in last.ckpt.

    With `resume` it goes on where the last finished epoch ended and reaches the weights of a straight run. On KeyboardInterrupt the
    finished epochs are kept. `initial` gives a new run the weights of an earlier one, or what a Transfer found in those of another
    network, which then learn at `initial_learning_rate_scale` times the rate. Several `workers`, each with the same arguments, share every
    batch and reach the weights of one. Raises DataError for labels, front ends, rows or initial weights that do not fit, and for a batch
    that memory does not hold.
    """
    run = Run(model_config, train, valid, config, Path(run_dir), workers)
    if resume:
        run.restore()
    elif run.state_path.exists():
        raise DataError(f"{run.dir} holds a run already: resume it, or give another folder")
    else:
        run.begin(initial)
    if config.tensorboard and run.workers.is_first:
        run.board = tensorboard(run.dir)
    for epoch in range(len(run.history.rows), config.stop_after or config.epochs):
        run.epoch(epoch, report)
    return run.history


class Run:
    """The moving parts of one training run."""

    def __init__(self, model_config, train, valid, config, run_dir, workers=None):
        self.workers = workers = workers or Workers()
        train = train.with_silence(SILENCE in model_config.labels)
        check_cache(train, model_config, "training")
        check_cache(valid, model_config, "validation")
        check_weights(train, config)
        count = config.clips_per_epoch or len(train)
        self.steps = math.ceil(count / config.batch_size)
        if count // self.steps < workers.count:
            raise DataError(f"batches of {count // self.steps} clips for {workers.count} processes: expected at least one clip for each")
        self.config, self.train_rows, self.valid_rows, self.dir = config, train, valid, run_dir
        torch.manual_seed(config.seed)
        self.model = AudioMixer(model_config).to(config.device)
        self.average = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.set_optimizer(transferred=())
        self.forward = workers.wrap(FromFeatures(self.model))
        self.labels = {label: i for i, label in enumerate(model_config.labels)}
        self.train_targets = target_shares(train, self.labels)
        self.class_weights = class_weights(self.train_targets).to(config.device) if config.balanced_loss else None
        self.noise_rows = np.flatnonzero(np.isin(train.label, [label for label in RESERVED_LABELS if label != UNKNOWN]))
        self.history = History(run_dir=run_dir)
        self.board = None

    def set_optimizer(self, transferred):
        """A fresh optimizer; parameters named in `transferred` learn more slowly."""
        self.transferred = tuple(transferred)
        groups = parameter_groups(self.model, self.config.weight_decay, self.transferred, self.config.initial_learning_rate_scale)
        self.optimizer = OPTIMIZERS[self.config.optimizer](groups, lr=self.config.learning_rate, betas=self.config.betas, fused=True)

    @property
    def state_path(self):
        return self.dir / STATE_FILE

    def begin(self, initial=None):
        if isinstance(initial, Transfer):
            self.take(initial)
        elif initial is not None:
            self.start_from(initial)
        if self.workers.is_first:
            self.dir.mkdir(parents=True, exist_ok=True)
            write_text(self.dir / "train.json", json.dumps(asdict(self.config), indent=2) + "\n")

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
        torch.manual_seed((self.config.seed * 100_003 + epoch) * self.workers.count + self.workers.rank)  # dropout
        generator = torch.Generator().manual_seed(self.config.seed * 100_003 + epoch)
        rows = self.draw(epoch, generator)
        self.model.train()
        losses = []
        for step in range(self.steps):
            losses.append(self.step(epoch * self.steps + step, rows[step :: self.steps], generator))
            if self.workers.is_first and (step % 20 == 19 or step == self.steps - 1):
                report(progress_line(epoch, self.config.epochs, step + 1, self.steps, np.mean(losses[-100:]), time.monotonic() - started))
        self.workers.from_first(lambda: self.finish(epoch, float(np.mean(losses)), started))
        if not self.workers.is_first:
            self.history.rows.append({"epoch": epoch + 1})

    def finish(self, epoch, loss, started):
        """Judges and saves what an epoch brought."""
        row = {"epoch": epoch + 1, "train_loss": loss, **self.judge(), "seconds": time.monotonic() - started}
        self.history.rows.append({k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()})
        self.save()
        if self.board:
            for name, value in self.history.rows[-1].items():
                self.board.add_scalar(name, value, epoch + 1)
            self.board.flush()

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
        chances = torch.rand(self.model.config.depth, BRANCHES, len(rows), generator=generator)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.workers.total(self.backward(features, targets, chances))
        if self.config.clip_norm:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self.optimizer.step()
        self.update_average(number)
        return loss

    def backward(self, features, targets, chances):
        """Adds up the gradient of this process's clips, part by part -> its share of the mean loss."""
        mine = range(len(features))[self.workers.share(len(features))]
        size = self.config.micro_batch or len(mine)
        parts = [slice(start, min(start + size, mine.stop)) for start in range(mine.start, mine.stop, size)]
        total = 0.0
        for part in parts:
            last = part is parts[-1]
            try:
                with nullcontext() if last else self.workers.without_exchange(self.forward):
                    total += self.backward_part(features[part], targets[part], chances[..., part], len(features))
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                raise DataError(self.what_fits(features[part], targets[part], chances[..., part])) from error
        return total

    def backward_part(self, features, targets, chances, batch):
        plan_drop_paths(self.model, chances)
        with autocast(self.config):
            logits = self.forward(features)
        loss = classification_loss(logits.float(), targets, self.model.config.output, self.config.label_smoothing, self.class_weights)
        loss = loss * (len(features) / batch)
        (loss * self.workers.count).backward()  # the processes' gradients are averaged, and this one holds a share of the batch
        return loss.item()

    def what_fits(self, features, targets, chances):
        """What to say when memory does not hold a part of a batch: the largest half, quarter, ... that it does."""
        size = len(features)
        while size > 1:
            size //= 2
            self.optimizer.zero_grad(set_to_none=True)
            try:
                with self.workers.without_exchange(self.forward):
                    self.backward_part(features[:size], targets[:size], chances[..., :size], len(features))
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                continue
            return f"memory does not hold {len(features)} clips at a time, but {size}: give --micro-batch {size}, which changes no result"
        return "memory does not hold a single clip: give a smaller preset, or a shorter --window-seconds"

    def batch(self, rows, generator):
        """Augmented, normalised features and their target shares; every process makes the whole batch, so that chance is the same."""
        device = self.config.device
        features = torch.from_numpy(self.train_rows.features[rows]).to(device).float()
        targets = self.train_targets[rows].to(device)
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
        """Loss, and accuracy, macro F1 and AUC over whole clips, of the averaged weights on the validation rows."""
        truth, scores, loss = judge_cache(self.average, self.valid_rows, self.config)
        found = summarise(truth, scores, list(self.labels))
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
        write_whole({self.state_path: lambda path: torch.save(state, path)})
        table = io.StringIO(newline="")
        writer = csv.DictWriter(table, self.history.rows[0])
        writer.writeheader()
        writer.writerows(self.history.rows)
        write_text(self.dir / HISTORY_FILE, table.getvalue())

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
        if _path(state["settings"]) != _path(self.settings()):
            raise DataError(f"the run in {self.dir} was started with other settings: give the same ones, or another folder")
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history.rows = state["history"]


def _path(settings):
    """Of a run's settings those that decide its weights."""
    model, config = json.loads(settings)
    return model, {name: value for name, value in config.items() if name not in ("stop_after", "tensorboard")}


class FromFeatures(nn.Module):
    """A model that is called with normalised features, as training does."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, features):
        return self.model.forward_features(features)


def tensorboard(run_dir):
    """A writer of curves into the run folder; DataError where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise DataError("--tensorboard needs the package tensorboard: pip install tensorboard") from error
    return SummaryWriter(Path(run_dir) / "tb")


def is_out_of_memory(error) -> bool:
    """Whether torch says that memory is short: an exception of its own on a GPU, words on a CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error) or "not enough memory" in str(error)


def check_cache(cache: FeatureCache, config: ModelConfig, part: str) -> None:
    """Refuses an empty cache, labels the model does not have, and features of another front end or length."""
    if len(cache) == 0:
        raise DataError(f"no clips for {part}: expected at least one")
    lists = [split_labels(label) for label in set(cache.label.tolist())]
    if config.output == "softmax" and any(len(labels) > 1 for labels in lists):
        raise DataError(f"{part} has clips with several labels, which scores that share one sum cannot say: expected output='sigmoid'")
    unknown = sorted({label for labels in lists for label in labels} - set(config.labels))
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


def target_shares(cache: FeatureCache, labels: dict) -> torch.Tensor:
    """(rows, classes) of 0 and 1: which labels every row has."""
    targets = torch.zeros(len(cache), len(labels))
    for row, label in enumerate(cache.label.tolist()):
        for name in split_labels(label):
            targets[row, labels[name]] = 1
    return targets


def class_weights(targets) -> torch.Tensor:
    """(classes,) weights in inverse proportion to how often a class occurs, 1 in the mean over the rows (rows, classes)."""
    counts = targets.sum(0)
    weights = torch.where(counts > 0, counts.sum() / counts.clamp_min(1), 0.0)
    return weights * (counts.sum() / (weights * counts).sum())


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
    """Linear warm-up, then a half cosine down to the least rate, or a smaller rate after every epoch from one on."""
    warmup, total = config.warmup_epochs * steps_per_epoch, config.epochs * steps_per_epoch
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    if config.schedule == "steps":
        return config.learning_rate * config.step_factor ** max(0, step // steps_per_epoch + 1 - config.steps_from_epoch)
    share = (step - warmup) / max(1, total - warmup)
    return config.least_learning_rate + (config.learning_rate - config.least_learning_rate) * (1 + math.cos(math.pi * share)) / 2


def predict_cache(model, cache: FeatureCache, targets, config: TrainConfig) -> tuple[np.ndarray, float]:
    """Scores (rows, classes) of a cache's rows, and the mean loss against target shares (rows, classes)."""
    scores, loss = [], 0.0
    with torch.inference_mode(), autocast(config):
        for start in range(0, len(cache), 256):
            raw = torch.from_numpy(cache.features[start : start + 256]).to(config.device).float()
            logits = model.forward_features(model.normalise(raw)).float()
            truth = targets[start : start + 256].to(config.device)
            loss += classification_loss(logits, truth, model.config.output).item() * len(raw)
            scores.append(model.probabilities(logits).cpu().numpy())
    return np.concatenate(scores), loss / len(cache)


def judge_cache(model, cache: FeatureCache, config: TrainConfig) -> tuple[np.ndarray, np.ndarray, float]:
    """Truth and scores (clips, classes) of whole clips, pooled over their windows as in use, and the mean loss of the windows.

    Truth is (clips,) class numbers, or (clips, classes) of 0 and 1 where a clip has several labels.
    """
    labels = {label: i for i, label in enumerate(model.config.labels)}
    targets = target_shares(cache, labels)
    scores, loss = predict_cache(model, cache, targets, config)
    _, first, which = np.unique(cache.clip, return_index=True, return_inverse=True)
    order = np.argsort(which, kind="stable")
    windows = np.split(scores[order], np.flatnonzero(np.diff(which[order])) + 1)
    truth = targets.numpy()[first].astype(int)
    if (truth.sum(1) == 1).all():
        truth = truth.argmax(1)
    return truth, np.stack([pool(each, model.config.labels, model.config.background_labels) for each in windows]), loss


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
