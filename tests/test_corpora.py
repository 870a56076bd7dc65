"""Readers of published corpora, on made trees and on real ones."""

import csv
import hashlib
from collections import Counter

import pytest
from trees import CASIA_SPEAKERS, REAL, TREES, by_name, casia, esc50, make, ravdess, real, speech_commands, urbansound8k

from asm_rh.corpora import (
    LAYOUTS,
    guess_layout,
    official_split,
    read_casia,
    read_esc50,
    read_layout,
    read_ravdess,
    read_speech_commands,
    read_urbansound8k,
)
from asm_rh.datasets import DataError


class Notes(list):
    """Hears what a reader leaves out."""

    def __call__(self, what, names):
        self.append((what, names))


# ---------------------------------------------------------------------------------------------- Speech Commands


def official_tree(root):
    make(
        root,
        "yes/004ae714_nohash_0.wav",
        "yes/0c40e715_nohash_0.wav",
        "no/0c40e715_nohash_1.wav",
        "no/bb05582b_nohash_12.wav",
        "cat/004ae714_nohash_0.wav",
        "bed/aa000000_nohash_3.wav",
        *(f"_background_noise_/noise{i}.wav" for i in range(6)),
        "LICENSE",
    )
    (root / "validation_list.txt").write_text("yes/0c40e715_nohash_0.wav\nno/0c40e715_nohash_1.wav\n")
    (root / "testing_list.txt").write_text("no/bb05582b_nohash_12.wav\n")
    return root


def test_official_speech_commands_layout_gives_labels_speakers_and_splits(tmp_path):
    clips = by_name(read_speech_commands(official_tree(tmp_path)), tmp_path)
    found = {name: (clip.label, clip.group, clip.split) for name, clip in clips.items() if not name.startswith("_")}
    assert found == {
        "yes/004ae714_nohash_0.wav": ("yes", "004ae714", "train"),
        "yes/0c40e715_nohash_0.wav": ("yes", "0c40e715", "valid"),
        "no/0c40e715_nohash_1.wav": ("no", "0c40e715", "valid"),
        "no/bb05582b_nohash_12.wav": ("no", "bb05582b", "test"),
        "cat/004ae714_nohash_0.wav": ("_unknown_", "004ae714", "train"),
        "bed/aa000000_nohash_3.wav": ("_unknown_", "aa000000", "train"),
    }


def test_background_recordings_are_silence_each_its_own_group_and_in_every_split(tmp_path):
    clips = [c for c in read_speech_commands(official_tree(tmp_path)) if c.path.parent.name == "_background_noise_"]
    assert {clip.label for clip in clips} == {"_silence_"}
    assert len({clip.group for clip in clips}) == 6
    assert Counter(clip.split for clip in clips) == {"train": 4, "valid": 1, "test": 1}


def test_official_layout_without_lists_is_split_by_the_official_rule(tmp_path):
    official_tree(tmp_path)
    (tmp_path / "validation_list.txt").unlink()
    (tmp_path / "testing_list.txt").unlink()
    found = {clip.group: clip.split for clip in read_speech_commands(tmp_path) if clip.label != "_silence_"}
    assert found == {"004ae714": "train", "0c40e715": "test", "bb05582b": "test", "aa000000": by_the_rule("aa000000")}


def by_the_rule(speaker):
    """`which_set` of the corpus, in other words: percentages of a hash, 10 for validation and 10 for testing."""
    digest = hashlib.sha1(speaker.encode("utf-8")).digest()
    percentage = 100.0 * (int.from_bytes(digest, "big") % (1 << 27)) / ((1 << 27) - 1)
    return "valid" if percentage < 10 else "test" if percentage < 20 else "train"


def test_the_official_rule_places_speakers_as_the_lists_of_the_corpus_do(shared_data):
    assert [official_split(name) for name in ("026290a7", "0c40e715", "0ea0e2f4", "105a0eea")] == ["valid", "test", "test", "test"]
    assert all(official_split(f"{i:08x}") == by_the_rule(f"{i:08x}") for i in range(1000))
    clips = read_speech_commands(real(shared_data, "speech_commands_v2_12"))  # part of the official test set
    speakers = {clip.group for clip in clips if clip.label != "_silence_"}
    assert len(speakers) == 197 and {official_split(name) for name in speakers} == {"test"}


