"""What every test may lean on: one torch thread, and the folder of real recordings where there is one."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True, scope="session")
def one_torch_thread():
    """Small tensors run faster on one thread, and leave the other cores to whoever needs them."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """`../shared/data` beside the repository; skips where the recordings are not there."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no recordings in ../shared/data")
    return folder
