"""What the README shows runs as it stands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from app.examples import example_paths
from asm_rh.classifier import Classifier

ROOT = Path(__file__).parent.parent
ABSENT = ("huggingface_hub", "gradio", "gradio_client", "soundfile", "av", "torchaudio", "sounddevice", "captum", "PIL", "tqdm", "httpx2")
BARE = f"""
import sys


class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {ABSENT}:
            raise ModuleNotFoundError(f"no module named {{name}}", name=name)


sys.meta_path.insert(0, Absent())
import torch

wave = torch.load(sys.argv[1])
exec(sys.argv[2])
torch.save((logits, scores), sys.argv[3])
rooms = {{name.partition(".")[2] for name in sys.modules if name.startswith("asm_rh.")}}
assert rooms == {{"activations", "config", "frontends", "mixers", "model"}}, rooms
"""


def snippet(mark):
    """The block behind a mark in the README."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.search(rf"<!-- {mark} -->\n```python\n(.*?)```", text, re.DOTALL)[1]


@pytest.mark.slow
def test_the_network_runs_with_torch_and_safetensors_alone(tmp_path):
    classifier = Classifier("asm-rh-keywords", "cpu")
    _, wave, rate = classifier.window_at(str(example_paths()[0]))
    waves = classifier.prepare(wave, rate)
    torch.save(waves, tmp_path / "wave.pt")
    arguments = [str(tmp_path / "wave.pt"), snippet("bare"), str(tmp_path / "out.pt")]
    done = subprocess.run([sys.executable, "-c", BARE, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    logits, scores = torch.load(tmp_path / "out.pt")
    torch.testing.assert_close(logits, classifier.logits(wave, rate), atol=1e-5, rtol=0)
    torch.testing.assert_close(scores, torch.from_numpy(classifier.score(wave, rate)), atol=1e-6, rtol=0)
    assert scores.max() > 0.5
