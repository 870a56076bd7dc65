"""Scores over time: pooled, turned into events by hand-worked rules, written to files."""

import csv
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest

from asm_rh.scores import Event, WindowScores


def window_scores(columns, hop=1.0, window=1.0, **options):
    """WindowScores from {label: scores over time}, window i from i * hop to i * hop + window."""
    scores = np.array(list(columns.values()), dtype=np.float32).T
    start = np.arange(len(scores)) * hop
    return WindowScores(start, start + window, scores, tuple(columns), **options)


def spans(events):
    return [(event.label, round(event.start, 6), round(event.end, 6)) for event in events]


# ---------------------------------------------------------------------------------------------- the table


def test_window_scores_keep_what_they_are_given():
    given = WindowScores(
        [0, 1], [1, 2], [[0.25, 0.75], [0.5, 0.5]], ["no", "yes"], [False, True], {"no"}, Path("a.wav")
    )
    assert len(given) == 2
    assert (given.start.tolist(), given.end.tolist()) == ([0.0, 1.0], [1.0, 2.0])
    assert given.scores.dtype == np.float32 and given.scores.tolist() == [[0.25, 0.75], [0.5, 0.5]]
    assert given.labels == ("no", "yes") and given.background == {"no"} and given.file == "a.wav"
    assert given.padded.dtype == bool and given.padded.tolist() == [False, True]


def test_window_scores_need_only_the_first_four():
    given = window_scores({"yes": [0.5, 0.25]})
    assert given.padded.tolist() == [False, False] and given.background == frozenset() and given.file is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": [0.0]}, "got shapes"),
        ({"end": [1.0, 2.0, 3.0]}, "got shapes"),
        ({"padded": [True]}, "got shapes"),
        ({"scores": [0.1, 0.2]}, "got shapes"),
        ({"scores": [[0.1, 0.2, 0.3], [0.1, 0.2, 0.3]]}, "got shapes .* and 2 labels"),
        ({"start": 0.0, "end": 1.0}, "got shapes"),
        ({"labels": ["yes", "yes"]}, "each name once"),
        ({"labels": "no"}, "expected a list of names"),
        ({"labels": [1, 2]}, "expected a list of names"),
        ({"background": {"hum"}}, "background: got unknown label hum; known are no, yes"),
        ({"background": "no"}, "expected a list of names"),
        ({"start": [1.0, 0.0], "end": [2.0, 2.0]}, "start in rising order"),
        ({"end": [1.0, 1.0]}, "every end after its start"),
        ({"start": [0.0, np.nan]}, "finite seconds"),
        ({"scores": [[0.1, np.nan], [np.inf, 0.2]]}, "got 2 NaN or infinite of 4"),
    ],
)
def test_window_scores_refuse(changes, message):
    good = {"start": [0.0, 1.0], "end": [1.0, 2.0], "scores": [[0.1, 0.9], [0.2, 0.8]], "labels": ["no", "yes"]}
    WindowScores(**good)
    with pytest.raises(ValueError, match=message):
        WindowScores(**{**good, **changes})


# ---------------------------------------------------------------------------------------------- the whole clip


def test_pooled_is_the_mean_without_background():
    pooled = window_scores({"no": [0.0, 0.5, 1.0], "yes": [0.25, 0.25, 0.25]}).pooled()
    assert pooled.dtype == np.float32 and pooled.tolist() == [0.5, 0.25]


def test_pooled_with_background_is_the_window_most_certain_of_another_label():
    columns = {"silence": [0.9, 0.2, 1.0, 0.3], "yes": [0.05, 0.75, 0.0, 0.1], "no": [0.05, 0.05, 0.0, 0.6]}
    scores = window_scores(columns, background={"silence"})
    assert scores.pooled() == pytest.approx([0.2, 0.75, 0.05])
    assert scores.top(1)[0]["label"] == "yes"
    assert window_scores(columns).top(1)[0]["label"] == "silence"


def test_pooled_of_background_alone_is_the_mean():
    assert window_scores({"hum": [0.0, 1.0]}, background={"hum"}).pooled().tolist() == [0.5]


def test_pooled_gives_a_copy():
    scores = window_scores({"hum": [0.1], "yes": [0.9]}, background={"hum"})
    scores.pooled()[:] = 0.0
    assert scores.scores[0, 1] == np.float32(0.9)


def test_top_is_sorted_and_plain():
    scores = window_scores({"a": [0.25], "b": [0.5], "c": [0.125], "d": [0.5]})
    assert scores.top(3) == [{"label": "b", "score": 0.5}, {"label": "d", "score": 0.5}, {"label": "a", "score": 0.25}]
    assert [row["label"] for row in scores.top(None)] == ["b", "d", "a", "c"]
    assert len(scores.top(99)) == 4
    assert type(scores.top(1)[0]["score"]) is float


