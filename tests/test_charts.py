"""Curves between axes: values stand where they should, what is not known is left out."""

import re

import pytest

from asm_rh.charts import Axis, Series, chart, even_ticks


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 7, [0, 2, 4, 6]),
        (0.25, 1, [0.4, 0.6, 0.8, 1]),
        (0, 1234, [0, 500, 1000]),
        (0, 0.5, [0, 0.1, 0.2, 0.3, 0.4, 0.5]),
    ],
)
def test_ticks_are_round_and_few(low, high, expected):
    assert even_ticks(low, high) == pytest.approx(expected)


def test_places_on_linear_and_stretched_axes():
    assert [Axis("", 2, 4).place(v) for v in (1, 2, 3, 4, 9)] == [0, 0, 0.5, 1, 1]
    wide = Axis("", 0, 999, stretched=True)
    assert wide.place(0) == 0 and wide.place(999) == 1 and wide.place(9) == pytest.approx(1 / 3)
    assert wide.ticks() == [0, 1, 10, 100] and Axis("", 0, 1000, stretched=True).ticks()[-1] == 1000


def test_points_intervals_and_lines_are_drawn_where_they_belong():
    series = Series("share", [(0.0, 0.5), (0.5, None), (1.0, 1.0)], "c1 dash", [(0.25, 0.75), None, (0.5, 1.0)])
    text = chart([series], Axis("score"), Axis("right"), "words", ((0, 0), (1, 1), "as it should be"), (0.8, "in use"))
    assert 'd="M0 500L1000 0"' in text, "the curve leaves out what is not known"
    assert 'd="M0.0 500.0h0M1000.0 0.0h0"' in text
    assert 'd="M0.0 750.0V250.0M1000.0 500.0V0.0"' in text
    assert 'd="M0.0 1000.0L1000.0 0.0"' in text and 'd="M800.0 0V1000"' in text
    assert re.findall(r'role="img" aria-label="([^"]*)"', text) == ["words"]
    assert [f">{words}<" in text for words in ("share", "as it should be", "in use", "score →", "↑ right")] == [True] * 5


def test_points_alone_have_no_curve():
    text = chart([Series("a", [(0, 0), (1, 1)], joined=False)], Axis("x"), Axis("y"), "")
    assert "curve" not in text and "h0" in text
    assert "curve" not in chart([Series("a", [(0, None), (1, 1)])], Axis("x"), Axis("y"), "")