def test_the_archive_of_the_test_set_is_left_open_as_the_rule_would_train_on_nobody(tmp_path):
    make(tmp_path, "yes/0c40e715_nohash_0.wav", "_unknown_/bed_0c40e715_nohash_0.wav", "_silence_/1.wav")
    assert {clip.split for clip in read_speech_commands(tmp_path)} == {None}


def test_all_words_are_classes_without_a_list_of_words(tmp_path):
    official_tree(tmp_path)
    clips = by_name(read_speech_commands(tmp_path, words=None), tmp_path)
    assert {name: clip.label for name, clip in clips.items()} == {name: name.split("/")[0] for name in clips}
    assert {clip.label for clip in clips.values()} == {"yes", "no", "cat", "bed"}
    make(tmp_path / "archive", "yes/a_nohash_0.wav", "_unknown_/bed_b_nohash_0.wav", "_silence_/1.wav")
    assert [clip.label for clip in read_speech_commands(tmp_path / "archive", words=None)] == ["bed", "yes"]


def test_a_folder_of_background_alone_holds_no_words(tmp_path):
    make(tmp_path, "_background_noise_/noise.wav")
    with pytest.raises(DataError, match=r"no words in .*: expected .*/WORD/SPEAKER_nohash_TAKE"):
        read_speech_commands(tmp_path, words=None)


def test_only_one_official_list_still_splits(tmp_path):
    official_tree(tmp_path)
    (tmp_path / "validation_list.txt").unlink()
    words = [c for c in read_speech_commands(tmp_path) if c.label != "_silence_"]
    assert Counter(clip.split for clip in words) == {"train": 5, "test": 1}


def test_official_lists_match_by_stem_whatever_the_ending_on_disk(tmp_path):
    make(tmp_path, "yes/0c40e715_nohash_0.flac", "yes/004ae714_nohash_0.opus")
    (tmp_path / "validation_list.txt").write_text("yes/0c40e715_nohash_0.wav\n")
    assert [clip.split for clip in read_speech_commands(tmp_path)] == ["train", "valid"]


def test_twelve_class_test_archive_keeps_the_speaker_of_unknown_words(tmp_path):
    make(
        tmp_path,
        "yes/0c540988_nohash_0.wav",
        "_unknown_/backward_0c540988_nohash_0.wav",
        "_unknown_/bed_87070229_nohash_2.wav",
        "_silence_/1024.wav",
        "_silence_/1037.wav",
    )
    clips = by_name(read_speech_commands(tmp_path), tmp_path)
    unknown = clips["_unknown_/backward_0c540988_nohash_0.wav"]
    assert (unknown.label, unknown.group) == ("_unknown_", "0c540988")
    assert unknown.group == clips["yes/0c540988_nohash_0.wav"].group
    assert clips["_unknown_/bed_87070229_nohash_2.wav"].group == "87070229"
    assert {clips[f"_silence_/{n}.wav"].label for n in (1024, 1037)} == {"_silence_"}
    assert clips["_silence_/1024.wav"].group != clips["_silence_/1037.wav"].group


def test_wanted_words_can_be_chosen(tmp_path):
    make(tmp_path, "cat/a_nohash_0.wav", "yes/a_nohash_0.wav")
    assert {c.path.parent.name: c.label for c in read_speech_commands(tmp_path, words=("cat",))} == {
        "cat": "cat",
        "yes": "_unknown_",
    }


def test_speech_commands_file_in_no_word_folder_is_refused(tmp_path):
    make(tmp_path, "yes/a_nohash_0.wav", "stray.wav")
    with pytest.raises(DataError, match=r"stray\.wav lies in no word folder"):
        read_speech_commands(tmp_path)


# ---------------------------------------------------------------------------------------------- UrbanSound8K, ESC-50


def test_urbansound8k_gives_classes_sources_and_folds_of_the_table(tmp_path):
    notes = Notes()
    clips = by_name(read_urbansound8k(urbansound8k(tmp_path), notes), tmp_path)
    clip = clips["audio/fold3/30011-1-0-2.wav"]
    assert (clip.label, clip.group, clip.fold, clip.split) == ("car_horn", "30011", "3", None)
    assert len(clips) == 10 * 27 and notes == []


