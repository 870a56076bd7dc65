"""The log-mel front end against torchaudio's port of Kaldi, and against sounds whose place in the picture is known."""

import math

import numpy as np
import pytest
import soundfile
import torch
from torchaudio.compliance import kaldi

from asm_rh.config import FrontendConfig, ModelConfig, preset
from asm_rh.frontends import FRONTENDS, LogMel, band_centres_hz, fill_with_pause, mel_banks
from asm_rh.model import AudioMixer

RATE = 16_000
SECOND = np.arange(RATE) / RATE


def logmel(rate=RATE, **settings):
    return LogMel(FrontendConfig(**settings), rate)


def reference(wave, rate=RATE, bands=128, **settings):
    """What AST computes: Kaldi's filter bank of the wave (samples,) without its mean."""
    return kaldi.fbank(
        (wave - wave.mean())[None], htk_compat=True, sample_frequency=rate, use_energy=False, window_type="hanning",
        num_mel_bins=bands, dither=0.0, frame_shift=10, **settings,
    )  # fmt: skip


def white(samples=RATE, level=0.1, seed=0):
    return level * torch.randn(samples, generator=torch.Generator().manual_seed(seed))


def speech_like():
    """Three voiced syllables with a gliding pitch, formants, breath and true pauses."""
    pitch = 120 + 30 * np.sin(2 * np.pi * 3 * SECOND)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    wave = np.zeros(RATE)
    for n in range(1, 40):
        formants = sum(np.exp(-(((n * 120 - f) / 250) ** 2)) for f in (600, 1400, 2600))
        wave += (formants + 0.01) * np.sin(n * phase)
    syllables = np.clip(np.sin(2 * np.pi * 3 * SECOND), 0, None)
    breath = 0.01 * np.random.default_rng(1).standard_normal(RATE)
    return torch.from_numpy(0.2 * syllables * (wave + breath) + 0.01).float()  # an offset, as cheap microphones have


SOUNDS = {
    "speech": speech_like(),
    "noise": white(),
    "faint noise": white(level=1e-4),
    "silence": torch.zeros(RATE),
    "offset": torch.full((RATE,), 0.25),
    "sine": torch.from_numpy(0.5 * np.sin(2 * np.pi * 1000 * SECOND)).float(),
    "click": torch.nn.functional.pad(torch.ones(1), (8000, 7999)),
    "one frame": white(400),
    "a sample less than two frames": white(559),
    "two frames": white(560),
    "long": white(51_234),
}


@pytest.mark.parametrize("sound", SOUNDS)
def test_equals_kaldi(sound):
    wave = SOUNDS[sound]
    torch.testing.assert_close(logmel()(wave[None])[0], reference(wave), atol=1e-3, rtol=0)


def test_equals_kaldi_on_real_speech(shared_data):
    clips = sorted((shared_data / "speech_commands_v2_12").glob("*/*_nohash_*.flac"))[::400]
    if not clips:
        pytest.skip("no Speech Commands clips among the recordings")
    for clip in clips:
        wave = torch.from_numpy(soundfile.read(clip, dtype="float32")[0])
        torch.testing.assert_close(logmel()(wave[None])[0], reference(wave), atol=1e-3, rtol=0, msg=clip.name)


def test_equals_kaldi_at_another_rate_and_size():
    settings = dict(bands=40, low_hz=60.0, high_hz=3800.0)
    got = logmel(8000, fft_samples=256, **settings)(white()[None])[0]
    wanted = reference(white(), 8000, bands=40, low_freq=60.0, high_freq=3800.0)
    torch.testing.assert_close(got, wanted, atol=1e-3, rtol=0)


def test_one_second_has_98_frames():
    assert logmel()(white()[None]).shape == (1, 98, 128)
    for samples in (400, 559, 560, 15_999):
        assert logmel()(white(samples)[None]).shape[1] == 1 + (samples - 400) // 160


@pytest.mark.parametrize("samples", [0, 1, 399])
def test_waves_shorter_than_a_frame_are_refused(samples):
    with pytest.raises(ValueError, match=rf"got {samples} samples, expected at least one frame of 400 \(16000 Hz\)"):
        logmel()(torch.zeros(1, samples))


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="frame of 1102 samples does not fit fft_samples=512"):
        logmel(44_100)
    with pytest.raises(ValueError, match="high_hz=8000.0 is above half the sample rate, 4000.0 Hz"):
        logmel(8000)