@pytest.mark.parametrize("k", [0, -1, 2.5, True, "3"])
def test_top_refuses(k):
    with pytest.raises(ValueError, match="top: got .* expected a whole number from 1"):
        window_scores({"a": [0.25]}).top(k)


def test_no_windows_have_no_scores_but_no_events_either():
    empty = WindowScores([], [], np.zeros((0, 1)), ["yes"])
    assert len(empty) == 0 and empty.events() == []
    for call in (empty.pooled, empty.top, empty.to_dict):
        with pytest.raises(ValueError, match="0 windows"):
            call()


# ---------------------------------------------------------------------------------------------- events


def test_event_opens_at_the_threshold_and_lasts_to_the_exit():
    #                                0    1     2    3    4     5    6
    scores = window_scores({"yes": [0.4, 0.5, 0.36, 0.9, 0.35, 0.34, 0.1]})
    (event,) = scores.events(threshold=0.5)
    # 0.4 does not open, though above the exit; 0.36 and 0.35 carry on; 0.34 ends.
    assert (event.label, event.start, event.end) == ("yes", 1.0, 5.0)
    assert event.score == pytest.approx(0.9) and event.peak == 3.5


def test_scores_equal_to_the_thresholds_count():
    column = [0.7, 0.55, 0.1]
    for threshold in (0.7, np.float64(0.7), np.float32(0.7)):
        assert spans(window_scores({"yes": column}).events(threshold, exit_threshold=0.55)) == [("yes", 0.0, 2.0)]


def test_event_may_reach_both_ends():
    (event,) = window_scores({"yes": [0.9, 0.8, 0.9]}).events()
    assert (event.start, event.end, event.peak) == (0.0, 3.0, 0.5)


def test_exit_threshold_decides_how_long_an_event_lasts():
    columns = {"yes": [0.9, 0.3, 0.2, 0.9, 0.0]}
    assert spans(window_scores(columns).events(0.5, exit_threshold=0.1)) == [("yes", 0.0, 4.0)]
    separate = [("yes", 0.0, 1.0), ("yes", 3.0, 4.0)]
    assert spans(window_scores(columns).events(0.5, exit_threshold=0.5)) == separate
    assert spans(window_scores(columns).events(0.5)) == separate


def test_default_exit_is_not_below_zero():
    assert spans(window_scores({"yes": [0.1, 0.0, -0.01]}).events(0.1)) == [("yes", 0.0, 2.0)]


def test_overlapping_windows_give_one_event_though_a_score_dips():
    scores = window_scores({"yes": [0.9, 0.1, 0.1, 0.8, 0.1, 0.1, 0.1, 0.1, 0.7]}, hop=0.25)
    # 0..1 and 0.75..1.75 overlap; 2.0..3.0 begins a quarter of a second later.
    events = scores.events()
    assert spans(events) == [("yes", 0.0, 1.75), ("yes", 2.0, 3.0)]
    assert events[0].score == pytest.approx(0.9) and events[0].peak == 0.5


def test_merging_keeps_the_better_score_and_its_peak():
    scores = window_scores({"yes": [0.6, 0.0, 0.9, 0.0, 0.0, 0.7]})
    assert spans(scores.events(merge_seconds=0.99)) == [("yes", 0, 1), ("yes", 2, 3), ("yes", 5, 6)]
    first, second = scores.events(merge_seconds=1.0)
    assert (first.start, first.end, first.peak) == (0.0, 3.0, 2.5) and first.score == pytest.approx(0.9)
    assert second.start == 5.0
    (whole,) = scores.events(merge_seconds=2.0)
    assert (whole.start, whole.end, whole.peak) == (0.0, 6.0, 2.5)


def test_windows_that_touch_merge_in_spite_of_rounding():
    assert 0.1 + 0.2 > 0.3 and 0.3 - 0.1 < 0.2
    scores = WindowScores([0.0, 0.1, 0.1 + 0.2], [0.3, 0.2, 0.4], [[0.9], [0.0], [0.9]], ["yes"])
    assert spans(scores.events()) == [("yes", 0.0, 0.4)]
    exact = WindowScores([0.1], [0.3], [[0.9]], ["yes"])
    assert len(exact.events(min_duration_seconds=0.2)) == 1


@pytest.mark.parametrize("middle", [0.9, 0.0])
def test_event_ends_with_the_last_end_though_a_later_window_is_shorter(middle):
    scores = WindowScores([0, 1, 2], [5, 1.5, 3], [[0.9], [middle], [0.6]], ["yes"])
    assert spans(scores.events()) == [("yes", 0.0, 5.0)]


