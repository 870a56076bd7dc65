"""What `asm-rh info` knows: sizes against a model that is really built, and names it does not know."""

import json

import pytest

from asm_rh.checkpoint import CheckpointError, shipped_models
from asm_rh.config import PRESETS, FrontendConfig, ModelConfig, preset
from asm_rh.info import describe, describe_text, facts
from asm_rh.model import AudioMixer

MODEL = ModelConfig(
    labels=("no", "yes"), window_seconds=0.5, frames=48, patch=(16, 16), stride=(16, 8), width=32, depth=2,
    token_hidden=12, channel_hidden=40, roll="off", hermit="off", kind="asm",
    frontend=FrontendConfig(bands=32, centre=True),
)  # fmt: skip


def test_facts_agree_with_the_model_itself():
    found = facts(MODEL)
    assert found["parameters"] == sum(p.numel() for p in AudioMixer(MODEL).parameters())
    assert found["grid"] == [2, 5] and found["tokens"] == 10
    # by hand: stem 16*16*32*10, two blocks of 2*10*12*32 across tokens and 2*32*40*10 across channels, head 32*2
    assert found["gmac"] * 1e9 == pytest.approx(81_920 + 2 * (7_680 + 25_600) + 64)
    assert found["labels"] == ["no", "yes"] and found["frontend"]["bands"] == 32
    for name in ("kind", "roll", "hermit", "output", "depth", "width", "window_seconds", "sample_rate", "threshold"):
        assert found[name] == getattr(MODEL, name)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_can_be_described(name):
    found = describe(name)
    config = preset(name)
    assert (found["depth"], found["width"], found["tokens"]) == (config.depth, config.width, config.tokens)
    assert found["weights"] == (name in shipped_models())
    assert ("no weights" in describe_text(found)) == (name not in shipped_models())
    json.dumps(found, allow_nan=False)


def test_folder_is_described_with_weights(tmp_path):
    AudioMixer(MODEL).save_pretrained(tmp_path)
    found = describe(tmp_path)
    assert found["weights"] and found["model"] == str(tmp_path) and found["kind"] == "asm"
    assert found["repo"] is None and found["commit"] is None
    text = describe_text(found)
    lines = text.splitlines()
    assert lines[0] == str(tmp_path)
    for part in (
        "kind        asm, roll off, hermit off, softmax",
        "2 blocks, width 32, 10 tokens (2 in frequency x 5 in time), hidden 12 / 40",
        "0.5 s at 16000 Hz, patches 16 x 16 every 16 x 8",
        "logmel: 32 bands, 20 to 8000 Hz, 25 ms every 10 ms, each window centred",
        f"{found['parameters']:,}",
        "labels      2: no, yes",
    ):
        assert part in text, part


def test_a_folder_with_the_name_of_a_preset_is_the_folder(tmp_path, monkeypatch):
    AudioMixer(MODEL).save_pretrained(tmp_path / "asm-rh-tiny")
    monkeypatch.chdir(tmp_path)
    assert describe("asm-rh-tiny")["width"] == 32


def test_unknown_name_lists_presets_and_shipped_models():
    with pytest.raises(CheckpointError, match=r"no model 'asm-rh-huge'") as error:
        describe("asm-rh-huge")
    for name in (*PRESETS, *shipped_models()):
        assert name in str(error.value)


@pytest.mark.parametrize("content", [None, "{", '{"model_type": "bert"}', "[]", '{"colour": 1}'])
def test_folder_without_a_usable_config_is_one_error(tmp_path, content):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        describe(tmp_path)
