"""Files that are whole or not there: written beside their place, exchanged when complete, so that a full disk spoils nothing."""

import os
import tempfile
from pathlib import Path


def write_whole(writers: dict) -> None:
    """Writes every {path: write(temporary path)} beside its place, and exchanges the files only when all of them are whole."""
    written = {}
    try:
        for path, write in writers.items():
            path = Path(path)
            # The ending stays: some writers choose the format by it, or add it where it is missing.
            handle, written[path] = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
            os.close(handle)
            write(written[path])
            os.chmod(written[path], 0o644)
        for path, temporary in written.items():
            os.replace(temporary, path)
    except BaseException:
        for temporary in written.values():
            Path(temporary).unlink(missing_ok=True)
        raise


def write_text(path, text: str) -> None:
    """Writes one text file, whole or not at all."""
    write_whole({path: lambda temporary: Path(temporary).write_text(text, encoding="utf-8", newline="")})
