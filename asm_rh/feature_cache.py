"""Raw log-mel features of many clips in one .npz file: written once from audio, trained from many times."""

import json
import math
import zipfile
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import pad

from .audio import AudioError, decode, resample
from .config import SILENCE, ModelConfig
from .datasets import Clip, DataError
from .files import write_whole
from .frontends import FRONTENDS, fill_with_pause

LEAST_FILLED = 0.5  # a clip's last window is kept when at least this share of it is sound
COLUMNS = ("label", "group", "split")
EXTRA = ("weight", "approximate", "clip", "quiet")  # files of earlier versions may lack them


@dataclass
class FeatureCache:
    """Raw log-mel (rows, frames, bands) float16 and, per row, `label`, `group`, `split` and how often to draw it, `weight`.

    `approximate` marks rows that stand in for real recordings: training leaves them out of its last part. `clip` names the recording that
    a row is a window of, `quiet` marks windows far below their clip's loudest, which hold nothing of its label. `skipped` lists unreadable
    files.
    """

    features: np.ndarray
    label: np.ndarray
    group: np.ndarray
    split: np.ndarray
    weight: np.ndarray = None
    approximate: np.ndarray = None
    clip: np.ndarray = None
    quiet: np.ndarray = None
    frontend: dict = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    def __post_init__(self):
        rows = len(self.features)
        self.weight = np.ones(rows, np.float32) if self.weight is None else self.weight
        self.approximate = np.zeros(rows, bool) if self.approximate is None else self.approximate
        self.clip = np.array([str(i) for i in range(rows)]) if self.clip is None else self.clip
        self.quiet = np.zeros(rows, bool) if self.quiet is None else self.quiet
        for name in (*COLUMNS, *EXTRA):
            if len(getattr(self, name)) != rows:
                raise DataError(f"feature cache: {len(getattr(self, name))} values of {name} for {rows} rows of features")

    def __len__(self):
        return len(self.features)

    def part(self, chosen) -> "FeatureCache":
        """The rows where `chosen` (rows,) is true."""
        columns = {name: getattr(self, name)[chosen] for name in ("features", *COLUMNS, *EXTRA)}
        return FeatureCache(**columns, frontend=self.frontend)

    def of_split(self, name: str) -> "FeatureCache":
        """The rows of one split."""
        return self.part(self.split == name)

    def with_silence(self, known: bool) -> "FeatureCache":
        """The rows, quiet ones with the label `_silence_` if that label is `known`, else left out."""
        if not known:
            return self.part(~self.quiet) if self.quiet.any() else self
        found = self.part(slice(None))
        found.label = np.where(self.quiet, SILENCE, self.label)
        return found

    def balance(self) -> None:
        """Sets the weights so that every label is drawn equally often."""
        _, which, counts = np.unique(self.label, return_inverse=True, return_counts=True)
        self.weight = (len(self) / max(1, len(counts)) / counts[which]).astype(np.float32)

    def assign(self, splits: dict) -> None:
        """Gives every row the split that `splits` has for its clip; raises DataError for a clip it does not name."""
        unknown = sorted(set(self.clip.tolist()) - set(splits))
        if unknown:
            raise DataError(
                f"the feature cache holds {len(unknown)} clips that the data does not, such as {unknown[0]}: "
                "name the folders as when it was made, or make it anew"
            )
        self.split = np.array([splits[name] for name in self.clip.tolist()])

    def save(self, path) -> None:
        """Writes the cache to an .npz file, whole or not at all."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {name: getattr(self, name) for name in ("features", *COLUMNS, *EXTRA)}
        write_whole({path: lambda temporary: _savez(temporary, arrays, json.dumps(self.frontend))})

    @classmethod
    def load(cls, path) -> "FeatureCache":
        """Reads what `save` writes; raises DataError for anything else."""
        try:
            with np.load(path, allow_pickle=False) as file:
                missing = [name for name in ("features", *COLUMNS) if name not in file]
                if missing:
                    raise DataError(f"{path} has no {', '.join(missing)}: expected a feature cache with features, {', '.join(COLUMNS)}")
                columns = {name: file[name] for name in ("features", *COLUMNS, *EXTRA) if name in file}
                frontend = json.loads(str(file["frontend"])) if "frontend" in file else {}
        except DataError:
            raise
        except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(f"{path} is no feature cache (.npz): {error}") from error
        if columns["features"].ndim != 3 or columns["features"].dtype.kind != "f" or not isinstance(frontend, dict):
            shape = columns["features"].shape
            raise DataError(f"{path} is no feature cache: its features are {shape}, expected numbers (rows, frames, bands)")
        return cls(**columns, frontend=frontend)


def _savez(path, arrays, frontend):
    with open(path, "wb") as file:  # by its name, numpy would add an ending
        np.savez(file, **arrays, frontend=frontend)


def concatenate(caches: list[FeatureCache]) -> FeatureCache:
    """One cache of all rows; raises DataError when the front ends differ."""
    kinds = {json.dumps(cache.frontend, sort_keys=True) for cache in caches if cache.frontend}
    if len(kinds) > 1:
        raise DataError(f"the feature caches come from different front ends: {' and '.join(sorted(kinds))}")
    names = ("features", *COLUMNS, *EXTRA)
    columns = {name: np.concatenate([getattr(cache, name) for cache in caches]) for name in names}
    frontend = next((cache.frontend for cache in caches if cache.frontend), {})
    return FeatureCache(**columns, frontend=frontend, skipped=sum((cache.skipped for cache in caches), []))


def statistics(cache: FeatureCache, centre: bool = False) -> tuple[float, float]:
    """Mean and standard deviation of a cache's features, for the front end's `mean` and `std`; with `centre` of rows less their mean."""
    means = cache.features.mean((1, 2), dtype=np.float64)
    mean = 0.0 if centre else float(means.mean())
    squares = [np.square(row.astype(np.float64) - (own if centre else mean)).mean() for row, own in zip(cache.features, means)]
    return round(mean, 6), round(math.sqrt(np.mean(squares)) or 1.0, 6)


def build(
    clips: list[Clip], config: ModelConfig, hop_seconds: float | None = None, progress=lambda items: items, quiet_db: float | None = None,
) -> FeatureCache:
    """Decodes clips, cuts long ones into windows every `hop_seconds` (default: one window) and computes their raw log-mel.

    Windows more than `quiet_db` below the loudest of their clip are marked as quiet. Unreadable files are listed in `skipped`, not fatal;
    raises DataError when nothing is left.
    """
    frontend = FRONTENDS[config.frontend.name](config.frontend, config.sample_rate)
    rows, names, quiet, skipped = [], [], [], []
    for clip in progress(clips):
        try:
            waves = clip_windows(clip, config, hop_seconds)
        except AudioError as error:
            skipped.append(f"{clip.path}: {error}")
            continue
        rows += [raw_features(frontend, wave, config) for wave in waves]
        names += [(clip.label, clip.group, clip.split or "train", clip.name)] * len(waves)
        quiet += quiet_windows(waves, quiet_db)
    if not rows:
        raise DataError(f"none of {len(clips)} files could be read; the first: {skipped[0] if skipped else 'no files given'}")
    label, group, split, name = (np.array(column) for column in zip(*names))
    columns = dict(clip=name, quiet=np.array(quiet), frontend=raw_settings(config), skipped=skipped)
    return FeatureCache(np.stack(rows), label, group, split, **columns)


def quiet_windows(waves: list[np.ndarray], quiet_db: float | None) -> list[bool]:
    """Which windows of a clip have a mean square more than `quiet_db` below that of its loudest; none without a limit."""
    powers = np.array([np.mean(np.square(wave, dtype=np.float64)) if len(wave) else 0.0 for wave in waves])
    limit = 0.0 if quiet_db is None else powers.max() * 10 ** (-quiet_db / 10)
    return (powers < limit).tolist()


def clip_windows(clip: Clip, config: ModelConfig, hop_seconds: float | None = None) -> list[np.ndarray]:
    """The waveforms of a clip at the model's rate, each at most one window long."""
    if hop_seconds is not None and not round(hop_seconds * config.sample_rate) >= 1:
        raise ValueError(f"hop_seconds={hop_seconds}: expected at least one sample")
    samples, rate = decode(clip.path)
    samples = samples[round(clip.start * rate) : None if clip.end is None else round(clip.end * rate)]
    wave = resample(samples, rate, config.sample_rate)
    size = config.window_samples
    hop = size if hop_seconds is None else round(hop_seconds * config.sample_rate)
    parts = [wave[i : i + size] for i in range(0, len(wave), hop)]
    return [part for i, part in enumerate(parts) if i == 0 or len(part) >= LEAST_FILLED * size]


def raw_settings(config: ModelConfig) -> dict:
    """The settings that decide raw features; centring and scaling come later and may change without a new cache."""
    settings = {k: v for k, v in asdict(config.frontend).items() if k not in ("centre", "mean", "std", "padding")}
    return {**settings, "sample_rate": config.sample_rate}


def raw_features(frontend, wave, config: ModelConfig) -> np.ndarray:
    """(window_frames, bands) float16; what a short clip leaves empty is filled so that `normalise` answers as for the clip itself."""
    settings, frames = config.frontend, config.window_frames
    wave = np.pad(wave, (0, max(0, frontend.frame_samples - len(wave))))
    with torch.inference_mode():
        picture = frontend(torch.from_numpy(wave)[None])[:, :frames]
        if settings.pause:
            return fill_with_pause(picture, frames)[0].half().numpy()
        # Centred clips keep their own mean, or what follows would move what was heard.
        empty = picture.mean() if settings.centre else settings.mean + 2 * settings.std * settings.padding
        picture = pad(picture, (0, 0, 0, frames - picture.shape[1]), value=float(empty))
    return picture[0].half().numpy()
