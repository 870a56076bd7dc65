"""How a model is trained: every setting in one place, and the recipes that have names."""

import dataclasses
import json
import math
from dataclasses import dataclass, field

from .augment import AugmentConfig

OPTIMIZERS, SCHEDULES = ("adamw", "adam"), ("cosine", "steps")


@dataclass(frozen=True)
class TrainConfig:
    """One training run. `finish_share` is the last part of the epochs, in which rows marked approximate are left out.

    A step's gradient is that of `batch_size` clips, whatever `micro_batch`, the number of clips computed at once (0: all of them), and
    however many processes share the work. `schedule` "cosine" falls to `least_learning_rate`; "steps" multiplies the rate by
    `step_factor` after every epoch from `steps_from_epoch` on. `average_decay` is of the running mean of the weights, which is what is
    judged and kept; 0 judges the weights as they are. With `balanced_loss` a clip counts the more, the rarer its class.
    """

    epochs: int = 30
    stop_after: int = 0  # end there, the learning rate planned for all epochs; 0: do not
    clips_per_epoch: int = 0  # 0: every row once; otherwise drawn by weight
    batch_size: int = 128
    micro_batch: int = 0
    optimizer: str = "adamw"
    betas: tuple[float, float] = (0.9, 0.999)
    learning_rate: float = 1e-3
    initial_learning_rate_scale: float = 0.1  # of parameters that a Transfer brought, as a share of the others' rate
    schedule: str = "cosine"
    least_learning_rate: float = 1e-5
    steps_from_epoch: int = 5
    step_factor: float = 0.85
    weight_decay: float = 0.05
    warmup_epochs: float = 2.0
    clip_norm: float = 1.0  # of a step's gradient; 0: as it comes
    label_smoothing: float = 0.1
    balanced_loss: bool = False
    average_decay: float = 0.999
    finish_share: float = 0.0
    finish_approximate: float = 0.0
    seed: int = 0
    bf16: bool = True
    device: str = "cpu"
    tensorboard: bool = False
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self):
        least = {
            "epochs": 1, "batch_size": 1, "micro_batch": 0, "clips_per_epoch": 0, "warmup_epochs": 0, "finish_approximate": 0,
            "weight_decay": 0, "clip_norm": 0, "steps_from_epoch": 0,
        }
        for name, lowest in least.items():
            if not getattr(self, name) >= lowest:
                raise ValueError(f"{name}={getattr(self, name)!r}: expected at least {lowest}")
        for name in ("label_smoothing", "finish_share", "average_decay", "step_factor"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)!r}: expected a share from 0 to 1")
        for name, choices in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES)):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}={getattr(self, name)!r}: expected one of {', '.join(choices)}")
        if not 0 <= self.stop_after <= self.epochs:
            raise ValueError(f"stop_after={self.stop_after!r}: expected 0 (do not) to epochs={self.epochs}")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate={self.learning_rate!r}: expected a number above 0")
        if not 0 <= self.initial_learning_rate_scale < math.inf:
            raise ValueError(f"initial_learning_rate_scale={self.initial_learning_rate_scale!r}: expected a number of 0 (keep) or more")
        object.__setattr__(self, "betas", tuple(self.betas))
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas={self.betas!r}: expected two numbers from 0 to below 1")

    def replace(self, **changes) -> "TrainConfig":
        """The same settings with some changed; `augment` may be a dict of its own changes."""
        if isinstance(changes.get("augment"), dict):
            changes["augment"] = dataclasses.replace(self.augment, **changes["augment"])
        return dataclasses.replace(self, **changes)


@dataclass(frozen=True)
class Recipe:
    """A named way to train: what the model's scores are, and the run's settings."""

    words: str
    output: str
    train: TrainConfig

    def to_json(self) -> str:
        """Every setting of the recipe."""
        return json.dumps({"words": self.words, "output": self.output, **dataclasses.asdict(self.train)}, indent=2)


RECIPES = {
    "paper": Recipe(
        "arXiv 2402.18007: rate 2.5e-4, falling from epoch 5 on, 30 epochs; the rest as in AST (arXiv 2104.01778), which it follows",
        "sigmoid",
        TrainConfig(
            epochs=30, batch_size=128, optimizer="adam", betas=(0.95, 0.999), learning_rate=2.5e-4, schedule="steps", weight_decay=5e-7,
            warmup_epochs=0, clip_norm=0, label_smoothing=0, average_decay=0,
            augment=AugmentConfig(
                gain_db=0, stretch=0, warp=0, noise_probability=0, time_mask=0.375, band_mask=0.375, mixup_probability=0.6, mixup_alpha=10,
                mixup_waveforms=True,
            ),
        ),
    ),
    "modern": Recipe(
        "small models from scratch: AdamW with warm-up and a cosine, a running mean of the weights, label smoothing, stronger augmentation",
        "softmax",
        TrainConfig(),
    ),
}