def test_esc50_and_its_part_esc10(tmp_path):
    clips = by_name(read_esc50(esc50(tmp_path)), tmp_path)
    clip, other = clips["audio/2-2101-A-1.wav"], clips["audio/2-2101-B-1.wav"]
    assert (clip.label, clip.group, clip.fold, clip.split) == ("rain", "2101", "2", None)
    assert clip.group == other.group, "the take is no part of the source"
    assert {clip.label for clip in clips.values()} == {"dog", "rain", "cat"}
    assert {clip.label for clip in read_esc50(tmp_path, esc10=True)} == {"dog", "rain"}


@pytest.mark.parametrize(("reader", "tree"), [(read_urbansound8k, urbansound8k), (read_esc50, esc50)])
def test_tables_match_by_stem_whatever_the_ending_the_case_and_the_folder(tmp_path, reader, tree):
    wanted = [(clip.label, clip.group, clip.fold) for clip in reader(tree(tmp_path / "wav"))]
    nested = tmp_path / "download" / "deep"
    assert [(clip.label, clip.group, clip.fold) for clip in reader(tree(nested, ending=".OPUS"))] == wanted
    assert [(clip.label, clip.group, clip.fold) for clip in reader(tmp_path / "download")] == wanted


@pytest.mark.parametrize(("reader", "tree", "column"), [(read_urbansound8k, urbansound8k, "fsID"), (read_esc50, esc50, "src_file")])
def test_rows_without_a_file_and_files_without_a_row_are_noted(tmp_path, reader, tree, column):
    tree(tmp_path)
    first, second = sorted((tmp_path / "audio").rglob("*.wav"))[:2]
    first.rename(first.with_name("stranger.wav"))
    make(second.parent, f"{second.stem}.flac")
    notes = Notes()
    clips = reader(tmp_path, note=notes)
    assert first.stem not in {clip.path.stem for clip in clips} and "stranger" not in {clip.path.stem for clip in clips}
    said = {what: names for what, names in notes}
    assert [names for what, names in said.items() if "without a file" in what] == [[first.name]]
    assert [len(names) for what, names in said.items() if "without a row" in what] == [1]
    assert [names for what, names in said.items() if "there already" in what] == [[second.relative_to(tmp_path).as_posix()]]
    table = next(tmp_path.rglob("*.csv"))
    table.write_text(table.read_text().replace(column, "something"))
    with pytest.raises(DataError, match=rf"lacks {column}: expected the corpus' own table with the columns"):
        reader(tmp_path)
    table.unlink()
    with pytest.raises(DataError, match=rf"no {table.name} below .*: expected the corpus' own table"):
        reader(tmp_path)


def test_notes_go_to_standard_error_where_nobody_else_listens(tmp_path, capsys):
    make(esc50(tmp_path), *(f"audio/stranger{i}.wav" for i in range(7)))
    read_esc50(tmp_path)
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("note: files without a row in esc50.csv, left out: ")
    assert said.err.endswith(" and 2 more\n") and len(said.err.splitlines()) == 1


def test_a_table_for_other_files_an_empty_one_and_one_with_holes_are_refused(tmp_path):
    table = esc50(tmp_path) / "meta" / "esc50.csv"
    good = table.read_text()
    table.write_text(good.replace("dog,True,1000", "dog,True,", 1))
    with pytest.raises(DataError, match="line 2 has no src_file"):
        read_esc50(tmp_path)
    table.write_text(good.splitlines()[0] + "\n")
    with pytest.raises(DataError, match="has no rows"):
        read_esc50(tmp_path)
    table.write_text(good.splitlines()[0] + "\nnowhere.wav,1,0,dog,True,5,A\n")
    with pytest.raises(DataError, match=r"none of 1 rows of esc50.csv has a file below .*: expected nowhere.wav"):
        read_esc50(tmp_path)
    table.write_text(good.replace("True", "False"))
    with pytest.raises(DataError, match="no clip of ESC-10"):
        read_esc50(tmp_path, esc10=True)


