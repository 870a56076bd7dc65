"""Protocols: nobody is on two sides of a split, official parts stay what they are, and what leaks says so."""

import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
from trees import REAL, TREES, casia, esc50, folder, make, ravdess, real, speech_commands, urbansound8k

from asm_rh.cli_data import add_data, read_clips, read_folds
from asm_rh.corpora import LAYOUTS, read_layout
from asm_rh.datasets import Clip, DataError, hashed_split
from asm_rh.protocols import folds, groups_known, shared_groups

FAIR = {"once": {}, "folds": {"count": 4}, "larger": {"valid_share": 0.2, "test_share": 0.3, "seed": 3}}


def in_two_splits(clips):
    """Groups in two splits, found apart from the code under test."""
    places = defaultdict(set)
    for clip in clips:
        places[clip.group].add(clip.split)
    return [group for group, splits in places.items() if len(splits) > 1]


def check_fair(found, clips):
    for fold in found:
        assert [replace(clip, split=None) for clip in fold.clips] == [replace(clip, split=None) for clip in clips]
        assert {clip.split for clip in fold.clips} <= {"train", "valid", "test"}
        assert in_two_splits(fold.clips) == [] and not fold.leaky and "leaky" not in fold.protocol
        assert {"train", "valid", "test"} == {clip.split for clip in fold.clips}
        trained = {label for clip in fold.clips if clip.split == "train" for label in clip.labels}
        assert trained == {label for clip in clips for label in clip.labels}


def try_folds(clips, **how):
    """Folds, or None where the data has official ones and others are asked for."""
    official = all(clip.split for clip in clips) or any(clip.fold for clip in clips)
    if not (official and "count" in how):
        return folds(clips, **how)
    how = {**how, "count": 7}
    with pytest.raises(DataError, match=r"7 folds asked for, but (every clip has its split|the data has \d+ official folds)"):
        folds(clips, **how)
    return None


def people(label, count, clips=4, start=0):
    return [Clip(Path(f"{label}/{i}_{k}.wav"), label, f"s{i}") for i in range(start, start + count) for k in range(clips)]


# ---------------------------------------------------------------------------------------------- nobody on two sides


@pytest.mark.parametrize("how", FAIR)
@pytest.mark.parametrize("layout", TREES)
def test_no_group_is_in_two_splits_of_made_trees(tmp_path, layout, how):
    # the four speakers of CASIA are too few for one hashed split: test_four_speakers_make_four_folds_and_no_hashed_split
    how = FAIR["folds" if layout == "casia" else how]
    clips = read_layout(layout, TREES[layout](tmp_path))
    if found := try_folds(clips, **how):
        check_fair(found, clips)


@pytest.mark.parametrize("how", FAIR.values(), ids=FAIR)
@pytest.mark.parametrize(("layout", "name"), REAL.items())
def test_no_speaker_actor_or_source_is_in_two_splits_of_real_recordings(shared_data, layout, name, how):
    clips = read_layout(layout, real(shared_data, name))
    if found := try_folds(clips, **how):
        check_fair(found, clips)


@pytest.mark.parametrize("how", [{}, {"count": 5}], ids=["once", "folds"])
@pytest.mark.parametrize(("layout", "name"), REAL.items())
def test_a_random_split_of_real_recordings_is_marked_as_leaky(shared_data, layout, name, how):
    for fold in folds(read_layout(layout, real(shared_data, name)), random_split=True, **how):
        torn, groups = in_two_splits(fold.clips), len({clip.group for clip in fold.clips})
        assert fold.leaky and torn and shared_groups(fold.clips) == sorted(torn)
        assert fold.protocol.startswith("leaky, paper-style: ")
        assert f"{len(torn)} of {groups} speakers or sources in two splits" in fold.protocol


# ---------------------------------------------------------------------------------------------- official parts


@pytest.mark.parametrize(("layout", "tree", "names"), [
    ("urbansound8k", urbansound8k, [str(i) for i in range(1, 11)]), ("esc50", esc50, list("12345")), ("esc10", esc50, list("12345")),
])  # fmt: skip
def test_official_folds_are_tested_one_after_the_other(tmp_path, layout, tree, names):
    found = folds(read_layout(layout, tree(tmp_path)))
    assert [fold.name for fold in found] == names
    for fold in found:
        assert all((clip.split == "test") == (clip.fold == fold.name) for clip in fold.clips)
        assert fold.protocol.startswith(f"{len(names)} official folds: fold {fold.name} for testing")
    tested = Counter(clip.name for fold in found for clip in fold.clips if clip.split == "test")
    assert set(tested.values()) == {1} and len(tested) == len(found[0].clips)
    assert [fold.name for fold in folds(found[0].clips, len(names))] == names, "their number may be said"


