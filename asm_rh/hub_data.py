"""A dataset of the Hugging Face Hub as labelled clips, through the optional package `datasets`; its sounds are kept as files."""

import hashlib
import os
from pathlib import Path

from .datasets import AUDIO_ENDINGS, LABEL_SEPARATOR, SPLIT_NAMES, Clip, DataError, tell

INSTALL = "pip install datasets torchcodec (extra hub-data)"  # torchcodec: the package wants it for sounds that are files of their own
LABELS, GROUPS = ("label", "labels"), ("group", "speaker_id", "speaker")


def read_hub(name, note=tell, folder=None) -> list[Clip]:
    """Clips of the dataset `user/name[@revision]`, or of a local folder that `datasets` can load, with columns `audio` and `label`.

    `group`, `speaker_id` or `speaker` tells who belongs together, `fold` is the official fold. Sounds are written as they are, undecoded,
    into `folder` (default: beside the package's own cache). A dataset with one split has none; several labels in a list become `dog;rain`.
    Raises DataError when the package is missing or the columns are not there.
    """
    datasets = _package()
    repo, _, revision = str(name).partition("@") if not Path(name).exists() else (str(name), "", "")
    try:
        found = datasets.load_dataset(repo, revision=revision or None)
    except Exception as error:  # the package raises many kinds: no such repository, no network, files that it cannot read
        reason = _reason(error)
        help = INSTALL if "torchcodec" in reason else "expected user/name[@revision] of the Hub, or a local folder"
        raise DataError(f"dataset {name}: {reason}; {help}") from error
    folder = Path(folder or Path(datasets.config.HF_DATASETS_CACHE) / "asm-rh") / hashlib.sha1(str(name).encode()).hexdigest()[:12]
    clips, empty = [], []
    for split, rows in found.items():
        own = SPLIT_NAMES.get(split.lower()) if len(found) > 1 else None
        if own is None and len(found) > 1:
            note(f"dataset {name}: a split that is neither train, validation nor test is left out", [split])
            continue
        clips += _clips(rows.cast_column("audio", datasets.Audio(decode=False)) if "audio" in rows.column_names else rows,
                        name, split, own, folder, empty)
    if empty:
        note(f"dataset {name}: rows without sound or label, left out", empty)
    if not clips:
        raise DataError(f"dataset {name} has no rows with sound and label: expected the columns audio and label")
    return clips


def _package():
    try:
        import datasets
    except ImportError:
        raise DataError(f"a dataset of the Hub needs the package datasets, which is not here: {INSTALL}") from None
    return datasets


def _clips(rows, name, split, own, folder, empty):
    label_column = next((column for column in LABELS if column in rows.column_names), None)
    if "audio" not in rows.column_names or label_column is None:
        raise DataError(f"dataset {name} has the columns {', '.join(rows.column_names)}: expected audio and label")
    feature, clips = rows.features[label_column], []
    group_column = next((column for column in GROUPS if column in rows.column_names), None)
    for i, row in enumerate(rows):
        labels, sound = _labels(row[label_column], feature), row["audio"] or {}
        path = _kept(sound, folder / split)
        if not labels or path is None:
            empty.append(f"{split} {i}")
            continue
        group, fold = _text(row.get(group_column)), _text(row.get("fold"))
        clips.append(Clip(path, labels, group or f"{path.parent.name}/{path.name}", own, fold=fold))
    return clips


def _text(value):
    return None if value in (None, "") else str(value)


def _labels(value, feature):
    """The labels of one row as a text; class numbers become their names, -1 is the Hub's word for none."""
    names = getattr(feature, "names", None) or getattr(getattr(feature, "feature", None), "names", None)
    values = value if isinstance(value, list) else [value]
    labels = [names[v] if names and isinstance(v, int) else str(v) for v in values if v not in (None, "", -1)]
    return LABEL_SEPARATOR.join(sorted(set(labels)))


def _kept(sound, folder):
    """A file with the sound: the one on this machine, else one named by the hash of its bytes."""
    data, path = sound.get("bytes"), Path(sound.get("path") or "")
    if not data:
        return path if path.is_file() else None
    ending = path.suffix.lower() if path.suffix.lower() in AUDIO_ENDINGS else ".wav"
    kept = folder / f"{hashlib.sha1(data).hexdigest()}{ending}"
    if not kept.is_file() or kept.stat().st_size != len(data):
        folder.mkdir(parents=True, exist_ok=True)
        part = kept.with_suffix(f".{os.getpid()}.part")
        part.write_bytes(data)
        os.replace(part, kept)
    return kept


def _reason(error):
    """The first line of what went wrong at the bottom."""
    while isinstance(error.__cause__, Exception) and str(error.__cause__):
        error = error.__cause__
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