def test_silence_is_kaldis_floor_and_its_gradient_is_finite():
    wave = torch.zeros(1, RATE, requires_grad=True)
    features = logmel()(wave)
    torch.testing.assert_close(features, torch.full_like(features, math.log(2.0**-23)))
    features.sum().backward()
    assert wave.grad.isfinite().all()


def test_a_batch_equals_its_clips_one_by_one():
    batch = torch.stack([white(seed=1), white(seed=2, level=0.5), SOUNDS["speech"]])
    single = torch.cat([logmel()(wave[None]) for wave in batch])
    torch.testing.assert_close(logmel()(batch), single, atol=1e-5, rtol=0)


def test_gradient_equals_finite_differences():
    front = logmel().double()
    wave = white(880).double()[None].requires_grad_()
    weights = torch.randn(1, 4, 128, dtype=torch.float64, generator=torch.Generator().manual_seed(3))

    def value(samples):
        return (front(samples) * weights).sum()

    gradient = torch.autograd.grad(value(wave), wave)[0][0]
    for sample in (0, 1, 199, 400, 777, 879):
        nudge = torch.zeros_like(wave).index_fill(1, torch.tensor([sample]), 1e-7)
        slope = (value(wave + nudge) - value(wave - nudge)).item() / 2e-7
        assert gradient[sample].item() == pytest.approx(slope, rel=1e-4, abs=1e-4)


# ---------------------------------------------------------------------------------------- bands and places


def test_filters_and_centres_are_kaldis():
    banks, centres = kaldi.get_mel_banks(128, 512, 16000.0, 20.0, 0.0, 100.0, -500.0, 1.0)
    torch.testing.assert_close(mel_banks(128, 512, RATE, 20.0, 8000.0)[:-1].T, banks, atol=2e-4, rtol=0)
    assert mel_banks(128, 512, RATE, 20.0, 8000.0)[-1].count_nonzero() == 0
    np.testing.assert_allclose(band_centres_hz(FrontendConfig()), centres.numpy().ravel(), rtol=1e-4)


def test_centres_rise_inside_the_configured_range():
    centres = band_centres_hz(FrontendConfig(bands=40, low_hz=100.0, high_hz=6000.0))
    assert len(centres) == 40 and centres[0] > 100 and centres[-1] < 6000
    assert all(low < high for low, high in zip(centres, centres[1:], strict=False))


@pytest.mark.parametrize("band", [30, 45, 60, 75, 90, 105, 120, 127])
def test_a_sine_at_a_bands_centre_is_strongest_there(band):
    hz = band_centres_hz(FrontendConfig())[band]
    features = logmel()(torch.from_numpy(np.sin(2 * np.pi * hz * SECOND)).float()[None])[0]
    assert (features.argmax(1) == band).all()


def test_a_click_is_in_the_frames_that_hold_it():
    loud = logmel()(SOUNDS["click"][None])[0].mean(1) > math.log(2.0**-23) + 1
    frames = [i for i in range(98) if i * 160 < 8000 < i * 160 + 399]  # the window is zero at both its ends
    assert loud.nonzero().flatten().tolist() == frames


# ---------------------------------------------------------------------------------------- what the model adds


def mixer(**frontend):
    config = preset("asm-rh-keywords", width=16, depth=1, token_hidden=4, channel_hidden=4, frontend=frontend)
    return AudioMixer(config)


@pytest.mark.parametrize("gain", [10.0, 0.1])
def test_centred_features_do_not_hear_the_gain(gain):
    model = mixer(centre=True, bands=64)
    for wave in (white(level=1.0), SOUNDS["speech"] + white(level=0.5)):
        raw = model.frontend(torch.stack([wave, gain * wave]))
        assert raw.min() > math.log(2.0**-23) + 0.01  # no bin at the floor
        plain, louder = model.features(wave[None]), model.features(gain * wave[None])
        torch.testing.assert_close(louder, plain, atol=1e-3, rtol=0)


