"""Changes to training clips: each against energies, frames and bands worked out by hand or in float64."""

import math

import numpy as np
import pytest
import torch

from asm_rh.augment import AugmentConfig, add_noise, augment, change_gain, mask, mixup, warp

FLOOR = math.log(2.0**-23)
OFF = AugmentConfig(
    gain_db=0, shift_frames=0, stretch=0, warp=0, noise_probability=0, time_masks=0, band_masks=0, mixup_probability=0
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def clips(batch=6, frames=50, bands=20, seed=1, level=-6.0):
    return torch.randn(batch, frames, bands, generator=seeded(seed)) * 2 + level


def energy(log_mel):
    """Energies in float64."""
    return np.exp(log_mel.double().numpy())


def only(**changes):
    """Everything off but what is named."""
    return AugmentConfig(**{**OFF.__dict__, **changes})


# ---------------------------------------------------------------------------------------------- gain


def test_gain_adds_one_number_per_clip_within_its_limit():
    features = clips(200, level=5.0)
    changed = change_gain(features, 20.0, seeded())
    gain = (changed - features).double().numpy()
    assert np.ptp(gain.reshape(200, -1), axis=1).max() < 5e-6, "one number for a whole clip"
    gain_db = gain.mean((1, 2)) * 10 / math.log(10)
    assert np.abs(gain_db).max() <= 20 and gain_db.min() < -18 and gain_db.max() > 18
    assert abs(gain_db.mean()) < 3 and len(set(gain_db.round(6))) == 200


def test_gain_is_drawn_as_plus_minus_the_limit_in_natural_units():
    drawn = 2 * torch.rand(3, generator=seeded(5)).double() - 1
    expected = clips(3).double() + (drawn * 12.0 * math.log(10) / 10)[:, None, None]
    np.testing.assert_allclose(change_gain(clips(3), 12.0, seeded(5)), expected, atol=2e-6)


def test_gain_stops_at_the_floor():
    features = torch.full((100, 4, 4), FLOOR + 1.0)
    changed = change_gain(features, 20.0, seeded())
    assert changed.min().item() == pytest.approx(FLOOR, abs=1e-6)
    raised = changed[:, 0, 0] > FLOOR + 1.0
    assert raised.any() and not raised.all()


def test_gain_of_zero_changes_nothing_even_below_the_floor():
    features = torch.full((2, 3, 4), -20.0)
    assert torch.equal(change_gain(features, 0.0, seeded()), features)


# ---------------------------------------------------------------------------------------------- noise


def added_snr_db(features, noise, noisy):
    """Mean energy of the clip over mean energy of what was added, in dB."""
    clean = energy(features).mean((1, 2))
    return 10 * np.log10(clean / (energy(noisy) - energy(features)).mean((1, 2)))


def test_added_noise_has_the_drawn_signal_to_noise_ratio():
    features, noise = clips(40), clips(40, seed=2, level=3.0)
    config = only(noise_probability=1.0, snr_low_db=-5.0, snr_high_db=15.0)
    noisy = add_noise(features, noise, config, seeded(9))
    drawn = -5.0 + 20.0 * torch.rand(40, generator=seeded(9)).double().numpy()
    np.testing.assert_allclose(added_snr_db(features, noise, noisy), drawn, atol=0.01)
    assert drawn.min() < -3 and drawn.max() > 13


def test_added_noise_has_the_shape_of_the_noise():
    features, noise = clips(3), clips(3, seed=2)
    noisy = add_noise(features, noise, only(noise_probability=1.0, snr_low_db=-5.0, snr_high_db=-5.0), seeded())
    ratio = (energy(noisy) - energy(features)) / energy(noise)
    np.testing.assert_allclose(ratio / ratio.mean((1, 2), keepdims=True), 1, rtol=1e-2)


def test_noise_comes_to_its_share_of_the_clips_and_leaves_the_others_exactly():
    features, noise = clips(400, 8, 4), clips(400, 8, 4, seed=2)
    noisy = add_noise(features, noise, only(noise_probability=0.25), seeded())
    changed = (noisy != features).flatten(1).any(1)
    assert 70 < int(changed.sum()) < 130
    assert torch.equal(noisy[~changed], features[~changed])


# ---------------------------------------------------------------------------------------------- mask


@pytest.mark.parametrize("axis", [1, 2])
def test_mask_hides_stripes_and_fills_them_with_the_clips_mean(axis):
    features = clips(300, 40, 30)
    masked = mask(features, axis, 2, 0.2, seeded())
    hidden = masked != features
    stripes = hidden.all(3 - axis)
    assert torch.equal(stripes.unsqueeze(3 - axis).expand_as(hidden), hidden), "whole stripes or nothing"
    means = features.double().mean((1, 2))[:, None, None].expand_as(features)
    np.testing.assert_allclose(masked[hidden], means[hidden], atol=1e-5)
    width = stripes.sum(1)
    most = 2 * round(0.2 * features.shape[axis])
    assert width.max() == most and width.min() == 0, "two stripes, each of 0 to a fifth of the axis in whole cells"
    assert stripes.any(0).all(), "no place is safe from being hidden"
    assert len({tuple(row.tolist()) for row in stripes}) > 200


def test_one_stripe_lies_where_the_generator_says():
    draws = seeded(3)
    length, place = (torch.rand(5, 1, 1, generator=draws).flatten().tolist() for _ in range(2))
    stripes = (mask(clips(5, 60, 4), 1, 1, 1 / 6, seeded(3)) != clips(5, 60, 4)).all(2)
    sizes = [math.floor(share * 11) for share in length]  # 0 to 10 cells, a sixth of 60
    assert sum(size >= 1 for size in sizes) >= 3, "or the draws prove nothing"
    for row, size, share in zip(stripes, sizes, place):
        first = math.floor(share * (61 - size))
        assert row.nonzero().flatten().tolist() == list(range(first, first + size))


def test_stripe_as_wide_as_the_picture_may_hide_all_of_it():
    hidden = mask(clips(300, 6, 4), 1, 1, 1.0, seeded()) != clips(300, 6, 4)
    assert hidden.flatten(1).all(1).any() and not hidden.flatten(1).any(1).all()


# ---------------------------------------------------------------------------------------------- warp


def test_warp_without_settings_is_identity():
    assert torch.equal(warp(clips(), OFF, seeded()), clips())


class Fixed:
    """Stands in for torch.rand inside the module: the drawn shares, one call after the other."""

    def __init__(self, monkeypatch, *values):
        self.values = list(values)
        monkeypatch.setattr("asm_rh.augment.torch.rand", self)

    def __call__(self, count, generator=None):
        return torch.full((count,), self.values.pop(0))


def click(frames=40, bands=8, at=20):
    features = torch.full((1, frames, bands), -10.0)
    features[0, at] = 5.0
    return features


@pytest.mark.parametrize(("share", "moved"), [(0.5, 0), (1.0, -6), (0.0, 6), (0.75, -3)])
def test_pure_shift_moves_a_click_by_that_many_frames(monkeypatch, share, moved):
    Fixed(monkeypatch, 0.5, 0.5, share)
    shifted = warp(click(), only(shift_frames=6.0), seeded())
    expected = click(at=20 + moved)
    np.testing.assert_allclose(shifted, expected, atol=1e-4)


def test_shift_repeats_the_edge_frame(monkeypatch):
    features = clips(1, 30, 4)
    Fixed(monkeypatch, 0.5, 0.5, 0.0)
    shifted = warp(features, only(shift_frames=5.0), seeded())
    np.testing.assert_allclose(shifted[:, :5], features[:, :1].expand(1, 5, 4), atol=1e-4)
    np.testing.assert_allclose(shifted[:, 5:], features[:, :-5], atol=1e-4)


def test_drawn_shifts_stay_within_the_limit_and_differ_by_clip():
    batch = click().expand(300, -1, -1).clone()
    shifted = warp(batch, only(shift_frames=7.0), seeded())
    weights = (shifted[:, :, 0] + 10).double()
    place = (weights * torch.arange(40)).sum(1) / weights.sum(1)
    assert (place - 20).abs().max() <= 7.001 and (place - 20).abs().max() > 6.5
    assert len(set(place.round(decimals=4).tolist())) > 290


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_stretch_of_time_is_about_the_centre_and_equals_float64_interpolation(monkeypatch, share):
    features = clips(1, 30, 4)
    Fixed(monkeypatch, 0.5, share, 0.5)
    stretched = warp(features, only(stretch=0.2), seeded())
    scale = 1 + (2 * share - 1) * 0.2
    source = (np.arange(30) - 14.5) * scale + 14.5
    expected = np.stack([np.interp(source, np.arange(30), features[0, :, b].double()) for b in range(4)], 1)
    np.testing.assert_allclose(stretched[0], expected, atol=1e-4)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_stretch_of_the_mel_axis_is_from_its_low_end(monkeypatch, share):
    features = clips(1, 5, 32)
    Fixed(monkeypatch, share, 0.5, 0.5)
    stretched = warp(features, only(warp=0.1), seeded())
    scale = 1 + (2 * share - 1) * 0.1
    source = (np.arange(32) + 0.5) * scale - 0.5
    expected = np.stack([np.interp(source, np.arange(32), features[0, t].double()) for t in range(5)])
    np.testing.assert_allclose(stretched[0], expected, atol=1e-4)


# ---------------------------------------------------------------------------------------------- mixup


def targets_of(batch):
    return torch.eye(batch)


def test_mixup_mixes_energies_and_targets_by_the_same_share():
    features, config = clips(8, 6, 5), only(mixup_probability=1.0, mixup_alpha=0.4)
    mixed, targets = mixup(features, targets_of(8), config, seeded(4))
    assert not torch.equal(mixed, features)
    for i in range(8):
        own = targets[i, i].double().item()
        assert own >= 0.5
        others = [j for j in range(8) if j != i and targets[i, j] > 0]
        assert len(others) <= 1
        expected = own * energy(features)[i] + sum((1 - own) * energy(features)[j] for j in others)
        if others:
            np.testing.assert_allclose(energy(mixed)[i], expected, rtol=1e-4)
            assert targets[i, others[0]].item() == pytest.approx(1 - own, abs=1e-6)
        else:
            np.testing.assert_allclose(mixed[i], features[i], atol=1e-5)
    np.testing.assert_allclose(targets.sum(1), 1, atol=1e-6)


def test_mixup_leaves_the_clips_it_does_not_choose_exactly_as_they_were():
    features = clips(200, 4, 4)
    features[::2] = -15.9  # silence beside loud clips: even a billionth of their energy would be heard
    features[1::2] = 15.0
    mixed, targets = mixup(features, targets_of(200), only(mixup_probability=0.3), seeded())
    left = targets.diagonal() == 1
    assert 90 < int(left.sum()) < 180
    assert torch.equal(mixed[left], features[left])


def test_mixup_off_returns_what_it_was_given():
    features, targets = clips(), targets_of(6)
    mixed, shares = mixup(features, targets, OFF, seeded())
    assert mixed is features and shares is targets


def test_mixup_share_follows_its_beta_distribution():
    from scipy import stats

    _, targets = mixup(clips(3000, 1, 1), torch.eye(3000), only(mixup_probability=1.0, mixup_alpha=0.4), seeded())
    own = targets.diagonal().double().numpy()
    folded = stats.kstest(own, lambda x: 2 * stats.beta.cdf(x, 0.4, 0.4) - 1)
    assert folded.pvalue > 0.001


# ---------------------------------------------------------------------------------------------- all together


EVERYTHING = AugmentConfig(mixup_probability=0.5, noise_probability=0.7)


def test_everything_off_is_identity():
    features = clips()
    assert torch.equal(augment(features, clips(seed=2), OFF, seeded()), features)
    assert torch.equal(augment(features, None, OFF, seeded()), features)


def test_defaults_change_every_clip_and_keep_shape_and_type_and_stay_finite():
    features = clips()
    before = features.clone()
    for noise in (clips(seed=2), None):
        changed = augment(features, noise, EVERYTHING, seeded())
        assert changed.shape == features.shape and changed.dtype == features.dtype
        assert torch.isfinite(changed).all()
        assert (changed != features).flatten(1).any(1).all()
    assert torch.equal(features, before), "the clips handed in are left as they are"


def test_same_generator_same_result_and_another_seed_another():
    def run(seed):
        torch.manual_seed(int(torch.randint(2**31, ())))  # the global generator must not matter
        generator = seeded(seed)
        features, targets = mixup(clips(), targets_of(6), EVERYTHING, generator)
        return augment(features, clips(seed=2), EVERYTHING, generator), targets

    (first, shares), (again, same_shares), (other, _) = run(3), run(3), run(4)
    assert torch.equal(first, again) and torch.equal(shares, same_shares)
    assert not torch.equal(first, other)


def test_nothing_is_drawn_from_the_global_generator():
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    generator = seeded()
    mixup(clips(), targets_of(6), EVERYTHING, generator)
    augment(clips(), clips(seed=2), EVERYTHING, generator)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    "changes",
    [
        {"gain_db": 20.0},
        {"shift_frames": 9.0},
        {"stretch": 0.2},
        {"warp": 0.1},
        {"noise_probability": 1.0},
        {"time_masks": 2},
        {"band_masks": 2},
    ],
)
def test_equal_clips_of_a_batch_get_different_draws(changes):
    features = clips(1).expand(16, -1, -1).clone()
    noise = clips(1, seed=2).expand(16, -1, -1).clone()
    changed = augment(features, noise, only(**changes), seeded())
    assert len({clip.numpy().tobytes() for clip in changed}) > 12


@pytest.mark.parametrize(
    "changes",
    [
        {"mixup_probability": 1.5},
        {"mixup_probability": -0.1},
        {"noise_probability": 2.0},
        {"time_mask": 16},
        {"band_mask": -0.1},
        {"mixup_alpha": 0.0},
        {"mixup_probability": float("nan")},
    ],
)
def test_impossible_settings_are_refused_by_name(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        AugmentConfig(**changes)
