"""Recipes: what they say is what training does, and impossible settings are refused by name."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from asm_rh.augment import AugmentConfig, mixup
from asm_rh.losses import classification_loss
from asm_rh.recipes import RECIPES, TrainConfig
from asm_rh.train import class_weights, learning_rate


def test_the_papers_recipe_is_what_the_paper_prints():
    """Section 4: rate 2.5e-4, falling from epoch 5 on, 30 epochs; AST: Adam (.95, .999), decay 5e-7, x0.85, BCE, mixup .6, 48 / 48."""
    recipe = RECIPES["paper"]
    found = recipe.train
    assert (found.learning_rate, found.epochs, found.optimizer, found.betas) == (2.5e-4, 30, "adam", (0.95, 0.999))
    assert found.weight_decay == 5e-7
    assert (found.step_factor, found.steps_from_epoch, found.batch_size, recipe.output) == (0.85, 5, 128, "sigmoid")
    assert (found.augment.mixup_probability, found.augment.time_mask * 128, found.augment.band_mask * 128) == (0.6, 48, 48)


def test_the_rate_falls_after_every_epoch_from_the_fifth_on():
    rates = [learning_rate(10 * epoch + 3, 10, RECIPES["paper"].train) for epoch in range(7)]
    assert rates == pytest.approx([2.5e-4] * 5 + [2.5e-4 * 0.85, 2.5e-4 * 0.85**2])


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_told_in_full(name):
    told = RECIPES[name].to_json()
    for field in TrainConfig.__dataclass_fields__:
        assert f'"{field}"' in told
    for field in AugmentConfig.__dataclass_fields__:
        assert f'"{field}"' in told


@pytest.mark.parametrize("changes", [
    {"optimizer": "sgd"}, {"schedule": "line"}, {"micro_batch": -1}, {"average_decay": 1.5}, {"betas": (0.9,)}, {"betas": (0.9, 1.0)},
    {"clip_norm": -1}, {"step_factor": 2}, {"weight_decay": -0.1},
])  # fmt: skip
def test_impossible_settings_are_refused_by_name(changes):
    with pytest.raises(ValueError, match=f"^{next(iter(changes))}="):
        TrainConfig(**changes)


def test_changes_reach_the_augmentation():
    found = TrainConfig().replace(epochs=3, augment={"warp": 0.5})
    assert found == replace(TrainConfig(), epochs=3, augment=replace(AugmentConfig(), warp=0.5))


# ---------------------------------------------------------------------------------------------- the rarer, the more


def test_weights_of_classes_by_hand():
    targets = torch.tensor([[1.0, 0, 0]] * 6 + [[0, 1.0, 0]] * 2)  # six clips of one class, two of another, none of the third
    found = class_weights(targets)
    assert found.tolist() == pytest.approx([2 / 3, 2.0, 0.0])
    assert float((targets @ found).mean()) == pytest.approx(1.0), "the learning rate keeps its meaning"


@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_a_weighted_loss_is_the_weighted_mean_of_the_losses_of_single_clips(output):
    generator = torch.Generator().manual_seed(3)
    logits, weights = torch.randn(5, 3, generator=generator), torch.tensor([0.5, 2.0, 1.0])
    targets = torch.eye(3)[[0, 1, 2, 1, 0]]
    targets[4] = torch.tensor([0.25, 0.75, 0.0])  # mixed
    each = [float(classification_loss(logits[i : i + 1], targets[i : i + 1], output, 0.1)) for i in range(5)]
    wanted = np.mean([loss * weight for loss, weight in zip(each, [0.5, 2.0, 1.0, 2.0, 0.25 * 0.5 + 0.75 * 2.0])])
    assert float(classification_loss(logits, targets, output, 0.1, weights)) == pytest.approx(wanted, rel=1e-6)


# ---------------------------------------------------------------------------------------------- mixing as waveforms mix


def test_mixup_of_waveforms_shares_out_amplitudes():
    """Two uncorrelated sounds mixed with shares a and 1 - a have the energies a^2 E1 + (1 - a)^2 E2."""
    features = torch.tensor([2.0, 5.0]).view(2, 1, 1).expand(2, 3, 4).clone()
    config = AugmentConfig(mixup_probability=1, mixup_alpha=10, mixup_waveforms=True)
    mixed, targets = mixup(features, torch.eye(2), config, torch.Generator().manual_seed(0))
    assert (targets < 1).any(), "nothing was mixed: take another seed"
    for row, shares in zip(mixed[:, 0, 0].tolist(), targets.double().numpy()):
        assert row == pytest.approx(np.log((shares**2 * np.exp([2.0, 5.0])).sum()), rel=1e-4)