def test_validation_in_folds_has_about_its_share_of_each_class(shared_data):
    for fold in folds(read_layout("urbansound8k", real(shared_data, "urbansound8k_subset")), valid_share=0.15):
        rest = Counter(clip.label for clip in fold.clips if clip.split != "test")
        valid = Counter(clip.label for clip in fold.clips if clip.split == "valid")
        assert all(0.08 < valid[label] / rest[label] < 0.25 for label in rest)


def test_official_lists_are_one_fold_and_stay(tmp_path):
    speech_commands(tmp_path)
    for speaker, name in (("00003dde", "validation_list.txt"), ("00005ccd", "testing_list.txt")):
        (tmp_path / name).write_text("".join(f"{word}/{speaker}_nohash_{k}.wav\n" for word in ("yes", "no", "bed") for k in (0, 1)))
    clips = read_layout("speech-commands", tmp_path)
    (fold,) = folds(clips)
    assert fold.name == "official" and fold.clips == clips and fold.protocol.startswith("official split: ")
    words = {(clip.group, clip.split) for clip in fold.clips if clip.label != "_silence_" and clip.split != "train"}
    assert words == {("00003dde", "valid"), ("00005ccd", "test")}


def test_splits_of_folders_are_official_and_a_missing_validation_is_taken_from_training(tmp_path):
    make(tmp_path, *(f"{split}/{label}/{i}_{split}.wav" for split in ("train", "test") for label in ("cat", "dog") for i in range(30)))
    clips = read_layout("folder", tmp_path)
    (fold,) = folds(clips)
    assert fold.name == "official" and "of its training part about 10%" in fold.protocol
    assert Counter((clip.label, clip.split) for clip in fold.clips) == {
        (label, split): count for label in ("cat", "dog") for split, count in (("train", 27), ("valid", 3), ("test", 30))
    }
    assert all((old.split == "test") == (new.split == "test") for old, new in zip(clips, fold.clips))
    assert folds(clips, valid_share=0.0)[0].clips == clips


def test_a_set_whose_one_part_is_called_train_is_split():
    clips = [replace(clip, split="train") for clip in people("dog", 100) + people("cat", 100)]
    assert {clip.split for clip in folds(clips)[0].clips} == {"train", "valid", "test"}


def test_folds_with_holes_a_single_one_and_a_source_in_two_are_refused():
    clips = [replace(clip, fold=str(i % 3)) for i, clip in enumerate(people("dog", 30, 1) + people("cat", 30, 1, start=30))]
    with pytest.raises(DataError, match=r"1 of 60 clips have no official fold, such as cat.59_0.wav: give all one, or none"):
        folds([*clips[:-1], replace(clips[-1], fold=None)])
    with pytest.raises(DataError, match="all clips are in one official fold, '1'"):
        folds([replace(clip, fold="1") for clip in clips])
    with pytest.raises(DataError, match="group 's0' is in the official folds 0 and 1: expected it in one"):
        folds([*clips, replace(clips[0], path=Path("again.wav"), fold="1")])


# ---------------------------------------------------------------------------------------------- by speaker


def test_folds_by_speaker_test_everybody_once_and_every_class_everywhere(tmp_path):
    clips = read_layout("ravdess", ravdess(tmp_path))
    found = folds(clips, 5)
    assert [fold.name for fold in found] == list("12345")
    tested = Counter(clip.group for fold in found for clip in fold.clips if clip.split == "test")
    assert set(tested.values()) == {16} and len(tested) == 24
    for fold in found:
        assert {(c.label, c.split) for c in fold.clips} == {(c.label, s) for c in clips for s in ("train", "valid", "test")}
        assert fold.protocol.startswith("5 folds by speaker or source") and f"fold {fold.name} for testing" in fold.protocol


def test_four_speakers_make_four_folds_and_no_hashed_split(tmp_path):
    clips = read_layout("casia", casia(tmp_path))
    for fold in folds(clips, 4):
        assert Counter(clip.split for clip in fold.clips) == {"train": 36, "valid": 18, "test": 18}
    with pytest.raises(DataError, match=r"has 4 speakers or sources and none of them fell into .*--folds"):
        folds(clips)
    with pytest.raises(DataError, match=r"class 'angry' has 4 speakers or sources, expected at least 5 for 5 folds: ask for fewer folds"):
        folds(clips, 5)


