"""The paper's comparison, measured: results/reproduce_*.json as the tables of the README."""

from .figures import load
from .reproduce import PAPER, PLAIN, path_of

KINDS = {
    "mixer": "plain mixer, mean over the patches",
    "asm": "ASM: class tokens and positions",
    "asm-h": "ASM-H: frequency mixing only",
    "asm-r": "ASM-R: roll only",
    "asm-rh": "ASM-RH",
    "asm-rh-grid": "ASM-RH, roll on the grid",
    "asm-rh-truncated": "ASM-RH, truncated transform",
}
SETS = {
    "speech-commands": "Speech Commands, 11 words",
    "ravdess": "RAVDESS, actors apart",
    "ravdess-random": "RAVDESS, random split (leaky)",
    "esc10": "ESC-10, official folds",
    "urbansound8k": "UrbanSound8K, folds 1, 2 to 10",
}


def reproduce_section() -> str:
    """Means of every kind on every set, differences within the same fold and seed, and what holds."""
    found = {name: load(path_of(name).stem) for name in SETS if path_of(name).exists()}
    if not found:
        return "Not measured yet."
    head, rule = _row("kind", (SETS[name] for name in found)), "|---" * (1 + len(found)) + "|"
    means = [_row(words, (_mean(one, kind) for one in found.values())) for kind, words in KINDS.items()]
    pairs = [_row(words, (_pair(one, kind) for one in found.values())) for kind, words in KINDS.items() if kind != PLAIN]
    first = next(iter(found.values()))
    clips = "; ".join(f"{SETS[name]}: {one['rows'][0]['protocol'].partition(':')[0]}" for name, one in found.items())
    return "\n".join([
        f"Test accuracy in %, mean over the runs, with the 95 % interval of the mean where there are several ({first['depth']} blocks of "
        f"width {first['width']}, everything but the kind alike; the epoch is chosen on validation):\n",
        head, rule, *means,
        "\nDifference to the plain mixer in points, within the same fold and seed; **bold** where the 95 % interval leaves out zero:\n",
        head, rule, *pairs, "",
        f"Splits. {clips}. These are parts of the sets and small models: no figure here is comparable to a published one.",
        _verdicts(found), f"From `python -m benchmarks.reproduce DATA` ({max(one['date'] for one in found.values())}).",
    ])  # fmt: skip


def _row(name, cells):
    return "| " + " | ".join([name, *cells]) + " |"


def _mean(one, kind):
    found = one["means"].get(kind)
    if not found:
        return ""
    row = found["accuracy"]
    ends = "" if row["low"] is None else f" ({100 * row['low']:.0f} to {100 * row['high']:.0f})"
    return f"{100 * row['mean']:.1f}{ends}, n = {row['runs']}"


def _pair(one, kind):
    row = one["paired_differences"].get(f"{kind} - {PLAIN}")
    if not row:
        return ""
    text = f"{100 * row['mean']:+.1f}"
    return f"**{text}**" if _sure(row) else text


def _sure(row):
    return row["low"] is not None and (row["low"] > 0 or row["high"] < 0)


def _verdicts(found):
    """One sentence per comparison: on how many sets it is up or down, and on how many surely."""
    questions = {
        f"asm-h - {PLAIN}": "frequency mixing alone against the plain mixer",
        f"asm-r - {PLAIN}": "the roll as listed alone against the plain mixer",
        f"asm-rh - {PLAIN}": "both against the plain mixer",
        f"asm-rh-grid - {PAPER}": "the roll on the grid against the roll as listed",
        f"asm-rh-truncated - {PAPER}": "the truncated transform against the lossless one",
        f"asm - {PLAIN}": "class tokens and positions against the mean over the patches",
    }
    lines = []
    for pair, words in questions.items():
        rows = [one["paired_differences"][pair] for one in found.values() if pair in one["paired_differences"]]
        if rows:
            up, sure = [row for row in rows if row["mean"] > 0], [row for row in rows if _sure(row)]
            better = sum(row["mean"] > 0 for row in sure)
            lines.append(
                f"- {words}: better on {len(up)} of {len(rows)} sets, surely better on {better}, surely worse on {len(sure) - better}"
            )
    return "\nWhat the intervals allow to say:\n\n" + "\n".join(lines) + "\n"