def test_short_events_are_dropped_after_merging():
    scores = window_scores({"yes": [0.9, 0.0, 0.9, 0.0, 0.0, 0.0, 0.9]})
    assert spans(scores.events(min_duration_seconds=1.0)) == [("yes", 0, 1), ("yes", 2, 3), ("yes", 6, 7)]
    assert scores.events(min_duration_seconds=1.01) == []
    assert spans(scores.events(min_duration_seconds=3.0, merge_seconds=1.0)) == [("yes", 0, 3)]


def test_every_label_has_its_own_events_sorted_by_start():
    columns = {"b": [0.0, 0.0, 0.9], "a": [0.9, 0.9, 0.0], "c": [0.0, 0.8, 0.8]}
    assert spans(window_scores(columns).events()) == [("a", 0, 2), ("c", 1, 3), ("b", 2, 3)]


def test_background_is_never_an_event():
    columns = {"hum": [0.9, 0.9], "yes": [0.0, 0.6]}
    assert spans(window_scores(columns, background=["hum"]).events(thresholds={"hum": 0.1})) == [("yes", 1, 2)]


def test_thresholds_per_label():
    columns = {"a": [0.6, 0.0, 0.0], "b": [0.0, 0.3, 0.16], "c": [0.0, 0.0, 0.8]}
    found = window_scores(columns).events(threshold=0.7, thresholds={"b": 0.3})
    assert spans(found) == [("b", 1, 3), ("c", 2, 3)]
    assert spans(window_scores(columns).events(0.7, 0.2, thresholds={"b": 0.3})) == [("b", 1, 2), ("c", 2, 3)]


def test_events_follow_a_plain_walk_through_the_windows():
    random = np.random.default_rng(0)
    for _ in range(200):
        column = random.uniform(0, 1, 40).astype(np.float32)
        threshold = random.uniform(0.2, 0.9)
        exit_threshold = random.uniform(0, threshold)
        expected, opened = [], None
        for index, score in enumerate([*column, -1.0]):
            if opened is None and score >= np.float32(threshold):
                opened = index
            elif opened is not None and score < np.float32(exit_threshold):
                expected.append(("yes", 2.0 * opened, 2.0 * index - 1))
                opened = None
        # Windows of one second every two: nothing touches, nothing merges.
        assert spans(window_scores({"yes": column}, hop=2.0).events(threshold, exit_threshold)) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.1}, "threshold: got 1.1, expected a score from 0 to 1"),
        ({"threshold": -0.1}, "threshold: got -0.1"),
        ({"threshold": float("nan")}, "threshold: got nan"),
        ({"threshold": 0.5, "exit_threshold": 0.6}, "exit_threshold: got 0.6, expected from 0 to the threshold, 0.5"),
        ({"exit_threshold": -0.1}, "exit_threshold: got -0.1"),
        ({"thresholds": {"ja": 0.5}}, "thresholds: got unknown label ja; known are hum, yes"),
        ({"thresholds": {"yes": 2}}, "threshold of 'yes': got 2"),
        ({"thresholds": {"hum": 2}}, "threshold of 'hum': got 2"),
        ({"thresholds": {"yes": 0.3}, "exit_threshold": 0.4}, "exit_threshold: got 0.4, .* threshold of 'yes', 0.3"),
        ({"min_duration_seconds": -1}, "min_duration_seconds: got -1, expected 0 or more seconds"),
        ({"merge_seconds": float("inf")}, "merge_seconds: got inf"),
    ],
)
def test_events_refuse(options, message):
    with pytest.raises(ValueError, match=message):
        window_scores({"hum": [0.1], "yes": [0.9]}, background={"hum"}).events(**options)


def test_event_cannot_be_changed():
    event = Event("yes", 0.0, 1.0, 0.9, 0.5)
    with pytest.raises(AttributeError):
        event.start = 2.0


# ---------------------------------------------------------------------------------------------- writers


@pytest.fixture
def example():
    columns = {"yes": [0.9, 0.8, 0.0], "no, never": [0.0, 0.0, 0.625]}
    scores = np.array(list(columns.values())).T
    return WindowScores(
        [0, 1 / 3, 2], [1, 4 / 3, 2.5], scores, tuple(columns), [False, False, True], file="clips/ä.wav"
    )


def test_csv(example):
    assert example.to_csv() == (
        "file,start,end,label,score,peak_time\n"
        "clips/ä.wav,0.000,1.333,yes,0.900000,0.500\n"
        'clips/ä.wav,2.000,2.500,"no, never",0.625000,2.250\n'
    )
    assert [row["label"] for row in csv.DictReader(io.StringIO(example.to_csv(threshold=0.7)))] == ["yes"]