def test_without_known_speakers_folds_are_by_file_and_say_so(tmp_path):
    clips = read_layout("folder", folder(tmp_path))
    assert not groups_known(clips)
    for fold in folds(clips, 5):
        assert not fold.leaky and "no speakers or sources are known" in fold.protocol
        assert Counter(clip.label for clip in fold.clips if clip.split == "test") == {"cat": 30, "dog": 30}
    (fold,) = folds(clips, random_split=True)
    assert not fold.leaky and "no speakers or sources are known" in fold.protocol
    assert "no speakers or sources are known" in folds(clips)[0].protocol


def test_what_has_a_split_keeps_it_in_every_fold(tmp_path):
    make(speech_commands(tmp_path), "_unknown_/bed_00001eef_nohash_0.wav")  # so that the reader leaves the words open
    clips = read_layout("speech-commands", tmp_path)
    given = {clip.name: clip.split for clip in clips if clip.split}
    assert Counter(given.values()) == {"train": 4, "valid": 1, "test": 1}
    for fold in folds(clips, 4):
        assert {clip.name: clip.split for clip in fold.clips if clip.name in given} == given


def test_several_labels_count_each(tmp_path):
    clips = read_layout("manifest", TREES["manifest"](tmp_path))
    for fold in folds(clips, 4):
        for split in ("train", "valid", "test"):
            assert {label for clip in fold.clips if clip.split == split for label in clip.labels} == {"dog", "rain"}


def test_fixed_seeds_give_fixed_splits_and_others_others(tmp_path):
    clips = read_layout("esc50", esc50(tmp_path))
    plain = [replace(clip, fold=None) for clip in clips]
    by_chance = {"random_split": True}
    for data, how in ((clips, {}), (plain, {}), (plain, {"count": 4}), (plain, by_chance), (plain, {"count": 4, **by_chance})):
        assert folds(data, **how, complete=False) == folds(data, **how, complete=False)
        assert folds(data, seed=1, **how, complete=False) != folds(data, **how, complete=False)


def test_another_seed_tests_other_speakers_together(tmp_path):
    clips = read_layout("ravdess", ravdess(tmp_path))
    tested = [{frozenset(c.group for c in fold.clips if c.split == "test") for fold in folds(clips, 4, seed=seed)} for seed in (0, 1)]
    assert tested[0] != tested[1]


def test_the_only_recordings_of_a_class_stay_in_training():
    clips = [replace(clip, fold=str(i % 2)) for i, clip in enumerate(people("dog", 30, 1))]
    clips += [Clip(Path(f"owl{i}.wav"), "owl", f"owl{i}", fold=str(i)) for i in range(2)]
    for fold in folds(clips, valid_share=0.5):
        assert sorted(clip.split for clip in fold.clips if clip.label == "owl") == ["test", "train"]
        assert Counter(clip.split for clip in fold.clips if clip.label == "dog") == {"train": 8, "valid": 7, "test": 15}


def test_adding_data_never_moves_a_hashed_clip():
    before = {clip.name: clip.split for clip in folds(people("dog", 100) + people("cat", 100, start=100))[0].clips}
    after = folds(people("cat", 150, start=100) + people("owl", 99) + people("dog", 130))[0].clips
    assert before.items() <= {clip.name: clip.split for clip in after}.items()
    assert all(clip.split == hashed_split(clip.group) for clip in after)


def test_one_fold_can_be_asked_for(tmp_path):
    clips = read_layout("esc50", esc50(tmp_path))
    assert folds(clips, only="3") == [folds(clips)[2]]
    with pytest.raises(DataError, match="no fold '6': expected one of 1, 2, 3, 4, 5"):
        folds(clips, only="6")
    with pytest.raises(DataError, match="no fold '6': the data is split once, as 'split'; for several give their number"):
        folds([replace(clip, fold=None) for clip in clips], only="6", complete=False)


# ---------------------------------------------------------------------------------------------- what cannot be


def test_a_class_in_one_split_only_is_refused_with_what_to_do(tmp_path):
    make(tmp_path, *(f"{s}/{label}/{i}_{s}.wav" for s in ("train", "valid", "test") for label in ("cat", "dog") for i in range(3)))
    make(tmp_path, "test/owl/1.wav")
    clips = read_layout("folder", tmp_path)
    with pytest.raises(DataError, match=r"class 'owl' is in test only \(fold 'official'\), so it cannot be learnt: add recordings"):
        folds(clips)
    assert folds(clips, complete=False)[0].clips == clips
    with pytest.raises(DataError, match=r"class 'owl' is in train only \(fold 'official'\), so it cannot be judged"):
        folds([replace(clip, split="train") if clip.label == "owl" else clip for clip in clips])


