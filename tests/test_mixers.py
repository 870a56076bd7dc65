"""The mixers against loops written from the paper, SciPy's cosine transform, and torch's FFTs called directly."""

import math

import numpy as np
import pytest
import scipy.fft
import torch

from asm_rh.config import ModelConfig
from asm_rh.mixers import (
    KINDS,
    ChannelMixing,
    HermitFrequencyMixing,
    RollTimeMixing,
    TokenMixing,
    roll_grid,
    roll_paper,
)

SIZES = [(600, 768), (144, 192)]
BLOCKS = [(depth, a) for depth in (4, 8, 12) for a in range(depth)]


def numbered(tokens, width):
    """A clip in which every value is its own place, so that the whole permutation shows: float64, exact."""
    return np.arange(tokens * width, dtype=np.float64).reshape(tokens, width)


def small(**changes):
    fields = dict(width=32, depth=4, token_hidden=8, channel_hidden=24, frames=48, stride=(16, 16), window_seconds=0.4)
    return ModelConfig(**{**fields, **changes})


# ---------------------------------------------------------------------------------------- RollBlock, the listing


def listing(x, a, depth):
    """Algorithm 1 for one clip (H, W): C = 16, C_a = 4, `[0:g]` for the misprinted first slice, plain loops."""
    height, width = x.shape[0] // 4, x.shape[1] // 4
    view = x.reshape(16, height, width)
    moved = view.copy()
    g, step = int(16 / (1 + a)), depth - a
    for c in range(16)[0 : 1 * g]:
        for j in range(width):
            moved[c, :, (j + step) % width] = view[c, :, j]
    for c in range(16)[1 * g : 2 * g]:
        for j in range(width):
            moved[c, :, (j - step) % width] = view[c, :, j]
    for c in range(16)[2 * g : 3 * g]:
        for i in range(height):
            moved[c, (i + step) % height, :] = view[c, i, :]
    for c in range(16)[3 * g : 4 * g]:
        for i in range(height):
            moved[c, (i - step) % height, :] = view[c, i, :]
    return moved.reshape(x.shape)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("depth", "a"), BLOCKS)
def test_listing_equals_plain_loops(size, depth, a):
    x = numbered(*size)
    moved = roll_paper(torch.from_numpy(x)[None], a, depth)[0].numpy()
    np.testing.assert_array_equal(moved, listing(x, a, depth))


def test_listing_worked_by_hand():
    x = torch.arange(64.0).reshape(1, 8, 8)  # 16 channels of 2 x 2
    first = roll_paper(x, 0, 1)  # g = 16, step 1: every pair along the last axis swaps
    assert first.flatten()[:8].tolist() == [1, 0, 3, 2, 5, 4, 7, 6]
    assert first.flatten()[-4:].tolist() == [61, 60, 63, 62]
    last = roll_paper(x, 3, 4).reshape(16, 4)  # g = 4, step 1: 8 channels swap pairs, 8 swap their two rows
    assert last[[0, 7]].tolist() == [[1, 0, 3, 2], [29, 28, 31, 30]]
    assert last[[8, 15]].tolist() == [[34, 35, 32, 33], [62, 63, 60, 61]]


# a: channels that roll by +step, -step along the last axis, then +step, -step along the one before
CHANNELS = {0: (16, 0, 0, 0), 1: (8, 8, 0, 0), 2: (5, 5, 5, 1), 3: (4, 4, 4, 4), 4: (3, 3, 3, 3)}
CHANNELS |= dict.fromkeys((5, 6, 7), (2, 2, 2, 2)) | dict.fromkeys((8, 9, 10, 11), (1, 1, 1, 1))


@pytest.mark.parametrize("a", range(12))
def test_channels_per_direction_are_the_papers_table(a):
    height, width, step = 150, 192, 12 - a
    moved = roll_paper(torch.from_numpy(numbered(600, 768))[None], a, 12).reshape(16, height, width).long()
    counts, still = dict.fromkeys([(0, step), (0, -step), (step, 0), (-step, 0)], 0), 0
    for c in range(16):
        source = divmod(int(moved[c, 75, 96]) - c * height * width, width)  # where the value now in the middle was
        shift = (75 - source[0], 96 - source[1])
        if shift == (0, 0):
            still += 1
        else:
            counts[shift] += 1
    assert tuple(counts.values()) == CHANNELS[a]
    assert still == 16 - sum(CHANNELS[a])


def test_listing_moves_nothing_where_no_channel_is_left():
    x = torch.from_numpy(numbered(144, 192))[None]
    assert torch.equal(roll_paper(x, 16, 20), x)  # int(16 / 17) = 0
    assert not torch.equal(roll_paper(x, 15, 20), x)


# ---------------------------------------------------------------------------------------- RollBlock, the prose


