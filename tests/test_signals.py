"""Computed sounds: each is what its name says, measured with SciPy or by counting."""

import numpy as np
import pytest
import torch
from scipy.signal import hilbert

from asm_rh.signals import BACKGROUNDS, RATE, chirp, click, tones


@pytest.mark.parametrize(("seconds", "at", "rate"), [(1.0, 0.5, 16000), (0.3, 0.0, 16000), (2.0, 1.9999, 44100)])
def test_a_click_is_one_full_sample_at_its_place(seconds, at, rate):
    wave = click(seconds, at, rate)
    assert wave.dtype == np.float32 and len(wave) == round(seconds * rate)
    assert np.flatnonzero(wave).tolist() == [round(at * rate)] and wave.max() == 1.0


@pytest.mark.parametrize(("seconds", "low", "high"), [(1.0, 100.0, 7000.0), (2.0, 400.0, 800.0), (1.0, 4000.0, 200.0)])
def test_a_chirp_sweeps_at_a_constant_ratio(seconds, low, high):
    wave = chirp(seconds, low, high)
    assert wave.dtype == np.float32 and len(wave) == round(seconds * RATE)
    assert 0.49 < np.abs(wave).max() <= 0.5
    measured = np.diff(np.unwrap(np.angle(hilbert(wave)))) * RATE / (2 * np.pi)
    t = (np.arange(len(measured)) + 0.5) / RATE
    wanted = low * (high / low) ** (t / seconds)
    middle = slice(len(t) // 10, -len(t) // 10)  # the analytic signal is only good away from the ends
    smooth = np.convolve(measured / wanted, np.ones(201) / 201, "same")[middle]
    assert np.abs(smooth - 1).max() < 0.01


def test_tones_are_two_equal_lines():
    wave = tones(1.0, (440.0, 2500.0))
    spectrum = np.abs(np.fft.rfft(wave)) / len(wave) * 2  # one bin a hertz: amplitudes
    assert wave.dtype == np.float32 and np.abs(wave).max() <= 0.5
    assert sorted(np.argsort(spectrum)[-2:].tolist()) == [440, 2500]
    np.testing.assert_allclose(spectrum[[440, 2500]], 0.25, rtol=1e-4)
    assert np.delete(spectrum, [440, 2500]).max() < 1e-5


def test_a_single_tone_of_another_length_and_rate():
    wave = tones(0.5, (1000.0,), rate=8000)
    assert len(wave) == 4000 and np.argmax(np.abs(np.fft.rfft(wave))) == 500


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_backgrounds_are_sound_for_every_seed(name):
    levels = []
    for seed in range(25):
        wave = BACKGROUNDS[name](np.random.default_rng(seed), 0.25)
        assert wave.dtype == np.float32 and wave.shape == (4000,) and np.isfinite(wave).all()
        torch.from_numpy(wave)  # refuses reversed views
        levels.append(float(np.abs(wave).max()))
    assert min(levels) > 0.0099 and max(levels) <= 1.0  # peaks from -40 to 0 dB
    assert max(levels) / min(levels) > 3  # and not all alike


@pytest.mark.parametrize("name", BACKGROUNDS)
@pytest.mark.parametrize(("seconds", "rate"), [(0.1, 16000), (0.333, 22050), (1.0, 16000)])
def test_backgrounds_have_the_asked_length(name, seconds, rate):
    assert len(BACKGROUNDS[name](np.random.default_rng(0), seconds, rate)) == round(seconds * rate)


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_backgrounds_follow_their_generator_alone(name):
    first, again, other = (BACKGROUNDS[name](np.random.default_rng(seed), 0.25) for seed in (7, 7, 8))
    np.random.seed(1)  # the global generator must not matter
    later = BACKGROUNDS[name](np.random.default_rng(7), 0.25)
    assert np.array_equal(first, again) and np.array_equal(first, later)
    assert not np.array_equal(first, other)


def flatness(wave):
    """Geometric over arithmetic mean of the power spectrum: near 1 for noise, near 0 for tones."""
    power = np.abs(np.fft.rfft(wave * np.hanning(len(wave)))) ** 2 + 1e-20
    return np.exp(np.log(power).mean()) / power.mean()


def test_hum_is_tonal_and_noise_is_not():
    seeds = [np.random.default_rng(seed) for seed in range(12)]
    hum = np.median([flatness(BACKGROUNDS["hum"](random, 0.5)) for random in seeds])
    noise = np.median([flatness(BACKGROUNDS["noise"](random, 0.5)) for random in seeds])
    assert hum < 0.02 < noise


def test_background_names_are_frozen():
    assert ", ".join(BACKGROUNDS) == "hum, noise, music, clicks, sweep"
