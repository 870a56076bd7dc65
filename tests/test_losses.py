"""Losses against their formulas, written out in float64."""

import math

import numpy as np
import pytest
import torch

from asm_rh.losses import classification_loss


def batch(seed=0, clips=7, classes=5):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(clips, classes, generator=generator) * 3
    shares = torch.rand(clips, classes, generator=generator)
    return logits, shares / shares.sum(1, keepdim=True)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_softmax_loss_is_smoothed_cross_entropy(smoothing):
    logits, targets = batch()
    total = 0.0
    for row, shares in zip(logits.double().tolist(), targets.double().tolist()):
        log_sum = math.log(sum(math.exp(x) for x in row))
        wanted = [share * (1 - smoothing) + smoothing / len(row) for share in shares]
        total -= sum(w * (x - log_sum) for w, x in zip(wanted, row))
    got = classification_loss(logits, targets, "softmax", smoothing)
    assert got.item() == pytest.approx(total / len(logits), rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_sigmoid_loss_is_smoothed_binary_cross_entropy(smoothing):
    logits, targets = batch(1)
    total = []
    for row, shares in zip(logits.double().tolist(), targets.double().tolist()):
        for x, share in zip(row, shares):
            wanted = share * (1 - smoothing) + smoothing / 2
            p = 1 / (1 + math.exp(-x))
            total.append(-wanted * math.log(p) - (1 - wanted) * math.log(1 - p))
    got = classification_loss(logits, targets, "sigmoid", smoothing)
    assert got.item() == pytest.approx(np.mean(total), rel=1e-6)


def test_hand_worked_values():
    even = torch.zeros(1, 4)
    target = torch.tensor([[0.0, 1.0, 0.0, 0.0]])
    assert classification_loss(even, target, "softmax").item() == pytest.approx(math.log(4))
    assert classification_loss(even, target, "sigmoid").item() == pytest.approx(math.log(2))
    sure = torch.tensor([[-50.0, 50.0, -50.0, -50.0]])
    assert classification_loss(sure, target, "softmax").item() == pytest.approx(0, abs=1e-12)
    assert classification_loss(sure, target, "softmax", 0.1).item() == pytest.approx(0.075 * 100, rel=1e-6)
    assert classification_loss(sure, target, "sigmoid", 0.1).item() == pytest.approx(0.05 * 50, rel=1e-6)


@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_gradient_is_score_minus_smoothed_target(output):
    logits, targets = batch(2)
    logits.requires_grad_()
    classification_loss(logits, targets, output, 0.2).backward()
    if output == "softmax":
        expected = (logits.softmax(1) - (targets * 0.8 + 0.2 / 5)) / len(logits)
    else:
        expected = (logits.sigmoid() - (targets * 0.8 + 0.1)) / logits.numel()
    np.testing.assert_allclose(logits.grad, expected.detach(), atol=1e-6)
