"""Published corpora and other layouts of recordings, each read as a list of labelled clips; the table of layouts."""

import csv
import hashlib
import re
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

from .config import NOISE, SILENCE, UNKNOWN
from .datasets import KEYWORDS, Clip, DataError, audio_files, grouped, read_folder, tell
from .hub_data import read_hub
from .manifest import manifests, read_manifest

URBANSOUND8K_TABLE = ("slice_file_name", "fsID", "fold", "class")
ESC50_TABLE = ("filename", "fold", "category", "esc10", "src_file")
RAVDESS_EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")  # 01 to 08 in a file's name
RAVDESS_NAME = re.compile(r"(\d\d)-(\d\d)-(\d\d)-\d\d-\d\d-\d\d-(\d\d)")
RAVDESS_AUDIO_ONLY, RAVDESS_SPEECH = "03", "01"
CASIA_EMOTIONS = ("angry", "fear", "happy", "neutral", "sad", "surprise")
NAMES_LOOKED_AT = 50  # by who guesses a layout
MAX_WAVS_PER_CLASS = 2**27 - 1  # of the rule by which Speech Commands places a speaker


# ---------------------------------------------------------------------------------------------- Speech Commands


def read_speech_commands(root, words=KEYWORDS, note=tell) -> list[Clip]:
    """Clips of a folder in Speech Commands' layout: `word/speaker_nohash_take.wav`, split by the official lists, else the official rule.

    `words` keep their names, other words become `_unknown_`, `_silence_` stays. Long files of `_background_noise_` are silence,
    cut into seconds by the reader of features; of every six files the fifth is for validation and the sixth for testing, whole.
    With `words=None` every word is a class (35 in v0.02), and silence and background are left out.
    The archive of the 12-class test set has no lists and, by the rule, testing speakers only: there the split is left open.
    Raises DataError when there is no audio, or a file lies in no word folder.
    """
    root = Path(root)
    files, lists = audio_files(root), _official_lists(root)
    is_test_archive = any((root / name).is_dir() for name in (UNKNOWN, SILENCE))
    clips = []
    for path in files:
        if path.parent == root:
            raise DataError(f"{path} lies in no word folder: expected {root}/WORD/{path.name}")
        folder = path.parent.name
        label, speaker = _word(path, folder, words), _speaker(path, folder)
        if label is None:
            continue
        if lists:  # what the official lists leave out is for training
            split = lists.get(f"{folder}/{path.stem}", "train")
        else:
            split = None if is_test_archive else official_split(speaker)
        clips.append(Clip(path, label, speaker, split))
    if not clips:
        raise DataError(f"no words in {root}: expected {root}/WORD/SPEAKER_nohash_TAKE.wav")
    return _spread_noise(clips)


def official_split(speaker: str) -> str:
    """Where Speech Commands places a speaker: by a hash of the id, 10 % for validation and 10 % for testing (Warden 2018, section 6)."""
    place = int(hashlib.sha1(speaker.encode()).hexdigest(), 16) % (MAX_WAVS_PER_CLASS + 1)
    percent = place * 100 / MAX_WAVS_PER_CLASS
    return "valid" if percent < 10 else "test" if percent < 20 else "train"


def _official_lists(root):
    lists = {}
    for name, split in (("validation_list.txt", "valid"), ("testing_list.txt", "test")):
        if (root / name).is_file():
            for line in (root / name).read_text(encoding="utf-8").split():
                lists[line.rsplit(".", 1)[0]] = split
    return lists


def _word(path, folder, words):
    """The label of a file; None where it is no class."""
    if words is not None:
        return folder if folder in words else SILENCE if folder in (SILENCE, NOISE) else UNKNOWN
    if folder == UNKNOWN:  # its stems put the true word first
        return path.stem.split("_", 1)[0]
    return None if folder in (SILENCE, NOISE) else folder


def _speaker(path, folder):
    if folder in (NOISE, SILENCE):
        return f"{folder}/{path.stem}"
    name = re.sub(r"_nohash_.*$", "", path.stem)
    return name.rsplit("_", 1)[-1] if folder == UNKNOWN else name


