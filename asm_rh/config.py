"""What a model is, in numbers and names: frozen, checked on construction, JSON in and out. Imports no torch."""

import dataclasses
import json
import math
from dataclasses import dataclass, field

ROLLS = ("paper", "grid", "off")
HERMITS = ("lossless", "truncated", "off")
OUTPUTS = ("softmax", "sigmoid")
ROLL_CHANNELS = 16  # C of RollBlock, algorithm 1
ROLL_BASE = 4  # C_a of RollBlock: the reshaped tensor is (C, H / C_a, W / C_a)
SILENCE, UNKNOWN, NOISE = "_silence_", "_unknown_", "_background_noise_"
RESERVED_LABELS = (SILENCE, UNKNOWN, NOISE)  # scored and drawn, never reported as an event


class ConfigError(ValueError):
    """A configuration that names no possible model."""


@dataclass(frozen=True)
class FrontendConfig:
    """Settings of the front end, stored with the weights.

    Times in seconds, frequencies in Hz. `centre` removes each window's own mean log-mel before `mean` and `std` are applied, which makes
    the model indifferent to microphone gain. `pause` lets a sound that ends within the window go on with its quietest frame, as the pause
    after a word would. `padding` is the normalised value of frames that are still empty.
    """

    name: str = "logmel"
    frame_seconds: float = 0.025
    hop_seconds: float = 0.010
    fft_samples: int = 512
    bands: int = 128
    low_hz: float = 20.0
    high_hz: float = 8000.0
    preemphasis: float = 0.97
    centre: bool = False
    mean: float = -4.2677393
    std: float = 4.5689974
    padding: float = 0.0
    pause: bool = False

    def __post_init__(self):
        _positive(self, "frame_seconds", "hop_seconds", "bands", "std", "fft_samples")
        for name in ("preemphasis", "mean", "padding"):
            if not math.isfinite(getattr(self, name)):
                raise ConfigError(f"{name}={getattr(self, name)!r}: expected a finite number")
        if not 0 <= self.low_hz < self.high_hz:
            raise ConfigError(f"low_hz={self.low_hz}, high_hz={self.high_hz}: expected 0 <= low_hz < high_hz")


