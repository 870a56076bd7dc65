"""Labels, moments, frequencies and changes as people read them."""

import math


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


def frequency(hz: float) -> str:
    """A frequency: "440 Hz", "2.5 kHz"."""
    return f"{hz:.0f} Hz" if hz < 999.5 else f"{hz / 1000:.1f} kHz"


def signed(value: float) -> str:
    """A change with its sign: "+0.12", "−0.40", "±0.00"."""
    words = f"{value:+.2f}".replace("-", "−")
    return "±0.00" if words in ("+0.00", "−0.00") else words
