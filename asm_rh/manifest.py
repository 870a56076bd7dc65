"""A table of recordings, CSV or JSON lines, as labelled clips: `file_name,label[,start,end,split,group,fold]`."""

import csv
import io
import json
import math
import os
from collections import Counter
from pathlib import Path

from .datasets import LABEL_SEPARATOR, SPLIT_NAMES, Clip, DataError, tell

NEEDED, OPTIONAL = ("file_name", "label"), ("start", "end", "split", "group", "fold")
TABLES = ("metadata.csv", "metadata.jsonl")  # found by themselves, as in the Hub's AudioFolder


def read_manifest(root, note=tell) -> list[Clip]:
    """Clips of a manifest, or of a folder that holds `metadata.csv` or `metadata.jsonl`, also one in each of `train/ valid/ test/`.

    `file_name` is relative to the manifest's folder; `start` and `end` are seconds; several labels of one clip stand as `dog;rain`, in
    JSON lines also as a list. Without `group` every file is its own. Rows without a file and columns of other names are noted, not fatal.
    Raises DataError for rows that cannot be meant: no label, the same stretch twice, an end before the beginning, an unknown split.
    """
    root = Path(root)
    tables = [(root, None)] if root.is_file() else manifests(root)
    folder = root.parent if root.is_file() else root
    if not tables:
        where = f"no {' or '.join(TABLES)} in {root}" if root.is_dir() else f"no file or folder {root}"
        raise DataError(f"{where}: expected a table with the columns {', '.join(NEEDED)} and, if wanted, {', '.join(OPTIONAL)}")
    clips = [clip for path, split in tables for clip in _read_table(path, folder, split, note)]
    if not clips:
        raise DataError(f"{tables[0][0]} names no file that is there: expected file names relative to {tables[0][0].parent}")
    return clips


def manifests(root) -> list[tuple[Path, str | None]]:
    """The tables that a folder holds, each with the split it stands for."""
    root = Path(root)
    found = [(root / name, None) for name in TABLES if (root / name).is_file()]
    if not found:
        found = [(root / f / name, split) for f, split in SPLIT_NAMES.items() for name in TABLES if (root / f / name).is_file()]
    twice = [folder for folder, count in Counter(path.parent for path, _ in found).items() if count > 1]
    if twice:
        raise DataError(f"{twice[0]} holds {' and '.join(TABLES)}: expected one of them, remove the other or name one")
    return found


def _read_table(path, root, split, note):
    rows = _rows(path)
    unknown = sorted({name for _, row in rows for name in row} - {*NEEDED, *OPTIONAL})
    if unknown:
        note(f"columns of {path.name} that mean nothing here", unknown)
    clips, missing, seen = [], [], {}
    for line, row in rows:
        clip = _clip(f"{path} line {line}", path.parent, root, row, split)
        if seen.setdefault(clip.name, line) != line:
            raise DataError(
                f"{path} line {line}: {row['file_name']} is there already, in line {seen[clip.name]}: keep one of the two; "
                f"several labels of one clip stand in one row, as dog{LABEL_SEPARATOR}rain"
            )
        if clip.path.is_file():
            clips.append(clip)
        else:
            missing.append(str(row["file_name"]))
    if missing:
        note(f"rows of {path.name} without a file", missing)
    return clips


def _clip(where, folder, root, row, split):
    for name in NEEDED:
        if row.get(name) in (None, "", []):
            raise DataError(f"{where}: no {name}; expected {', '.join(NEEDED)} in every row")
    own = row.get("split")
    if own and str(own).lower() not in SPLIT_NAMES:
        raise DataError(f"{where}: split {own!r}, expected train, valid or test")
    start, end = _seconds(where, row, "start") or 0.0, _seconds(where, row, "end")
    if end is not None and end <= start:
        raise DataError(f"{where}: it ends at {end:g} s and begins at {start:g} s: expected the end after the beginning")
    path = folder / os.path.normpath(str(row["file_name"]))
    own_group = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
    group, fold = (None if row.get(name) in (None, "") else str(row[name]) for name in ("group", "fold"))
    split = SPLIT_NAMES[str(own).lower()] if own else split
    return Clip(path, _label(where, row["label"]), group or own_group, split, start, end, fold)


def _label(where, value):
    if isinstance(value, list) and any(not isinstance(label, str) or LABEL_SEPARATOR in label for label in value):
        raise DataError(f"{where}: label {value!r}, expected a list of texts without {LABEL_SEPARATOR!r}")
    labels = value if isinstance(value, list) else str(value).split(LABEL_SEPARATOR)
    labels = [label.strip() for label in labels]
    if not all(labels):
        raise DataError(f"{where}: label {value!r} has an empty part; expected names with {LABEL_SEPARATOR!r} between")
    return LABEL_SEPARATOR.join(sorted(set(labels)))  # one order, so that the same labels are the same


def _seconds(where, row, name):
    value = row.get(name)
    if value in (None, ""):
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise DataError(f"{where}: {name} {value!r}, expected seconds from 0 on")
    return seconds


def _rows(path):
    """(line, {column: value}) of every row that is not empty."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no text in UTF-8 ({error}): save the table as CSV, UTF-8") from None
    rows = _json_rows(path, text) if path.suffix.lower() in (".jsonl", ".ndjson", ".json") else _csv_rows(path, text)
    if not rows:
        raise DataError(f"{path} has no rows: expected one for each clip, with {', '.join(NEEDED)}")
    return rows


def _csv_rows(path, text):
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    rows = []
    try:
        missing = [name for name in NEEDED if name not in (reader.fieldnames or [])]
        if missing:
            raise DataError(f"{path} has the columns {', '.join(reader.fieldnames or ['(none)'])}, expected {', '.join(NEEDED)} among them")
        for row in reader:
            if None in row or None in row.values():
                raise DataError(
                    f"{path} line {reader.line_num}: expected {len(reader.fieldnames)} values, as many as columns; "
                    "put a value that holds a comma in quotes"
                )
            if any(value.strip() for value in row.values()):
                rows.append((reader.line_num, {name: value.strip() for name, value in row.items()}))
    except csv.Error as error:
        raise DataError(f"{path} line {reader.line_num} is no CSV: {error}") from None
    return rows


def _json_rows(path, text):
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path} line {number} is no JSON: {error}; expected one object a line") from None
        if not isinstance(row, dict):
            raise DataError(
                f'{path} line {number}: got {type(row).__name__}, expected an object such as {{"file_name": "a.wav", "label": "dog"}}'
            )
        rows.append((number, row))
    return rows
