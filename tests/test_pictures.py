"""Pictures: colours, paths, ticks, reductions, and the HTML around them."""

import base64
import io
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from app import timeline
from app.overview import Overview, PeakColumns
from asm_rh import pictures
from asm_rh.scores import Event, WindowScores

ROOT = Path(__file__).resolve().parents[1]


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def test_pictures_know_neither_the_page_nor_the_model():
    code = (
        "import sys, asm_rh.pictures, asm_rh.markup, asm_rh.words, app.timeline, app.text\n"
        "assert not {'gradio', 'torch', 'matplotlib'} & set(sys.modules), 'imported'"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize("name", ["magma", "viridis"])
def test_tables_grow_lighter_from_end_to_end(name):
    light = pictures.colour_table(name) @ np.array([0.2126, 0.7152, 0.0722])
    assert pictures.colour_table(name).shape == (256, 3)
    assert (np.diff(light) > -0.75).all() and light[-1] - light[0] > 150


def test_signed_table_is_blue_below_and_red_above_a_neutral_middle():
    table = pictures.colour_table("signed").astype(int)
    middle = table[127:129].mean(0)
    assert np.ptp(middle) < 8 and middle.min() > 230
    assert table[0, 2] > table[0, 0] + 60 and table[-1, 0] > table[-1, 2] + 60


def test_heat_png_has_row_0_at_the_bottom_and_clips():
    picture = pixels(pictures.heat_png(np.array([[0.0, 1.0, 2.0], [-5.0, 0.5, 1.0]]), 0, 1, "viridis"))
    table = pictures.colour_table("viridis").astype(int)
    assert picture.shape == (2, 3, 3)
    assert (picture[1, 0] == table[0]).all() and (picture[1, 1] == table[255]).all()
    assert (picture[1, 2] == table[255]).all() and (picture[0, 0] == table[0]).all()


def test_heat_png_of_equal_values_and_of_none():
    assert pixels(pictures.heat_png(np.zeros((2, 2)), 0, 0)).std() < 60
    with pytest.raises(ValueError, match=r"\(0, 3\)"):
        pictures.heat_png(np.zeros((0, 3)), 0, 1)


def test_limits_are_shared_and_signed_ones_even():
    assert pictures.limits(np.array([1.0, 2]), np.array([-3.0, 0])) == (-3, 2)
    assert pictures.even_limits(np.array([-0.2, 0.1])) == (-0.2, 0.2)
    assert pictures.even_limits(np.zeros(3)) == (-1, 1)


def test_paths():
    assert pictures.line_path(np.array([0, 0.5, 1]), np.array([0, 1, 0.25])) == "M0 1000L500 0L1000 750"
    path = pictures.envelope_path(np.array([0, 1]), np.array([0, 0.1]), np.array([1, 0.9]))
    assert path == "M0 0L1000 100L1000 900L0 1000Z"


@pytest.mark.parametrize("count", [1, 5, 1600, 1601, 20_000])
def test_peak_pool_keeps_every_peak(count):
    values = np.random.default_rng(0).random((count, 3))
    pooled, step = pictures.peak_pool(values, 1600)
    assert len(pooled) <= 1600 and (pooled.max(0) == values.max(0)).all()
    assert all((pooled[i // step] >= values[i]).all() for i in range(count))


@pytest.mark.parametrize("seconds", [0.03, 1.0, 4.11, 59.9, 61, 600, 7200])
def test_ticks_are_few_round_and_inside(seconds):
    places = pictures.ticks(0, seconds)
    steps = np.diff(places)
    assert places[0] == 0 and places[-1] <= seconds + 1e-9 and 2 <= len(places) <= 9
    assert np.allclose(steps, steps[0])


def test_spread_keeps_order_and_gap():
    moved = pictures.spread([100, 100, 99, 5], 17, 8, 180)
    assert sorted(range(4), key=moved.__getitem__) == [3, 2, 0, 1]
    assert min(np.diff(sorted(moved))) >= 17 - 1e-9 and min(moved) >= 8 and max(moved) <= 180
    assert max(pictures.spread([180] * 5, 17, 8, 180)) == 180


def test_stack_rows_never_overlap():
    spans = [(0, 1), (0.5, 2), (1, 3), (1.5, 2.5), (3, 4)]
    rows = pictures.stack_rows(spans)
    assert rows == [0, 1, 0, 2, 0]


def test_packed_is_read_back():
    values = np.array([0.25, 1.5])
    assert np.frombuffer(base64.b64decode(pictures.packed(values, "<f4")), "<f4").tolist() == [0.25, 1.5]


@pytest.mark.parametrize("sizes", [[5], [16], [17], [40, 1, 200], [1] * 33, [1000]])
def test_peak_columns_equal_the_maxima_of_equal_steps(sizes):
    rows = np.random.default_rng(0).standard_normal((sum(sizes), 2)).astype(np.float32)
    columns, at = PeakColumns(2, 16), 0
    for size in sizes:
        columns.add(rows[at : at + size])
        at += size
    got = columns.columns()
    expected = [rows[i : i + columns.step].max(0) for i in range(0, len(rows), columns.step)]
    assert len(got) <= 16 and np.array_equal(got, np.array(expected))
    assert columns.step == 1 or len(rows) > 8 * columns.step


# ---------------------------------------------------------------------------------------------- the time axis


def sound(labels=("yes", "no", "_silence_"), count=4, seconds=2.0):
    """An Overview and WindowScores of two seconds with "yes" in the second half."""
    start = np.arange(count) * 0.25
    scores = np.full((count, len(labels)), 0.1, np.float32)
    scores[-2:, 0] = 0.9
    bands = np.random.default_rng(0).standard_normal((200, 8)).astype(np.float32)
    envelope = np.tile(np.array([[-0.5, 0.5]], np.float32), (200, 1))
    overview = Overview(seconds, 16000, envelope, 0.01, bands, 0.01, 0.0075)
    return overview, WindowScores(start, start + 1, scores, labels, background=("_silence_",))


HZ = [100.0, 300, 600, 1000, 2000, 3000, 5000, 7000]


def test_curves_fold_the_rest_into_one():
    scores = np.array([[0.1, 0.9, 0.3, 0.2], [0.2, 0.1, 0.4, 0.6]], np.float32)
    window_scores = WindowScores([0, 0.5], [1, 1.5], scores, ("a", "b", "_silence_", "d"), background=("_silence_",))
    drawn = timeline.curves(window_scores, 2)
    assert drawn.names == ["b", "d", "2 others"] and drawn.background == [False, False, True]
    assert np.array_equal(drawn.scores[:, 2], np.float32([0.3, 0.4])) and drawn.centres.tolist() == [0.5, 1.0]


def test_every_class_is_drawn_where_there_are_few():
    assert timeline.curves(sound()[1]).names == ["yes", "no", "silence"]


def test_timeline_holds_events_and_escapes_names():
    overview, scores = sound(labels=('<img src=x onerror="a">', "no", "_silence_"))
    events = scores.events(0.5)
    html = timeline.render(overview, scores, events, 0.5, HZ, 1.0, 'file="<x>', 1.0)
    assert "<img src=x" not in html and '"<x>' not in html
    assert html.count('class="flag"') == 1 and f'data-seek="{events[0].peak:.4f}"' in html


def test_many_events_become_marks():
    overview, _ = sound()
    events = [Event("yes", i / 100, i / 100 + 0.01, 0.9, i / 100) for i in range(timeline.FLAGS + 1)]
    html = timeline.flag_lane(events, overview.seconds)
    assert "<button" not in html and html.count("<path") == len(events) and f"{len(events)} events" in html


def test_silence_and_a_sound_too_short_to_draw():
    overview, scores = sound()
    quiet = SimpleNamespace(**{**vars(overview), "envelope": np.zeros((3, 2)), "bands": np.zeros((0, 0)), "peak": 0.0})
    html = timeline.render(quiet, scores, [], 0.5, HZ, 0.0, "x", 1.0)
    assert "digital silence" in html and "too short" in html and "No event" in html and "nan" not in html
