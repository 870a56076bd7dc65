"""The pages of the environment and emotion weights, and what the README says of the best recipe, from results/best_*.json."""

from .figures import interval, load, percent
from .record import RESULTS

SHIPPED = {"environment": "asm-rh-environment", "emotion": "asm-rh-emotion"}
SETS = {  # in words, and the accuracy that was aimed at
    "environment": ("ESC-10, 5 official folds", 0.85),
    "environment-city": ("the same, after Speech Commands and UrbanSound8K", 0.85),
    "emotion": ("RAVDESS, folds of 4 actors", 0.55),
    "emotion-random-plain": ("RAVDESS, 10 random folds as in the paper (leaky)", 0.754),
    "emotion-random": ("the same, for 150 epochs instead of 60", 0.754),
    "urbansound8k-plain": ("UrbanSound8K, folds 1 and 2 to train, 10 to test", 0.70),
    "urbansound8k": ("the same, after Speech Commands and ESC-10, for 120 epochs instead of 50", 0.70),
}
IDEAS_OF = {"environment": "ESC-10", "emotion": "RAVDESS", "emotion-random": "RAVDESS at random", "urbansound8k": "UrbanSound8K"}


def file_of(name: str, kind: str = "best") -> str:
    """The results file of a set, without its ending."""
    return f"{kind}_{name.replace('-', '_')}"


def there(names) -> list[str]:
    """Those of the sets that have been measured."""
    return [name for name in names if (RESULTS / f"{file_of(name)}.json").exists()]


def best_section() -> str:
    """What the README says of ASM-RH with the recipe that validation preferred."""
    rows = [_best_row(name) for name in there(SETS)]
    if not rows:
        return "Not measured yet."
    head = ["| set | test accuracy | folds tested | clips | we had aimed at |", "|---|---|---|---|---|"]
    tail = (
        "\nEach fold has a model of its own, chosen on its own validation part and tested once, by whole files, as a user would; the recipes were chosen on "
        "validation data, one after the other. "
        "From `python -m benchmarks.best DATA SET --runs runs/SET`."
    )
    return "\n".join([*head, *rows, tail, *filter(None, [ideas_section()])])


IDEA_WORDS = {
    "start-with-words": "begin with a network that has learned the words of Speech Commands",
    "start-with-words-and-city": "begin with one that has learned Speech Commands and UrbanSound8K (then for non-commercial use only)",
    "start-with-words-and-city-gently": "the same, what was learned before changing at 0.3 times the rate",
    "start-with-words-and-esc10": "begin with one that has learned Speech Commands and ESC-10",
    "start-with-words-and-esc10-longer": "the same for 120 epochs instead of 40",
    "stronger-warp": "stretch time by up to 40 and pitch by up to 30 %",
    "full-band": "sound up to 16 kHz (32 kHz sampling) instead of 8",
    "no-noise": "no other clip added as noise",
    "two-seconds": "windows of two seconds",
    "finer-time": "patches that overlap by half in time",
    "longer": "150 epochs",
    "wider": "width 192",
}


def ideas_section() -> str:
    """What the README says of what was tried, on validation data alone."""
    lines = []
    for name, words in IDEAS_OF.items():
        file = file_of(name, "ideas")
        if not (RESULTS / f"{file}.json").exists():
            continue
        found = load(file)
        for idea, gain in found["gain"].items():
            folds = len(found["validation_accuracy"][idea].keys() & found["validation_accuracy"]["as it is"].keys())
            lines.append(f"| {words} | {IDEA_WORDS[idea]} | {100 * gain:+.1f} | {folds} |")
    if not lines:
        return ""
    head = "\nTried besides, one change at a time, on validation data alone (`python -m benchmarks.ideas DATA SET --runs runs/ideas`):\n"
    return "\n".join([head, "| set | idea | points | folds |", "|---|---|---|---|", *lines])


def _best_row(name):
    found = load(file_of(name))
    mean, (words, aim) = found["accuracy"], SETS[name]
    ends = "" if mean["low"] is None else f" ({interval((mean['low'], mean['high']))})"
    cells = (
        words, f"{percent(mean['mean'])}{ends}", f"{found['folds_done']} of {found['folds_in_all']}", found["clips"],
        f"{100 * aim:g} %",
    )  # fmt: skip
    return "| " + " | ".join(map(str, cells)) + " |"


def weights_section() -> str:
    """What the README says of the further weights."""
    lines = []
    for name in there(SHIPPED):
        found, own = load(file_of(name)), _own(name)
        lines.append(
            f"- [`{SHIPPED[name]}`](checkpoints/{SHIPPED[name]}/README.md) {WORDS[name]}. On its own test fold of {own['clips']} recordings "
            f"{percent(own['accuracy'])}; over {found['folds_done']} folds {percent(found['accuracy']['mean'])}."
        )
    return "\n".join(lines) or "None yet."


