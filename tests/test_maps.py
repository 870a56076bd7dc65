"""Maps as HTML: colours, axes, hidden numbers and tables say the same."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from asm_rh import maps
from asm_rh.config import preset
from asm_rh.insight import Mixing, TokenMaps, patch_grid

GRID = patch_grid(preset("asm-rh-keywords"))
PLACE = maps.Place(GRID, 2.0)


def random_maps(seed=0):
    random = np.random.default_rng(seed)
    return TokenMaps(random.random((4, 12)) + 1, random.random((4, 12)) + 1)


def pictures_of(html):
    found = re.findall(r'<img class="cells"[^>]*src="data:image/png;base64,([^"]+)"', html)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")).astype(int) for png in found]


def cells_of(html):
    return [np.frombuffer(base64.b64decode(text), "<f4") for text in re.findall(r'data-cells="([^"]+)"', html)]


def test_the_grid_of_the_keyword_weights_is_four_by_twelve():
    assert (GRID.rows, GRID.columns) == (4, 12)


def test_before_and_after_share_their_colours():
    before, after = np.ones((4, 12)), np.ones((4, 12))
    before[0, 0], after[3, 11] = 2.0, 9.0
    html = maps.before_and_after(TokenMaps(before, after), PLACE, ("before", "after"))
    drawn = pictures_of(html)
    assert len(drawn) == 3 and drawn[0].shape == (4, 12, 3)
    assert (drawn[0][0, 5] == drawn[1][0, 5]).all(), "the same value has the same colour"
    assert (drawn[0][3, 0] != drawn[1][0, 11]).any(), "2 and 9 have not"
    assert html.count(">9.00<") == html.count(">1.00<") == 2, "one pair of limits beside both"


def test_the_hidden_numbers_are_the_maps():
    found = random_maps()
    hidden = cells_of(maps.before_and_after(found, PLACE, ("before", "after")))
    for numbers, values in zip(hidden, (found.before, found.after, found.change), strict=True):
        np.testing.assert_allclose(numbers.reshape(4, 12), values, rtol=1e-6)


def test_an_input_map_is_cut_to_the_cells_and_pooled():
    cells = np.random.default_rng(1).random((104, 40))
    html = maps.input_map("x", cells, (0, 1), "magma", PLACE, "energy")
    frames, bands = GRID.cover
    assert (frames, bands) == (slice(4, 100), slice(4, 36))
    loops = [[np.mean([cells[4 + 8 * c + i, 4 + 8 * r + j] for i in range(8) for j in range(8)]) for c in range(12)] for r in range(4)]
    np.testing.assert_allclose(cells_of(html)[0].reshape(4, 12), loops, rtol=1e-5)


def test_axes_are_in_hertz_and_seconds_of_the_sound():
    html = maps.patch_map("x", np.ones((4, 12)), (0, 1), "viridis", PLACE)
    assert [f"{hz / 1000:.1f} kHz" if hz >= 1000 else f"{hz:.0f} Hz" for hz in GRID.hz] == re.findall(r"([\d.]+ k?Hz)</span>", html)
    ticks = re.findall(r'tl-tick" style="left:[\d.]+%">([\d.]+)', html)
    assert [float(tick) for tick in ticks] == pytest.approx([2 + GRID.ms[c] / 1000 for c in (0, 5, 11)], abs=0.005)


def test_the_table_holds_the_same_numbers():
    found = random_maps()
    html = maps.map_table("numbers", PLACE, "band", found.before, found.after)
    rows = re.findall(r"<tr><th scope=\"row\">.*?</tr>", html)
    assert len(rows) == 4, "the highest band on top"
    for row, words in zip((3, 2, 1, 0), rows, strict=True):
        pairs = re.findall(r"<td>([\d.]+) → ([\d.]+)</td>", words)
        np.testing.assert_allclose(np.array(pairs, float), np.stack([found.before[row], found.after[row]], 1), atol=0.005)


def mixing_of(transformed=True):
    random = np.random.default_rng(2)
    return Mixing(random.random(8) + 0.1, random.random(8) + 0.1, random.random((48, 48)), (4, 12), transformed)


def test_from_to_maps_are_percent_of_all_that_was_sent():
    mixed = mixing_of()
    time, band = cells_of(maps.sent_maps(mixed, PLACE))
    assert time.sum() == pytest.approx(100, abs=1e-3) and band.sum() == pytest.approx(100, abs=1e-3)
    np.testing.assert_allclose(time.reshape(12, 12), 100 * mixed.time_to_time / mixed.from_to.sum(), rtol=1e-5)
    assert "to 2.00 s" not in maps.sent_table("x", mixed.band_to_band, ["low", "b", "c", "high"])


@pytest.mark.parametrize(("transformed", "word"), [(True, "Hermitian bin"), (False, "feature")])
def test_the_profile_is_never_called_hz(transformed, word):
    html = maps.bin_profiles(mixing_of(transformed)) + maps.bin_table(mixing_of(transformed))
    assert "Hz" not in html and f"per {word}" in html


def test_the_gain_in_the_table_is_after_over_before():
    mixed = mixing_of()
    rows = re.findall(r'<th scope="row">(\d)</th><td>([\d.e+-]+)</td><td>([\d.e+-]+)</td><td>([^<]+)</td>', maps.bin_table(mixed))
    for number, before, after, gain in rows:
        assert float(gain.replace("−", "-").replace("±", "")) == pytest.approx(10 * np.log10(float(after) / float(before)), abs=0.01)
        assert float(before) == pytest.approx(mixed.before[int(number)], rel=1e-3)
    assert len(rows) == 8


def test_numbers_have_a_real_minus_and_no_minus_zero():
    assert (maps.plain(-1.5), maps.plain(-0.001), maps.plain(2.0, 0)) == ("−1.50", "0.00", "2")
