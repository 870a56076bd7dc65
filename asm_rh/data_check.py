"""What a set of recordings is like, and what in it would spoil training: numbers and findings, no text."""

import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import lru_cache

import av
import numpy as np
import soundfile

from .audio import AudioError, decode
from .config import RESERVED_LABELS
from .datasets import SPLITS, Clip, DataError
from .protocols import Fold, folds, groups_known

FEW_CLIPS = 20  # a class with fewer is hardly learnt
QUIET_DBFS = -60.0
CLIPPED_LEVEL, CLIPPED_RUN = 0.999, 3  # so many samples in a row at full scale are no peak but a cut
LONGEST_WINDOW_SECONDS = 10.0
FOLDS_TRIED = (5, 4, 3, 2)


@dataclass(frozen=True)
class Sound:
    """What was found in one clip: `level_dbfs` of the whole clip, -inf for digital silence; `digest` tells equal sounds."""

    seconds: float
    rate: int
    channels: int
    level_dbfs: float
    clipped: bool
    digest: str


def check(clips: list[Clip], split, progress=lambda items: items) -> dict:
    """Everything that `asm-rh data check` says about the clips; `split(clips)` gives the folds that training would use.

    Lists hold names of clips. `problems` spoil training, `warnings` may.
    """
    sounds, unreadable = listen(clips, progress)
    chosen, trouble = _folds(clips, split)
    twice = duplicates(clips, sounds, chosen)
    found = {
        "clips": len(clips), "classes": classes(clips, sounds, chosen[0] if chosen else None),
        "groups_known": groups_known(clips), "groups": dict(sorted(Counter(clip.group for clip in clips).items())),
        "folds": [fold.name for fold in chosen], "protocol": chosen[0].protocol if chosen else None,
        "leaky": any(fold.leaky for fold in chosen), "cannot_be_split": trouble,
        "seconds": lengths([sound.seconds for sound in sounds.values()]),
        "rates_hz": dict(sorted(Counter(sound.rate for sound in sounds.values()).items())),
        "channels": dict(sorted(Counter(sound.channels for sound in sounds.values()).items())),
        "digital_silence": [clip.name for clip in clips if clip in sounds and sounds[clip].level_dbfs == -np.inf],
        "quiet": [clip.name for clip in clips if clip in sounds and -np.inf < sounds[clip].level_dbfs < QUIET_DBFS],
        "clipped": [clip.name for clip in clips if clip in sounds and sounds[clip].clipped],
        "unreadable": unreadable, "duplicates": twice,
        "window_seconds": window_seconds([sound.seconds for clip, sound in sounds.items() if clip.label not in RESERVED_LABELS]),
    }  # fmt: skip
    return {**found, "problems": problems(found), "warnings": warnings(found, clips)}


# ---------------------------------------------------------------------------------------------- listening


def listen(clips, progress=lambda items: items) -> tuple[dict[Clip, Sound], list[dict]]:
    """The sound of every clip that can be read, and {"clip", "why"} of the others."""
    sounds, unreadable = {}, []
    for clip in progress(clips):
        try:
            sounds[clip] = examine(clip)
        except AudioError as error:
            unreadable.append({"clip": clip.name, "why": str(error).removeprefix(f"{clip.path}: ")})
    return sounds, unreadable


def examine(clip: Clip) -> Sound:
    """Decodes one clip; raises AudioError when it cannot be read or its stretch is not in the file."""
    samples, rate, channels = _decoded(clip.path)
    part = samples[round(clip.start * rate) : None if clip.end is None else round(clip.end * rate)]
    seconds = len(samples) / rate
    if len(part) == 0 or (clip.end or 0) > seconds + 0.01:
        end = "its end" if clip.end is None else f"{clip.end:g} s"
        raise AudioError(f"the clip goes from {clip.start:g} s to {end}, the file lasts {seconds:g} s")
    power = float(np.mean(np.square(part, dtype=np.float64)))
    full = np.abs(part) >= CLIPPED_LEVEL
    runs = np.convolve(full, np.ones(CLIPPED_RUN, int)) >= CLIPPED_RUN if full.any() else full
    digest = hashlib.sha1(part.tobytes() + str(rate).encode()).hexdigest()
    return Sound(len(part) / rate, rate, channels, 10 * np.log10(power) if power else -np.inf, bool(runs.any()), digest)


@lru_cache(maxsize=1)  # the stretches of one file follow each other
def _decoded(path):
    return *decode(path), _channels(path)


def _channels(path):
    try:
        return soundfile.info(str(path)).channels
    except (soundfile.LibsndfileError, TypeError):  # as in audio.py, PyAV reads what libsndfile refuses
        with av.open(str(path)) as container:
            return container.streams.audio[0].codec_context.channels


# ---------------------------------------------------------------------------------------------- counting


