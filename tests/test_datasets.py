"""Layouts of recordings on disk, and splits that keep a speaker on one side."""

import hashlib
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from trees import by_name, make

from asm_rh.corpora import read_speech_commands
from asm_rh.datasets import Clip, DataError, audio_files, hashed_split, read_folder, split_by_group

KEYWORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")


def splits_of_groups(clips):
    places = defaultdict(set)
    for clip in clips:
        places[clip.group].add(clip.split)
    return places


def many(label, count, start=0):
    """Clips of `count` speakers, two of each."""
    return [
        Clip(Path(f"{label}/{i}_{take}.wav"), label, f"speaker{i}")
        for i in range(start, start + count)
        for take in range(2)
    ]


# ---------------------------------------------------------------------------------------------- folder of classes


def test_folder_of_classes_nested_capital_endings_and_hidden_files(tmp_path):
    make(
        tmp_path,
        "dog/one.WAV",
        "dog/deep/er/two.Flac",
        "cat/three.mp3",
        "cat/.four.wav",
        "cat/._five.wav",
        ".cache/dog/six.wav",
        "cat/.trash/seven.wav",
        "cat/notes.txt",
    )
    (tmp_path / "cat" / "folder.wav").mkdir()
    clips = by_name(read_folder(tmp_path), tmp_path)
    assert {name: clip.label for name, clip in clips.items()} == {
        "dog/one.WAV": "dog",
        "dog/deep/er/two.Flac": "dog",
        "cat/three.mp3": "cat",
    }
    assert {name: clip.group for name, clip in clips.items()} == {name: name for name in clips}
    assert {clip.split for clip in clips.values()} == {None}


def test_root_inside_a_hidden_folder_is_read(tmp_path):
    make(tmp_path, ".hidden/data/dog/one.wav")
    assert [clip.label for clip in read_folder(tmp_path / ".hidden" / "data")] == ["dog"]


@pytest.mark.parametrize("middle", ["valid", "validation", "val"])
def test_given_split_folders_are_respected(tmp_path, middle):
    make(tmp_path, "train/dog/a.wav", f"{middle}/dog/deep/b.wav", "test/cat/c.wav")
    found = {clip.path.name: (clip.label, clip.split) for clip in read_folder(tmp_path)}
    assert found == {"a.wav": ("dog", "train"), "b.wav": ("dog", "valid"), "c.wav": ("cat", "test")}


def test_a_class_that_is_called_test_stays_a_class_beside_others(tmp_path):
    make(tmp_path, "test/a.wav", "dog/b.wav")
    assert {clip.label: clip.split for clip in read_folder(tmp_path)} == {"test": None, "dog": None}


def test_group_pattern_finds_the_speaker_in_the_stem(tmp_path):
    make(tmp_path, "dog/07-rex-1.wav", "cat/07-tom-2.wav", "cat/12-tom-2.wav")
    assert [clip.group for clip in read_folder(tmp_path, r"^(\d+)-")] == ["07", "12", "07"]


def test_audio_files_are_sorted(tmp_path):
    make(tmp_path, "b/2.wav", "a/9.ogg", "b/1.wav")
    assert [path.name for path in audio_files(tmp_path)] == ["9.ogg", "1.wav", "2.wav"]


# ---------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("reader", [read_folder, read_speech_commands, audio_files])
def test_missing_folder_and_folder_without_audio_are_named(tmp_path, reader):
    with pytest.raises(DataError, match=r"no folder .*nowhere"):
        reader(tmp_path / "nowhere")
    make(tmp_path, "dog/readme.txt")
    with pytest.raises(DataError, match=r"no audio in .*\.wav"):
        reader(tmp_path)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("stray.wav", "dog/a.wav"), r"stray\.wav lies in no class folder: expected .*/CLASS/stray\.wav"),
        (("train/stray.wav", "test/dog/a.wav"), r"stray\.wav lies in no class folder: expected .*/SPLIT/CLASS/"),
    ],
)
def test_file_in_no_class_folder_is_refused(tmp_path, names, expected):
    make(tmp_path, *names)
    with pytest.raises(DataError, match=expected):
        read_folder(tmp_path)


