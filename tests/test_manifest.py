"""Tables of recordings: CSV, JSON lines, and what cannot be meant."""

import json

import pytest
from trees import make, manifest

from asm_rh.datasets import DataError
from asm_rh.manifest import read_manifest


class Notes(list):
    def __call__(self, what, names):
        self.append((what, names))


def table(root, text, name="metadata.csv"):
    make(root, "a.wav", "b.wav", "deep/c.flac")
    return make(root, name, text=text) / name


def test_csv_with_every_column(tmp_path):
    path = table(
        tmp_path,
        "file_name,label,start,end,split,group,fold\n"
        "a.wav,dog,,,train,anna,1\n"
        "a.wav,rain;dog,1.5,2,validation,anna,\n"
        'deep/c.flac,"cat, small",0.5,,,,\n'
        "\n",
    )
    clips = read_manifest(path)
    assert [(c.path, c.label, c.labels, c.start, c.end, c.split, c.group, c.fold) for c in clips] == [
        (tmp_path / "a.wav", "dog", ("dog",), 0.0, None, "train", "anna", "1"),
        (tmp_path / "a.wav", "dog;rain", ("dog", "rain"), 1.5, 2.0, "valid", "anna", None),
        (tmp_path / "deep/c.flac", "cat, small", ("cat, small",), 0.5, None, None, "deep/c.flac", None),
    ]
    assert read_manifest(tmp_path) == clips, "found by itself in its folder"


def test_json_lines_say_the_same(tmp_path):
    rows = [
        {"file_name": "a.wav", "label": ["rain", "dog"], "start": 1.5, "end": 2, "split": "val", "group": 7, "fold": 2},
        {"file_name": "b.wav", "label": "rain; dog", "end": None, "group": ""},
    ]
    table(tmp_path, "\n".join(map(json.dumps, rows)) + "\n\n", "metadata.jsonl")
    found = [(c.path.name, c.label, c.start, c.end, c.split, c.group, c.fold) for c in read_manifest(tmp_path)]
    assert found == [("a.wav", "dog;rain", 1.5, 2.0, "valid", "7", "2"), ("b.wav", "dog;rain", 0.0, None, None, "b.wav", None)]


def test_a_table_in_each_folder_of_a_split(tmp_path):
    for split in ("train", "validation", "test"):
        make(tmp_path, f"{split}/a.wav", f"{split}/metadata.csv", text="file_name,label\na.wav,dog\n")
    clips = read_manifest(tmp_path)
    assert {clip.split: clip.group for clip in clips} == {"train": "train/a.wav", "valid": "validation/a.wav", "test": "test/a.wav"}


def test_stretches_of_one_file_stay_together_without_a_group(tmp_path):
    path = table(tmp_path, "file_name,label,start,end\na.wav,dog,0,1\n./a.wav,cat,1,2\nb.wav,cat,0,1\n")
    assert [clip.group for clip in read_manifest(path)] == ["a.wav", "a.wav", "b.wav"]


def test_excel_s_mark_at_the_beginning_and_line_ends_do_not_matter(tmp_path):
    path = table(tmp_path, "")
    path.write_bytes("\ufefffile_name,label\r\na.wav,Hähn\r\n".encode())
    assert [clip.label for clip in read_manifest(path)] == ["Hähn"]


def test_rows_without_a_file_and_unknown_columns_are_noted(tmp_path):
    notes = Notes()
    path = table(tmp_path, "file_name,label,mood,age\na.wav,dog,good,3\ngone.wav,dog,bad,4\n")
    assert [clip.path.name for clip in read_manifest(path, notes)] == ["a.wav"]
    assert notes == [
        ("columns of metadata.csv that mean nothing here", ["age", "mood"]),
        ("rows of metadata.csv without a file", ["gone.wav"]),
    ]
    path.write_text("file_name,label\ngone.wav,dog\n")
    with pytest.raises(DataError, match="names no file that is there: expected file names relative to"):
        read_manifest(path, Notes())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"has the columns \(none\), expected file_name, label among them"),
        ("file,label\na.wav,dog\n", "has the columns file, label, expected file_name, label among them"),
        ("file_name,label\n", "has no rows: expected one for each clip"),
        ("file_name,label\na.wav,\n", "line 2: no label; expected file_name, label in every row"),
        ("file_name,label\na.wav,dog;\n", "line 2: label 'dog;' has an empty part"),
        ("file_name,label\na.wav,dog,3\n", "line 2: expected 2 values, as many as columns"),
        ("file_name,label,group\na.wav,dog\n", "line 2: expected 3 values"),
        ("file_name,label\na.wav,dog\nb.wav,cat\na.wav,cat\n", "line 4: a.wav is there already, in line 2: keep one of the two"),
        ("file_name,label\na.wav,dog\n./a.wav,dog\n", "line 3: ./a.wav is there already, in line 2"),
        ("file_name,label,start,end\na.wav,dog,2,1\n", "line 2: it ends at 1 s and begins at 2 s"),
        ("file_name,label,start\na.wav,dog,-1\n", "line 2: start '-1', expected seconds from 0 on"),
        ("file_name,label,end\na.wav,dog,soon\n", "line 2: end 'soon', expected seconds from 0 on"),
        ("file_name,label,split\na.wav,dog,night\n", "line 2: split 'night', expected train, valid or test"),
        ('file_name,label\na.wav,"dog\n', "is no CSV"),
    ],
)
def test_what_cannot_be_meant_in_csv_is_refused_with_the_line(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_manifest(table(tmp_path, text), Notes())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "line 1: no file_name"),
        ('{"file_name": "a.wav", "label": []}', "line 1: no label"),
        ('{"file_name": "a.wav", "label": ["dog;cat"]}', "expected a list of texts without ';'"),
        ('{"file_name": "a.wav", "label": [3]}', "expected a list of texts"),
        ('\n["a.wav", "dog"]', "line 2: got list, expected an object"),
        ('{"file_name": ', "line 1 is no JSON"),
        ("\n\n", "has no rows"),
    ],
)
def test_what_cannot_be_meant_in_json_lines_is_refused_with_the_line(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_manifest(table(tmp_path, text, "rows.jsonl"), Notes())


def test_two_tables_no_table_and_bytes_that_are_no_text_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"no metadata.csv or metadata.jsonl in .*: expected a table with the columns file_name, label"):
        read_manifest(tmp_path)
    with pytest.raises(DataError, match=r"no file or folder .*nowhere.csv"):
        read_manifest(tmp_path / "nowhere.csv")
    path = table(tmp_path, "file_name,label\na.wav,dog\n")
    path.write_bytes("file_name,label\na.wav,Hähn\n".encode("latin-1"))
    with pytest.raises(DataError, match="is no text in UTF-8"):
        read_manifest(path)
    make(tmp_path, "metadata.jsonl", text="{}")
    with pytest.raises(DataError, match="holds metadata.csv and metadata.jsonl: expected one of them"):
        read_manifest(tmp_path)


def test_a_large_made_manifest(tmp_path):
    clips = read_manifest(manifest(tmp_path))
    assert len(clips) == 240 and len({clip.group for clip in clips}) == 40 and {clip.label for clip in clips} == {"dog", "rain", "dog;rain"}
