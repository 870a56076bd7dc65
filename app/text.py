"""Words and numbers as the page writes them."""

import math
from html import escape

__all__ = ["clock", "escape", "frequency", "heard", "hop_sentence", "listing", "shown", "signed", "size", "span"]


def shown(label: str) -> str:
    """A label as people read it: `_silence_` becomes "silence"."""
    inner = label.strip("_") if label.startswith("_") else label
    return (inner or label).replace("_", " ")


def clock(seconds: float, step: float = 0.01) -> str:
    """A moment: seconds below a minute, then m:ss or h:mm:ss; as many decimals as steps of `step` seconds need."""
    digits = max(0, min(2, math.ceil(-math.log10(step) - 1e-9))) if step < 1 else 0
    seconds = round(max(0.0, seconds), digits)
    if seconds < 60:
        return f"{seconds:.{digits}f} s"
    minutes, rest = divmod(seconds, 60)
    width = digits + 3 if digits else 2
    hours, minutes = divmod(int(minutes), 60)
    return (f"{hours}:{minutes:02d}" if hours else f"{minutes}") + f":{rest:0{width}.{digits}f}"


def span(seconds: float) -> str:
    """A length of time: "4.60 s", "3 min 20 s", "1 h 12 min"."""
    if seconds < 60:
        return f"{seconds:.2f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def frequency(hz: float) -> str:
    """A frequency: "440 Hz", "2.5 kHz"."""
    return f"{hz:.0f} Hz" if hz < 999.5 else f"{hz / 1000:.1f} kHz"


def signed(value: float) -> str:
    """A change with its sign: "+0.12", "−0.40", "±0.00"."""
    words = f"{value:+.2f}".replace("-", "−")
    return "±0.00" if words in ("+0.00", "−0.00") else words


def size(count: float) -> str:
    """A large number: "812", "1.30 M"."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= limit:
            return f"{count / limit:.2f} {unit}"
    return f"{count:.0f}"


def hop_sentence(window_seconds: float, hop_seconds: float) -> str:
    """What the settings mean, computed: "A window of 1.00 s every 0.25 s: 4 scores a second."."""
    rate = 1 / hop_seconds
    often = f"{rate:.3g} scores a second" if rate >= 1.0001 else "one score a second"
    if rate < 0.9999:
        often = f"one score every {hop_seconds:.2f} s"
    return f"A window of {window_seconds:.2f} s every {hop_seconds:.2f} s: {often}."


def listing(words, most: int = 12) -> str:
    """Words in order with dots between, the tail counted: "yes · stop · and 3 more"."""
    words = list(words)
    head = words[:most] + ([f"and {len(words) - most} more"] if len(words) > most else [])
    return " · ".join(head)


def heard(events, threshold: float, nearest) -> tuple[str, str]:
    """The headline and the line below it: what was heard, or how near the best class came.

    `events` in order of time; `nearest` is (label, score, seconds) of the best class that is not background, or None.
    """
    if events:
        best = max(events, key=lambda event: event.score)
        return f"{shown(best.label).upper()} {best.score:.2f}", "heard: " + listing(shown(e.label) for e in events)
    if nearest is None:
        return f"no event above {threshold:.2f}", "every class of this model is background"
    label, score, seconds = nearest
    return f"no event above {threshold:.2f}", f"nearest: {shown(label)} {score:.2f} at {clock(seconds)}"