def test_a_class_of_one_official_fold_is_refused():
    clips = [replace(clip, fold=str(i % 3)) for i, clip in enumerate(people("dog", 30, 1) + people("cat", 30, 1, start=30))]
    with pytest.raises(DataError, match="class 'owl' is in test only .fold '2'."):
        folds([*clips, Clip(Path("owl.wav"), "owl", "owl", fold="2")], only="2")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"count": 1}, "1 folds: expected at least 2"),
        ({"count": 0}, "0 folds: expected at least 2"),
        ({"valid_share": 0.6, "test_share": 0.5}, "shares of validation 0.6 and test 0.5"),
        ({"valid_share": float("nan")}, "shares of validation nan"),
        ({"count": 50}, "expected at least 50 for 50 folds"),
        ({"count": 200, "random_split": True}, "class 'dog' has 160 clips, expected at least 200 for 200 folds"),
    ],
)
def test_impossible_wishes_are_one_clear_message(how, message):
    with pytest.raises(DataError, match=message):
        folds(people("dog", 40), **how)


def test_no_clips_and_a_group_in_two_given_splits_are_refused():
    with pytest.raises(DataError, match="no clips to split"):
        folds([])
    dogs = people("dog", 30)
    clips = [replace(clip, split=("train", "valid", "test")[i % 3]) for i, clip in enumerate(dogs)]
    with pytest.raises(DataError, match="group 's0' is in two splits"):
        folds(clips)


def test_folds_by_speaker_without_scikit_learn_say_what_to_install():
    code = (
        "import sys; sys.modules['sklearn'] = None; sys.modules['sklearn.model_selection'] = None\n"
        "from pathlib import Path; from asm_rh.datasets import Clip; from asm_rh.protocols import folds\n"
        "folds([Clip(Path(f'{i}.wav'), 'dog', str(i // 2)) for i in range(20)], 5)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent.parent, capture_output=True, text=True)
    assert "DataError: folds by speaker need scikit-learn, which is not here: pip install" in done.stderr


# ---------------------------------------------------------------------------------------------- flags


def flags(*words) -> Namespace:
    parser = ArgumentParser()
    add_data(parser)
    return parser.parse_args(list(map(str, words)))


def test_flags_reach_the_protocol(tmp_path):
    esc50(tmp_path)
    data = ["--data", tmp_path, "--layout", "esc10"]
    assert [fold.name for fold in read_folds(flags(*data))] == list("12345")
    assert [fold.name for fold in read_folds(flags(*data, "--fold", "4"))] == ["4"]
    assert [fold.leaky for fold in read_folds(flags(*data, "--random-split", "--folds", "3"))] == [True] * 3
    (fold,) = read_folds(flags(*data, "--random-split", "--test-share", "0.5", "--split-seed", "2"))
    assert sum(clip.split == "test" for clip in fold.clips) == len(fold.clips) / 2
    assert fold.clips != read_folds(flags(*data, "--random-split", "--test-share", "0.5"))[0].clips
    with pytest.raises(DataError, match="3 folds asked for, but the data has 5 official folds"):
        read_folds(flags(*data, "--folds", 3))


def test_a_single_run_takes_the_lowest_fold_and_says_so(tmp_path, capsys):
    esc50(tmp_path)
    clips = read_clips(flags("--data", tmp_path, "--layout", "esc50"))
    assert {clip.fold for clip in clips if clip.split == "test"} == {"1"}
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines()[0] == "5 folds, of which this run takes one, fold 1; --fold NAME takes another"
    assert said.err.splitlines()[1].startswith("5 official folds: fold 1 for testing")
    clips = read_clips(flags("--data", tmp_path, "--layout", "esc50", "--fold", "5"))
    assert {clip.fold for clip in clips if clip.split == "test"} == {"5"}
    assert capsys.readouterr().err.startswith("5 official folds: fold 5 for testing")
    read_clips(flags("--data", tmp_path, "--layout", "esc50", "--random-split"))
    assert capsys.readouterr().err.startswith("leaky, paper-style: random split")


def test_one_split_by_speaker_is_taken_without_a_word(tmp_path, capsys):
    folder(tmp_path)
    assert {clip.split for clip in read_clips(flags("--data", tmp_path))} == {"train", "valid", "test"}
    assert capsys.readouterr() == ("", "")


def test_every_layout_can_be_asked_for():
    for layout in LAYOUTS:
        assert flags("--layout", layout).layout == layout
    assert flags().layout == "folder"
