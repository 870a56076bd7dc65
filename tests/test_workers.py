"""Several processes: two on gloo reach the weights of one, and a batch computed in parts those of one computed at once."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_train import CHANCY, MODEL, PLAIN, cache_of, data, quiet, state_of, straight, waves  # noqa: F401

from asm_rh import train as room
from asm_rh.datasets import DataError
from asm_rh.feature_cache import concatenate
from asm_rh.train import Run, fit
from asm_rh.workers import Workers

TWO = """
import sys, torch
from dataclasses import replace
torch.set_num_threads(1)
from test_train import CHANCY, MODEL, cache_of, waves
from asm_rh.train import fit
from asm_rh.workers import join, leave
workers, device = join("cpu")
assert workers.count == int(sys.argv[2]) and device == "cpu"
parts = cache_of(*waves(100, seed=0)), cache_of(*waves(30, seed=1), "valid")
fit(MODEL, *parts, replace(CHANCY, micro_batch=int(sys.argv[3])), sys.argv[1], sys.argv[4] == "resume", lambda line: None, workers=workers)
leave()
"""


def alone(folder, data, **changes):  # noqa: F811
    fit(MODEL, *data, replace(CHANCY, **changes), folder, report=quiet)
    return load_file(folder / "model.safetensors")


def assert_near(first, second, limit=1e-4):
    assert first.keys() == second.keys()
    worst = {name: float((first[name] - second[name]).abs().max()) for name in first}
    assert max(worst.values()) < limit, worst


@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_batch_in_parts_gives_the_weights_of_a_whole_one(data, straight, tmp_path, size):  # noqa: F811
    assert_near(alone(tmp_path / "run", data, micro_batch=size), load_file(straight.run_dir / "model.safetensors"), 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("micro_batch", [0, 1])
def test_two_processes_equal_one(data, straight, tmp_path, micro_batch):  # noqa: F811
    script = tmp_path / "two.py"
    script.write_text(TWO)
    root = Path(__file__).parent
    where = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root.parent)]), "OMP_NUM_THREADS": "1"}

    def torchrun(folder, *more, expect=0):
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script), str(folder)]
        done = subprocess.run([*command, "2", str(micro_batch), *more], env=where, capture_output=True, text=True, timeout=200)
        assert done.returncode == expect, done.stderr[-3000:]
        return done.stderr

    torchrun(tmp_path / "both", "fresh")
    assert_near(load_file(tmp_path / "both" / "model.safetensors"), load_file(straight.run_dir / "model.safetensors"))
    rows = [state_of(folder)["history"] for folder in (tmp_path / "both", straight.run_dir)]
    for one, two in zip(*rows, strict=True):
        assert one["train_loss"] == pytest.approx(two["train_loss"], abs=1e-4), "each process knows the loss of both"
    said = torchrun(tmp_path / "both", "fresh", expect=1)
    assert "holds a run already" in said
    torchrun(tmp_path / "both", "resume")


def test_shares_are_whole_and_disjoint():
    for count in range(1, 6):
        for total in range(count, 20):
            shares = [range(total)[Workers(rank, count).share(total)] for rank in range(count)]
            assert [i for share in shares for i in share] == list(range(total))
            assert max(map(len, shares)) - min(map(len, shares)) <= 1 and min(map(len, shares)) > 0


def test_more_processes_than_clips_in_a_batch_are_refused(data, tmp_path):  # noqa: F811
    with pytest.raises(DataError, match="batches of 4 clips for 5 processes"):
        Run(MODEL, *data, PLAIN, tmp_path, Workers(0, 5))


# ---------------------------------------------------------------------------------------------- memory


class Small(torch.nn.Module):
    """A model in a memory that holds so many clips."""

    def __init__(self, run, most, error):
        super().__init__()
        self.inner, self.most, self.error = run.forward, most, error

    def forward(self, features):
        if len(features) > self.most:
            raise self.error
        return self.inner(features)


SHORT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
]


@pytest.mark.parametrize("error", SHORT_OF_MEMORY)
@pytest.mark.parametrize(
    "most, words",
    [(7, "15 clips at a time, but 7: give --micro-batch 7,"), (6, "but 3: give --micro-batch 3,"), (0, "not hold a single clip")],
)
def test_out_of_memory_says_what_fits(data, tmp_path, most, words, error):  # noqa: F811
    run = Run(MODEL, *data, replace(PLAIN, batch_size=16), tmp_path)
    run.forward = Small(run, most, error)
    run.begin()
    with pytest.raises(DataError) as caught:
        run.epoch(0, quiet)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "last.ckpt").exists()


def test_what_is_said_to_fit_does_and_changes_nothing(data, straight, tmp_path, monkeypatch):  # noqa: F811
    begin = Run.begin

    def cramped(run, initial=None):
        begin(run, initial)
        run.forward = Small(run, 2, SHORT_OF_MEMORY[0])

    monkeypatch.setattr(room.Run, "begin", cramped)
    found = alone(tmp_path / "run", data, micro_batch=2)
    assert_near(found, load_file(straight.run_dir / "model.safetensors"), 1e-5)


def test_other_errors_pass_through(data, tmp_path):  # noqa: F811
    run = Run(MODEL, *data, PLAIN, tmp_path)
    run.forward = Small(run, 0, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes"):
        run.epoch(0, quiet)


def test_several_windows_of_a_clip_are_judged_as_one(data, tmp_path):  # noqa: F811
    train, valid = data
    twice = concatenate([valid, valid])
    twice.clip = np.concatenate([valid.clip, valid.clip])
    one, two = (Run(MODEL, train, part, PLAIN, tmp_path).judge() for part in (valid, twice))
    assert one == pytest.approx(two)