def test_an_empty_class_is_refused_by_name_and_a_folder_of_other_files_is_no_class(tmp_path):
    make(tmp_path, "dog/a.wav", "papers/licence.txt", "__MACOSX/._a.wav")
    assert [clip.label for clip in read_folder(tmp_path)] == ["dog"]
    (tmp_path / "cat").mkdir()
    with pytest.raises(DataError, match=r"class 'cat' is empty: expected recordings in .*cat; add some, or remove the folder"):
        read_folder(tmp_path)
    make(tmp_path / "given", "train/dog/a.wav", "test/dog/b.wav")
    (tmp_path / "given" / "test" / "cat").mkdir()
    with pytest.raises(DataError, match="class 'cat' is empty"):
        read_folder(tmp_path / "given")


@pytest.mark.parametrize("pattern", [r"(\d+)x", r"\d+", r"(x)?\d", "([", ""])
def test_bad_group_pattern_is_one_clear_error(tmp_path, pattern):
    make(tmp_path, "dog/07.wav")
    with pytest.raises(DataError, match="group pattern"):
        read_folder(tmp_path, pattern)


def test_group_in_two_given_splits_is_refused(tmp_path):
    make(tmp_path, "train/dog/07-a.wav", "test/dog/07-b.wav", "valid/dog/08-b.wav")
    with pytest.raises(DataError, match=r"group '07' is in two splits, (train and test|test and train)"):
        split_by_group(read_folder(tmp_path, r"^(\d+)"))


def test_class_with_one_speaker_is_refused_by_name():
    clips = [*many("dog", 200), Clip(Path("a.wav"), "cat", "tom"), Clip(Path("b.wav"), "cat", "tom")]
    with pytest.raises(DataError, match=r"class 'cat' has one speaker or source, 'tom'"):
        split_by_group(clips)


def test_class_missing_from_a_split_is_refused_by_name_and_split():
    names = [f"s{i}" for i in range(1000)]
    training = [name for name in names if hashed_split(name) == "train"][:5]
    clips = [*many("dog", 200), *(Clip(Path(f"{name}.wav"), "cat", name) for name in training)]
    with pytest.raises(DataError, match=r"class 'cat' has 5 speakers .* none of them fell into valid or test"):
        split_by_group(clips)
    assert len(split_by_group(clips, complete=False)) == len(clips)
    with pytest.raises(DataError, match="fell into test"):
        split_by_group(clips, valid=0.0)


@pytest.mark.parametrize("shares", [(0.5, 0.5), (-0.1, 0.2), (0.1, -0.1), (2.0, 0.1), (float("nan"), 0.1)])
def test_shares_that_leave_nothing_to_train_on_are_refused(shares):
    with pytest.raises(DataError, match="shares of validation"):
        split_by_group(many("dog", 50), *shares)


# ---------------------------------------------------------------------------------------------- splits


def test_hashed_split_is_stable_and_follows_its_definition():
    for name, seed in (("bed/1.wav", 0), ("004ae714", 0), ("004ae714", 7)):
        digest = hashlib.sha1(f"{seed}/{name}".encode()).hexdigest()
        place = int(digest[:16], 16) / 2**64
        expected = "test" if place < 0.1 else "valid" if place < 0.2 else "train"
        assert hashed_split(name, seed=seed) == expected
    # frozen: a change of this line would move speakers between splits of runs that are already trained
    assert [hashed_split(f"speaker{i}") for i in range(12)] == ["train"] * 10 + ["valid", "test"]


