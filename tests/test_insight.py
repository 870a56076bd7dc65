"""What the look inside says, against loops, unit pushes, finite differences and the model itself."""

import numpy as np
import pytest
import torch

from asm_rh import insight, signals
from asm_rh.activations import record, taps
from asm_rh.config import FrontendConfig, ModelConfig
from asm_rh.model import AudioMixer

SIZES = dict(
    labels=("a", "b", "c"), window_seconds=1.0, frames=112, patch=(16, 16), stride=(16, 8), width=64, depth=4, token_hidden=24,
    channel_hidden=48, frontend=FrontendConfig(bands=64),
)  # fmt: skip


def random_model(roll="grid", kind="asm-rh", seed=0, **changes):
    torch.manual_seed(seed)
    return AudioMixer(ModelConfig(**{**SIZES, "roll": roll, "kind": kind, **changes})).eval()


def wave_of(seed=0):
    return torch.from_numpy(signals.BACKGROUNDS["music"](np.random.default_rng(seed), 1.0)).float()[None]


def reach(model):
    return insight.reach([insight.roll_map(model, block) for block in range(4)], insight.patch_grid(model.config))


def seen(model, wave):
    with torch.no_grad(), record(model, taps(model)) as tensors:
        model(wave)
    return tensors


# ---------------------------------------------------------------------------------------------- where patches lie


def test_patches_have_the_times_of_their_frames():
    grid = insight.patch_grid(random_model().config)
    assert (grid.rows, grid.columns) == (4, 13) and grid.column_ms == pytest.approx(80)
    assert grid.ms[0] == pytest.approx(12.5 + 75), "frames 0 to 15 start every 10 ms and last 25"
    assert (np.diff(grid.hz) > 0).all() and grid.hz[0] < 1000 < grid.hz[-1] < 8000


# ---------------------------------------------------------------------------------------------- RollBlock


@pytest.mark.parametrize("roll", ["grid", "paper", "off"])
def test_the_map_says_exactly_what_the_block_does(roll):
    model = random_model(roll)
    tensors = seen(model, wave_of())
    for block in range(4):
        found = insight.roll_map(model, block)
        before, after = (tensors[f"blocks.{block}.roll.{end}"][0].numpy() for end in ("in", "out"))
        np.testing.assert_array_equal(found.apply(before), after)
        assert sorted((found.token * 64 + found.feature).ravel()) == list(range(52 * 64)), "each place once"


@pytest.mark.parametrize("roll", ["grid", "paper"])
def test_a_click_is_where_the_maps_say_after_every_block(roll):
    model = random_model(roll)
    grid = insight.patch_grid(model.config)
    column = int(np.abs(grid.ms - 500).argmin())
    x = torch.zeros(1, 52, 64)
    x[0, column :: grid.columns] = torch.arange(1, 65.0)  # every band at the click's time, features told apart
    predicted = x[0].numpy()
    for block in range(4):
        x = model.blocks[block].roll.move(x)
        predicted = insight.roll_map(model, block).apply(predicted)
        np.testing.assert_array_equal(x[0].numpy(), predicted)
        held = {t % grid.columns for t in np.flatnonzero(predicted.any(1))}
        furthest = reach(model)[block][0]
        if roll == "grid":
            assert all(min(abs(c - column), grid.columns - abs(c - column)) <= furthest for c in held)
    assert len(held) > 1, "or nothing moved"


def test_the_click_of_a_real_wave_is_found_where_the_map_says():
    model = random_model("grid")
    wave = torch.from_numpy(signals.click(1.0, 0.5) if signals.click.__code__.co_argcount >= 2 else signals.click()).float()[None]
    tensors = seen(model, wave)
    quiet = seen(model, torch.zeros_like(wave))
    energy = (tensors["patches"] - quiet["patches"])[0].square().sum(1).reshape(4, 13).sum(0).numpy()
    grid = insight.patch_grid(model.config)
    assert abs(grid.ms[energy.argmax()] - 500) <= grid.column_ms


def test_grid_moves_by_hand():
    model = random_model("grid")
    found = insight.roll_map(model, 0)  # step 4: one patch of time, four groups of four features each way
    ways = {(t, b): share for t, b, share in found.moves()}
    inside = {(1, 0): 12 / 13, (-1, 0): 12 / 13, (0, 1): 3 / 4, (0, -1): 3 / 4}
    assert ways == {way: pytest.approx(share / 4) for way, share in inside.items()}
    assert found.moved_share == 1.0 and found.rotated_share == 0.0
    assert found.wrapped.mean() == pytest.approx((1 / 13 + 1 / 13 + 1 / 4 + 1 / 4) / 4)