def test_without_centring_the_gain_is_heard():
    model = mixer(centre=False, bands=64)
    shift = model.features(10 * white(level=0.3)[None]) - model.features(white(level=0.3)[None])
    wanted = math.log(100) / (2 * model.config.frontend.std)
    torch.testing.assert_close(shift[:, :98], torch.full((1, 98, 64), wanted), atol=1e-3, rtol=0)


def test_every_band_of_the_keyword_front_end_holds_a_bin():
    assert (mixer().frontend.banks.sum(0) > 0).all()


def test_a_sound_that_ends_early_goes_on_with_its_quietest_frame():
    picture = torch.tensor([[[4.0, 6.0], [1.0, 3.0], [2.0, 9.0]], [[0.0, -8.0], [1.0, 1.0], [5.0, 5.0]]])
    filled = fill_with_pause(picture, 5)
    assert filled.shape == (2, 5, 2) and torch.equal(filled[:, :3], picture)
    assert filled[:, 3:].tolist() == [[[1.0, 3.0]] * 2, [[0.0, -8.0]] * 2]
    assert fill_with_pause(picture, 3) is picture and fill_with_pause(picture, 2) is picture


def test_the_model_fills_its_window_with_the_pause_before_it_centres():
    model = mixer(pause=True, centre=True, mean=0.0, std=0.5, padding=7.0)
    raw = torch.randn(2, 60, 40, generator=torch.Generator().manual_seed(0))
    got, whole = model.normalise(raw), fill_with_pause(raw, 98)
    torch.testing.assert_close(got[:, :98], whole - whole.mean((1, 2), keepdim=True))
    assert (got[:, 98:] == 7.0).all() and got.shape == (2, 104, 40)


def test_with_128_bands_the_empty_band_is_all_that_hears_the_gain():
    """Of 128 bands the fourth lies between two FFT bins and stays at the floor: a gain moves the rest by 1/128."""
    model = mixer(centre=True, bands=128, low_hz=20.0, high_hz=8000.0)
    empty = (model.frontend.banks.sum(0) == 0).nonzero().flatten().tolist()
    assert empty == [3]
    shift = (model.features(10 * white(level=0.3)[None]) - model.features(white(level=0.3)[None]))[:, :98]
    others = torch.cat([shift[..., :3], shift[..., 4:]], -1)
    wanted = math.log(100) / 128 / (2 * model.config.frontend.std)
    torch.testing.assert_close(others, torch.full_like(others, wanted), atol=1e-3, rtol=0)


def test_normalised_features_are_kaldis_scaled_and_padded():
    model = AudioMixer(ModelConfig(width=16, depth=1, token_hidden=4, channel_hidden=4, frames=128, window_seconds=1.0))
    got = model.features(white()[None])[0]
    wanted = (reference(white()) + 4.2677393) / (2 * 4.5689974)
    assert got.shape == (128, 128)
    torch.testing.assert_close(got[:98], wanted, atol=1e-3, rtol=0)
    assert got[98:].abs().max() == 0  # padded with the mean, not with AST's loud zero


def test_normalising_worked_by_hand():
    frontend = dict(bands=16, mean=1.0, std=2.0, padding=-3.0)
    sizes = dict(width=16, depth=1, token_hidden=4, channel_hidden=4, frames=16, window_seconds=0.1)
    model = AudioMixer(ModelConfig(frontend=frontend, roll="off", **sizes))
    features = torch.full((2, 4, 16), 9.0)
    got = model.normalise(features)
    assert got[:, :4].unique().tolist() == [2.0] and got[:, 4:].unique().tolist() == [-3.0]
    assert model.normalise(torch.randn(2, 40, 16)).shape == (2, 16, 16)  # longer ones are cut
    centred = AudioMixer(model.config.replace(frontend={"centre": True}))
    features[0], features[1, :2] = 5.0, 13.0  # means 5 and 11, each clip its own
    got = centred.normalise(features)[:, :4, 0].tolist()
    assert got == [[-0.25] * 4, [0.25, 0.25, -0.75, -0.75]]


def test_front_ends_are_frozen():
    assert list(FRONTENDS.items()) == [("logmel", LogMel)]
