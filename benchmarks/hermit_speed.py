"""Compares the two ways to run the Hermitian transform, a fixed matrix and an FFT, and how near each is to float64.

    python -m benchmarks.hermit_speed

Writes results/hermit_speed.json; times are medians over runs in turn, and only their ratio means anything on a shared machine.
"""

import time
from statistics import median

import torch

from asm_rh.mixers import hermit_matrices

from . import record

SIZES = ((96, 128), (144, 768), (600, 768))  # tokens, width
RUNS = 30


def by_fft(x):
    """The pair's first half by torch.fft."""
    return torch.fft.hfft(x, n=2 * (x.shape[-1] - 1), norm="ortho")[..., : x.shape[-1]]


def seconds(function, x) -> float:
    """One call's time, forward and backward."""
    x = x.detach().requires_grad_()
    start = time.perf_counter()
    function(x).sum().backward()
    return time.perf_counter() - start


def compare(tokens: int, width: int) -> dict:
    """Ratio of times and errors for one size, batch of 8."""
    x = torch.randn(8, tokens, width, generator=torch.Generator().manual_seed(0))
    matrix = hermit_matrices(width, "lossless")[0]
    ways = {"matrix": lambda v: v @ matrix, "fft": by_fft}
    times = {name: [] for name in ways}
    for _ in range(RUNS):
        for name, function in ways.items():
            times[name].append(seconds(function, x))
    exact = by_fft(x.double())
    return {
        "tokens": tokens, "width": width,
        "fft_time_over_matrix_time": median(times["fft"]) / median(times["matrix"]),
        "largest_error": {name: float((function(x).double() - exact).abs().max()) for name, function in ways.items()},
        "matrix_bfloat16_error": float(((x.bfloat16() @ matrix.bfloat16()).double() - exact).abs().max()),
    }  # fmt: skip


def main():
    torch.set_num_threads(2)
    record.write("hermit_speed", {"sizes": [compare(*size) for size in SIZES]}, "python -m benchmarks.hermit_speed")


if __name__ == "__main__":
    main()