# ---------------------------------------------------------------------------------------------- RAVDESS, CASIA


def test_ravdess_names_tell_emotion_and_actor(tmp_path):
    make(tmp_path, "Actor_07/03-01-05-02-01-01-07.WAV", "audio/deep/Actor_24/03-01-02-01-02-02-24.wav")
    found = [(clip.label, clip.group, clip.split, clip.fold) for clip in read_ravdess(tmp_path)]
    assert found == [("angry", "Actor_07", None, None), ("calm", "Actor_24", None, None)]
    assert Counter(clip.label for clip in read_ravdess(ravdess(tmp_path / "all"))) == dict.fromkeys(
        ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"), 48
    )


def test_ravdess_song_video_strangers_and_second_copies_are_left_out_and_noted(tmp_path):
    make(
        tmp_path, "Actor_01/03-01-01-01-01-01-01.wav", "copy/Actor_01/03-01-01-01-01-01-01.wav", "Actor_01/03-02-01-01-01-01-01.wav",
        "Actor_01/01-01-01-01-01-01-01.wav", "Actor_01/notes.wav", "Actor_01/03-01-09-01-01-01-01.wav", "Actor_01/02-01-01-01-01-01-01.mp4",
    )  # fmt: skip
    notes = Notes()
    assert [clip.path.name for clip in read_ravdess(tmp_path, notes)] == ["03-01-01-01-01-01-01.wav"]
    assert [sorted(names) for _, names in notes] == [
        ["1 of song", "1 of video"],
        ["Actor_01/03-01-09-01-01-01-01.wav", "Actor_01/notes.wav"],
        ["copy/Actor_01/03-01-01-01-01-01-01.wav"],
    ]
    make(tmp_path / "songs", "Actor_01/03-02-01-01-01-01-01.wav")
    with pytest.raises(DataError, match=r"no speech of RAVDESS in .*: expected Actor_NN/03-01-.*; there are 1 of song"):
        read_ravdess(tmp_path / "songs")


def test_casia_has_four_speakers_and_six_emotions(tmp_path):
    clips = read_casia(casia(tmp_path))
    assert {clip.group for clip in clips} == set(CASIA_SPEAKERS) and len(clips) == 72
    assert Counter(clip.label for clip in clips) == dict.fromkeys(("angry", "fear", "happy", "neutral", "sad", "surprise"), 12)
    assert by_name(clips, tmp_path)["ZhaoZuoxiang/sad/202.wav"].group == "ZhaoZuoxiang"


def test_casia_deeper_down_and_other_folders(tmp_path):
    casia(tmp_path / "CASIA database")
    make(tmp_path, "CASIA database/wangzhe/bored/201.wav", "angry/201.wav", "liuchanhg/Angry/300.WAV")
    notes = Notes()
    clips = read_casia(tmp_path, notes)
    assert len(clips) == 73 and {clip.group for clip in clips} == set(CASIA_SPEAKERS)
    assert notes == [("files in no folder SPEAKER/EMOTION, left out", ["CASIA database/wangzhe/bored/201.wav", "angry/201.wav"])]
    make(tmp_path / "other", "cheerful/anna/1.wav")
    with pytest.raises(DataError, match=r"nothing of CASIA in .*: expected SPEAKER/EMOTION/NNN.wav"):
        read_casia(tmp_path / "other")


# ---------------------------------------------------------------------------------------------- the table of layouts


