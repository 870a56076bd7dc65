"""Words and numbers as the page writes them."""

from html import escape

from asm_rh.words import clock, frequency, shown, signed

__all__ = ["clock", "escape", "frequency", "heard", "hop_sentence", "listing", "shown", "signed", "size", "span"]


def span(seconds: float) -> str:
    """A length of time: "4.60 s", "3 min 20 s", "1 h 12 min"."""
    if seconds < 60:
        return f"{seconds:.2f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


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
