"""What a run folder says beside the weights: which file went where, and on what the run was made."""

import csv
import importlib.metadata
import io
import platform
from pathlib import Path

from .datasets import Clip
from .files import write_text

PACKAGES = ("torch", "torchaudio", "numpy", "soundfile", "av", "safetensors", "huggingface-hub", "scikit-learn")


def describe_run(run_dir, clips: list[Clip] | None) -> None:
    """Writes environment.txt and, where the clips are known, split.csv (file, start, end, label, group, split)."""
    Path(run_dir).mkdir(parents=True, exist_ok=True)
    write_text(Path(run_dir) / "environment.txt", environment())
    if clips is not None:
        write_text(Path(run_dir) / "split.csv", split_table(clips))


def environment() -> str:
    """Python, system and the versions of what computes, a line each."""
    lines = [f"python {platform.python_version()}", f"system {platform.system()} {platform.machine()}"]
    for name in PACKAGES:
        try:
            lines.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            lines.append(f"{name} not installed")
    return "\n".join(lines) + "\n"


def split_table(clips: list[Clip]) -> str:
    """CSV: one row for each clip."""
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("file", "start", "end", "label", "group", "split"))
    for clip in clips:
        writer.writerow((clip.path, clip.start or "", "" if clip.end is None else clip.end, clip.label, clip.group, clip.split))
    return table.getvalue()