def _spread_noise(clips):
    """So few recordings would all fall on one side by a hash."""
    files = [clip.path for clip in clips if clip.path.parent.name == NOISE]
    sides = {path: {4: "valid", 5: "test"}.get(i % 6, "train") for i, path in enumerate(files)}
    return [replace(clip, split=sides.get(clip.path, clip.split)) for clip in clips]


# ---------------------------------------------------------------------------------------------- sets with a table


def read_urbansound8k(root, note=tell) -> list[Clip]:
    """Clips of UrbanSound8K with its ten official folds; `group` is the recording at freesound.org that a clip was cut from.

    `metadata/UrbanSound8K.csv` names the clips, which may have any ending. Raises DataError when the table is missing or no file fits it.
    """
    found = _matched(root, "UrbanSound8K.csv", URBANSOUND8K_TABLE, note)
    return [Clip(path, row["class"], row["fsID"], fold=row["fold"]) for row, path in found]


def read_esc50(root, esc10=False, note=tell) -> list[Clip]:
    """Clips of ESC-50, or of its part ESC-10, with the five official folds; `group` is the recording that a clip was cut from.

    `meta/esc50.csv` names the clips, which may have any ending. Raises DataError when the table is missing or no file fits it.
    """
    found = _matched(root, "esc50.csv", ESC50_TABLE, note)
    chosen = [pair for pair in found if not esc10 or pair[0]["esc10"].lower() in ("true", "1")]
    if not chosen:
        raise DataError(f"no clip of ESC-10 in {root}: expected esc10 = True in rows of meta/esc50.csv; for the others take layout esc50")
    return [Clip(path, row["category"], row["src_file"], fold=row["fold"]) for row, path in chosen]


def _matched(root, table, columns, note):
    """(row, file) for every row that has a file; the first column holds its name, of which the ending does not count."""
    rows, files, doubled = _rows(root, table, columns), {}, []
    for path in audio_files(root):
        if files.setdefault(path.stem, path) is not path:
            doubled.append(str(path.relative_to(root)))
    pairs = [(row, files.pop(Path(row[columns[0]]).stem, None)) for row in rows]
    _note(note, f"rows of {table} without a file", [row[columns[0]] for row, path in pairs if path is None])
    _note(note, f"files without a row in {table}, left out", [str(path.relative_to(root)) for path in files.values()])
    _note(note, "files of a name that is there already, left out", doubled)
    pairs = [pair for pair in pairs if pair[1]]
    if not pairs:
        raise DataError(f"none of {len(rows)} rows of {table} has a file below {root}: expected {rows[0][columns[0]]} and so on")
    return pairs


def _rows(root, table, columns):
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"no folder {root}: expected one with audio files")
    path = min(root.rglob(table), key=lambda path: len(path.parts), default=None)
    if path is None:
        raise DataError(f"no {table} below {root}: expected the corpus' own table with the columns {', '.join(columns)}")
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        missing = [name for name in columns if name not in (reader.fieldnames or [])]
        if missing:
            raise DataError(f"{path} lacks {', '.join(missing)}: expected the corpus' own table with the columns {', '.join(columns)}")
        rows = [{name: (row[name] or "").strip() for name in columns} for row in reader]
    empty = next(((i, name) for i, row in enumerate(rows, 2) for name in columns if not row[name]), None)
    if empty or not rows:
        raise DataError(f"{path} {'line {} has no {}'.format(*empty) if empty else 'has no rows'}: take the corpus' own table")
    return rows


# ---------------------------------------------------------------------------------------------- sets told by their names


