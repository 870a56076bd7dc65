"""Where a command's result goes: standard output, a file or a folder, whole or not at all."""

import os
import sys
import uuid
from pathlib import Path


def write(text, path):
    """To a file, whole or not at all, or to standard output."""
    if path is None:
        sys.stdout.write(text)
    elif path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8")  # a pipe or /dev/stdout must be written to, not replaced by a file
    else:
        replace_files({path.resolve(): text.encode()})  # a link keeps pointing to the file that is replaced


def write_folder(folder: Path, files: dict[str, bytes], own=()):
    """Files by name into a folder, all of them or none; of the names `own`, those that are not written now are taken away."""
    folder.mkdir(parents=True, exist_ok=True)
    replace_files({folder / name: data for name, data in files.items()})
    for name in set(own) - set(files):
        (folder / name).unlink(missing_ok=True)


def replace_files(files: dict[Path, bytes]):
    """Writes every file beside its place, and exchanges them only when all are whole: a full disk spoils nothing that was there."""
    written = {}
    try:
        for path, data in files.items():
            written[path] = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
            written[path].write_bytes(data)
        for path, part in written.items():
            os.replace(part, path)
    except OSError as error:
        raise OSError(f"could not write {path} ({error.strerror}): what was there is as it was; make room and run it again") from error
    finally:
        for part in written.values():
            part.unlink(missing_ok=True)


def check_output(path):
    """Refuses a place that cannot be written to before the work rather than after it."""
    if path is not None and (path.is_dir() or not path.parent.is_dir()):
        raise ValueError(f"--output {path}: expected a file name in a folder that exists")


def check_folder(path):
    """Refuses a folder that cannot be made or written to, before the work."""
    there = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise ValueError(f"--output {path}: {there} is {'not writable' if there.is_dir() else 'a file'}, expected a folder to write into")
