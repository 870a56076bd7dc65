"""How the training data of the shipped weights is read from pictures."""

import numpy as np
import torch

from asm_rh import signals
from asm_rh.frontends import LogMel
from benchmarks.keywords_data import BLACK, CONFIG, DARKEST, NEPERS_PER_STEP, log_energies


def picture_of(wave):
    with torch.inference_mode():
        features = LogMel(CONFIG.frontend, CONFIG.sample_rate)(torch.from_numpy(wave).float()[None])[0].numpy()
    return features, np.clip(np.round((features - DARKEST) / NEPERS_PER_STEP), 0, 255).astype(np.uint8)


def test_pixels_become_the_features_of_the_front_end():
    features, picture = picture_of(0.3 * signals.BACKGROUNDS["noise"](np.random.default_rng(0), 1.0))
    assert picture.shape == (98, 40) and picture.min() > BLACK and picture.max() < 255
    np.testing.assert_allclose(log_energies(picture, cut=True), features, atol=NEPERS_PER_STEP / 2 + 1e-3)


def test_black_at_the_end_becomes_a_pause_only_where_that_is_wanted():
    _, picture = picture_of(0.3 * signals.BACKGROUNDS["noise"](np.random.default_rng(0), 1.0))
    picture[70:] = BLACK - 1
    kept, cut = log_energies(picture, cut=False), log_energies(picture, cut=True)
    np.testing.assert_array_equal(kept[:70], cut[:70])
    assert (kept[70:] < DARKEST + BLACK * NEPERS_PER_STEP).all()
    np.testing.assert_array_equal(cut[70:], np.tile(cut[:70][cut[:70].mean(1).argmin()], (28, 1)))
    assert np.isfinite(log_energies(np.zeros_like(picture), cut=True)).all(), "a black picture stays as it is"
