"""Weights of others: every form that is accepted gives the same tensors, everything else one clear line, and no pickle ever runs."""

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from asm_rh.weight_files import TransferError, read_weights

TENSORS = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.tensor([1.0, -1.0])}


def refusal(source):
    with pytest.raises(TransferError) as caught:
        read_weights(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def assert_read(source, tensors=TENSORS):
    found = read_weights(source)
    assert found.name == str(source) and found.tensors.keys() == tensors.keys()
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in tensors.items())
    return found


# ---------------------------------------------------------------------------------------------- what is accepted


@pytest.mark.parametrize("name", ["x.safetensors", "x.bin", "x.pth", "x.pt"])
def test_every_form_gives_the_same_tensors(tmp_path, name):
    path = tmp_path / name
    save_file(TENSORS, path) if name.endswith("safetensors") else torch.save(TENSORS, path)
    assert assert_read(path).path == path
    assert_read(tmp_path)  # a folder with this one file
    assert_read(str(path))


def test_the_old_format_of_torch_is_read(tmp_path):
    torch.save(TENSORS, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert_read(tmp_path / "old.pth")


@pytest.mark.parametrize(
    "wrap",
    [lambda t: {"model": t}, lambda t: {"state_dict": t, "epoch": 3}, lambda t: {"state_dict": {"model": t}}, lambda t: {**t, "steps": 5},
     lambda t: {f"module.{name}": tensor for name, tensor in t.items()}, lambda t: {**t, "seen": torch.tensor(3)}],
)  # fmt: skip
def test_nested_and_parallel_tensors_are_unwrapped(tmp_path, wrap):
    torch.save(wrap(TENSORS), tmp_path / "x.pth")
    assert_read(tmp_path / "x.pth")


def test_of_several_files_in_a_folder_the_usual_name_wins(tmp_path):
    torch.save({"other": torch.ones(1)}, tmp_path / "aaa.pth")
    torch.save({"other": torch.ones(1)}, tmp_path / "pytorch_model.bin")
    save_file(TENSORS, tmp_path / "model.safetensors")
    assert_read(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    assert_read(tmp_path, {"other": torch.ones(1)})


# ---------------------------------------------------------------------------------------------- what is refused


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["x.bin", "x.pth", "x.pt"])
@pytest.mark.parametrize("write", [lambda thing, path: path.write_bytes(pickle.dumps(thing, 2)), torch.save])
def test_a_pickle_with_code_is_refused_and_runs_nothing(tmp_path, name, write):
    mark, path = tmp_path / "the payload ran", tmp_path / name
    write({**TENSORS, "extra": Payload(mark)}, path)
    torch.load(path, weights_only=False) if write is torch.save else pickle.loads(path.read_bytes())
    assert mark.exists()  # it would have
    mark.unlink()
    assert f"{name} holds more than tensors, or is damaged, and is not read, since a pickle can run code" in refusal(path)
    assert not mark.exists()


def test_a_pickle_named_safetensors_is_refused_and_runs_nothing(tmp_path):
    mark, path = tmp_path / "the payload ran", tmp_path / "x.safetensors"
    torch.save({"extra": Payload(mark)}, path)
    assert "x.safetensors is not a whole safetensors file" in refusal(path)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["x.safetensors", "x.pth"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_file_that_was_cut_is_refused(tmp_path, name, share):
    path = tmp_path / name
    save_file(TENSORS, path) if name.endswith("safetensors") else torch.save(TENSORS, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    assert str(path) in refusal(path)


@pytest.mark.parametrize("name", ["x.safetensors", "x.bin"])
@pytest.mark.parametrize("rubbish", [b"rubbish" * 1000, bytes(1000), b"\xff" * 100, b"<html>404</html>", b"version https://git-lfs"])
def test_rubbish_is_refused(tmp_path, name, rubbish):
    (tmp_path / name).write_bytes(rubbish)
    assert str(tmp_path / name) in refusal(tmp_path / name)


@pytest.mark.parametrize("thing", [{}, [1, 2], {"model": {}}, {"epoch": 3}, torch.ones(2), {"seen": torch.tensor(3)}])
def test_a_file_without_tensors_by_name_is_refused(tmp_path, thing):
    torch.save(thing, tmp_path / "x.pt")
    assert "x.pt holds no tensors by name: expected a state dict, bare or under 'model' or 'state_dict'" in refusal(tmp_path / "x.pt")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_refused(tmp_path, value):
    torch.save({**TENSORS, "b": torch.tensor([1.0, value])}, tmp_path / "x.pt")
    assert "tensor b holds NaN or infinite values" in refusal(tmp_path / "x.pt")


def test_other_files_and_folders_are_refused(tmp_path):
    assert f"{tmp_path} holds 0 files of weights (none): expected one" in refusal(tmp_path)
    (tmp_path / "x.txt").write_text("weights")
    assert "x.txt ends in .txt: expected one of .safetensors, .bin, .pth, .pt" in refusal(tmp_path / "x.txt")
    for name in ("a.pth", "b.pt"):
        torch.save(TENSORS, tmp_path / name)
    assert "holds 2 files of weights (a.pth, b.pt): expected one, or the path of the file itself" in refusal(tmp_path)
    for name in ("nothing", "gone/model.safetensors", "./gone", str(tmp_path / "gone"), "a/b/c"):
        assert f"no weights {name!r}: expected a file (.safetensors" in refusal(name) and "deit, ast, mixer" in refusal(name)
