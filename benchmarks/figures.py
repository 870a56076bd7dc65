"""Reading results/*.json, and their figures in words."""

import json

from .record import RESULTS


def load(name: str) -> dict:
    """One results file."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def percent(share: float) -> str:
    """0.95678 -> `95.7 %`."""
    return f"{100 * share:.1f} %"


def interval(low_high) -> str:
    """(0.94, 0.97) -> `94.0 to 97.0`."""
    return " to ".join(f"{100 * x:.1f}" for x in low_high)
