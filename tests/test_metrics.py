"""Judging numbers against scikit-learn, scipy and cases worked out by hand."""

import json
import math

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn import metrics as oracle

from asm_rh.metrics import auc, average_precision, class_table, confusion_matrix, membership, ranking, reached, summarise, wilson_interval


def random_case(seed, clips=200, classes=5, decimals=None, missing=()):
    random = np.random.default_rng(seed)
    truth = random.choice([c for c in range(classes) if c not in missing], clips)
    scores = random.random((clips, classes))
    scores[np.arange(clips), truth] += 0.4
    scores /= scores.sum(1, keepdims=True)
    return truth, scores if decimals is None else scores.round(decimals)


CASES = [
    random_case(0),
    random_case(1, clips=12, classes=3),
    random_case(2, decimals=1),
    random_case(3, missing=(1, 4)),
    random_case(4, classes=12, clips=40, missing=(0,)),
]


@pytest.mark.parametrize("case", CASES)
def test_summary_equals_scikit_learn(case):
    truth, scores = case
    classes = scores.shape[1]
    labels, predicted = [f"class {i}" for i in range(classes)], scores.argmax(1)
    present = sorted(set(truth.tolist()))
    found = summarise(truth, scores, labels)
    assert found["clips"] == len(truth)
    assert found["accuracy"] == pytest.approx(oracle.accuracy_score(truth, predicted), abs=1e-12)
    macro = oracle.f1_score(truth, predicted, labels=present, average="macro", zero_division=0)
    assert found["macro_f1"] == pytest.approx(macro, abs=1e-12)
    areas = [oracle.roc_auc_score(truth == i, scores[:, i]) for i in present]
    assert found["auc"] == pytest.approx(np.mean(areas), abs=1e-12)
    precisions = [oracle.average_precision_score(truth == i, scores[:, i]) for i in present]
    assert found["map"] == pytest.approx(np.mean(precisions), abs=1e-12)
    for i, row in enumerate(found["per_class"]):
        known = (areas[present.index(i)], precisions[present.index(i)]) if i in present else (None, None)
        assert (row["auc"], row["average_precision"]) == pytest.approx(known, abs=1e-12)
    assert found["confusion"] == oracle.confusion_matrix(truth, predicted, labels=range(classes)).tolist()
    columns = oracle.precision_recall_fscore_support(truth, predicted, labels=range(classes), zero_division=0)
    for i, row in enumerate(found["per_class"]):
        assert row["label"] == labels[i] and row["clips"] == columns[3][i]
        assert [row[n] for n in ("precision", "recall", "f1")] == pytest.approx([c[i] for c in columns[:3]], abs=1e-12)
    interval = binomtest(int((truth == predicted).sum()), len(truth)).proportion_ci(0.95, method="wilson")
    assert found["accuracy_interval"] == pytest.approx(list(interval), abs=1e-4)
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("seed", range(5))
def test_auc_with_ties_equals_scikit_learn(seed):
    random = np.random.default_rng(seed)
    truth, scores = random.random(50) < 0.4, random.integers(0, 4, 50) / 4
    assert auc(truth, scores) == pytest.approx(oracle.roc_auc_score(truth, scores), abs=1e-12)


@pytest.mark.parametrize(
    ("truth", "scores", "expected"),
    [
        ([0, 1], [0.1, 0.9], 1.0),
        ([0, 1], [0.9, 0.1], 0.0),
        ([0, 1], [0.5, 0.5], 0.5),
        ([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], 0.75),
        ([1, 0, 1], [0.5, 0.5, 0.9], 0.75),
    ],
)
def test_auc_by_hand(truth, scores, expected):
    assert auc(truth, scores) == expected


@pytest.mark.parametrize("truth", [[0, 0], [1, 1]])
def test_auc_of_one_class_alone_is_nan_and_left_out_of_the_mean(truth):
    assert math.isnan(auc(truth, [0.1, 0.2]))
    assert summarise([0, 0], [[0.9, 0.1], [0.2, 0.8]], ["a", "b"])["auc"] is None


