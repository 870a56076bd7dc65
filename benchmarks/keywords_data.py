"""Gathers the training data of checkpoints/asm-rh-keywords into one feature cache, and says which clips are for testing.

    python -m benchmarks.keywords_data DATA OUT.npz [--seed 0]

DATA holds `speech_commands_v2_12` (12 classes, audio), `speech_commands_v1_bed_cat_happy` (three more words, audio),
`speech_commands_v2_spectrograms` (images.tar.xz: pictures of other speakers), `librispeech_speakers` and `esc10`.

Splits: speakers of speech_commands_v2_12 by a hash of their id (20 % test, 12 % validation); nobody of them is anywhere else in training.
Background recordings whole: each of the six noise files, and every `_silence_` clip cut from it, is on one side. LibriSpeech by speaker,
ESC-10 by its folds. The pictures, marked approximate, are of speakers who are not in the audio at all; 4 % of these are for validation.

A picture holds 98 frames of 30 ms, every 10 ms, by 40 mel bands up to 4 kHz in 8 bits. The front end of these weights takes the same
frames and bands, so that pixels are log energies up to a scale. Scale and offset were fitted on 369 takes of bed, cat and happy that exist
as audio as well (correlation 0.988, residual 0.65 nepers, of which some comes from that audio's own lossy coding).
"""

import argparse
import json
import tarfile
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image

from asm_rh import signals
from asm_rh.audio import decode
from asm_rh.config import NOISE, SILENCE, UNKNOWN, preset
from asm_rh.corpora import read_speech_commands
from asm_rh.datasets import KEYWORDS, Clip, audio_files, hashed_split
from asm_rh.feature_cache import FeatureCache, build, concatenate, raw_features
from asm_rh.frontends import LogMel, fill_with_pause

LABELS = (*KEYWORDS, UNKNOWN, SILENCE)
CONFIG = preset("asm-rh-keywords", labels=LABELS)
NOISE_SPLITS = {"dude_miaowing": "valid", "pink_noise": "test", "running_tap": "test"}  # the other three are for training
NEPERS_PER_STEP, DARKEST = 0.101, -15.04  # log energy of a pixel: DARKEST + NEPERS_PER_STEP * value
BLACK = 6  # JPEG leaves up to this much where a take had ended before the second was over
ESC_TEST_FOLD = "5"


def speech_split(speaker: str, seed: int) -> str:
    """Where a speaker of the audio parts belongs."""
    return hashed_split(speaker, valid=0.12, test=0.20, seed=seed)


def noise_files(root: Path) -> dict:
    """Samples of the six background recordings by name."""
    return {path.stem: decode(path)[0] for path in audio_files(root / NOISE)}


class NoiseSources:
    """Tells which background recording a `_silence_` clip was cut from, by normalised cross-correlation."""

    def __init__(self, noises: dict, window: int):
        self.names = list(noises)
        self.size = 1 << (max(map(len, noises.values())) + window).bit_length()
        waves = [torch.from_numpy(wave) for wave in noises.values()]
        self.spectra = torch.stack([torch.fft.rfft(wave, self.size) for wave in waves])
        self.energies = [self._running_energy(wave, window) for wave in waves]

    @staticmethod
    def _running_energy(wave, window):
        total = torch.nn.functional.pad(wave.double().square().cumsum(0), (1, 0))
        return (total[window:] - total[:-window]).clamp_min(1e-12).sqrt().float()

    def of(self, wave) -> str:
        """The recording's name for a clip (samples,)."""
        spectrum = torch.fft.rfft(torch.from_numpy(wave), self.size).conj()
        matches = torch.fft.irfft(self.spectra * spectrum, self.size)
        best = [float((match[: len(energy)] / energy).max()) for match, energy in zip(matches, self.energies)]
        return self.names[int(np.argmax(best))]


def split_clips(root: Path, seed: int) -> list[Clip]:
    """Every clip of speech_commands_v2_12 with its split; background by the recording it comes from."""
    sources = NoiseSources(noise_files(root), CONFIG.window_samples)
    clips = []
    for clip in read_speech_commands(root):
        if clip.path.parent.name == SILENCE:
            source = sources.of(decode(clip.path)[0])
        elif clip.path.parent.name == NOISE:
            source = clip.path.stem
        else:
            clips.append(replace(clip, split=speech_split(clip.group, seed)))
            continue
        clips.append(replace(clip, group=f"{NOISE}/{source}", split=NOISE_SPLITS.get(source, "train")))
    return clips


