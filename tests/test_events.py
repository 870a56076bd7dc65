"""Scores of windows into events, one window at a time: every rule by hand, and any pace of feeding the same."""

import numpy as np
import pytest

from asm_rh.events import EventDetector, EventSettings, find_events

LABELS = ("yes", "no", "_silence_")


def rows(scores, hop=0.25, window=1.0):
    """Windows every `hop` with the scores of "yes"."""
    return [(i * hop, i * hop + window, np.array([s, 0.0, 1.0 - s], np.float32)) for i, s in enumerate(scores)]


def spans(scores, **settings):
    return [(e.label, e.start, e.end) for e in find_events(rows(scores), LABELS, ["_silence_"], EventSettings(**settings))]


def feed(scores, **settings):
    detector = EventDetector(LABELS, ["_silence_"], EventSettings(**settings))
    told = [(detector.feed(*row), detector.refused) for row in rows(scores)]
    return detector, told


# ---------------------------------------------------------------------------------------------- when it is an event


def test_one_window_is_enough_unless_told_otherwise():
    assert spans([0.1, 0.6, 0.4, 0.3, 0.1]) == [("yes", 0.25, 1.5)]


def test_background_is_never_an_event():
    found = find_events(rows([0.0] * 8), LABELS, ["_silence_"], EventSettings())
    assert found == [] and find_events(rows([0.0] * 8), LABELS, [], EventSettings())[0].label == "_silence_"


def test_confirmations_in_a_row():
    assert spans([0.9, 0.9, 0.1, 0.9], confirmations=3) == []
    assert spans([0.9, 0.9, 0.9, 0.1], confirmations=3) == [("yes", 0.0, 1.5)], "it starts with the first window that counted"


def test_n_of_m_confirmations_forgive_a_miss():
    assert spans([0.9, 0.1, 0.9, 0.1], confirmations=2, of=3) == [("yes", 0.0, 1.5)]
    assert spans([0.9, 0.1, 0.1, 0.9], confirmations=2, of=3) == []


def test_hold_off_leaves_the_label_alone_for_a_while():
    scores = [0.9, 0.1, 0.1, 0.1, 0.1] * 2 + [0.9]  # windows at 0, 1.25 and 2.5
    assert spans(scores) == [("yes", 0.0, 1.0), ("yes", 1.25, 2.25), ("yes", 2.5, 3.5)]
    assert spans(scores, hold_off_seconds=1.0) == [("yes", 0.0, 1.0), ("yes", 2.5, 3.5)]


def test_own_threshold_of_a_label():
    assert spans([0.6, 0.6], thresholds={"yes": 0.7}) == []
    assert spans([0.6, 0.7], thresholds={"yes": 0.7}) == [("yes", 0.25, 1.25)]
    assert spans([0.6, 0.7], thresholds={"no": 0.7}) == [("yes", 0.0, 1.25)]


def test_duration_counts_after_merging():
    scores = [0.9, 0.1, 0.1, 0.1, 0.1, 0.9]
    assert spans(scores, min_duration_seconds=1.5) == []
    assert spans(scores, min_duration_seconds=1.5, merge_seconds=0.25) == [("yes", 0.0, 2.25)]


# ---------------------------------------------------------------------------------------------- why not (yet)


def test_refusals_say_what_is_missing():
    _, told = feed([0.9, 0.9, 0.9, 0.2], confirmations=3)
    assert [why for _, why in told] == [{"yes": "1 of 3 confirmations"}, {"yes": "2 of 3 confirmations"}, {}, {}]
    _, told = feed([0.9, 0.9, 0.9], min_duration_seconds=1.5)
    assert [why.get("yes") for _, why in told] == ["1.00 of 1.50 s", "1.25 of 1.50 s", None]
    _, told = feed([0.9, 0.1, 0.1, 0.1, 0.1, 0.9], hold_off_seconds=1.0)
    assert told[-1][1] == {"yes": "held off for another 0.75 s"}


def test_an_event_is_told_when_it_begins_and_when_it_is_final():
    detector, told = feed([0.9, 0.95, 0.1, 0.1, 0.1, 0.1, 0.1])
    changes = [[(c.what, c.event.start, c.event.end, round(c.event.score, 2)) for c in news] for news, _ in told]
    assert changes[0] == [("began", 0.0, 1.0, 0.9)]
    ended = [(i, c) for i, news in enumerate(changes) for c in news if c[0] == "ended"]
    assert ended == [(6, ("ended", 0.0, 1.25, 0.95))], "at 1.5 s nothing can touch an event that ended at 1.25 s"
    assert detector.finish() == []


def test_finish_ends_what_is_open_and_forgets():
    detector, told = feed([0.9, 0.9], confirmations=2)
    assert [(c.what, c.event.end) for c in detector.finish()] == [("ended", 1.25)]
    assert detector.feed(9.0, 10.0, np.array([0.9, 0, 0], np.float32)) == [], "the next sound needs its own confirmations"


# ---------------------------------------------------------------------------------------------- an oracle


def oracle(scores, settings):
    """All events of "yes" by brute force, for settings with one confirmation and no hold-off."""
    table, events, open_event = rows(scores), [], None
    for start, end, row in table:
        score = row[0]
        if open_event and score >= np.float32(settings.pair("yes")[1]):
            open_event[1] = end
        elif score >= np.float32(settings.pair("yes")[0]):
            open_event = [start, end]
            events.append(open_event)
        else:
            open_event = None
    merged = []
    for event in events:
        if merged and event[0] - merged[-1][1] <= settings.merge_seconds + 1e-6:
            merged[-1][1] = max(merged[-1][1], event[1])
        else:
            merged.append(event)
    return [("yes", *e) for e in merged if e[1] - e[0] >= settings.min_duration_seconds - 1e-6]


def test_random_scores_against_brute_force():
    random = np.random.default_rng(0)
    for _ in range(300):
        scores = random.choice([0.1, 0.4, 0.55, 0.9], int(random.integers(1, 40)))
        chosen = dict(
            threshold=float(random.choice([0.5, 0.6])), min_duration_seconds=float(random.choice([0, 1.3, 2])),
            merge_seconds=float(random.choice([0, 0.5, 1.0])),
        )  # fmt: skip
        assert spans(scores, **chosen) == oracle(scores, EventSettings(**chosen)), (scores, chosen)


# ---------------------------------------------------------------------------------------------- words and refusals


def test_the_sentence_computes_what_is_needed():
    assert EventSettings(0.6).sentence(1.0, 0.25) == "An event needs 1 window at 0.60 or more: it is reported at once."
    words = EventSettings(0.6, confirmations=3).sentence(1.0, 0.25)
    assert words == "An event needs 3 of 3 windows at 0.60 or more: it is reported 0.50 s after the first."
    assert "0.50 s after" in EventSettings(min_duration_seconds=1.5).sentence(1.0, 0.25)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(confirmations=0), "confirmations: got 0 of 0"),
        (dict(confirmations=4, of=3), "confirmations: got 4 of 3 windows"),
        (dict(hold_off_seconds=-1), "hold_off_seconds: got -1"),
        (dict(merge_seconds=float("inf")), "merge_seconds: got inf"),
        (dict(threshold=1.5), "threshold: got 1.5, expected a score from 0 to 1"),
        (dict(exit_threshold=0.9), "exit_threshold: got 0.9, expected from 0 to the threshold, 0.5"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        EventSettings(**settings)


def test_thresholds_of_unknown_labels_are_refused():
    with pytest.raises(ValueError, match="unknown label maybe; known are yes, no, _silence_"):
        EventDetector(LABELS, [], EventSettings(thresholds={"maybe": 0.5}))