WORDS = {
    "environment": "tells ten everyday sounds (ESC-10) from speech and from silence, in windows of one second; CC BY 4.0",
    "emotion": "tells eight acted emotions (RAVDESS), in windows of 2.5 s; **for non-commercial use only** (CC BY-NC-SA 4.0), never the default",
}


def _own(name):
    found = load(file_of(name))
    return next(row for row in found["folds"] if row["fold"] == found["shipped_fold"])


def card(name: str) -> str:
    """The page of one set's weights."""
    found, own = load(file_of(name)), _own(name)
    mean, model = found["accuracy"], SHIPPED[name]
    classes = [f"| {r['label'].strip('_')} | {r['clips']} | {percent(r['precision'])} | {percent(r['recall'])} |" for r in own["per_class"] if r["clips"]]
    short = [label.strip("_")[:9] for label in own["labels"]]
    matrix = [f"| **{label}** | " + " | ".join(map(str, row)) + " |" for label, row in zip(short, own["confusion"]) if sum(row)]
    ends = "" if mean["low"] is None else f" (95 % interval of the mean over the folds {interval((mean['low'], mean['high']))})"
    return CARD.format(
        front=FRONTS[name], model=model, words=WORDS[name][0].upper() + WORDS[name][1:], accuracy=percent(own["accuracy"]), clips=own["clips"], groups=own["groups"],
        protocol=own["protocol"], mean=percent(mean["mean"]), ends=ends, done=found["folds_done"], all=found["folds_in_all"],
        classes="\n".join(classes), header=" | ".join(short), rule="---|" * (len(short) + 1), matrix="\n".join(matrix),
        data=DATA[name], limits=LIMITS[name], threshold=f"{found['threshold']:.2f}", set=name, settings=found["settings"],
        date=found["date"],
    )  # fmt: skip


FRONTS = {
    "environment": "license: cc-by-4.0\ntags: [audio-classification, asm-rh, environmental-sound]",
    "emotion": "license: cc-by-nc-sa-4.0\ntags: [audio-classification, asm-rh, speech-emotion-recognition]",
}
DATA = {
    "environment": """| source | used as | licence |
|---|---|---|
| ESC-10, folds 1 to 4, of which about a tenth of the sources for validation | the ten classes; windows far below their clip's loudest are silence | CC BY 3.0 / CC0 |
| LibriSpeech excerpts, half of the readers | unknown | CC BY 4.0 |
| computed music and sweeps; digital silence and faint hum | unknown; silence | Apache-2.0 |

Fold 5 was not used for training or to choose anything. CC BY 4.0: name ESC-50 (K. J. Piczak) and LibriSpeech when you pass the weights on.""",
    "emotion": """RAVDESS speech (Livingstone and Russo, CC BY-NC-SA 4.0): all clips of the actors that the split leaves for training, two actors or
more for validation, and four for testing. The data may not be used commercially, and so may not these weights; what is built on them is shared alike.""",
}
LIMITS = {
    "environment": """Demonstrations and teaching. Ten classes cannot name the sounds of a day: whatever is none of them is called by the nearest. The
windows are centred, so a faint sound counts as much as a loud one.""",
    "emotion": """Demonstrations and teaching. Twenty-four actors said two sentences each, in one studio and one language: this does not read what a
person feels, and must not be used to judge anyone. There is no class for silence.""",
}
CARD = """---
library_name: asm-rh
pipeline_tag: audio-classification
{front}
---

# {model}

{words}. An ASM-RH mixer (arXiv 2402.18007) with the grid reading of RollBlock and lossless Hermitian mixing.

```python
from asm_rh.classifier import Classifier

Classifier("{model}").predict("clip.wav")
```

## Scores

**{accuracy}** of {clips} real recordings ({groups} speakers or sources) that these weights never met: {protocol}. Models made the same way on
{done} of {all} folds: **{mean}**{ends}.

| class | clips | precision | recall |
|---|---|---|---|
{classes}

Rows are what was to be heard, columns what was heard:

| | {header} |
|{rule}
{matrix}

## Data

{data}

## How it was made

```
python -m benchmarks.best DATA {set} --runs runs/{set} --ship
```

Settings beside the recipe `modern`: `{settings}`. The threshold {threshold} is the median over the classes of the lowest at which nine of ten
validation claims are right ({date}).

## Intended use and limits

{limits}
"""
