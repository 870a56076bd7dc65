"""Folders of weights: config.json and model.safetensors, read strictly, never a pickle; from disk, shipped, or from the Hub."""

import json
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from .config import ModelConfig
from .model import AudioMixer

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
DEFAULT_MODEL = "asm-rh-keywords"


class CheckpointError(ValueError):
    """A folder of weights that cannot be loaded as it is."""


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


def load(source, revision=None, token=None, cache_dir=None, local_files_only=False) -> AudioMixer:
    """A model in evaluation mode from a folder, a shipped name (`asm-rh-keywords`) or a Hub id (`user/repo`).

    Raises CheckpointError when the files are missing, broken, or do not hold exactly the tensors that the configuration asks for.
    """
    folder = find(source, revision, token, cache_dir, local_files_only)
    config = read_config(folder)
    try:
        model = AudioMixer(config)
    except ValueError as error:
        raise CheckpointError(f"{folder / CONFIG_FILE}: {error}") from error
    _fill(model, folder / WEIGHTS_FILE)
    return model.eval()


def find(source, revision=None, token=None, cache_dir=None, local_files_only=False) -> Path:
    """The folder that holds `source`, downloaded from the Hub when it is neither a folder nor a shipped name."""
    path = Path(source)
    if path.is_dir():
        return path
    if str(source) in shipped_models():
        return shipped_folder() / str(source)
    if str(source).count("/") != 1 or str(source).startswith(("/", ".", "~")) or path.exists():
        raise CheckpointError(
            f"no model {str(source)!r}: expected a folder with {CONFIG_FILE} and {WEIGHTS_FILE}, a Hub id like user/repo, "
            f"or one of the shipped models: {', '.join(shipped_models()) or 'none'}"
        )
    return _pull(str(source), revision, token, cache_dir, local_files_only)


def read_config(folder) -> ModelConfig:
    """The configuration in `folder`."""
    path = Path(folder) / CONFIG_FILE
    if not path.is_file():
        raise CheckpointError(f"no {CONFIG_FILE} in {folder}: expected a folder written by save_pretrained")
    try:
        return ModelConfig.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: {error}") from error


def _fill(model, path):
    """Copies every tensor of a safetensors file into the model, refusing any difference in names, shapes or types."""
    if not path.is_file():
        raise CheckpointError(f"no {WEIGHTS_FILE} in {path.parent}: expected a folder written by save_pretrained")
    wanted = model.state_dict()
    try:
        with safe_open(path, framework="pt") as file:
            _compare(path, set(wanted), set(file.keys()))
            for name, tensor in wanted.items():
                found = file.get_tensor(name)
                if found.shape != tensor.shape or found.dtype != tensor.dtype:
                    raise CheckpointError(
                        f"{path}: tensor {name} is {tuple(found.shape)} {found.dtype}, "
                        f"{CONFIG_FILE} asks for {tuple(tensor.shape)} {tensor.dtype}"
                    )
                tensor.copy_(found)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not a whole safetensors file ({error}): copy or download it again") from error


def _compare(path, wanted, found):
    for names, word in ((wanted - found, "lacks"), (found - wanted, "has an unknown")):
        if names:
            first = ", ".join(sorted(names)[:3])
            raise CheckpointError(
                f"{path} {word} tensor {first}" + (f" and {len(names) - 3} more" if len(names) > 3 else "")
                + f": it does not belong to the {CONFIG_FILE} beside it"
            )


def _pull(repo, revision, token, cache_dir, local_files_only):
    from huggingface_hub import snapshot_download

    with hub_errors(repo, revision):
        return Path(
            snapshot_download(
                repo, revision=revision, token=token, cache_dir=cache_dir, local_files_only=local_files_only,
                allow_patterns=[CONFIG_FILE, WEIGHTS_FILE],
            )
        )


@contextmanager
def hub_errors(repo, revision=None):
    """Turns what the Hub's library raises within into a CheckpointError that says what to do."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        yield
    except RevisionNotFoundError as error:
        raise CheckpointError(f"{repo} has no revision {revision!r} on the Hub: check its branches and tags") from error
    except RepositoryNotFoundError as error:
        raise CheckpointError(f"no repository {repo!r} on the Hub, or it is private: check the name, or give a token") from error
    except LocalEntryNotFoundError as error:
        raise CheckpointError(f"{repo} is not on this machine and the Hub cannot be reached: load it once while online") from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise CheckpointError(f"{repo} could not be loaded from the Hub: {error}") from error


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
