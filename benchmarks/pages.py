"""Writes the figures of results/*.json into README.md and the weights' own page.

    python -m benchmarks.pages [--check]

With --check it changes nothing and exits 1 where a page does not say what the results say.
"""

import argparse
import json
import re
import sys
from pathlib import Path

from . import cards
from .figures import interval, load, percent
from .tables import reproduce_section

ROOT = Path(__file__).parent.parent
CARD = ROOT / "checkpoints" / "asm-rh-keywords" / "README.md"


def plain(label: str) -> str:
    """`_silence_` -> `silence`."""
    return label.strip("_")


def readme_section() -> str:
    """What the README says of the keyword weights."""
    found = load("keywords")
    test, noise = found["test"], found["false_keywords"]
    at = found["keywords_found_at_threshold"]
    gains = found["accuracy_at_gain"]
    rows = [
        ("accuracy, 12 classes", f"{percent(test['accuracy'])} (95 % interval {interval(test['accuracy_interval'])})"),
        ("macro F1 / AUC", f"{100 * test['macro_f1']:.1f} / {100 * test['auc']:.2f}"),
        (f"keywords reported at the shipped threshold {found['threshold']:.2f}", f"{percent(at['share'])} ({interval(at['interval'])})"),
        ("accuracy with the microphone 20 dB softer / louder", f"{percent(gains['-20 dB'])} / {percent(gains['+20 dB'])}"),
        *((f"false keywords an hour: {name}", f"{row['per_hour']:.0f} ({row['events']} in {60 * row['hours']:.0f} min)")
          for name, row in noise.items() if row["held_out"]),
    ]  # fmt: skip
    head = (
        f"Measured on {test['clips']} real recordings of {test['groups']} speakers and background recordings, none of them used in training or "
        "to choose anything:\n"
    )
    tail = (
        f"\nThis is a part of the official 12-class test archive, so the figure is not comparable to published ones. From "
        f"`{found['command']}` ({found['date']}); read speech holds some of the ten words, each counted as false."
    )
    return "\n".join([head, "| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows), tail])


def hermit_section() -> str:
    """What the README says of the transform's speed."""
    sizes = load("hermit_speed")["sizes"]
    ratios = " / ".join(f"{row['fft_time_over_matrix_time']:.1f}" for row in sizes)
    shapes = " / ".join(f"{row['tokens']} x {row['width']}" for row in sizes)
    worst = max(row["largest_error"]["matrix"] for row in sizes)
    return (
        f"The Hermitian transform of real features is one fixed real matrix, and is applied as such: an FFT takes {ratios} times as long at "
        f"{shapes} tokens x width (forward and backward, two cores), has no half precision, and the matrix errs by at most {worst:.0e}."
    )


def live_section() -> str:
    """What the README says of the Live tab's losses and delays."""
    found = load("live")
    rows = [_live_row(words, found[name]) for name, words in LIVE_SCENARIOS.items() if name in found]
    head = (
        f"Measured through a real Chromium on this kind of machine ({found['machine']['cores']} cores, browser and server together), its "
        "microphone playing a known noise; every sample that arrived was compared with what was played:\n"
    )
    tail = (
        f"\nDelay is from the last sample of a window leaving the page to its scores drawn. The page's main thread is busy "
        f"{percent(found['one']['main_thread_busy'])} of the time. From `{found['command']}` ({found['date']})."
    )
    memory, minutes = found["four"]["server_memory_mb"], found["four"]["seconds"] / 60
    tail += (
        f" With four listeners the server's memory, read every {minutes / 10:g} minutes, was {' / '.join(map(str, memory))} MB."
    )
    repeats = [by for _, by in found["one"]["pages"][0]["slips"]]
    if repeats:
        tail += f" The fake microphone repeated {len(repeats)} block of 10 ms, which is counted neither as lost nor as changed."
    table = ["| listening | samples compared | lost | doubled or changed | delay p50 / p95 | windows left out |", "|---|---|---|---|---|---|"]
    return "\n".join([head, *table, *rows, tail])


def explain_section() -> str:
    """What the README says of the look inside: whether its maps are reasons, and what they cost."""
    found = load("explain")
    head = (
        f"Measured on {found['clips']} real clips of test speakers: the fall of the winning class's score when a tenth of the cells is "
        "replaced by the window's own pause, mean over the clips. The control names the cells with untrained weights of the same sizes.\n"
    )
    table = ["| attribution | its strongest cells | random cells | random cells as loud | the control's cells |", "|---|---|---|---|---|"]
    for method in ("integrated-gradients", "occlusion"):
        row = found[method]
        falls = [f"{row[name]:.3f}" for name in ("fall", "random_fall", "as_loud_fall", "control_fall")]
        falls[0] += f", {row['fall_over_random']:.0f} times random"
        falls[3] += f", {row['control_over_random']:.1f} times random"
        table.append("| " + " | ".join([method, *falls]) + " |")
    error = percent(found["integrated-gradients"]["completeness_error"])
    times = " and ".join(f"{one['seconds']:.1f} s with {one['blocks']} blocks" for one in found["all_maps"])
    tail = (
        f"\nThe sums of integrated gradients are within {error} of the difference of the logits on every clip. All maps, sentences and files of "
        f"one window take {times} (width {found['all_maps'][0]['width']}, {found['all_maps'][0]['tokens']} patches, two cores). "
        f"From `{found['command']}` ({found['date']})."
    )
    return "\n".join([head, *table, tail])


LIVE_SCENARIOS = {"one": "one listener", "four": "four listeners", "slow": "one, a model that needs 0.6 s a window"}


def _live_row(words, found):
    pages = found["pages"]
    lost = max(page["lost_seconds"] for page in pages)
    different, compared = (sum(page[name] for page in pages) for name in ("samples_different", "samples_compared"))
    p50, p95 = (max(page["page_ms"][name] for page in pages) for name in ("p50", "p95"))
    left_out, windows = (sum(page[name] for page in pages) for name in ("windows_dropped", "windows"))
    cells = (f"{words}, {found['seconds'] / 60:g} min", f"{compared / 1e6:.1f} million", f"{max(0, lost):.1f} s", different,
             f"{p50:.0f} / {p95:.0f} ms", f"{left_out} of {left_out + windows}")  # fmt: skip
    return "| " + " | ".join(map(str, cells)) + " |"


def card() -> str:
    """The weights' own page."""
    found, run = load("keywords"), load("keywords_training")
    config = json.loads((CARD.parent / "config.json").read_text(encoding="utf-8"))
    test = found["test"]
    classes = [f"| {plain(r['label'])} | {r['clips']} | {percent(r['precision'])} | {percent(r['recall'])} |" for r in test["per_class"]]
    short = [plain(label)[:7] for label in test["labels"]]
    matrix = [f"| **{name}** | " + " | ".join(str(n) for n in row) + " |" for name, row in zip(short, test["confusion"])]
    noise = [
        f"| {name} | {'yes' if row['held_out'] else 'no'} | {60 * row['hours']:.1f} | {row['events']} | {row['per_hour']:.0f} |"
        for name, row in found["false_keywords"].items()
    ]
    return CARD_TEXT.format(
        accuracy=percent(test["accuracy"]), interval=interval(test["accuracy_interval"]), clips=test["clips"], groups=test["groups"],
        f1=f"{100 * test['macro_f1']:.1f}", auc=f"{100 * test['auc']:.2f}", threshold=f"{found['threshold']:.2f}",
        gains="; ".join(f"{gain}: {percent(value)}" for gain, value in found["accuracy_at_gain"].items()),
        classes="\n".join(classes), header=" | ".join(short), rule="---|" * (len(short) + 1), matrix="\n".join(matrix),
        noise="\n".join(noise), rolls=roll_comparison(run["rolls"]), data_command=run["data_command"], train_command="\n".join(run["commands"]),
        score_command=found["command"], valid=percent(run["valid_accuracy"]), hours=f"{run['hours']:.1f}",
        threshold_rule=run["threshold_rule"], depth=config["depth"], width=config["width"], bands=config["frontend"]["bands"],
        high_khz=config["frontend"]["high_hz"] / 1000,
    )  # fmt: skip


def roll_comparison(runs: list[dict]) -> str:
    """How the reading of RollBlock was chosen."""
    if not runs:
        return "RollBlock has its grid reading, on the evidence of earlier small models; on this data the readings are yet to be compared."
    rows = [f"| {row['roll']} | {row['epochs']} of {row['clips_per_epoch']} clips | {percent(row['valid_accuracy'])} |" for row in runs]
    head = "The reading of RollBlock was chosen on validation, in short runs that differ in nothing else:\n"
    return "\n".join([head, "| roll | epochs | best validation accuracy |", "|---|---|---|", *rows])


def filled(text: str, name: str, section: str) -> str:
    """The text with what stands between the marks `name:begin` and `name:end` replaced."""
    pattern = re.compile(rf"(<!-- {name}:begin -->\n).*?(<!-- {name}:end -->)", re.DOTALL)
    return pattern.sub(lambda m: m[1] + section + "\n" + m[2], text)


SECTIONS = {
    "keywords": readme_section, "hermit": hermit_section, "live": live_section, "explain": explain_section, "reproduce": reproduce_section,
    "best": cards.best_section, "weights": cards.weights_section,
}


def pages() -> dict:
    """Path -> what it should say."""
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    for name, section in SECTIONS.items():
        text = filled(text, name, section())
    more = {ROOT / "checkpoints" / cards.SHIPPED[name] / "README.md": cards.card(name) for name in cards.there(cards.SHIPPED)}
    return {readme: text, CARD: card(), **more}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        print(f"{'stale' if check else 'wrote'}: {path.relative_to(ROOT)}")
        if not check:
            path.write_text(pages()[path], encoding="utf-8")
    sys.exit(bool(check and stale))


CARD_TEXT = """---
library_name: asm-rh
pipeline_tag: audio-classification
license: cc-by-4.0
tags: [audio-classification, asm-rh, keyword-spotting]
---

# asm-rh-keywords

Tells *down, go, left, no, off, on, right, stop, up, yes* from other words (`_unknown_`) and from the absence of speech (`_silence_`), in windows of
one second. An ASM-RH mixer (arXiv 2402.18007) with {depth} blocks of width {width}, lossless Hermitian mixing and the grid reading of
RollBlock, on {bands} mel bands up to {high_khz:g} kHz. Each window is centred, so the gain of the microphone does not matter.

```python
from asm_rh.classifier import Classifier

Classifier("asm-rh-keywords").predict("clip.wav")
```

## Scores

{clips} real recordings of {groups} speakers and background recordings that were used neither for training nor to choose anything:
accuracy **{accuracy}** (95 % interval {interval}), macro F1 {f1}, AUC {auc}. At other microphone gains: {gains}.

| class | clips | precision | recall |
|---|---|---|---|
{classes}

Rows are what was said, columns what was heard:

| | {header} |
|{rule}
{matrix}

False keywords at the shipped threshold {threshold}, windows every 0.25 s. Read speech holds some of the ten words; each counts as false here.
{threshold_rule}

| sound | held out of training and choosing | minutes | events | per hour |
|---|---|---|---|---|
{noise}

## Data

| source | used as | licence |
|---|---|---|
| Speech Commands v0.02, part of the 12-class test archive, split by speaker | keywords, unknown, silence; training, validation and test | CC BY 4.0 |
| Speech Commands v0.01, *bed, cat, happy*, speakers of the training part only | unknown, training | CC BY 4.0 |
| spectrogram images of Speech Commands v0.02, about 2,300 further speakers, read as log-mel features | keywords, unknown; training and validation | CC BY 4.0 |
| LibriSpeech excerpts, half of the readers | unknown, training | CC BY 4.0 |
| ESC-10, folds 1 to 4 | silence and background noise, training | CC BY 3.0 / CC0 |
| computed hum, noise, music, clicks, sweeps | silence and background noise, training | Apache-2.0 |

The images hold the same frames and bands as this front end (30 ms every 10 ms, 40 bands up to 4 kHz), in 8 bits and with JPEG's losses.
Nobody who speaks in validation or test speaks in training. Of the six background recordings three are for training, *dude_miaowing* for
validation, *pink_noise* and *running_tap* for test, with every silence clip cut from them.

## How it was made

```
{data_command}
{train_command}
{score_command}
```

Each run starts from the best epoch of the one before; the last one's best is right on {valid} of the validation clips, pictures and
recordings. {hours} hours on two processor cores in all; every epoch is in `benchmarks/results/keywords_training.json`. {rolls}

## Intended use and limits

Demonstrations and teaching. English words, mostly close to the microphone; not for anything that must not fail. The ten words inside other words
or sentences are often reported. CC BY 4.0: name Speech Commands, LibriSpeech and ESC-10 when you pass the weights on.
"""


if __name__ == "__main__":
    main()
