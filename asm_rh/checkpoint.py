"""Folders of weights: config.json and model.safetensors, read strictly, never a pickle."""

import json
import os
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from .config import ModelConfig
from .model import AudioMixer

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
DEFAULT_MODEL = "asm-rh-keywords"
MOST_CONFIG_BYTES = 1_000_000  # a thousand labels take 60,000
SPARE_BYTES = 2**26  # a model of up to this size may be built to say which of its tensors is missing


class CheckpointError(ValueError):
    """A folder of weights that cannot be loaded as it is."""


@dataclass(frozen=True)
class Source:
    """Where weights lie on this machine; `repo` and `commit` say what they are on the Hub, None where they are not from there."""

    folder: Path
    repo: str | None = None
    commit: str | None = None


def shipped_folder() -> Path:
    """Where the weights that come with the project lie."""
    return Path(__file__).resolve().parent.parent / "checkpoints"


def shipped_models() -> list[str]:
    """Names of the weights that come with the project."""
    return sorted(p.parent.name for p in shipped_folder().glob(f"*/{CONFIG_FILE}"))


def save(model: AudioMixer, folder) -> None:
    """Writes config.json and model.safetensors; both are whole before they replace what was there, so a full disk spoils nothing."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    _replace({
        folder / WEIGHTS_FILE: lambda path: save_file(tensors, path, metadata={"format": "pt"}),
        folder / CONFIG_FILE: lambda path: Path(path).write_text(model.config.to_json(), encoding="utf-8"),
    })


def load(source, revision=None, token=None, cache_dir=None, local_files_only=False, progress=None) -> AudioMixer:
    """A model in evaluation mode from a folder, a shipped name (`asm-rh-keywords`) or a Hub id (`user/repo[@revision]`).

    Its `source` says where it came from. Raises CheckpointError when the files are missing, broken, or do not hold exactly the tensors
    that the configuration asks for.
    """
    found = find(source, revision, token, cache_dir, local_files_only, progress)
    config = read_config(found.folder)
    weights = found.folder / WEIGHTS_FILE
    _check_size(config, weights)
    try:
        model = AudioMixer(config)
    except (ValueError, RuntimeError, MemoryError) as error:  # torch raises RuntimeError for sizes that no memory holds
        raise CheckpointError(f"{found.folder / CONFIG_FILE}: {str(error) or type(error).__name__}") from error
    _fill(model, weights)
    model.source = found
    return model.eval()


def find(source, revision=None, token=None, cache_dir=None, local_files_only=False, progress=None) -> Source:
    """Where `source` lies, downloaded from the Hub when it is neither a folder nor a shipped name; raises CheckpointError."""
    path, text = Path(source), str(source)
    if path.is_dir():
        return Source(path)
    if text in shipped_models():
        return Source(shipped_folder() / text)
    if text.partition("@")[0].count("/") != 1 or text.startswith(("/", ".", "~")) or path.exists():
        raise CheckpointError(
            f"no model {text!r}: expected a folder with {CONFIG_FILE} and {WEIGHTS_FILE}, a Hub id like user/repo or user/repo@revision, "
            f"or one of the shipped models: {', '.join(shipped_models()) or 'none'}"
        )
    from .hub import parse_id, pull

    return pull(*parse_id(text, revision), token, cache_dir, local_files_only, progress)


def read_config(folder) -> ModelConfig:
    """The configuration in `folder`."""
    path = Path(folder) / CONFIG_FILE
    if not path.is_file():
        raise CheckpointError(f"no {CONFIG_FILE} in {folder}: expected a folder written by save_pretrained")
    if path.stat().st_size > MOST_CONFIG_BYTES:
        raise CheckpointError(f"{path} has {path.stat().st_size:,} bytes, expected at most {MOST_CONFIG_BYTES:,}")
    try:
        return ModelConfig.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, RecursionError, OverflowError) as error:
        raise CheckpointError(f"{path}: {error}") from error


def _check_size(config, path):
    """Refuses a configuration that asks for far more numbers than the file has bytes, before any memory is taken for them."""
    block = 2 * (config.tokens * config.token_hidden + config.width * config.channel_hidden)
    least = 4 * (config.width * config.patch[0] * config.patch[1] + config.depth * block)
    with _opened(path) as file:
        if least > max(path.stat().st_size, SPARE_BYTES) or config.depth > len(file.keys()):
            raise CheckpointError(
                f"{path} has {len(file.keys())} tensors in {path.stat().st_size:,} bytes, {config.depth} blocks of width {config.width} "
                f"need at least {least:,} bytes: it does not belong to the {CONFIG_FILE} beside it"
            )


@contextmanager
def _opened(path):
    """A safetensors file, open; whatever it lacks is a CheckpointError."""
    if not path.is_file():
        raise CheckpointError(f"no {WEIGHTS_FILE} in {path.parent}: expected a folder written by save_pretrained")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not a whole safetensors file ({error}): copy or download it again") from error


def _fill(model, path):
    """Copies every tensor of a safetensors file into the model, refusing any difference in names, shapes or types."""
    wanted = model.state_dict()
    with _opened(path) as file:
        _compare(path, set(wanted), set(file.keys()))
        for name, tensor in wanted.items():
            found = file.get_tensor(name)
            if found.shape != tensor.shape or found.dtype != tensor.dtype:
                raise CheckpointError(
                    f"{path}: tensor {name} is {tuple(found.shape)} {found.dtype}, "
                    f"{CONFIG_FILE} asks for {tuple(tensor.shape)} {tensor.dtype}"
                )
            tensor.copy_(found)


def _compare(path, wanted, found):
    for names, word in ((wanted - found, "lacks"), (found - wanted, "has an unknown")):
        if names:
            first = ", ".join(sorted(names)[:3])
            raise CheckpointError(
                f"{path} {word} tensor {first}" + (f" and {len(names) - 3} more" if len(names) > 3 else "")
                + f": it does not belong to the {CONFIG_FILE} beside it"
            )


def _replace(writers):
    """Writes every {path: write(temporary path)} beside its place, and exchanges the files only when all of them are whole."""
    written = {}
    try:
        for path, write in writers.items():
            handle, written[path] = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            os.close(handle)
            write(written[path])
            os.chmod(written[path], 0o644)
        for path, temporary in written.items():
            os.replace(temporary, path)
    except BaseException:
        for temporary in written.values():
            Path(temporary).unlink(missing_ok=True)
        raise
