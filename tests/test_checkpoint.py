"""Folders of weights: there and back to the bit, and one clear refusal for everything that is not whole."""

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from asm_rh import checkpoint
from asm_rh.checkpoint import CheckpointError, load, read_config, save, shipped_models
from asm_rh.config import ModelConfig, preset
from asm_rh.hub import parse_id
from asm_rh.model import AudioMixer


def small(**changes):
    sizes = dict(width=32, depth=2, token_hidden=8, channel_hidden=24, frames=48, stride=(16, 16), window_seconds=0.4)
    return ModelConfig(**{"labels": ("yes", "no", "日本"), **sizes, **changes})


def built(config, seed=0):
    torch.manual_seed(seed)
    return AudioMixer(config).eval()


@pytest.fixture
def folder(tmp_path):
    """A saved small model."""
    save(built(small()), tmp_path / "model")
    return tmp_path / "model"


def edit_config(folder, **changes):
    fields = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**fields, **changes}), encoding="utf-8")


def edit_weights(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def refusal(source, **options):
    with pytest.raises(CheckpointError) as caught:
        load(source, **options)
    return str(caught.value)


# ---------------------------------------------------------------------------------------- there and back


@pytest.mark.parametrize("name", ["asm-rh-tiny", "asm-rh-tiny-1s", "asm-rh-keywords"])
def test_presets_come_back_to_the_bit(tmp_path, name):
    model = built(preset(name, labels=("a", "b", "c")))
    save(model, tmp_path)
    loaded = load(tmp_path)
    assert loaded.config == model.config and not loaded.training
    assert list(loaded.state_dict()) == list(model.state_dict())
    for tensor, wanted in zip(loaded.state_dict().values(), model.state_dict().values(), strict=True):
        assert torch.equal(tensor, wanted)
    wave = 0.1 * torch.randn(1, model.config.window_samples)
    with torch.no_grad():
        assert torch.equal(loaded(wave), model(wave))


def test_every_setting_of_the_front_end_travels(tmp_path):
    frontend = dict(centre=True, mean=0.25, std=1.5, padding=-0.5, low_hz=60.0, high_hz=7000.0, preemphasis=0.9)
    model = built(small().replace(frontend=frontend, roll="grid", hermit="truncated", output="sigmoid", threshold=0.3))
    save(model, tmp_path)
    assert load(str(tmp_path)).config == model.config  # a folder as text does too
    wave = 0.1 * torch.randn(1, 3000)
    assert torch.equal(load(tmp_path)(wave), model(wave))


def test_what_is_written(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    fields = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert fields["id2label"] == {"0": "yes", "1": "no", "2": "日本"}
    assert "日本" in (folder / "config.json").read_text(encoding="utf-8")  # readable, not escaped
    tensors = load_file(folder / "model.safetensors")
    assert set(tensors) == set(built(small()).state_dict())
    assert not any("matrix" in name or "window" in name or "banks" in name for name in tensors)
    for path in folder.iterdir():
        assert path.stat().st_mode & 0o777 == 0o644


def test_a_second_save_replaces_the_first(folder):
    other = built(small(labels=("a", "b")), seed=1)
    save(other, folder)
    assert load(folder).config.labels == ("a", "b")
    assert torch.equal(load(folder).stem.weight, other.stem.weight)


def test_saving_makes_folders_and_leaves_the_model_alone(tmp_path):
    model = built(small()).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.save_pretrained(tmp_path / "a" / "b")
    assert model.training and all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert AudioMixer.from_pretrained(tmp_path / "a" / "b").config == model.config


# ---------------------------------------------------------------------------------------- finding


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """Two shipped models, and a folder that is none."""
    for name, seed in (("asm-rh-first", 1), ("asm-rh-second", 2)):
        save(built(small(), seed), tmp_path / "checkpoints" / name)
    (tmp_path / "checkpoints" / "notes").mkdir()
    monkeypatch.setattr(checkpoint, "shipped_folder", lambda: tmp_path / "checkpoints")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")


@pytest.mark.usefixtures("shipped")
def test_shipped_models_load_by_name():
    assert shipped_models() == ["asm-rh-first", "asm-rh-second"]
    assert torch.equal(load("asm-rh-second").stem.weight, built(small(), 2).stem.weight)


@pytest.mark.usefixtures("shipped")
@pytest.mark.parametrize("source", ["asm-rh-third", "/no/such/folder", "./no/such", "a/b/c", "../x", "~/models"])
def test_a_missing_model_lists_the_shipped(source):
    message = refusal(source)
    assert repr(source) in message and "asm-rh-first, asm-rh-second" in message


@pytest.mark.usefixtures("shipped")
def test_a_file_is_not_a_folder():
    Path("a").mkdir()
    Path("a/model.safetensors").write_bytes(b"")
    assert "expected a folder" in refusal("a/model.safetensors")  # though it looks like user/repo


def test_a_model_knows_where_it_is_from(folder):
    assert load(folder).source == checkpoint.Source(folder) == checkpoint.find(str(folder))
    assert built(small()).source is None


def test_a_folder_may_have_a_name_like_a_revision(folder):
    folder.rename(folder.parent / "model@v1")
    assert load(folder.parent / "model@v1").source.folder == folder.parent / "model@v1"


def test_a_hub_id_that_is_not_here_says_so(tmp_path):
    message = refusal("some-one/some-model", cache_dir=tmp_path, local_files_only=True)
    assert message.startswith("some-one/some-model is not on this machine and the Hub cannot be reached")


@pytest.mark.parametrize(
    ("text", "revision", "expected"),
    [
        ("me/x", None, ("me/x", None)), ("me/x", "v1", ("me/x", "v1")), ("me/x@v1", None, ("me/x", "v1")),
        ("me/x@v1", "v1", ("me/x", "v1")),
        ("me/x@refs/pr/1", None, ("me/x", "refs/pr/1")),
    ],
)  # fmt: skip
def test_ids_with_revisions(text, revision, expected):
    assert parse_id(text, revision) == expected


@pytest.mark.parametrize(
    ("text", "revision", "words"),
    [
        ("me/x@", None, "no Hub id"), ("x", None, "no Hub id"), ("me/x y", None, "no Hub id"), ("me/x/y", None, "no Hub id"),
        ("me/x@v1", "v2", "names revision 'v1' and the argument names 'v2': give one of them"),
        ("me/x@../../secret", None, "expected a branch, a tag or a commit"), ("me/x", "/etc", "expected a branch, a tag or a commit"),
    ],
)  # fmt: skip
def test_ids_that_are_none(text, revision, words):
    with pytest.raises(CheckpointError, match=words):
        parse_id(text, revision)


def test_every_model_that_is_shipped_loads():
    if not shipped_models():
        pytest.skip("no weights in checkpoints/")
    for name in shipped_models():
        model = load(name)
        scores = model.probabilities(model(torch.zeros(1, model.config.window_samples)))
        assert scores.shape == (1, len(model.config.labels)) and scores.isfinite().all()


# ---------------------------------------------------------------------------------------- a config that is not one


def test_missing_config(folder):
    (folder / "config.json").unlink()
    assert refusal(folder) == f"no config.json in {folder}: expected a folder written by save_pretrained"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "Expecting value"),
        (b"{'kind': 3}", "Expecting property name"),
        (b"[1, 2]", "list, expected an object"),
        (b'"asm-rh"', "str, expected an object"),
        (b"null", "NoneType, expected an object"),
        (b"\xff\xfe\x00", "codec can't decode"),
        (b"[" * 100_000, "recursion"),
    ],
)
def test_config_that_is_no_json_object(folder, text, message):
    (folder / "config.json").write_bytes(text)
    got = refusal(folder)
    assert str(folder / "config.json") in got and message in got


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(kind="rnn"), "no kind 'rnn'; available: asm-rh"),
        (dict(kind=3), "ModelConfig.kind=3: expected str"),
        (dict(depth="2"), "ModelConfig.depth='2': expected int"),
        (dict(heads=8), "unknown key 'heads' in ModelConfig; known: kind"),
        (dict(roll="spin"), "roll='spin': expected one of paper, grid, off"),
        (dict(model_type="bert"), "another model_type, expected 'asm-rh'"),
        (dict(width=30), "width=30 cannot be divided by 4"),
        (dict(frontend={"name": "cqt"}), "no frontend 'cqt'; available: logmel"),
        (dict(frontend={"high_hz": 9000.0}), "high_hz=9000.0 is above half the sample rate"),
        (dict(frontend={"fft_samples": 256}), "does not fit fft_samples=256"),
        (dict(id2label=["yes", "no"]), 'expected the keys "0" to "n-1"'),
        (dict(id2label={"0": "yes", "2": "no"}), 'expected the keys "0" to "n-1"'),
        (dict(id2label={"0": ["yes"], "1": "no"}), "expected a string for each label"),
        (dict(id2label={"0": "no", "1": "yes", "2": "日本"}), "label2id does not agree with id2label"),
    ],
)
def test_config_that_names_no_model(folder, changes, message):
    edit_config(folder, **changes)
    got = refusal(folder)
    assert str(folder / "config.json") in got and message in got


