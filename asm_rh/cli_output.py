"""Where a command's result goes."""

import sys


def write(text, path):
    """To a file, or to standard output."""
    if path is None:
        sys.stdout.write(text)
    else:
        path.write_text(text, encoding="utf-8")


def check_output(path):
    """Refuses a place that cannot be written to before the work rather than after it."""
    if path is not None and (path.is_dir() or not path.parent.is_dir()):
        raise ValueError(f"--output {path}: expected a file name in a folder that exists")
