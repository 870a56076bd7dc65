"""Runs the real client, or the command line, in processes of their own against a loopback hub."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import torch

from asm_rh.config import ModelConfig
from asm_rh.model import AudioMixer

ROOT = Path(__file__).parent.parent


def built(seed, **changes):
    """A small model with random weights."""
    sizes = dict(width=32, depth=2, token_hidden=8, channel_hidden=24, frames=48, stride=(16, 16), window_seconds=0.4)
    torch.manual_seed(seed)
    return AudioMixer(ModelConfig(**{"labels": ("yes", "no", "_silence_"), **sizes, **changes})).eval()


def environment(endpoint, home, **more):
    """The machine of a user who has never been on the Hub, with `endpoint` for it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    quiet = {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "NO_PROXY": "127.0.0.1"}
    return {**kept, **quiet, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}


def driven(cases, endpoint, home, **more):
    """{case: [what came of each step]} of cases that the real client goes through in a process of its own."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "hub_client.py")], input=json.dumps(cases), env=environment(endpoint, home, **more),
        cwd=home, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def command(arguments, endpoint, home, **more):
    """The command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "asm_rh", *map(str, arguments)], env=environment(endpoint, home, **more), cwd=home, capture_output=True,
        text=True, timeout=200,
    )  # fmt: skip


def dead_endpoint():
    """An address where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def value(step):
    """What a step gave."""
    assert "value" in step, step
    return step["value"]


def refusal(step, kind="CheckpointError"):
    """The one line of a refusal."""
    assert step.get("type") == kind, step
    assert "\n" not in step["error"] and len(step["error"]) < 600, step["error"]
    return step["error"]