def test_a_config_of_megabytes_is_not_even_read(folder):
    (folder / "config.json").write_bytes(b" " * 1_000_001 + (folder / "config.json").read_bytes())
    assert "expected at most 1,000,000" in refusal(folder)


@pytest.mark.parametrize("changes", [dict(width=2**40), dict(depth=10**9), dict(patch=[1, 2**40], stride=[1, 1], frames=2**41, roll="off")])
def test_a_config_that_asks_for_more_than_the_weights_hold_takes_no_memory(folder, changes):
    edit_config(folder, **changes)
    assert "it does not belong to the config.json beside it" in refusal(folder)


@pytest.mark.parametrize("changes", [dict(window_seconds=1e308), dict(sample_rate=10**400)])
def test_numbers_that_no_computer_can_count_are_refused(folder, changes):
    edit_config(folder, **changes)
    assert str(folder / "config.json") in refusal(folder)


def test_a_safetensors_header_that_claims_ten_gigabytes(folder):
    (folder / "model.safetensors").write_bytes((10 * 2**30).to_bytes(8, "little") + b"{" * 1000)
    assert "is not a whole safetensors file" in refusal(folder)


def test_read_config_needs_no_weights(folder):
    (folder / "model.safetensors").unlink()
    assert read_config(folder) == small()