def test_confusion_matrix_has_truth_in_rows():
    matrix = confusion_matrix([0, 0, 1, 2, 2, 2], [0, 1, 1, 0, 2, 2], 4)
    assert matrix.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [1, 0, 2, 0], [0, 0, 0, 0]]


def test_class_table_by_hand():
    rows = class_table(np.array([[1, 1, 0], [0, 0, 0], [0, 2, 0]]), ["a", "b", "c"])
    assert rows[0] == {"label": "a", "clips": 2, "precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3)}
    assert rows[1] == {"label": "b", "clips": 0, "precision": 0.0, "recall": 0.0, "f1": 0.0}
    assert rows[2] == {"label": "c", "clips": 2, "precision": 0.0, "recall": 0.0, "f1": 0.0}


def test_summary_by_hand():
    scores = [[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.2, 0.7, 0.1], [0.1, 0.5, 0.4]]
    found = summarise([0, 0, 1, 1], scores, ["a", "b", "c"])
    assert found["accuracy"] == 0.75
    # a: precision 1, recall 1/2; b: precision 2/3, recall 1; c does not occur
    assert found["macro_f1"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    # a: 0.8 and 0.3 above 0.2 and 0.1; b: 0.7 above both, 0.5 above 0.1 only
    assert found["auc"] == pytest.approx((1 + 3 / 4) / 2)


def test_wilson_interval_against_known_values_and_scipy():
    assert wilson_interval(8, 10) == pytest.approx((0.49016, 0.94331), abs=1e-5)
    for right, total in ((0, 5), (5, 5), (1, 1), (433, 500)):
        low, high = wilson_interval(right, total)
        expected = binomtest(right, total).proportion_ci(0.95, method="wilson")
        assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-4)
        assert 0 <= low <= right / total <= high <= 1
    assert wilson_interval(0, 0) == (0.0, 1.0)
    for total in range(1, 400):
        assert wilson_interval(total, total)[1] == 1 and wilson_interval(0, total)[0] == 0


def test_nothing_to_judge_and_broken_scores_are_errors():
    with pytest.raises(ValueError, match="no clips to judge"):
        summarise([], np.zeros((0, 2)), ["a", "b"])
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match="1 of 4 scores are not finite"):
            summarise([0, 1], [[0.5, bad], [0.5, 0.5]], ["a", "b"])


# ---------------------------------------------------------------------------------------------- average precision


@pytest.mark.parametrize("seed", range(8))
def test_average_precision_with_ties_equals_scikit_learn(seed):
    random = np.random.default_rng(seed)
    truth, scores = random.random(60) < 0.3, random.integers(0, [4, 60][seed % 2], 60) / 4
    assert average_precision(truth, scores) == pytest.approx(oracle.average_precision_score(truth, scores), abs=1e-12)
    assert average_precision(truth, scores.astype(np.float32)) == pytest.approx(oracle.average_precision_score(truth, scores), abs=1e-12)


@pytest.mark.parametrize(
    ("truth", "scores", "expected"),
    [
        ([1, 0], [0.9, 0.1], 1.0),
        ([1, 0], [0.1, 0.9], 0.5),
        ([1, 0], [0.5, 0.5], 0.5),  # claimed together: one of two is true
        ([1, 1], [0.2, 0.2], 1.0),
        ([1, 0, 1, 0], [0.9, 0.8, 0.7, 0.1], (1 + 2 / 3) / 2),
        ([0, 1, 1], [0.9, 0.9, 0.1], (1 / 2 + 2 / 3) / 2),
    ],
)
def test_average_precision_by_hand(truth, scores, expected):
    assert average_precision(truth, scores) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("truth", [[0, 0], []])
def test_average_precision_of_a_class_that_does_not_occur_is_nan(truth):
    assert math.isnan(average_precision(truth, [0.1, 0.2][: len(truth)]))


