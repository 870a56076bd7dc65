"""Where a command's result goes: standard output, a file or a folder, whole or not at all."""

import os
import sys
from pathlib import Path

from .files import write_output, write_whole


def write(text, path):
    """To a file, whole or not at all, or to standard output."""
    if path is None:
        sys.stdout.write(text)
    else:
        write_output(path, text)


def write_folder(folder: Path, files: dict[str, bytes], own=()):
    """Files by name into a folder, all of them or none; of the names `own`, those that are not written now are taken away."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole({folder / name: lambda path, data=data: Path(path).write_bytes(data) for name, data in files.items()})
    for name in set(own) - set(files):
        (folder / name).unlink(missing_ok=True)


def check_output(path):
    """Refuses a place that cannot be written to before the work rather than after it."""
    if path is not None and (path.is_dir() or not path.parent.is_dir()):
        raise ValueError(f"--output {path}: expected a file name in a folder that exists")


def check_folder(path):
    """Refuses a folder that cannot be made or written to, before the work."""
    there = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise ValueError(f"--output {path}: {there} is {'not writable' if there.is_dir() else 'a file'}, expected a folder to write into")
