"""What changes when something is changed: every number against the model run that way by hand."""

import threading

import numpy as np
import pytest
import torch
from test_insight import random_model, seen, wave_of

from asm_rh import insight, interventions
from asm_rh.activations import switched_off, switches
from asm_rh.attribution import pause_of
from asm_rh.model import AudioMixer

# ---------------------------------------------------------------------------------------------- cause


@pytest.mark.parametrize("kind", ["asm-rh", "asm-h", "asm-r", "asm"])
@pytest.mark.parametrize("roll", ["grid", "paper"])
def test_every_switch_in_one_pass_is_each_switch_alone(kind, roll):
    model, wave = random_model(roll, kind), wave_of()
    as_is, found = interventions.causes(model, wave)
    with torch.no_grad():
        np.testing.assert_allclose(as_is, model.probabilities(model(wave))[0], atol=1e-6)
        assert [cause.name for cause in found] == switches(model)
        for cause in found:
            with switched_off(model, [cause.name]):
                np.testing.assert_allclose(cause.scores, model.probabilities(model(wave))[0], atol=1e-6, err_msg=cause.name)
    assert {cause.part for cause in found} <= {"block", "hermit", "roll"} and {cause.block for cause in found} == set(range(4))


def test_switching_off_twice_gives_the_scores_back_exactly():
    model, wave = random_model(), wave_of()
    first = interventions.causes(model, wave)
    again = interventions.causes(model, wave)
    np.testing.assert_array_equal(first[0], again[0])
    for a, b in zip(first[1], again[1], strict=True):
        np.testing.assert_array_equal(a.scores, b.scores)


def test_another_thread_predicts_on_undisturbed():
    model, wave = random_model(), wave_of()
    with torch.no_grad():
        wanted = model(wave)
    stop, wrong = threading.Event(), []

    def predict():
        with torch.no_grad():
            while not stop.is_set():
                if not torch.equal(model(wave), wanted):
                    wrong.append(1)

    thread = threading.Thread(target=predict)
    thread.start()
    for _ in range(10):
        interventions.causes(model, wave)
    stop.set()
    thread.join()
    assert not wrong


# ---------------------------------------------------------------------------------------------- a patch taken out


def test_a_patch_taken_out_is_followed_as_a_loop_does_it():
    model, wave, tokens = random_model(), wave_of(), [0, 17, 51]
    found = interventions.follow(model, wave, tokens)
    assert found.energy.shape == (3, 5, 52) and found.scores.shape == (3, 3)
    with torch.no_grad():
        features = model.features(wave)
        patches = [model.stem(x.transpose(1, 2).unsqueeze(1)).flatten(2).transpose(1, 2) for x in (features, pause_of(model, features))]
        for row, token in enumerate(tokens):
            x, y = patches[0].clone(), patches[0].clone()
            y[0, token] = patches[1][0, token]
            for layer in range(5):
                np.testing.assert_allclose(found.energy[row, layer], (x - y)[0].double().square().sum(1), rtol=1e-4, atol=1e-9)
                if layer < 4:
                    x, y = (model.blocks[layer](z) for z in (x, y))
            scores = model.probabilities(model.head(model.norm(y).mean(1)))[0]
            np.testing.assert_allclose(found.scores[row], scores, atol=1e-6)
    np.testing.assert_allclose(found.shares.sum(-1), 1)
    assert (found.energy[:, 0] > 0).sum(1).tolist() == [1, 1, 1], "at the patch stem only the patch itself differs"


def test_without_mixing_over_tokens_the_effect_goes_where_the_roll_takes_it():
    model = random_model(depth=1)
    with torch.no_grad():
        for weight in model.blocks[0].hermit.mlp.parameters():
            weight.zero_()
    token = 2 * 13 + 6
    energy = interventions.follow(model, wave_of(), [token]).energy[0, 1]
    roll = insight.roll_map(model, 0)
    reached = {t for t in range(52) if (roll.token[t] == token).any()} | {token}
    assert set(np.flatnonzero(energy > 1e-12)) == reached and len(reached) == 5


# ---------------------------------------------------------------------------------------------- readings


def test_readings_are_models_of_that_reading_with_the_same_weights():
    model, wave = random_model("grid"), wave_of()
    found = interventions.readings(model, wave)
    assert [r.name for r in found] == ["paper", "grid", "off"] and [r.trained for r in found] == [False, True, False]
    for reading in found:
        other = AudioMixer(model.config.replace(roll=reading.name)).eval()
        other.load_state_dict(model.state_dict())
        tensors = seen(other, wave)
        with torch.no_grad():
            np.testing.assert_allclose(reading.scores, other.probabilities(other(wave))[0], atol=1e-6)
        for block in range(4):
            rms = tensors[f"blocks.{block}.roll.out"][0].square().mean(1).sqrt().reshape(4, 13)
            np.testing.assert_allclose(reading.energies[block].after, rms, rtol=1e-5)
            np.testing.assert_array_equal(reading.rolls[block].token, insight.roll_map(other, block).token)
    assert model.config.roll == "grid" and model.blocks[0].roll.reading == "grid", "the model itself is left as it is"


def test_readings_that_the_sizes_do_not_allow_are_left_out():
    model = random_model("grid", frames=104, window_seconds=1.0, stride=(24, 8))  # 3 x 12 tokens are in fours, 3 x 11 are not
    assert "paper" in [r.name for r in interventions.readings(model, wave_of())]
    odd = random_model("grid", frames=112, window_seconds=1.0, stride=(24, 8))
    assert [r.name for r in interventions.readings(odd, wave_of())] == ["grid", "off"]
    assert interventions.readings(random_model(kind="asm-h"), wave_of()) == []