def test_csv_without_events_or_file_name():
    scores = window_scores({"yes": [0.1, 0.9]})
    assert scores.to_csv(threshold=1.0) == "file,start,end,label,score,peak_time\n"
    assert scores.to_csv().splitlines()[1] == ",1.000,2.000,yes,0.900000,1.500"


def test_jsonl(example):
    lines = example.to_jsonl().splitlines()
    assert lines[0] == (
        '{"file": "clips/ä.wav", "start": 0.0, "end": 1.0, "padded": false, "scores": {"yes": 0.9, "no, never": 0.0}}'
    )
    assert [json.loads(line)["padded"] for line in lines] == [False, False, True]
    assert json.loads(lines[1])["start"] == 0.333


def test_audacity(example):
    assert example.to_audacity() == "0.000\t1.333\tyes\n2.000\t2.500\tno, never\n"
    assert example.to_audacity(threshold=0.7) == "0.000\t1.333\tyes\n"


def test_raven(example):
    lines = [line.split("\t") for line in example.to_raven(low_hz=50, high_hz=4000).splitlines()]
    assert lines == [
        ["Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)"]
        + ["Label", "Score"],
        ["1", "Spectrogram 1", "1", "0.000", "1.333", "50.0", "4000.0", "yes", "0.900000"],
        ["2", "Spectrogram 1", "1", "2.000", "2.500", "50.0", "4000.0", "no, never", "0.625000"],
    ]
    assert len(example.to_raven(threshold=0.7).splitlines()) == 2
    for low_hz, high_hz in ((100, 100), (-1, 100), (0, float("inf"))):
        with pytest.raises(ValueError, match="expected 0 <= low_hz < high_hz"):
            example.to_raven(low_hz=low_hz, high_hz=high_hz)


def test_labels_with_tabs_keep_the_columns():
    scores = window_scores({"dog\tbarks\nloud": [0.9]})
    assert scores.to_audacity() == "0.000\t1.000\tdog barks loud\n"
    assert all(line.count("\t") == 8 for line in scores.to_raven().splitlines())
    assert next(csv.DictReader(io.StringIO(scores.to_csv())))["label"] == "dog\tbarks\nloud"


def test_dict_is_plain_and_exact(example):
    got = example.to_dict(top_k=1)
    assert list(got) == ["file", "windows", "top"] and got["file"] == "clips/ä.wav"
    assert got["windows"][1] == {
        "start": 1 / 3,
        "end": 4 / 3,
        "padded": False,
        "scores": {"yes": float(np.float32(0.8)), "no, never": 0.0},
    }
    assert got["top"] == example.top(1)
    assert json.loads(json.dumps(got)) == got


WRITERS = ["to_csv", "to_jsonl", "to_audacity", "to_raven"]


@pytest.mark.parametrize("writer", WRITERS)
def test_writers_write_what_they_return(example, writer, tmp_path):
    path, file = tmp_path / "out.txt", io.StringIO()
    path.write_text("old")
    text = getattr(example, writer)(path)
    assert text == getattr(example, writer)() == getattr(example, writer)(file) == file.getvalue()
    assert path.read_bytes() == text.encode("utf-8")
    assert getattr(example, writer)(str(path)) == text
    assert os.listdir(tmp_path) == ["out.txt"]


@pytest.mark.parametrize("writer", WRITERS)
def test_a_failed_write_leaves_the_old_file_and_no_other(example, writer, tmp_path, monkeypatch):
    path = tmp_path / "out.txt"
    path.write_text("old")

    def fail(source, target):
        assert Path(source).parent == tmp_path and path.read_text() == "old"
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        getattr(example, writer)(path)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["out.txt"]


def test_writers_keep_links_and_ordinary_rights(example, tmp_path):
    target, link, plain = tmp_path / "real.csv", tmp_path / "link.csv", tmp_path / "plain"
    target.write_text("old")
    link.symlink_to(target)
    plain.touch()
    text = example.to_csv(link)
    assert link.is_symlink() and target.read_text(encoding="utf-8") == text
    assert target.stat().st_mode == plain.stat().st_mode


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_writers_write_into_a_pipe_and_do_not_replace_it(example, tmp_path):
    # A pipe of our own, never a device of the computer: a broken writer would replace that for everyone.
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        text = example.to_csv(path)
        assert path.is_fifo() and os.read(reader, 10_000) == text.encode("utf-8")
    finally:
        os.close(reader)


def test_writers_refuse_folders_and_missing_folders(example, tmp_path):
    for path in (tmp_path, tmp_path / "missing" / "out.csv"):
        with pytest.raises(ValueError, match="expected a file name in a folder that exists"):
            example.to_csv(path)
