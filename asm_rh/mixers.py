"""What mixes inside a block: token and channel MLPs, and the paper's additions to each, RollBlock and the Hermitian FFT.

Every mixer is built as Mixer(config, index) with index the block's number from 0, and maps (B, tokens, width) to the same shape.
"""

import torch
from torch import nn

from .activations import Switch, Tap
from .config import ROLL_BASE, ROLL_CHANNELS, ModelConfig


class MLP(nn.Module):
    """Two linear layers with a GELU between, on the last axis."""

    def __init__(self, size: int, hidden: int, dropout: float):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(size, hidden), nn.Linear(hidden, size)
        self.act, self.drop = nn.GELU(), nn.Dropout(dropout)

    def forward(self, x):
        return self.drop(self.fc2(self.drop(self.act(self.fc1(x)))))


class TokenMixing(nn.Module):
    """MLP over the tokens, the same for every feature (MLP-Mixer)."""

    name = "token"

    def __init__(self, config: ModelConfig, index: int):
        super().__init__()
        self.mlp = MLP(config.tokens, config.token_hidden, config.dropout)

    def forward(self, x):
        return self.mlp(x.transpose(1, 2)).transpose(1, 2)


class ChannelMixing(nn.Module):
    """MLP over the features, the same for every token (MLP-Mixer)."""

    name = "channel"

    def __init__(self, config: ModelConfig, index: int):
        super().__init__()
        self.mlp = MLP(config.width, config.channel_hidden, config.dropout)

    def forward(self, x):
        return self.mlp(x)


class HermitFrequencyMixing(Switch, nn.Module):
    """Token mixing between a Hermitian FFT over the features and its inverse (arXiv 2402.18007, Hermit-Frequency-mixing).

    The transform of real features is one fixed real matrix, applied as such: exact in every precision and exportable.
    Switched off, the features are mixed without the transform.
    """

    name = "hermit"

    def __init__(self, config: ModelConfig, index: int):
        super().__init__()
        self.mlp = MLP(config.tokens, config.token_hidden, config.dropout)
        forward, backward = hermit_matrices(config.width, config.hermit)
        self.register_buffer("forward_matrix", forward, persistent=False)
        self.register_buffer("backward_matrix", backward, persistent=False)
        for name in ("in", "spectrum", "mixed", "out"):
            self.add_module(name, Tap())

    def forward(self, x):
        tap = self._modules
        transform = self.forward_matrix is not None and not self.is_off
        x = tap["in"](x)
        x = tap["spectrum"](x @ self.forward_matrix if transform else x)
        x = tap["mixed"](self.mlp(x.transpose(1, 2)).transpose(1, 2))
        return tap["out"](x @ self.backward_matrix if transform else x)


class RollTimeMixing(Switch, nn.Module):
    """Channel mixing of features that RollBlock has moved first (arXiv 2402.18007, Roll-Time-mixing, algorithm 1).

    Switched off, nothing is moved.
    """

    name = "roll"

    def __init__(self, config: ModelConfig, index: int):
        super().__init__()
        self.mlp = MLP(config.width, config.channel_hidden, config.dropout)
        self.reading, self.index, self.depth, self.grid = config.roll, index, config.depth, config.grid
        for name in ("in", "out"):
            self.add_module(name, Tap())

    def forward(self, x):
        tap = self._modules
        x = tap["in"](x)
        return self.mlp(tap["out"](x if self.is_off else self.move(x)))

    def move(self, x):
        """RollBlock alone: (B, tokens, width) rearranged by this block's fixed permutation; the input is left as it is."""
        if self.reading == "paper":
            return roll_paper(x, self.index, self.depth)
        if self.reading == "grid":
            return roll_grid(x, self.index, self.depth, self.grid)
        return x


def roll_range(index: int) -> int:
    """Channels per direction, g = int(16 / (1 + a)) for block a."""
    return ROLL_CHANNELS // (1 + index)


def roll_paper(x, index: int, depth: int):
    """RollBlock as the paper's listing has it, on the row-major view (B, 16, tokens / 4, width / 4).

    Groups of g channels roll by +step and -step along the last axis, then along the one before, step = depth - a; slices
    past channel 16 are shorter or empty.
    """
    step, g = depth - index, roll_range(index)
    view = x.reshape(len(x), ROLL_CHANNELS, x.shape[1] // ROLL_BASE, x.shape[2] // ROLL_BASE)
    return _roll_groups(view, 1, g, ((step, -1), (-step, -1), (step, -2), (-step, -2))).reshape(x.shape)


def roll_grid(x, index: int, depth: int, grid: tuple[int, int]):
    """RollBlock as the paper's prose has it: tokens on their frequency x time grid, features in 16 groups.

    At most 4 groups a direction roll by +-ceil(step / 4) patches in time, then +-1 patch in frequency.
    """
    step, g = -(-(depth - index) // ROLL_BASE), min(roll_range(index), 4)
    view = x.reshape(len(x), *grid, x.shape[2])
    share = x.shape[2] // ROLL_CHANNELS
    return _roll_groups(view, 3, g * share, ((step, 2), (-step, 2), (1, 1), (-1, 1))).reshape(x.shape)


def _roll_groups(view, axis, size, moves):
    """Rolls consecutive slices of `size` along `axis`, one move (shift, dim) each; what is left stays."""
    length = view.shape[axis]
    edges = [min(i * size, length) for i in range(len(moves) + 1)]
    parts = [view.narrow(axis, a, b - a).roll(*move) for move, a, b in zip(moves, edges, edges[1:]) if b > a]
    if edges[-1] < length:
        parts.append(view.narrow(axis, edges[-1], length - edges[-1]))
    return torch.cat(parts, axis)


def hermit_matrices(width: int, reading: str):
    """The two (width, width) matrices that the Hermitian FFT and its inverse are on the last axis, or (None, None) for "off".

    "lossless": n = 2 (width - 1), first `width` values kept both ways: an exact DCT-I pair. "truncated": n = width, rank width // 2 + 1.
    Both with norm="ortho".
    """
    if reading == "off" or width < 2:
        return None, None
    n = 2 * (width - 1) if reading == "lossless" else width
    eye = torch.eye(width, dtype=torch.float64)
    forward = torch.fft.hfft(eye, n=n, norm="ortho")[:, :width]
    backward = torch.fft.irfft(eye, n=n, norm="ortho")[:, :width]
    return forward.float().contiguous(), backward.float().contiguous()


KINDS = {
    "asm-rh": (HermitFrequencyMixing, RollTimeMixing),
    "asm-h": (HermitFrequencyMixing, ChannelMixing),
    "asm-r": (TokenMixing, RollTimeMixing),
    "asm": (TokenMixing, ChannelMixing),
}