@dataclass(frozen=True)
class ModelConfig:
    """Everything that decides a model's shape and its answer, except the weights.

    `frames` is the number of spectrogram frames a window is padded or cut to; `patch` and `stride` are (bands, frames). `class_tokens` is 0
    where the mean over the patches is classified; otherwise so many learned tokens stand before them, with positions, as in AST.
    Raises ConfigError, with the numbers and the nearest that works, for sizes no model can have.
    """

    kind: str = "asm-rh"
    labels: tuple[str, ...] = ("0", "1")
    frontend: FrontendConfig = field(default_factory=FrontendConfig)
    sample_rate: int = 16000
    window_seconds: float = 5.135
    frames: int = 512
    patch: tuple[int, int] = (16, 16)
    stride: tuple[int, int] = (10, 10)
    depth: int = 12
    width: int = 768
    token_hidden: int = 384
    channel_hidden: int = 3072
    roll: str = "paper"
    hermit: str = "lossless"
    class_tokens: int = 0
    dropout: float = 0.0
    drop_path: float = 0.0
    output: str = "softmax"
    threshold: float = 0.5

    def __post_init__(self):
        for name in ("labels", "patch", "stride"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if isinstance(self.frontend, dict):
            object.__setattr__(self, "frontend", from_fields(FrontendConfig, self.frontend))
        _choice("roll", self.roll, ROLLS)
        _choice("hermit", self.hermit, HERMITS)
        _choice("output", self.output, OUTPUTS)
        _positive(self, "sample_rate", "window_seconds", "frames", "depth", "width", "token_hidden", "channel_hidden")
        _fractions(self, "dropout", "drop_path")
        if not 0 <= self.threshold <= 1:
            raise ConfigError(f"threshold={self.threshold}: expected 0..1")
        if self.class_tokens < 0 or (self.class_tokens and self.roll != "off"):
            raise ConfigError(
                f"class_tokens={self.class_tokens}, roll={self.roll!r}: expected 0 or more, and roll='off' with any, "
                "since tokens that are no patches have no place to be rolled to"
            )
        self._check_labels()
        self._check_sizes()

    def _check_labels(self):
        if len(self.labels) < 1 or len(set(self.labels)) != len(self.labels):
            raise ConfigError(f"labels={list(self.labels)}: expected at least one label, each once")
        if not all(isinstance(label, str) and label for label in self.labels):
            raise ConfigError(f"labels={list(self.labels)}: expected non-empty strings")

    def _check_sizes(self):
        bands, hop = self.frontend.bands, self.frontend.hop_seconds
        for axis, have, patch, stride in (("bands", bands, *_pair(self, 0)), ("frames", self.frames, *_pair(self, 1))):
            if patch < 1 or stride < 1:
                raise ConfigError(f"patch {self.patch}, stride {self.stride}: expected at least 1 {axis}")
            if have < patch:
                raise ConfigError(
                    f"{have} {axis} are fewer than one patch of {patch}: give at least {patch} {axis}"
                    + (f" (a window of {(patch - 1) * hop + self.frontend.frame_seconds:.3f} s)" if axis == "frames" else "")
                )
        for name in ("frame_seconds", "hop_seconds"):
            if round(getattr(self.frontend, name) * self.sample_rate) < 1:
                raise ConfigError(
                    f"{name}={getattr(self.frontend, name)} is less than one sample at {self.sample_rate} Hz: "
                    f"give at least {1 / self.sample_rate:g}"
                )
        if self.window_samples < round(self.frontend.frame_seconds * self.sample_rate):
            raise ConfigError(
                f"window_seconds={self.window_seconds} is shorter than one frame of {self.frontend.frame_seconds} s: "
                f"give at least {self.frontend.frame_seconds}"
            )
        if self.window_frames > self.frames:
            raise ConfigError(
                f"a window of {self.window_seconds} s has {self.window_frames} frames, more than frames={self.frames}: "
                f"give a shorter window, or frames={frames_for(self, self.window_seconds)}"
            )
        self._check_divisible()

    def _check_divisible(self):
        multiple = {"paper": ROLL_BASE, "grid": ROLL_CHANNELS, "off": 1}[self.roll]
        _divisible("width", self.width, multiple, self.roll)
        if self.roll == "paper" and self.tokens % ROLL_BASE:
            rows, columns = self.grid
            best = nearest_frames(self)
            raise ConfigError(
                f"{self.tokens} tokens ({rows} x {columns}) cannot be divided by {ROLL_BASE}, which roll='paper' needs: "
                f"the nearest that works is frames={best}"
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Patches along frequency and along time."""
        sizes = (self.frontend.bands, self.frames)
        return tuple((size - patch) // stride + 1 for size, patch, stride in zip(sizes, self.patch, self.stride))

    @property
    def tokens(self) -> int:
        """Number of tokens; f * columns + t, behind the class tokens, is the patch at frequency row f and time column t."""
        return self.grid[0] * self.grid[1] + self.class_tokens

    @property
    def window_samples(self) -> int:
        """Samples of one window at `sample_rate`."""
        return round(self.window_seconds * self.sample_rate)

    @property
    def window_frames(self) -> int:
        """Spectrogram frames that a full window has, before padding to `frames`."""
        return _natural_frames(self, self.window_seconds)

    @property
    def background_labels(self) -> tuple[str, ...]:
        """Labels that are never reported as events."""
        return tuple(label for label in self.labels if label in RESERVED_LABELS)

    def replace(self, **changes) -> "ModelConfig":
        """The same configuration with some fields changed; `frontend` may be a dict of its own changes."""
        if isinstance(changes.get("frontend"), dict):
            changes["frontend"] = dataclasses.replace(self.frontend, **changes["frontend"])
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict:
        """JSON-ready fields, with `id2label` and `label2id` as other libraries write them."""
        fields = dataclasses.asdict(self)
        names = fields.pop("labels")
        ids = {"id2label": {str(i): name for i, name in enumerate(names)}}
        ids["label2id"] = {name: i for i, name in enumerate(names)}
        return {"model_type": "asm-rh", **fields, **ids}

    def to_json(self) -> str:
        """The text of config.json."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_dict(cls, fields: dict) -> "ModelConfig":
        """Reads what `to_dict` writes; an unknown key, a wrong type or a gap in `id2label` raises ConfigError."""
        if not isinstance(fields, dict):
            raise ConfigError(f"config.json holds a {type(fields).__name__}, expected an object")
        fields = dict(fields)
        if fields.pop("model_type", "asm-rh") != "asm-rh":
            raise ConfigError("config.json is of another model_type, expected 'asm-rh'")
        label2id = fields.pop("label2id", None)
        if "id2label" in fields:
            fields["labels"] = _labels(fields.pop("id2label"), label2id)
        return from_fields(cls, fields)


def from_fields(cls, fields: dict):
    """A dataclass from a dict, refusing keys it does not have and types it cannot take."""
    known = {f.name: f for f in dataclasses.fields(cls)}
    unknown = sorted(set(fields) - set(known))
    if unknown:
        raise ConfigError(f"unknown key {', '.join(map(repr, unknown))} in {cls.__name__}; known: {', '.join(known)}")
    for name, value in fields.items():
        _check_type(cls.__name__, name, known[name].default, value)
    return cls(**fields)


def preset(name: str, labels=None, **changes) -> ModelConfig:
    """The configuration of a named preset, with `labels` and any other field replaced; a new `window_seconds` brings its `frames` along.

    Raises ConfigError for an unknown name, listing what is available.
    """
    if name not in PRESETS:
        raise ConfigError(f"no preset {name!r}; available: {', '.join(PRESETS)}")
    if labels is not None:
        changes["labels"] = tuple(labels)
    config = ModelConfig.from_dict(PRESETS[name])
    if _is_number(changes.get("window_seconds")) and "frames" not in changes:
        changes["frames"] = frames_for(config, changes["window_seconds"])
    return config.replace(**changes)


def frames_for(config: ModelConfig, window_seconds: float) -> int:
    """The fewest frames that hold a window of so many seconds whole, end with a patch, and give tokens in fours."""
    (patch, stride), rows = _pair(config, 1), config.grid[0]
    columns = max(1, 1 - (patch - _natural_frames(config, window_seconds)) // stride)
    while rows * columns % ROLL_BASE:
        columns += 1
    return patch + (columns - 1) * stride


def _natural_frames(config, window_seconds):
    frame, hop = (round(seconds * config.sample_rate) for seconds in (config.frontend.frame_seconds, config.frontend.hop_seconds))
    return 1 + (round(window_seconds * config.sample_rate) - frame) // hop


def nearest_frames(config: ModelConfig) -> int:
    """The number of frames nearest to the configured one whose tokens `roll="paper"` can take."""
    (patch, stride), rows = _pair(config, 1), config.grid[0]

    def fits(frames):
        return frames >= max(patch, config.window_frames) and rows * ((frames - patch) // stride + 1) % ROLL_BASE == 0

    return next(n for d in range(10**6) for n in (config.frames - d, config.frames + d) if fits(n))


def _pair(config, axis):
    return config.patch[axis], config.stride[axis]


def _choice(name, value, choices):
    if value not in choices:
        raise ConfigError(f"{name}={value!r}: expected one of {', '.join(choices)}")


def _positive(config, *names):
    for name in names:
        value = getattr(config, name)
        if not _is_number(value) or value <= 0:
            raise ConfigError(f"{name}={value!r}: expected a number above 0")


def _is_number(value):
    return isinstance(value, (int, float)) and math.isfinite(value)


def _fractions(config, *names):
    for name in names:
        if not 0 <= getattr(config, name) < 1:
            raise ConfigError(f"{name}={getattr(config, name)!r}: expected 0 <= {name} < 1")


def _divisible(name, value, multiple, roll):
    if value % multiple:
        below, above = value // multiple * multiple, -(-value // multiple) * multiple
        nearest = " or ".join(str(n) for n in (below, above) if n > 0)
        raise ConfigError(f"{name}={value} cannot be divided by {multiple}, which roll={roll!r} needs: the nearest that works is {nearest}")


def _labels(id2label, label2id):
    if not isinstance(id2label, dict) or sorted(id2label, key=str) != sorted(map(str, range(len(id2label)))):
        raise ConfigError(f"id2label={id2label!r}: expected the keys \"0\" to \"n-1\", each with a label")
    labels = tuple(id2label[str(i)] for i in range(len(id2label)))
    if not all(isinstance(label, str) for label in labels):
        raise ConfigError(f"id2label={id2label!r}: expected a string for each label")
    if label2id is not None and label2id != {label: i for i, label in enumerate(labels)}:
        raise ConfigError("label2id does not agree with id2label: write both in the same order")
    return labels


def _check_type(owner, name, default, value):
    if isinstance(default, bool):
        fits = isinstance(value, bool)
    elif isinstance(default, (int, float)):
        whole = isinstance(default, int)
        fits = not isinstance(value, bool) and isinstance(value, int if whole else (int, float))
    elif isinstance(default, tuple):
        kind = type(default[0])
        fits = isinstance(value, (list, tuple)) and all(type(v) is kind for v in value)
        fits = fits and (kind is str or len(value) == len(default))
    elif isinstance(default, str):
        fits = isinstance(value, str)
    else:
        fits = isinstance(value, (dict, FrontendConfig))
    if not fits:
        expected = "object" if default is dataclasses.MISSING else f"{type(default).__name__} like {default!r}"
        raise ConfigError(f"{owner}.{name}={value!r}: expected {expected}")


_BASE = dict(kind="asm-rh", roll="paper", hermit="lossless")
_SMALL = dict(_BASE, width=384, depth=12, token_hidden=192, channel_hidden=1536)
_TINY = dict(_BASE, width=192, depth=8, token_hidden=96, channel_hidden=768)
_SECOND = dict(window_seconds=1.0, frames=128)
_KEYWORDS = dict(
    _BASE, width=192, depth=6, token_hidden=96, channel_hidden=768, window_seconds=1.0, frames=104, patch=(16, 16), stride=(8, 8),
    roll="grid", drop_path=0.1, frontend=dict(
        frame_seconds=0.03, bands=40, low_hz=0.0, high_hz=4000.0, preemphasis=0.0, centre=True, mean=0.0, std=2.2, pause=True,
    ),
)  # fmt: skip
_EVENTS = dict(
    _BASE, width=128, depth=6, token_hidden=64, channel_hidden=256, patch=(16, 16), roll="grid", drop_path=0.1,
)  # fmt: skip
PRESETS = {
    "asm-rh-base": _BASE,
    "asm-rh-small": _SMALL,
    "asm-rh-tiny": _TINY,
    "asm-rh-base-1s": {**_BASE, **_SECOND},
    "asm-rh-small-1s": {**_SMALL, **_SECOND},
    "asm-rh-tiny-1s": {**_TINY, **_SECOND},
    "asm-rh-keywords": _KEYWORDS,
    "asm-rh-environment": dict(
        _EVENTS, window_seconds=1.0, frames=104, stride=(16, 8), frontend=dict(bands=64, centre=True, mean=0.0, std=2.6),
    ),
    "asm-rh-emotion": dict(_EVENTS, window_seconds=2.5, frames=256, stride=(16, 16), frontend=dict(bands=64)),
}
