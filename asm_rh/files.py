"""Files that are whole or not there: written beside their place, exchanged when complete, so that a full disk spoils nothing."""

import os
import tempfile
from pathlib import Path


def write_whole(writers: dict) -> None:
    """Writes every {path: write(temporary path)} beside its place, and exchanges the files only when all of them are whole.

    Raises OSError for a disk that does not take them; what was there is kept.
    """
    written = {}
    try:
        for path, write in writers.items():
            path = Path(path)
            # The ending stays: some writers choose the format by it, or add it where it is missing.
            handle, written[path] = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
            os.close(handle)
            _write(write, written[path], path)
            os.chmod(written[path], 0o644)
        for path, temporary in written.items():
            os.replace(temporary, path)
    except BaseException:
        for temporary in written.values():
            Path(temporary).unlink(missing_ok=True)
        raise


def _write(write, temporary, path):
    """torch and safetensors have exceptions of their own for a disk that is full."""
    try:
        write(temporary)
    except OSError as error:
        raise OSError(f"{path} could not be written ({error.strerror or error}); what was there is kept: make room, then go on") from error
    except (ValueError, TypeError):
        raise
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise OSError(f"{path} could not be written ({reason}); what was there is kept: is the disk full?") from error


def write_text(path, text: str) -> None:
    """Writes one text file, whole or not at all."""
    write_whole({path: lambda temporary: Path(temporary).write_text(text, encoding="utf-8", newline="")})


def write_output(path, text: str) -> None:
    """Writes text to where somebody wants it: a pipe or a device is written to, a link keeps pointing to the file that is replaced."""
    path = Path(path)
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8", newline="")
    else:
        write_text(path.resolve(), text)
