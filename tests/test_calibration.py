"""What a score is worth, against scikit-learn and cases worked out by hand."""

import json

import numpy as np
import pytest
from sklearn import metrics as oracle
from sklearn.calibration import calibration_curve

from asm_rh.calibration import by_threshold, calibration, claims, error, reliability, thresholds_for


def random_case(seed, clips=300, classes=4, decimals=None):
    random = np.random.default_rng(seed)
    truth = random.integers(0, classes, clips)
    scores = random.random((clips, classes))
    scores[np.arange(clips), truth] += random.random(clips)
    scores /= scores.sum(1, keepdims=True)
    return truth, scores if decimals is None else scores.round(decimals)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("bins", [1, 10, 15])
def test_reliability_equals_scikit_learn(seed, bins):
    random = np.random.default_rng(seed)
    certainty = random.random(200).round([1, 2, 16, 16][seed]) if seed < 3 else random.choice([0.0, 0.5, 1.0], 200)
    right = random.random(200) < certainty
    rows = [row for row in reliability(certainty, right, bins) if row["count"]]
    share, mean = calibration_curve(right, certainty, n_bins=bins)
    assert [row["right"] for row in rows] == pytest.approx(share, abs=1e-12)
    assert [row["score"] for row in rows] == pytest.approx(mean, abs=1e-12)
    assert sum(row["count"] for row in rows) == 200
    assert error(rows) == pytest.approx(sum(row["count"] * abs(a - b) for row, a, b in zip(rows, share, mean)) / 200, abs=1e-12)


def test_calibration_by_hand():
    scores = np.array([[0.9, 0.1], [0.9, 0.1], [0.35, 0.65], [0.4, 0.6]])
    found = calibration([0, 1, 1, 1], scores, bins=10)
    full = [row for row in found["bins"] if row["count"]]
    assert [(row["count"], row["right"]) for row in full] == [(1, 1.0), (1, 1.0), (2, 0.5)]
    assert found["ece"] == pytest.approx((0.4 + 0.35 + 2 * 0.4) / 4)
    assert len(found["bins"]) == 10
    assert found["bins"][0] == {"low": 0.0, "high": 0.1, "count": 0, "score": None, "right": None, "interval": None}
    json.dumps(found, allow_nan=False)


def test_a_model_that_knows_what_it_knows_has_no_error():
    certainty = np.repeat([0.25, 0.5, 0.75], 4)
    right = [1, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 0]
    assert error(reliability(certainty, right)) == 0
    assert error(reliability([1.0, 1.0], [0, 0])) == 1
    assert error(reliability([], [])) == 0


def test_edges_belong_below_and_the_ends_inside():
    counts = [row["count"] for row in reliability([0.0, 0.1, 0.1000001, 0.9, 1.0], [1] * 5, 10)]
    assert counts == [2, 1, 0, 0, 0, 0, 0, 0, 1, 1]


def test_bins_of_equal_mass_hold_equally_many_and_keep_ties_together():
    random = np.random.default_rng(0)
    certainty, right = random.random(300), random.random(300) < 0.5
    counts = [row["count"] for row in reliability(certainty, right, 10, equal_mass=True)]
    assert sum(counts) == 300 and max(counts) - min(counts) <= 2
    order = np.argsort(certainty).reshape(10, 30)
    by_hand = np.mean([abs(certainty[part].mean() - right[part].mean()) for part in order])
    assert error(reliability(certainty, right, 10, equal_mass=True)) == pytest.approx(by_hand, abs=0.02)
    tied = reliability([0.5] * 30 + [0.9] * 2, [1] * 32, 10, equal_mass=True)
    assert [row["count"] for row in tied if row["count"]] == [30, 2]
    assert [row["count"] for row in reliability([1.0] * 5, [1] * 5, 3, equal_mass=True) if row["count"]] == [5]


def test_of_several_labels_every_score_is_a_claim():
    certainty, right = claims([[1, 0], [1, 1]], [[0.9, 0.2], [0.4, 0.8]])
    assert certainty.tolist() == [0.9, 0.2, 0.4, 0.8] and right.tolist() == [True, False, True, True]
    assert claims([1], [[0.4, 0.6]])[1].tolist() == [True]


@pytest.mark.parametrize("scores", [[[0.2, 1.5]], [[-0.2, 0.5]]])
def test_what_is_no_probability_is_refused_and_rounding_is_not(scores):
    with pytest.raises(ValueError, match="expected 0 to 1"):
        calibration([0], scores)
    assert calibration([0], np.array([[1.0000001, 0.0]], np.float32))["bins"][-1]["count"] == 1


