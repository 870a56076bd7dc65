"""Recordings on disk, as lists of labelled clips, and splits that keep a speaker on one side."""

import hashlib
import re
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

AUDIO_ENDINGS = {".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".aac", ".webm", ".aif", ".aiff"}
KEYWORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
SPLITS = ("train", "valid", "test")
SPLIT_NAMES = {"train": "train", "valid": "valid", "validation": "valid", "val": "valid", "dev": "valid", "test": "test"}
LABEL_SEPARATOR = ";"  # between the labels of a clip that has several
NAMES_IN_A_NOTE = 5


class DataError(ValueError):
    """Data that cannot be trained or judged on as it is."""


@dataclass(frozen=True)
class Clip:
    """One labelled stretch of a recording; `start` and `end` in seconds, `group` what must stay on one side of a split (a speaker).

    Several labels stand in `label` with LABEL_SEPARATOR between. `fold` is the official fold of a set that has such.
    """

    path: Path
    label: str
    group: str
    split: str | None = None
    start: float = 0.0
    end: float | None = None
    fold: str | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """Every label of the clip."""
        return split_labels(self.label)

    @property
    def name(self) -> str:
        """What tells this clip from all others: its path, with its stretch where it has one."""
        stretch = "" if self.start == 0 and self.end is None else f"#{self.start:g}-{'' if self.end is None else f'{self.end:g}'}"
        return f"{self.path}{stretch}"


def tell(what: str, names: list[str]) -> None:
    """Says on standard error what a reader left out, with the first few names."""
    more = f" and {len(names) - NAMES_IN_A_NOTE} more" if len(names) > NAMES_IN_A_NOTE else ""
    print(f"note: {what}: {', '.join(names[:NAMES_IN_A_NOTE])}{more}", file=sys.stderr)


def split_labels(label: str) -> tuple[str, ...]:
    """`dog;rain` -> (dog, rain)."""
    return tuple(label.split(LABEL_SEPARATOR))


def read_folder(root, group_pattern: str | None = None) -> list[Clip]:
    """Clips of a folder of classes, nested or not: the first folder below `root` is the label.

    Where it holds only `train`, `valid` and `test`, those are the splits and the next folder is the label. `group_pattern` is a regular
    expression whose first group, searched in the file's stem, is the speaker or source; without one every file is its own group.
    """
    root = _existing(root)
    files = audio_files(root)
    tops = {path.relative_to(root).parts[0] for path in files}
    given = tops <= {*SPLITS, "validation", "val"}
    for folder in sorted(root / top for top in tops) if given else [root]:
        _refuse_empty_classes(folder)
    clips = []
    for path in files:
        parts = path.relative_to(root).parts
        split = SPLIT_NAMES[parts[0]] if given else None
        parts = parts[1:] if given else parts
        if len(parts) < 2:
            raise DataError(f"{path} lies in no class folder: expected {root}/{'SPLIT/' if given else ''}CLASS/{path.name}")
        clips.append(Clip(path, parts[0], path.relative_to(root).as_posix(), split))
    return clips if group_pattern is None else grouped(clips, group_pattern)


def grouped(clips: list[Clip], pattern: str) -> list[Clip]:
    """The clips with the speaker or source that the first group of a regular expression finds in a file's stem."""
    return [replace(clip, group=_pattern_group(clip.path, pattern)) for clip in clips]


def audio_files(root) -> list[Path]:
    """Every audio file below `root`, sorted, whatever the case of its ending, none that is hidden; DataError when there is none."""
    root = _existing(root)
    found = (p for p in root.rglob("*") if p.suffix.lower() in AUDIO_ENDINGS and not _hidden(p.relative_to(root)))
    files = sorted(p for p in found if p.is_file())
    if not files:
        raise DataError(f"no audio in {root}: expected files ending in {', '.join(sorted(AUDIO_ENDINGS))}")
    return files


def hashed_split(group: str, valid: float = 0.1, test: float = 0.1, seed: int = 0) -> str:
    """The split of a group by a hash of its name alone, so that adding data never moves anybody."""
    digest = hashlib.sha1(f"{seed}/{group}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    return "test" if place < test else "valid" if place < test + valid else "train"


def split_by_group(clips: list[Clip], valid: float = 0.1, test: float = 0.1, seed: int = 0, complete: bool = True) -> list[Clip]:
    """Gives every clip without a split one, all clips of a group the same; splits that clips already have are kept.

    Raises DataError for shares that leave nothing to train on, when a group already lies in two splits, or, where `complete`, when a
    class has too few groups to be in every split.
    """
    if not (valid >= 0 and test >= 0 and valid + test < 1):
        raise DataError(f"shares of validation {valid} and test {test}: expected 0 or more each, together less than 1")
    known = {}
    for clip in clips:
        if clip.split and known.setdefault(clip.group, clip.split) != clip.split:
            raise DataError(f"group {clip.group!r} is in two splits, {known[clip.group]} and {clip.split}: move it to one")
    done = [replace(clip, split=clip.split or known.get(clip.group) or hashed_split(clip.group, valid, test, seed)) for clip in clips]
    if complete:
        _check_classes(done, [name for name, share in zip(SPLITS, (1.0, valid, test)) if share > 0])
    return done


def _check_classes(clips, wanted):
    groups, places = defaultdict(set), defaultdict(Counter)
    for clip in clips:
        for label in clip.labels:
            groups[label].add(clip.group)
            places[label][clip.split] += 1
    for label, names in groups.items():
        missing = [name for name in wanted if not places[label][name]]
        if not missing:
            continue
        if len(names) == 1:
            raise DataError(
                f"class {label!r} has one speaker or source, {next(iter(names))!r}, so it cannot be in {' and '.join(wanted)} at once: "
                "add recordings of others, or give folders train/ valid/ test/"
            )
        raise DataError(
            f"class {label!r} has {len(names)} speakers or sources and none of them fell into {' or '.join(missing)}: "
            "add recordings of others, give larger shares or another split seed, or split into folds (--folds)"
        )


def _existing(root):
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"no folder {root}: expected one with audio files")
    return root


def _refuse_empty_classes(folder):
    """A class that nobody recorded would be missed only after training; what is no class holds files of another kind."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.name.startswith((".", "__")) and not any(p.is_file() for p in path.rglob("*")):
            raise DataError(f"class {path.name!r} is empty: expected recordings in {path}; add some, or remove the folder")


def _hidden(path):
    return any(part.startswith(".") for part in path.parts)


def _pattern_group(path, pattern):
    try:
        found = re.search(pattern, path.stem)
    except re.error as error:
        raise DataError(f"group pattern {pattern!r} is no regular expression: {error}") from error
    if not found or not found.groups() or not found.group(1):
        raise DataError(f"group pattern {pattern!r} finds no group in {path.name!r}: expected brackets that match the speaker")
    return found.group(1)
