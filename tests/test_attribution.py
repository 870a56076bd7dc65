"""What a score rests on: completeness, deletion against chance, a control that has learned nothing, and sounds that add up."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from asm_rh import signals
from asm_rh.attribution import METHODS, Attribution, attribute, listen, pause_of, score_without, strongest, support, with_random_weights
from asm_rh.config import FrontendConfig, ModelConfig
from asm_rh.model import AudioMixer

CONFIG = ModelConfig(
    labels=("a", "b", "c"), window_seconds=0.5, frames=48, patch=(16, 16), stride=(16, 16), width=32, depth=2,
    token_hidden=16, channel_hidden=32, roll="grid", frontend=FrontendConfig(bands=32),
)  # fmt: skip


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = AudioMixer(CONFIG).eval()
    with torch.no_grad():
        model.head[1].weight.mul_(20)  # so that cells matter
    return model


def wave_of(seed=0):
    return torch.from_numpy(signals.BACKGROUNDS["music"](np.random.default_rng(seed), 0.5)).float()[None]


class Loudness(torch.nn.Module):
    """A model whose reason is known: the logit of class 0 is the mean of one rectangle of cells."""

    def __init__(self, model):
        super().__init__()
        self.inner, self.config, self.norm, self.frontend = model, model.config, model.norm, model.frontend

    def features(self, wave):
        return self.inner.features(wave)

    def forward_features(self, features):
        loud = features[:, 10:20, 4:8].mean((1, 2))
        return torch.stack([3 * loud, torch.zeros_like(loud), torch.zeros_like(loud)], 1)

    def probabilities(self, logits):
        return logits.softmax(-1)


# ---------------------------------------------------------------------------------------------- attribution


@pytest.mark.parametrize("label", [0, 1, 2])
def test_integrated_gradients_sum_to_the_difference(model, label):
    found = attribute(model, wave_of(), label)
    assert found.cells.shape == (48, 32) and abs(found.difference) > 1e-3
    assert found.cells.sum() == pytest.approx(found.difference, rel=0.05)
    with torch.no_grad():
        ends = [model.forward_features(torch.from_numpy(x)[None])[0, label] for x in (found.features, found.baseline)]
    assert found.difference == pytest.approx(float(ends[0] - ends[1]), abs=1e-5)


class Bent(Loudness):
    """A model that changes within a small part of the way from the pause to the window."""

    def forward_features(self, features):
        way = (super().forward_features(features)[:, :1] - self.pause) / (self.full - self.pause)
        return torch.cat([3 * ((way - 0.03) / 5e-4).sigmoid(), way, way], 1)


def test_steps_grow_until_the_sum_is_right(model):
    bent, wave = Bent(model), wave_of()
    features = model.features(wave).detach()
    bent.full, bent.pause = (Loudness(model).forward_features(x)[:, :1] for x in (features, pause_of(model, features)))
    few = attribute(bent, wave, 0, steps=64)
    assert abs(few.cells.sum() / few.difference - 1) > 0.05, "or the way is too straight for this test"
    assert attribute(bent, wave, 0).cells.sum() == pytest.approx(few.difference, rel=0.021)


@pytest.mark.parametrize("method", METHODS)
def test_the_known_reason_is_found(model, method):
    found = attribute(Loudness(model), wave_of(), 0, method)
    inside = np.zeros((48, 32), bool)
    inside[10:20, 4:8] = True
    reached = np.abs(found.cells) > 1e-6
    assert reached[inside].mean() > 0.9
    if method == "integrated-gradients":
        assert not reached[~inside].any()
        np.testing.assert_allclose(found.cells[inside], (3 / 40 * (found.features - found.baseline))[inside], atol=1e-5)


def test_what_is_taken_away_becomes_the_pause(model):
    features = torch.randn(1, 48, 32, generator=torch.Generator().manual_seed(0))
    pause = pause_of(model, features)
    quietest = min(range(model.config.window_frames), key=lambda t: float(features[0, t].mean()))
    assert torch.equal(pause, features[:, quietest : quietest + 1].expand(1, 48, 32))


def test_unknown_methods_are_refused(model):
    with pytest.raises(ValueError, match="no attribution method 'guess'; available: integrated-gradients, occlusion"):
        attribute(model, wave_of(), 0, "guess")


# ---------------------------------------------------------------------------------------------- is it so?


def test_strongest_cells_by_hand():
    cells = np.array([[0.1, 5.0], [-9.0, 2.0]])
    assert strongest(cells, 0.5).tolist() == [[False, True], [False, True]]
    assert strongest(cells, 0.01).sum() == 1 and strongest(cells, 1.0).all()


def test_scores_without_cells_are_those_of_changed_features(model):
    found = attribute(model, wave_of(), 1)
    masks = np.random.default_rng(0).random((40, 48, 32)) < 0.3
    scores = score_without(model, found, masks)
    for i in (0, 17, 39):
        changed = np.where(masks[i], found.baseline, found.features)
        with torch.no_grad():
            wanted = model.probabilities(model.forward_features(torch.from_numpy(changed)[None]))[0, 1]
        assert scores[i] == pytest.approx(float(wanted), abs=1e-6)


def test_a_true_reason_is_supported_and_a_false_one_is_not(model):
    known = Loudness(model)
    found = attribute(known, wave_of(), 0)
    true = support(known, found, share=40 / (48 * 32))
    assert abs(true.fall) > 3 * abs(true.random_fall)
    elsewhere = Attribution(found.method, 0, np.roll(found.cells, 20, 0), found.features, found.baseline, 0.0)
    false = support(known, elsewhere, share=40 / (48 * 32))
    assert abs(false.fall) < 0.2 * abs(true.fall)
    assert true.strongest_alone == pytest.approx(true.score, abs=1e-3), "the reason alone is enough"


def test_the_control_has_the_same_sizes_and_other_weights(model):
    control = with_random_weights(model, 1)
    assert control.config == model.config and not control.training
    assert not torch.equal(control.head[1].weight, model.head[1].weight)
    for name, tensor in control.state_dict().items():
        if not name.startswith("frontend") and tensor.ndim > 1 and "matrix" not in name:
            assert tensor.std() == pytest.approx(tensor[0].numel() ** -0.5 / 3**0.5, rel=0.1), f"{name} is uniform as torch draws it"
    assert all(torch.equal(a, b) for a, b in zip(control.parameters(), with_random_weights(model, 1).parameters(), strict=True))
    before = torch.random.get_rng_state()
    with_random_weights(model, 2)
    assert torch.equal(before, torch.random.get_rng_state()), "nobody else's random numbers change"


def test_controls_drawn_at_once_in_threads_are_the_same(model):
    wanted = with_random_weights(model, 3).head[1].weight
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: with_random_weights(model, 3).head[1].weight, range(32)))
    assert all(torch.equal(weight, wanted) for weight in found)


def test_weights_are_contributions_per_unit(model):
    found = attribute(model, wave_of(), 1)
    row, column = np.unravel_index(np.abs(found.features - found.baseline).argmax(), found.cells.shape)
    change = abs(found.features[row, column] - found.baseline[row, column])
    assert found.weights[row, column] == pytest.approx(found.cells[row, column] / (change + 0.1))


# ---------------------------------------------------------------------------------------------- how it sounds


def test_kept_and_removed_add_up(model):
    wave = wave_of()[0].numpy()
    keep = np.random.default_rng(0).random((48, 32))
    kept, removed = listen(model, wave, 16_000, keep)
    np.testing.assert_allclose(kept + removed, wave, atol=1e-6)


def test_everything_kept_is_the_sound_in_the_models_bands(model):
    t = np.arange(8000) / 16_000
    wave = (0.3 * np.sin(2 * np.pi * 1000 * t)).astype(np.float32)
    kept, removed = listen(model, wave, 16_000, np.ones((48, 32)))
    assert np.square(removed).sum() < 1e-3 * np.square(wave).sum()


def test_a_kept_band_and_time_are_heard_alone(model):
    from asm_rh.frontends import band_centres_hz

    t = np.arange(8000) / 16_000
    low, high = (0.3 * np.sin(2 * np.pi * hz * t) for hz in (500, 4000))
    keep = np.zeros((48, 32))
    keep[:, np.array(band_centres_hz(CONFIG.frontend)) < 1500] = 1
    kept, _ = listen(model, (low + high).astype(np.float32), 16_000, keep)
    assert np.square(kept - low).sum() < 0.02 * np.square(low).sum()
    keep[24:] = 0
    kept, _ = listen(model, (low + high).astype(np.float32), 16_000, keep)
    assert np.square(kept[:3200] - low[:3200]).sum() < 0.05 * np.square(low[:3200]).sum() and np.abs(kept[5000:]).max() < 0.01