def real_parts(data: Path, seed: int) -> list[FeatureCache]:
    """Features of all real recordings."""
    clips = split_clips(data / "speech_commands_v2_12", seed)
    short = [clip for clip in clips if clip.path.parent.name != NOISE]
    long = [clip for clip in clips if clip.path.parent.name == NOISE and clip.split == "train"]
    more = read_speech_commands(data / "speech_commands_v1_bed_cat_happy")
    more = [replace(clip, split="train") for clip in more if speech_split(clip.group, seed) == "train"]
    books = [Clip(p, UNKNOWN, f"librispeech/{p.parent.parent.name}") for p in audio_files(data / "librispeech_speakers")]
    books = [clip for clip in books if librispeech_split(clip.group, seed) == "train"]
    scenes = [Clip(p, SILENCE, f"esc/{p.stem}") for p in audio_files(data / "esc10") if not p.stem.startswith(f"{ESC_TEST_FOLD}-")]
    return [
        weighted(build(short, CONFIG), 3.0, {UNKNOWN: 8.0, SILENCE: 3.0}),
        weighted(build(long, CONFIG, hop_seconds=0.1), 0.5),
        weighted(build(more, CONFIG), 0.4),
        weighted(build(books, CONFIG, hop_seconds=0.5), 0.5),
        weighted(build(scenes, CONFIG, hop_seconds=0.5), 0.4),
    ]


def librispeech_split(group: str, seed: int) -> str:
    """Half of the readers are for training, half for counting false keywords."""
    return hashed_split(group, valid=0.0, test=0.5, seed=seed)


def computed_part(count: int, seed: int) -> FeatureCache:
    """Features of hum, noise, music, clicks and sweeps, and of digital silence."""
    random, frontend = np.random.default_rng(seed), LogMel(CONFIG.frontend, CONFIG.sample_rate)
    waves = [make(random) for make in signals.BACKGROUNDS.values() for _ in range(count)]
    waves += [np.zeros(CONFIG.window_samples, np.float32)] * 50
    rows = np.stack([raw_features(frontend, wave, CONFIG) for wave in waves])
    return weighted(_cache(rows, [SILENCE] * len(rows), ["computed"] * len(rows)), 0.6)


def pictured_part(archive: Path, seed: int) -> FeatureCache:
    """Features of thousands of other speakers, read from pictures; approximate by JPEG's losses."""
    rows, labels, speakers = [], [], []
    with tarfile.open(archive) as tar:
        for member in tar:
            path = PurePosixPath(member.name)
            if path.suffix != ".jpg" or path.parent.name == NOISE:
                continue
            rows.append(log_energies(np.asarray(Image.open(tar.extractfile(member))), cut=len(rows) % 2 == 0).astype(np.float16))
            labels.append(UNKNOWN if path.parent.name == "unknown" else path.parent.name)
            speakers.append(path.name.split("_nohash_")[0])
    cache = _cache(np.stack(rows), labels, speakers)
    cache.split = np.array([hashed_split(speaker, valid=0.04, test=0.0, seed=seed) for speaker in speakers])
    cache.approximate[:] = True
    return weighted(cache, 1.0, {UNKNOWN: 0.6})


def log_energies(picture: np.ndarray, cut: bool) -> np.ndarray:
    """(98, 40) pixels -> natural logarithms of energy; with `cut`, black at the end becomes a pause, as in the front end."""
    features = torch.from_numpy(DARKEST + NEPERS_PER_STEP * picture.astype(np.float32))
    heard = np.flatnonzero((picture > BLACK).any(1))
    if cut and len(heard):
        features = fill_with_pause(features[None, : heard[-1] + 1], len(features))[0]
    return features.numpy()


def weighted(cache: FeatureCache, weight: float, by_label=None) -> FeatureCache:
    """The cache with a drawing weight for all rows, others for some labels."""
    cache.weight[:] = weight
    for label, value in (by_label or {}).items():
        cache.weight[cache.label == label] = value
    return cache


def _cache(features, labels, groups):
    return FeatureCache(features, np.asarray(labels), np.asarray(groups), np.full(len(features), "train"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--computed", type=int, default=600, help="clips of each computed background")
    args = parser.parse_args()
    parts = [*real_parts(args.data, args.seed), computed_part(args.computed, args.seed)]
    parts.append(pictured_part(args.data / "speech_commands_v2_spectrograms" / "images.tar.xz", args.seed))
    cache = concatenate(parts)
    cache.save(args.out)
    for split in ("train", "valid", "test"):
        part = cache.split == split
        mass = {label: round(float(cache.weight[part & (cache.label == label)].sum())) for label in LABELS}
        print(json.dumps({"split": split, "rows": int(part.sum()), "groups": len(set(cache.group[part])), "weight": mass}))
    print("\n".join(cache.skipped[:10]))


if __name__ == "__main__":
    main()
