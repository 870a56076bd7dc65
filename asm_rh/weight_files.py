"""Weights that others wrote: from a file, a folder or the Hub to tensors by name; a pickle is read as data, never as code."""

import pickle
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from .checkpoint import WEIGHTS_FILE, shipped_folder, shipped_models
from .hub import parse_id, pull_one

HUB_IDS = {
    "deit": "timm/deit_base_distilled_patch16_384.fb_in1k",
    "ast": "MIT/ast-finetuned-audioset-10-10-0.4593",
    "mixer": "timm/mixer_b16_224.goog_in21k_ft_in1k",
}
SUFFIXES = (".safetensors", ".bin", ".pth", ".pt")
HUB_FILES = (WEIGHTS_FILE, "pytorch_model.bin")
NESTS = ("model", "state_dict")  # where training scripts keep the tensors inside what they save
PARALLEL = "module."  # what torch's DataParallel puts before every name


class TransferError(ValueError):
    """Weights that cannot be read, or from which nothing can be taken."""


@dataclass(frozen=True)
class WeightFile:
    """Tensors by name; `name` is what was asked for, `path` the file they were in."""

    name: str
    tensors: dict[str, torch.Tensor]
    path: Path


def read_weights(source) -> WeightFile:
    """The weights of a file, a folder, a shipped name, `deit`, `ast`, `mixer` or another Hub id.

    Raises TransferError for what is not there or holds no weights, CheckpointError when the Hub does not give it.
    """
    path = find_weights(source)
    return WeightFile(str(source), read_tensors(path), path)


def find_weights(source) -> Path:
    """The file that holds the weights of `source`, downloaded where it is a Hub id."""
    path, name = Path(source), str(source)
    if path.is_file():
        return path
    if path.is_dir():
        return _file_in(path)
    if name in shipped_models():
        return shipped_folder() / name / WEIGHTS_FILE
    repo = HUB_IDS.get(name, name)
    if repo.partition("@")[0].count("/") != 1 or repo.startswith(("/", ".", "~")) or repo.endswith(SUFFIXES):
        raise TransferError(
            f"no weights {name!r}: expected a file ({', '.join(SUFFIXES)}), a folder with one, a Hub id like user/repo or "
            f"user/repo@revision, or one of {', '.join([*HUB_IDS, *shipped_models()])}"
        )
    return pull_one(*parse_id(repo), HUB_FILES)


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Every tensor of floating numbers in a file; nested {"model": ...} or {"state_dict": ...} is unwrapped.

    Pickles are read with torch's `weights_only`, which refuses to run code. Raises TransferError.
    """
    if path.suffix not in SUFFIXES:
        raise TransferError(f"{path} ends in {path.suffix or 'nothing'}: expected one of {', '.join(SUFFIXES)}")
    held = _unwrap(_read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path))
    tensors = {name: t for name, t in held.items() if isinstance(name, str) and isinstance(t, torch.Tensor) and t.is_floating_point()}
    if not tensors:
        raise TransferError(f"{path} holds no tensors by name: expected a state dict, bare or under {' or '.join(map(repr, NESTS))}")
    broken = [name for name, t in tensors.items() if not t.isfinite().all()]
    if broken:
        raise TransferError(f"{path}: tensor {broken[0]} holds NaN or infinite values: copy or download the file again")
    if all(name.startswith(PARALLEL) for name in tensors):
        tensors = {name.removeprefix(PARALLEL): tensor for name, tensor in tensors.items()}
    return tensors


def _read_safetensors(path):
    try:
        return load_file(path)
    except SafetensorError as error:
        raise TransferError(f"{path} is not a whole safetensors file ({error}): copy or download it again") from error


def _read_pickle(path):
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise TransferError(
            f"{path} holds more than tensors, or is damaged, and is not read, since a pickle can run code: "
            "save its state dict alone, best as .safetensors"
        ) from error
    except (RuntimeError, EOFError, KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise TransferError(f"{path} is not a whole file of torch.save: copy or download it again") from error


def _unwrap(held):
    while isinstance(held, dict):
        inner = next((held[key] for key in NESTS if isinstance(held.get(key), dict)), None)
        if inner is None:
            return held
        held = inner
    return {}


def _file_in(folder):
    """The weights in a folder: the usual name where it is there, else the only file of a known kind."""
    usual = [folder / name for name in HUB_FILES if (folder / name).is_file()]
    found = usual[:1] or sorted(p for p in folder.iterdir() if p.suffix in SUFFIXES and p.is_file())
    if len(found) != 1:
        names = ", ".join(p.name for p in found) or "none"
        raise TransferError(f"{folder} holds {len(found)} files of weights ({names}): expected one, or the path of the file itself")
    return found[0]
