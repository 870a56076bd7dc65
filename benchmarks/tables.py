"""The paper's comparison, measured: results/reproduce_*.json as the tables of the README."""

from .figures import load
from .reproduce import PAPER, PLAIN, differences, path_of, spread

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
    pairs = [
        _row(words, [*(_pair(one, f"{kind} - {PLAIN}") for one in found.values()), _points(pooled(found, kind, PLAIN))])
        for kind, words in KINDS.items() if kind != PLAIN
    ]  # fmt: skip
    pair_head, pair_rule = _row("kind", [*(SETS[name] for name in found), "all runs of all sets"]), "|---" * (2 + len(found)) + "|"
    first = next(iter(found.values()))
    clips = "; ".join(f"{SETS[name]}: {one['rows'][0]['protocol'].partition(':')[0]}" for name, one in found.items())
    return "\n".join([
        f"Test accuracy in %, mean over the runs, with the 95 % interval of the mean where there are several ({first['depth']} blocks of "
        f"width {first['width']}, everything but the kind alike; the epoch is chosen on validation):\n",
        head, rule, *means,
        "\nDifference to the plain mixer in points, within the same fold and seed; **bold** where there are three runs or more and the "
        "95 % interval leaves out zero:\n",
        pair_head, pair_rule, *pairs, "",
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
    ends = "" if row["low"] is None else f" ({max(0, 100 * row['low']):.0f} to {min(100, 100 * row['high']):.0f})"
    return f"{100 * row['mean']:.1f}{ends}, n = {row['runs']}"


def pooled(found: dict, kind: str, base: str) -> dict:
    """The difference of two kinds over every run of every set that both have, with its 95 % interval."""
    every = [value for one in found.values() for value in differences(one["rows"], kind, base)]
    return spread(every) if every else {}


def _pair(one, pair):
    return _points(one["paired_differences"].get(pair))


def _points(row):
    if not row:
        return ""
    ends = "" if row["low"] is None else f" ({100 * row['low']:+.1f} to {100 * row['high']:+.1f})"
    text = f"{100 * row['mean']:+.1f}{ends}"
    return f"**{text}**" if _sure(row) else text


def _sure(row):
    return row["runs"] > 2 and (row["low"] > 0 or row["high"] < 0)


def _verdict(row):
    if not _sure(row):
        return "not told apart"
    return "better" if row["mean"] > 0 else "worse"


def _verdicts(found):
    """One sentence per comparison: on how many sets it is up, and what all runs together say."""
    questions = {
        ("asm-h", PLAIN): "frequency mixing alone against the plain mixer",
        ("asm-r", PLAIN): "the roll as listed alone against the plain mixer",
        (PAPER, PLAIN): "both against the plain mixer",
        ("asm-rh-grid", PAPER): "the roll on the grid against the roll as listed",
        ("asm-rh-grid", PLAIN): "both, the roll on the grid, against the plain mixer",
        ("asm-rh-truncated", PAPER): "the truncated transform against the lossless one",
        ("asm", PLAIN): "class tokens and positions against the mean over the patches",
    }
    lines = []
    for (kind, base), words in questions.items():
        rows = [one["paired_differences"][pair] for one in found.values() if (pair := f"{kind} - {base}") in one["paired_differences"]]
        if rows:
            up, every = [row for row in rows if row["mean"] > 0], pooled(found, kind, base)
            all_runs = f"over all {every['runs']} runs {_points(every)} points: {_verdict(every)}"
            lines.append(f"- {words}: better on {len(up)} of {len(rows)} sets; {all_runs}")
    claim = "The paper says that the roll helps, that the Hermitian transform helps, and that both together help most."
    return "\n".join([f"\n{claim} What these runs allow to say:\n", *lines, ""])