@pytest.mark.parametrize("layout", TREES)
def test_every_layout_reads_its_tree_and_says_what_belongs_together(tmp_path, layout):
    clips = read_layout(layout, TREES[layout](tmp_path))
    assert len({clip.name for clip in clips}) == len(clips) > 50
    assert all(clip.path.is_file() and clip.label and clip.group for clip in clips)
    assert (len({clip.group for clip in clips}) < len(clips)) == (layout != "folder")


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "hub"])
def test_every_layout_names_a_folder_that_is_not_there_or_holds_nothing(tmp_path, layout):
    with pytest.raises(DataError, match=r"no (file or )?folder .*nowhere"):
        read_layout(layout, tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no (audio in|metadata.csv|UrbanSound8K.csv below|esc50.csv below)"):
        read_layout(layout, tmp_path)


def test_a_group_pattern_takes_the_place_of_what_a_layout_tells(tmp_path):
    clips = read_layout("ravdess", ravdess(tmp_path), r"-(\d\d)-\d\d$")
    assert {clip.group for clip in clips} == {"01"}


def test_a_folder_with_a_table_in_it_is_read_by_the_table(tmp_path):
    make(tmp_path, "one.wav", "metadata.csv", text="file_name,label\none.wav,dog\n")
    assert [(clip.path.name, clip.label) for clip in read_layout("folder", tmp_path)] == [("one.wav", "dog")]


@pytest.mark.parametrize("layout", TREES)
def test_the_layout_is_guessed_from_the_files(tmp_path, layout):
    same = {"esc10": "esc50", "speech-commands-35": "speech-commands"}
    assert guess_layout(TREES[layout](tmp_path)) == same.get(layout, layout)


def test_other_words_than_the_ten_are_guessed_to_be_the_classes(tmp_path):
    assert guess_layout(speech_commands(tmp_path, words=("bed", "cat"))) == "speech-commands-35"


# ---------------------------------------------------------------------------------------------- real recordings


@pytest.mark.parametrize(("layout", "name"), REAL.items())
def test_real_layouts_are_guessed(shared_data, layout, name):
    same = {"esc10": "esc50"}
    assert guess_layout(real(shared_data, name)) == same.get(layout, layout)


def test_real_urbansound8k_agrees_with_its_table(shared_data):
    root, notes = real(shared_data, "urbansound8k_subset"), Notes()
    clips = read_urbansound8k(root, notes)
    with open(root / "metadata" / "UrbanSound8K.csv", encoding="utf-8") as file:
        rows = {row["slice_file_name"].rsplit(".", 1)[0]: row for row in csv.DictReader(file)}
    assert len(clips) == len(rows) == 2598 and notes == []
    for clip in clips:
        row = rows[clip.path.stem]
        source, number, _, _ = clip.path.stem.split("-")
        assert (clip.label, clip.group, clip.fold) == (row["class"], row["fsID"], row["fold"])
        assert clip.path.parent.name == f"fold{clip.fold}" and source == clip.group and number == row["classID"]
    assert {clip.fold for clip in clips} == {"1", "2", "10"}


def test_real_esc10_agrees_with_its_names(shared_data):
    clips = read_esc50(real(shared_data, "esc10"), esc10=True)
    assert Counter((clip.label, clip.fold) for clip in clips) == dict.fromkeys(
        ((label, fold) for label in {clip.label for clip in clips} for fold in "12345"), 8
    )
    assert len(clips) == 400 and len({clip.group for clip in clips}) == 304
    assert all(clip.path.stem.split("-")[:2] == [clip.fold, clip.group] for clip in clips)
    assert len(read_esc50(real(shared_data, "esc10"))) == 400


def test_real_ravdess_has_twenty_four_actors_and_eight_emotions(shared_data):
    clips = read_ravdess(real(shared_data, "ravdess"))
    assert Counter(clip.group for clip in clips) == {f"Actor_{i:02d}": 60 for i in range(1, 25)}
    assert all(clip.path.parent.name == clip.group for clip in clips)
    counts = Counter(clip.label for clip in clips)
    assert counts.pop("neutral") == 96 and set(counts.values()) == {192} and len(counts) == 7


def test_real_words_of_version_one_are_split_by_the_official_rule(shared_data):
    root = real(shared_data, "speech_commands_v1_bed_cat_happy")
    clips = read_speech_commands(root, words=None)
    assert {clip.label for clip in clips} == {"bed", "cat", "happy"} and len(clips) == 4349
    assert all(clip.split == by_the_rule(clip.group) for clip in clips)
    assert 0.75 < sum(clip.split == "train" for clip in clips) / len(clips) < 0.85
    assert {clip.label for clip in read_speech_commands(root)} == {"_unknown_"}


def test_real_test_archive_as_thirty_five_words(shared_data):
    clips = read_speech_commands(real(shared_data, "speech_commands_v2_12"), words=None)
    assert len({clip.label for clip in clips}) == 35 and len({clip.group for clip in clips}) == 197