# ---------------------------------------------------------------------------------------- weights that do not fit


def test_missing_weights(folder):
    (folder / "model.safetensors").unlink()
    assert refusal(folder) == f"no model.safetensors in {folder}: expected a folder written by save_pretrained"


def test_missing_tensor(folder):
    edit_weights(folder, lambda tensors: tensors.pop("blocks.1.norm2.bias"))
    assert "lacks tensor blocks.1.norm2.bias: it does not belong to the config.json" in refusal(folder)


def test_extra_tensor(folder):
    edit_weights(folder, lambda tensors: tensors.update(extra=torch.zeros(1)))
    assert "has an unknown tensor extra: it does not belong to the config.json" in refusal(folder)


def test_tensors_of_another_model(folder):
    edit_config(folder, depth=3)
    assert "lacks tensor blocks.2." in refusal(folder) and "and 9 more" in refusal(folder)  # of twelve, three named
    edit_config(folder, depth=2, kind="asm")
    assert "lacks tensor blocks.0.channel" in refusal(folder)


def test_wrong_shape(folder):
    edit_weights(folder, lambda tensors: tensors.update({"stem.bias": torch.zeros(31)}))
    message = refusal(folder)
    assert "tensor stem.bias is (31,) torch.float32, config.json asks for (32,) torch.float32" in message
    edit_weights(folder, lambda tensors: tensors.update({"stem.bias": torch.zeros(1)}))  # would broadcast in silence
    assert "tensor stem.bias is (1,)" in refusal(folder)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.int32])
def test_wrong_dtype(folder, dtype):
    edit_weights(folder, lambda tensors: tensors.update({"stem.bias": tensors["stem.bias"].to(dtype)}))
    assert f"tensor stem.bias is (32,) {dtype}, config.json asks for (32,) torch.float32" in refusal(folder)


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.01, 0.5, 0.9999])
def test_truncated_weights(folder, share):
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: int(len(whole) * share)])
    assert "model.safetensors is not a whole safetensors file" in refusal(folder)


@pytest.mark.parametrize("rubbish", [b"rubbish" * 1000, bytes(1000), b"\xff" * 100, b"<html>404</html>"])
def test_rubbish_for_weights(folder, rubbish):
    (folder / "model.safetensors").write_bytes(rubbish)
    assert "is not a whole safetensors file" in refusal(folder) and "copy or download it again" in refusal(folder)


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("write", [lambda thing, path: path.write_bytes(pickle.dumps(thing)), torch.save])
def test_a_pickle_is_refused_and_runs_nothing(folder, tmp_path, write):
    mark = tmp_path / "the payload ran"
    write({"stem.weight": Payload(mark)}, folder / "model.safetensors")
    torch.load(folder / "model.safetensors", weights_only=False) if write is torch.save else pickle.loads(
        (folder / "model.safetensors").read_bytes()
    )
    assert mark.exists()  # it would have
    mark.unlink()
    assert "is not a whole safetensors file" in refusal(folder)
    assert not mark.exists()


def test_a_pickle_beside_the_weights_is_not_touched(folder, tmp_path):
    mark = tmp_path / "the payload ran"
    for name in ("pytorch_model.bin", "model.pt", "config.pkl"):
        torch.save(Payload(mark), folder / name)
    load(folder)
    assert not mark.exists()


# ---------------------------------------------------------------------------------------- writing that fails


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_full_disk_leaves_the_earlier_weights_whole(folder):
    resource = pytest.importorskip("resource")
    before, limits = contents(folder), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))  # the operating system lets no file grow further
    try:
        with pytest.raises(Exception, match="(?i)too large|I/O|space|limit"):
            save(built(small(), seed=1), folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert contents(folder) == before  # and no half-written file lies about
    load(folder)


def test_a_config_that_cannot_be_written_leaves_the_earlier_weights_beside_theirs(folder):
    before = contents(folder)
    with pytest.raises(UnicodeEncodeError):
        save(built(small(labels=("yes", "no", "\ud800")), seed=1), folder)  # no UTF-8 has this letter
    assert contents(folder) == before


def test_a_failed_exchange_leaves_the_earlier_weights_whole(folder, monkeypatch):
    def broken(source, target):
        raise OSError("no exchange today")

    before = contents(folder)
    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="no exchange today"):
        save(built(small(), seed=1), folder)
    assert contents(folder) == before


def test_a_save_that_is_interrupted_halfway_leaves_the_earlier_weights_whole(folder, monkeypatch):
    def interrupted(tensors, path, metadata):
        Path(path).write_bytes(b"half of it")
        raise KeyboardInterrupt

    before = contents(folder)
    monkeypatch.setattr(checkpoint, "save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save(built(small(), seed=1), folder)
    assert contents(folder) == before