def test_hashed_shares_are_about_right_and_another_seed_gives_another_split():
    names = [f"speaker{i}" for i in range(4000)]
    counts = Counter(hashed_split(name, valid=0.2, test=0.1) for name in names)
    assert abs(counts["valid"] / 4000 - 0.2) < 0.025
    assert abs(counts["test"] / 4000 - 0.1) < 0.02
    moved = sum(hashed_split(name) != hashed_split(name, seed=1) for name in names)
    assert 500 < moved < 2500


def test_larger_shares_only_take_from_training():
    names = [f"speaker{i}" for i in range(500)]
    for name in names:
        if hashed_split(name, valid=0.1, test=0.1) == "test":
            assert hashed_split(name, valid=0.3, test=0.1) == "test"
        if hashed_split(name, valid=0.1, test=0.1) == "valid":
            assert hashed_split(name, valid=0.3, test=0.1) == "valid"


def test_adding_data_moves_nobody_and_order_does_not_matter():
    before = {clip.path: clip.split for clip in split_by_group(many("dog", 100))}
    after = {clip.path: clip.split for clip in split_by_group([*many("cat", 150), *reversed(many("dog", 130))])}
    assert before.items() <= after.items()


def test_no_group_is_in_two_splits_and_all_three_are_there():
    clips = split_by_group([*many("dog", 100), *many("cat", 120, start=50)])
    assert all(len(places) == 1 for places in splits_of_groups(clips).values())
    assert {clip.split for clip in clips} == {"train", "valid", "test"}


def test_a_group_with_one_given_split_pulls_its_other_clips_along():
    moved = next(f"speaker{i}" for i in range(100) if hashed_split(f"speaker{i}") == "train")
    clips = [*many("dog", 100), Clip(Path("given.wav"), "dog", moved, split="test")]
    done = split_by_group(clips)
    assert {clip.split for clip in done if clip.group == moved} == {"test"}
    assert [clip.path for clip in done] == [clip.path for clip in clips]


def test_given_splits_are_kept(tmp_path):
    make(tmp_path, "train/dog/a.wav", "valid/dog/b.wav", "test/dog/c.wav")
    assert [(c.path.name, c.split) for c in split_by_group(read_folder(tmp_path))] == [
        ("c.wav", "test"),
        ("a.wav", "train"),
        ("b.wav", "valid"),
    ]


def test_zero_share_needs_no_clips_in_that_split():
    clips = split_by_group(many("dog", 100), valid=0.2, test=0.0)
    assert Counter(clip.split for clip in clips).keys() == {"train", "valid"}


# ---------------------------------------------------------------------------------------------- real recordings


def test_real_speech_commands_split_keeps_every_speaker_on_one_side(shared_data):
    root = shared_data / "speech_commands_v2_12"
    if not root.is_dir():
        pytest.skip("no speech_commands_v2_12")
    clips = split_by_group(read_speech_commands(root))
    words = [clip for clip in clips if clip.path.parent.name not in ("_silence_", "_background_noise_")]
    assert {clip.label for clip in clips} == {*KEYWORDS, "_unknown_", "_silence_"}
    assert len(words) > 3000 and len({clip.group for clip in words}) == 197
    assert all(len(places) == 1 for places in splits_of_groups(clips).values())
    speakers = {clip.group for clip in words}
    assert all(len(name) == 8 and int(name, 16) >= 0 for name in speakers)
    assert 0.6 < sum(clip.split == "train" for clip in clips) / len(clips) < 0.9


def test_real_ravdess_actors_by_group_pattern(shared_data):
    root = shared_data / "ravdess"
    if not root.is_dir():
        pytest.skip("no ravdess")
    clips = read_folder(root, r"-(\d\d)$")
    assert len(clips) == 1440 and {clip.group for clip in clips} == {f"{i:02d}" for i in range(1, 25)}
    assert all(clip.label == f"Actor_{clip.group}" for clip in clips)
    with pytest.raises(DataError, match="has one speaker or source"):
        split_by_group(clips)