def prose(x, a, depth, grid):
    """Tokens on a frequency x time grid, 16 feature groups, g <= 4, steps ceil(step / 4) in time, 1 in frequency."""
    rows, columns = grid
    time_step, g, share = math.ceil((depth - a) / 4), min(int(16 / (1 + a)), 4), x.shape[1] // 16
    moved = x.copy()
    for group in range(16):
        features = slice(group * share, (group + 1) * share)
        down, right = {0: (0, time_step), 1: (0, -time_step), 2: (1, 0), 3: (-1, 0)}.get(group // g, (0, 0))
        for f in range(rows):
            for t in range(columns):
                target = (f + down) % rows * columns + (t + right) % columns
                moved[target, features] = x[f * columns + t, features]
    return moved


@pytest.mark.parametrize(("size", "grid"), [((600, 768), (12, 50)), ((144, 192), (12, 12)), ((96, 128), (8, 12))])
def test_grid_equals_plain_loops(size, grid):
    x = numbered(*size)
    for depth, a in BLOCKS:
        moved = roll_grid(torch.from_numpy(x)[None], a, depth, grid)[0].numpy()
        np.testing.assert_array_equal(moved, prose(x, a, depth, grid), err_msg=f"block {a} of {depth}")


def test_grid_worked_by_hand():
    x = torch.zeros(1, 6, 16)
    x[0, 4] = 1.0  # 2 x 3 tokens, one feature a group: the token at frequency 1, time 1
    moved = roll_grid(x, 3, 4, (2, 3))[0]  # g = 4, one patch in time
    assert moved[:, 0].nonzero().flatten().tolist() == [5]  # + time
    assert moved[:, 4].nonzero().flatten().tolist() == [3]  # - time
    assert moved[:, 8].nonzero().flatten().tolist() == [1]  # + frequency, around the edge
    assert moved[:, 15].nonzero().flatten().tolist() == [1]  # - frequency


# ---------------------------------------------------------------------------------------- both readings

READINGS = {
    "paper": lambda x, a, depth: roll_paper(x, a, depth),
    "grid": lambda x, a, depth: roll_grid(x, a, depth, (12, x.shape[1] // 12)),
}


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("size", SIZES)
def test_roll_is_a_permutation_undone_exactly(reading, size):
    places = torch.arange(size[0] * size[1]).reshape(1, *size)
    values = torch.randn(2, *size)
    for depth, a in BLOCKS:
        permutation = READINGS[reading](places, a, depth).flatten()
        inverse = torch.full_like(permutation, -1)
        inverse[permutation] = torch.arange(len(permutation))
        assert inverse.min() == 0  # each place is the source of exactly one value
        assert torch.equal(READINGS[reading](values, a, depth).flatten(1)[:, inverse], values.flatten(1))


@pytest.mark.parametrize("reading", READINGS)
def test_roll_leaves_its_input_as_it_is_and_moves_each_clip_alike(reading):
    single = torch.randn(1, 144, 192)
    batch = torch.cat([single, single + 1, single * 2])
    before = batch.clone()
    for depth, a in BLOCKS:
        moved, alone = READINGS[reading](batch, a, depth), READINGS[reading](single, a, depth)
        assert torch.equal(batch, before)
        assert torch.equal(moved, torch.cat([alone, alone + 1, alone * 2]))


@pytest.mark.parametrize("reading", READINGS)
def test_roll_takes_a_transposed_view(reading):
    x = torch.randn(2, 192, 144).transpose(1, 2)
    assert torch.equal(READINGS[reading](x, 3, 8), READINGS[reading](x.contiguous(), 3, 8))


@pytest.mark.parametrize("reading", ["paper", "grid", "off"])
def test_the_mixer_is_the_reading_before_its_mlp(reading):
    config = small(roll=reading)
    x = torch.randn(2, 24, 32)
    for a in range(config.depth):
        mixer = RollTimeMixing(config, a)
        for clip, moved in zip(x.double().numpy(), mixer.move(x).double().numpy(), strict=True):
            wanted = {"paper": listing(clip, a, 4), "grid": prose(clip, a, 4, (8, 3)), "off": clip}[reading]
            np.testing.assert_array_equal(moved, wanted)
        assert torch.equal(mixer(x), mixer.mlp(mixer.move(x)))


# ---------------------------------------------------------------------------------------- Hermitian FFT


def hermit_pair(width, reading):
    """The transform and its inverse as functions of (..., width), taken from a mixer."""
    mixer = HermitFrequencyMixing(small(width=width, hermit=reading, roll="off"), 0)
    return (lambda x: x @ mixer.forward_matrix), (lambda x: x @ mixer.backward_matrix)


@pytest.mark.parametrize("width", [4, 96, 768])
def test_lossless_is_scipys_cosine_transform(width):
    forward, backward = hermit_pair(width, "lossless")
    x = torch.randn(3, 5, width, generator=torch.Generator().manual_seed(width))
    wanted = scipy.fft.dct(x.double().numpy(), type=1) / math.sqrt(2 * (width - 1))  # norm="ortho" of n = 2 (D - 1)
    np.testing.assert_allclose(forward(x).numpy(), wanted, atol=1e-5)
    np.testing.assert_allclose(backward(x).numpy(), wanted, atol=1e-5)  # DCT-I is its own inverse


@pytest.mark.parametrize("width", [4, 5, 96, 768])
@pytest.mark.parametrize("reading", ["lossless", "truncated"])
def test_pair_equals_torch_called_directly(width, reading):
    forward, backward = hermit_pair(width, reading)
    x = torch.randn(7, width, generator=torch.Generator().manual_seed(width))
    n = {"lossless": 2 * (width - 1), "truncated": width}[reading]
    hfft, irfft = (f(x.double(), n=n, norm="ortho")[:, :width].float() for f in (torch.fft.hfft, torch.fft.irfft))
    torch.testing.assert_close(forward(x), hfft, atol=1e-5, rtol=0)
    torch.testing.assert_close(backward(x), irfft, atol=1e-5, rtol=0)


@pytest.mark.parametrize("width", [4, 96, 128, 768])
def test_lossless_inverts_and_is_well_conditioned(width):
    forward, backward = hermit_pair(width, "lossless")
    x = torch.randn(7, width)
    torch.testing.assert_close(backward(forward(x)), x, atol=1e-5, rtol=0)
    torch.testing.assert_close(forward(backward(x)), x, atol=1e-5, rtol=0)
    singular = torch.linalg.svdvals(forward(torch.eye(width)))
    assert singular.max() / singular.min() < 2.001


@pytest.mark.parametrize("width", [96, 97, 768])
def test_truncated_ignores_half_of_the_features(width):
    forward, backward = hermit_pair(width, "truncated")
    there = forward(torch.eye(width, dtype=torch.float32)).double()
    back = backward(torch.eye(width, dtype=torch.float32)).double()
    ranks = [torch.linalg.matrix_rank(matrix, rtol=1e-5).item() for matrix in (there, back, there @ back)]
    assert ranks == [width // 2 + 1] * 3
    assert there[width // 2 + 1 :].abs().max() == 0  # these features never arrive


def gelu(x):
    return x * 0.5 * (1 + torch.special.erf(x / math.sqrt(2)))


@pytest.mark.parametrize("reading", ["lossless", "truncated"])
def test_the_hermit_mixer_is_irfft_of_mlp_of_hfft(reading):
    mixer = HermitFrequencyMixing(small(hermit=reading), 0)
    n = {"lossless": 62, "truncated": 32}[reading]
    x = torch.randn(2, 24, 32)
    weights = {name: p.double() for name, p in mixer.mlp.named_parameters()}
    tokens = torch.fft.hfft(x.double(), n=n, norm="ortho")[..., :32].transpose(1, 2)
    hidden = gelu(tokens @ weights["fc1.weight"].T + weights["fc1.bias"])
    mixed = (hidden @ weights["fc2.weight"].T + weights["fc2.bias"]).transpose(1, 2)
    wanted = torch.fft.irfft(mixed, n=n, norm="ortho")[..., :32]
    torch.testing.assert_close(mixer(x).double(), wanted, atol=1e-5, rtol=0)


def test_hermit_off_is_plain_token_mixing():
    hermit, plain = HermitFrequencyMixing(small(hermit="off"), 0), TokenMixing(small(), 0)
    plain.load_state_dict(hermit.state_dict())
    x = torch.randn(2, 24, 32)
    assert torch.equal(hermit(x), plain(x))


def test_transforms_are_not_stored_with_the_weights():
    assert set(HermitFrequencyMixing(small(), 0).state_dict()) == set(TokenMixing(small(), 0).state_dict())


def test_token_mixing_crosses_tokens_only_and_channel_mixing_features_only():
    x = torch.randn(1, 24, 32, requires_grad=True)
    token = torch.autograd.grad(TokenMixing(small(), 0)(x)[0, 3, 5], x)[0][0]
    channel = torch.autograd.grad(ChannelMixing(small(), 0)(x)[0, 3, 5], x)[0][0]
    assert (token[:, 5] != 0).all() and token.count_nonzero() == 24
    assert (channel[3] != 0).all() and channel.count_nonzero() == 32


@pytest.mark.parametrize("hermit", ["lossless", "truncated", "off"])
@pytest.mark.parametrize("roll", ["paper", "grid", "off"])
def test_mixers_run_in_bfloat16(hermit, roll):
    config = small(hermit=hermit, roll=roll)
    x = torch.randn(2, 24, 32)
    for first, second in KINDS.values():
        for mixer in (first(config, 1), second(config, 1)):
            wanted = mixer(x)
            with torch.autocast("cpu", torch.bfloat16):
                got = mixer(x)
            assert got.dtype == torch.bfloat16
            torch.testing.assert_close(got.float(), wanted, atol=0.03, rtol=0.03)
            torch.testing.assert_close(mixer.bfloat16()(x.bfloat16()).float(), wanted, atol=0.03, rtol=0.03)


def test_kinds_are_frozen():
    kinds = {kind: tuple(mixer.__name__ for mixer in row) for kind, row in KINDS.items()}
    assert kinds == {
        "asm-rh": ("HermitFrequencyMixing", "RollTimeMixing"),
        "asm-h": ("HermitFrequencyMixing", "ChannelMixing"),
        "asm-r": ("TokenMixing", "RollTimeMixing"),
        "asm": ("TokenMixing", "ChannelMixing"),
    }