def classes(clips, sounds, fold: Fold | None) -> list[dict]:
    """Per class, in alphabetical order and reserved ones last: clips, groups, seconds, and clips per split of one fold."""
    table, split_of = {}, {clip.name: clip.split for clip in fold.clips} if fold else {}
    for label in sorted({label for clip in clips for label in clip.labels}, key=lambda name: (name.startswith("_"), name)):
        mine = [clip for clip in clips if label in clip.labels]
        splits = Counter(split_of.get(clip.name) for clip in mine)
        seconds = sum(sounds[clip].seconds for clip in mine if clip in sounds)
        table[label] = {
            "label": label, "clips": len(mine), "groups": len({clip.group for clip in mine}), "seconds": round(seconds, 3),
            **({name: splits[name] for name in SPLITS} if fold else {}),
        }  # fmt: skip
    return list(table.values())


def lengths(seconds) -> dict | None:
    """Shortest, median, longest and total, in seconds."""
    if not seconds:
        return None
    values = {"min": min(seconds), "median": float(np.median(seconds)), "max": max(seconds), "total": sum(seconds)}
    return {name: round(value, 3) for name, value in values.items()}


def window_seconds(seconds) -> float | None:
    """A window that holds nine of ten clips whole but for 1 %, in tenths of a second, at most LONGEST_WINDOW_SECONDS."""
    if not seconds:
        return None
    tenths = np.ceil(round(float(np.percentile(seconds, 90)) * 0.99 * 10, 2))
    return float(min(LONGEST_WINDOW_SECONDS, max(1, tenths) / 10))


def duplicates(clips, sounds, chosen) -> dict:
    """Sets of clips with the same samples (digital silence apart), and which of them cross labels, groups or the splits of any fold."""
    same = defaultdict(list)
    for clip in clips:
        if clip in sounds and sounds[clip].level_dbfs > -np.inf:
            same[sounds[clip].digest].append(clip)
    sets = [members for members in same.values() if len(members) > 1]
    splits = [{clip.name: clip.split for clip in fold.clips} for fold in chosen]
    crossing = {
        "across_labels": [m for m in sets if len({clip.label for clip in m}) > 1],
        "across_groups": [m for m in sets if len({clip.group for clip in m}) > 1],
        "across_splits": [m for m in sets if any(len({of[clip.name] for clip in m}) > 1 for of in splits)],
    }
    named = {what: [[clip.name for clip in members] for members in found] for what, found in crossing.items()}
    return {"sets": len(sets), "clips": sum(len(members) for members in sets), **named}


# ---------------------------------------------------------------------------------------------- judging


def suggested_folds(clips) -> int | None:
    """How many folds by speaker suit clips that one split does not suit; None where none do."""
    for count in FOLDS_TRIED:
        try:
            folds(clips, count)
        except DataError:
            continue
        return count
    return None


def problems(found) -> list[str]:
    """What spoils training, a sentence each."""
    told, twice = [], found["duplicates"]["across_splits"]
    if found["unreadable"]:
        told.append(f"{_count(len(found['unreadable']), 'clip')} cannot be read: repair or remove them")
    small = [row for row in found["classes"] if row["clips"] < FEW_CLIPS]
    if small:
        few = ", ".join(f"{row['label']} ({row['clips']})" for row in small)
        told.append(f"classes with fewer than {FEW_CLIPS} clips: {few}: add recordings, or leave them out")
    if len(found["classes"]) < 2:
        told.append("one class only: add a second one, such as _background_noise_")
    if twice:
        told.append(f"the same sound is in two splits, {_count(len(twice), 'time')}: keep one of each, or give them one group")
    if found["cannot_be_split"]:
        told.append(f"cannot be split: {found['cannot_be_split']}")
    return told


def warnings(found, clips) -> list[str]:
    """What may spoil training, a sentence each."""
    told, twice = [], found["duplicates"]
    silent = {*found["digital_silence"], *found["quiet"]} - {clip.name for clip in clips if clip.label in RESERVED_LABELS}
    if silent:
        told.append(f"{_count(len(silent), 'clip')} with next to no sound bear the label of a sound")
    if twice["across_labels"]:
        told.append(f"the same sound has two labels, {_count(len(twice['across_labels']), 'time')}")
    if twice["across_groups"] and found["groups_known"]:
        told.append(f"the same sound is under two speakers or sources, {_count(len(twice['across_groups']), 'time')}")
    if not found["groups_known"]:
        told.append("no speakers or sources are known, so the same one may be on both sides of a split: give --group-pattern, or a table")
    if found["leaky"]:
        told.append("the split is leaky: scores will be too high")
    sizes = [row["clips"] for row in found["classes"]]
    if max(sizes) > 3 * min(sizes):
        times = max(sizes) / min(sizes)
        told.append(f"the largest class has {times:.1f} times the clips of the smallest: --balanced draws them equally often")
    return told


def _count(number, what):
    return f"{number} {what}{'' if number == 1 else 's'}"


def _folds(clips, split):
    try:
        return split(clips), None
    except DataError as error:
        return [], str(error)