def test_in_the_papers_reading_some_features_only_turn_inside_their_token():
    first, last = (insight.roll_map(random_model("paper"), block) for block in (0, 3))
    assert (first.rotated_share, first.moved_share) == (1.0, 0.0), "16 groups of the first block all turn along the features"
    # Block 3 rolls groups 8 to 15, of 13 quarters of tokens each, by one quarter: a feature moves where that leaves its token.
    quarters = [(13 * c + q, 13 * c + (q - 1) % 13) for c in range(8, 12) for q in range(13)]
    quarters += [(13 * c + q, 13 * c + (q + 1) % 13) for c in range(12, 16) for q in range(13)]
    moved = sum(here // 4 != there // 4 for here, there in quarters) / 208
    assert (last.moved_share, last.rotated_share) == (pytest.approx(moved), pytest.approx(1 - moved))
    off = insight.roll_map(random_model("off"), 0)
    assert off.moved_share == off.rotated_share == 0 and not off.wrapped.any() and off.moves() == [(0, 0, 1.0)]


def test_wrapped_energy_is_that_of_what_lies_behind_the_edge():
    found = insight.roll_map(random_model("grid"), 0)
    x = np.zeros((52, 64))
    x[found.wrapped] = 1.0
    assert found.wrapped_energy(x) == 1.0 and found.wrapped_energy(np.where(found.wrapped, 0, 2.0)) == 0.0
    assert found.wrapped_energy(np.ones((52, 64))) == pytest.approx(found.wrapped.mean())


def test_the_roll_moves_energy_and_loses_none():
    model = random_model()
    tensors = seen(model, wave_of())
    for block in range(4):
        maps = insight.token_maps(tensors, f"blocks.{block}.roll", model.config.grid)
        rms = [[float(tensors[f"blocks.{block}.roll.in"][0, r * 13 + c].square().mean().sqrt()) for c in range(13)] for r in range(4)]
        np.testing.assert_allclose(maps.before, rms, rtol=1e-5)
        assert np.square(maps.before).sum() == pytest.approx(np.square(maps.after).sum(), rel=1e-5)
        assert maps.relative == pytest.approx(np.sqrt(np.square(maps.change).sum() / np.square(maps.before).sum())) and maps.relative > 0


def test_reach_adds_up():
    found = reach(random_model("grid"))
    assert found == [(1, 1), (2, 2), (3, 3), (4, 3)], "one patch a block, and no further than the grid"


# ---------------------------------------------------------------------------------------------- frequency mixing


def test_the_transform_keeps_the_energy_of_the_even_extension():
    model = random_model()
    tensors = seen(model, wave_of())
    for block in range(4):
        before, after = (tensors[f"blocks.{block}.hermit.{name}"][0].numpy() for name in ("in", "spectrum"))
        np.testing.assert_allclose(insight.even_energy(after), insight.even_energy(before), rtol=1e-4)
        back, out = (tensors[f"blocks.{block}.hermit.{name}"][0].numpy() for name in ("mixed", "out"))
        np.testing.assert_allclose(insight.even_energy(out), insight.even_energy(back), rtol=1e-4)


def test_even_energy_by_hand():
    assert insight.even_energy([1.0, 2.0, 3.0]) == 1 + 2 * 4 + 9


def test_from_to_equals_unit_tokens_pushed_through():
    model = random_model(width=16, depth=1)
    tensors = seen(model, wave_of())
    found = insight.mixing(model, 0, tensors)
    mlp, spectrum = model.blocks[0].hermit.mlp.double(), tensors["blocks.0.hermit.spectrum"][0].double()
    pushed = np.zeros((52, 52))
    with torch.no_grad():
        for token in range(52):
            unit, step = torch.zeros(52, 16, dtype=torch.float64), 1e-5
            unit[token] = step * spectrum[token]
            up, down = (mlp((spectrum + sign * unit).T).T for sign in (1, -1))
            pushed[:, token] = ((up - down) / (2 * step)).square().sum(1).numpy()
    np.testing.assert_allclose(found.from_to, pushed, rtol=2e-3, atol=1e-9)
    assert 0 < found.moved_share < 1


def test_sums_over_the_grid_close():
    found = insight.mixing(random_model(), 1, seen(random_model(), wave_of()))
    assert found.time_to_time.shape == (13, 13) and found.band_to_band.shape == (4, 4)
    total = found.from_to.sum()
    assert found.time_to_time.sum() == pytest.approx(total) == found.band_to_band.sum()
    loops = np.zeros((13, 13))
    for i in range(52):
        for j in range(52):
            loops[i % 13, j % 13] += found.from_to[i, j]
    np.testing.assert_allclose(found.time_to_time, loops)


def test_gain_per_bin_by_hand():
    found = insight.Mixing(np.array([1.0, 10.0]), np.array([10.0, 1.0]), np.eye(2), (1, 2))
    np.testing.assert_allclose(found.gain_db, [10, -10])
    assert found.moved_share == 0
    assert insight.Mixing(np.ones(4), np.array([3.0, 1, 1, 1]), np.eye(2), (1, 2)).half_bins == (2, 1)


# ---------------------------------------------------------------------------------------------- sizes


def test_size_of_a_change_by_hand():
    assert insight.change_of([3.0, 4.0], [3.0, 4.0]) == (0.0, pytest.approx(1.0))
    ratio, cosine = insight.change_of([1.0, 0.0], [0.0, 1.0])
    assert ratio == pytest.approx(2**0.5) and cosine == 0.0
