"""Writes a measurement with what one needs to repeat and to judge it: command, machine, date, versions."""

import json
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def machine() -> dict:
    """Processor, cores and versions, without names of hosts or folders."""
    import torch

    return {
        "processor": _processor(), "cores": os.cpu_count(), "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(), "torch": torch.__version__, "system": platform.system(),
    }  # fmt: skip


def write(name: str, figures: dict, command: str) -> Path:
    """Writes results/<name>.json."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    head = {"command": command, "date": datetime.now(UTC).date().isoformat(), "machine": machine()}
    path.write_text(json.dumps({**head, **figures}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"wrote {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path.name}", file=sys.stderr)
    return path


def _processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