def test_ranking_by_hand_and_neighbouring_floats_are_not_ties():
    claimed, hits, at = ranking([1, 0, 1, 0], [0.5, 0.5, 0.9, 0.1])
    assert claimed.tolist() == [1, 3, 4] and hits.tolist() == [1, 2, 2] and at.tolist() == [0.9, 0.5, 0.1]
    assert len(ranking([1, 0], [0.1 + 0.2, 0.3])[0]) == 2
    assert [len(part) for part in ranking([], [])] == [0, 0, 0]


# ---------------------------------------------------------------------------------------------- several labels


@pytest.mark.parametrize(("seed", "missing", "decimals"), [(0, (), 6), (1, (2,), 6), (2, (0, 3), 1)])
def test_several_labels_equal_scikit_learn(seed, missing, decimals):
    random = np.random.default_rng(seed)
    truth = random.random((80, 4)) < 0.35
    truth[:, list(missing)] = False
    scores = np.clip(0.5 * truth + 0.7 * random.random((80, 4)), 0, 1).round(decimals)
    found, claimed = summarise(truth, scores, list("abcd"), threshold=0.6), scores >= 0.6
    present = [i for i in range(4) if i not in missing]
    assert found["multi_label"] and "confusion" not in found and found["threshold"] == 0.6
    assert found["accuracy"] == found["subset_accuracy"] == pytest.approx(oracle.accuracy_score(truth, claimed))
    f1 = oracle.f1_score(truth, claimed, average=None, zero_division=0)
    assert found["macro_f1"] == pytest.approx(f1[present].mean(), abs=1e-12)
    assert found["micro_f1"] == pytest.approx(oracle.f1_score(truth, claimed, average="micro"), abs=1e-12)
    assert found["auc"] == pytest.approx(np.mean([oracle.roc_auc_score(truth[:, i], scores[:, i]) for i in present]), abs=1e-12)
    precisions = [oracle.average_precision_score(truth[:, i], scores[:, i]) for i in present]
    assert found["map"] == pytest.approx(np.mean(precisions), abs=1e-12)
    columns = oracle.precision_recall_fscore_support(truth, claimed, zero_division=0)
    for i, row in enumerate(found["per_class"]):
        assert [row[n] for n in ("precision", "recall", "f1", "clips")] == pytest.approx([c[i] for c in columns], abs=1e-12)
    json.dumps(found, allow_nan=False)


def test_nothing_there_and_nothing_claimed_is_right():
    found = summarise(np.zeros((2, 2), int), [[0.1, 0.2], [0.1, 0.9]], ["a", "b"])
    assert found["accuracy"] == 0.5 and found["map"] is None and found["macro_f1"] is None and found["micro_f1"] == 0


def test_a_score_of_32_bits_reaches_its_threshold():
    scores = np.array([0.7, 0.8, 0.6999999], np.float32)
    assert reached(scores, 0.7).tolist() == [True, True, False]
    assert reached(np.array([0.7, 0.7 - 1e-16]), 0.7).tolist() == [True, False]
    assert summarise(np.array([[1, 0]]), np.array([[0.7, 0.1]], np.float32), ["a", "b"], threshold=0.7)["accuracy"] == 1


@pytest.mark.parametrize(
    ("truth", "shape"), [([0, 2], (2, 2)), ([-1, 0], (2, 2)), ([[0, 2]], (1, 2)), ([[0, 1, 1]], (1, 2)), ([0, 1], (3, 2)), ([0, 1], (2, 3))]
)
def test_shapes_that_disagree_are_errors(truth, shape):
    with pytest.raises(ValueError, match="shape"):
        summarise(truth, np.full(shape, 0.5), ["a", "b"])


def test_membership_of_numbers_and_of_tables():
    assert membership([1, 0], 3).tolist() == [[False, True, False], [True, False, False]]
    assert membership([[1, 0], [1, 1]], 2).tolist() == [[True, False], [True, True]]