def read_ravdess(root, note=tell) -> list[Clip]:
    """Clips of RAVDESS' speech, `Actor_NN/03-01-EE-II-SS-RR-NN.wav`: eight emotions, `group` is the actor; song and video are left out.

    Raises DataError when no file bears such a name.
    """
    clips, seen, left_out = [], set(), Counter()
    strangers, doubled = [], []
    for path in audio_files(root):
        name = RAVDESS_NAME.fullmatch(path.stem)
        if not name or not 1 <= int(name[3]) <= len(RAVDESS_EMOTIONS):
            strangers.append(str(path.relative_to(root)))
        elif name[1] != RAVDESS_AUDIO_ONLY or name[2] != RAVDESS_SPEECH:
            left_out["song" if name[1] == RAVDESS_AUDIO_ONLY else "video"] += 1
        elif path.stem in seen:
            doubled.append(str(path.relative_to(root)))
        else:
            seen.add(path.stem)
            clips.append(Clip(path, RAVDESS_EMOTIONS[int(name[3]) - 1], f"Actor_{name[4]}"))
    told = [f"{count} of {what}" for what, count in left_out.items()]
    if not clips:
        kinds = f"; there are {' and '.join(told)}" if told else ""
        raise DataError(f"no speech of RAVDESS in {root}: expected Actor_NN/03-01-EE-II-SS-RR-NN.wav with emotion EE from 01 to 08{kinds}")
    _note(note, "RAVDESS, left out: only speech (03-01-...) is read", told)
    _note(note, "files with no name of RAVDESS, left out", strangers)
    _note(note, "files of a name that is there already, left out", doubled)
    return clips


def read_casia(root, note=tell) -> list[Clip]:
    """Clips of CASIA, `SPEAKER/EMOTION/NNN.wav`: six emotions; `group` is the speaker, of whom the corpus has four.

    Raises DataError when no file lies in a folder of an emotion within a folder of a speaker.
    """
    root, clips, strangers = Path(root), [], []
    for path in audio_files(root):
        speaker, emotion = path.parent.parent.name, path.parent.name.lower()
        inside = path.relative_to(root)
        if emotion in CASIA_EMOTIONS and len(inside.parts) >= 3:
            clips.append(Clip(path, emotion, speaker))
        else:
            strangers.append(str(inside))
    if not clips:
        raise DataError(f"nothing of CASIA in {root}: expected SPEAKER/EMOTION/NNN.wav with emotion {', '.join(CASIA_EMOTIONS)}")
    _note(note, "files in no folder SPEAKER/EMOTION, left out", strangers)
    return clips


def _note(note, what, names):
    if names:
        note(what, names)


# ---------------------------------------------------------------------------------------------- the table


def read_layout(layout: str, root, group_pattern: str | None = None, note=tell) -> list[Clip]:
    """Clips of one folder, table of recordings or Hub dataset; `note(what, names)` hears what is left out.

    `group_pattern` as in `read_folder`, for any layout: it takes the place of the speaker or source that the layout tells.
    """
    clips = LAYOUTS[layout](root, note=note)
    return clips if group_pattern is None else grouped(clips, group_pattern)


def guess_layout(root) -> str:
    """The layout that a folder's files speak of; `folder` where none is recognised."""
    root = Path(root)
    if root.is_file() or manifests(root):
        return "manifest"
    for table, layout in (("UrbanSound8K.csv", "urbansound8k"), ("esc50.csv", "esc50")):
        if any(root.rglob(table)):
            return layout
    files = audio_files(root)
    if all(RAVDESS_NAME.fullmatch(path.stem) for path in files[:NAMES_LOOKED_AT]):
        return "ravdess"
    words = {path.parent.name for path in files if not path.parent.name.startswith("_")}
    if words and all("_nohash_" in path.stem for path in files if path.parent.name in words):
        return "speech-commands" if words & set(KEYWORDS) else "speech-commands-35"
    if all(len(path.relative_to(root).parts) >= 3 and path.parent.name.lower() in CASIA_EMOTIONS for path in files):
        return "casia"
    return "folder"


def _folder_or_manifest(root, note=tell):
    """A folder with a table of its recordings in it, as the Hub keeps them, is read by the table."""
    return read_manifest(root, note) if manifests(root) else read_folder(root)


LAYOUTS = {
    "folder": _folder_or_manifest,
    "manifest": read_manifest,
    "speech-commands": read_speech_commands,
    "speech-commands-35": partial(read_speech_commands, words=None),
    "urbansound8k": read_urbansound8k,
    "esc50": read_esc50,
    "esc10": partial(read_esc50, esc10=True),
    "ravdess": read_ravdess,
    "casia": read_casia,
    "hub": read_hub,
}