# ---------------------------------------------------------------------------------------------- thresholds


@pytest.mark.parametrize("decimals", [None, 1])
@pytest.mark.parametrize("wanted", [0.3, 0.5, 0.8, 0.95, 1.0])
def test_thresholds_are_the_lowest_of_scikit_learns_curve(wanted, decimals):
    truth, scores = random_case(7, decimals=decimals)
    for i, row in enumerate(thresholds_for(truth, scores, list("abcd"), wanted)):
        precision, recall, at = oracle.precision_recall_curve(truth == i, scores[:, i])
        fits = np.flatnonzero((precision[:-1] >= wanted) & (recall[:-1] > 0))
        if not len(fits):
            assert row["threshold"] is None and row["claimed"] == 0
            continue
        assert row["threshold"] == at[fits[0]]
        assert (row["precision"], row["recall"]) == pytest.approx((precision[fits[0]], recall[fits[0]]), abs=1e-12)
        claimed = scores[:, i] >= row["threshold"]
        assert (row["claimed"], row["right"]) == (claimed.sum(), (claimed & (truth == i)).sum())
        low, high = row["precision_interval"]
        assert low <= row["precision"] <= high


def test_nineteen_of_twenty_are_95_per_cent():
    scores = np.linspace(0.9, 0.5, 20)[:, None]
    there = np.ones((20, 1), int)
    there[10] = 0
    (row,) = thresholds_for(there, scores, ["a"], 0.95)
    assert row["claimed"] == 20 and row["right"] == 19 and row["precision"] == 0.95 and row["threshold"] == 0.5


def test_no_threshold_for_the_impossible():
    scores = [[0.9, 0.1], [0.8, 0.2]]
    a, b = thresholds_for([1, 0], scores, ["a", "b"], 0.9)
    assert a == {"label": "a", "threshold": None, "precision": None, "precision_interval": None, "recall": None, "claimed": 0, "right": 0}
    assert b["threshold"] is None
    a, b = thresholds_for([0, 0], scores, ["a", "b"], 0.9)
    assert a["threshold"] == 0.8 and b["threshold"] is None, "b does not occur"


def test_a_threshold_of_32_bits_is_reached_by_its_own_score():
    scores = np.array([[0.7, 0.3], [0.3, 0.7]], np.float32)
    row, _ = thresholds_for([0, 1], scores, ["a", "b"], 1.0)
    assert (scores[:, 0] >= np.float32(json.loads(json.dumps(row["threshold"])))).sum() == row["claimed"] == 1


@pytest.mark.parametrize("wanted", [0, -0.1, 1.01, float("nan")])
def test_precisions_that_cannot_be_wanted(wanted):
    with pytest.raises(ValueError, match="precision: got"):
        thresholds_for([0], [[0.5, 0.5]], ["a", "b"], wanted)


@pytest.mark.parametrize("several", [False, True])
def test_precision_and_recall_by_threshold_equal_scikit_learn(several):
    truth, scores = random_case(3, decimals=2)
    there = np.random.default_rng(0).random(scores.shape) < 0.4 if several else truth[:, None] == np.arange(4)
    for row in by_threshold(there if several else truth, scores, (0.0, 0.2, 0.35, 0.5), columns=[0, 2, 3]):
        claimed = scores[:, [0, 2, 3]] >= row["threshold"]
        yes = there[:, [0, 2, 3]]
        assert row["claimed"] == claimed.sum()
        assert row["precision"] == pytest.approx(oracle.precision_score(yes, claimed, average="micro"))
        assert row["recall"] == pytest.approx(oracle.recall_score(yes, claimed, average="micro"))


def test_what_is_not_claimed_or_not_there_is_not_known():
    (row,) = by_threshold([0, 0], np.array([[0.5, 0.1], [0.4, 0.1]]), (0.9,))
    assert row == {"threshold": 0.9, "claimed": 0, "right": 0, "precision": None, "recall": 0.0}
    (row,) = by_threshold([0, 0], np.array([[0.5, 0.1], [0.4, 0.1]]), (0.05,), columns=[1])
    assert row == {"threshold": 0.05, "claimed": 2, "right": 0, "precision": 0.0, "recall": None}
    assert by_threshold([0], np.array([[0.7, 0.3]], np.float32), (0.7,))[0]["claimed"] == 1
