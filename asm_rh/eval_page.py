"""An evaluation as one page that needs nothing else: sentences, pictures, and every picture's numbers beside it. Pure."""

from html import escape

import numpy as np

from . import eval_words as words
from . import pictures
from .charts import Axis, Series, chart
from .eval_words import many, percent, percents, rate
from .markup import element, folded, page, styles, table
from .words import shown

MOST_CELLS = 40  # classes of a confusion matrix whose numbers can still be read
MOST_ROWS = 20


def eval_page(found: dict, mistakes: list[dict]) -> str:
    """The whole page out of what metrics.json holds and the most certain mistakes, as `eval_files.mistakes` gives them."""
    parts = [part(found) for part in (top, confusion, classes, reliability, thresholds, alarms)]
    inner = element("main", "".join([*parts, wrong(mistakes), facts(found)]), kind="judged")
    return page(headline(found), inner, styles("markup.css", "eval_page.css"))


def headline(found: dict) -> str:
    """The model and the one figure it is known by."""
    figure = f"mAP {_three(found['map'])}" if found.get("multi_label") else percent(found["accuracy"])
    return f"{found.get('model', 'The model')}: {figure}"


def top(found: dict) -> str:
    """The headline, the warning where the figures leak, and the few numbers that everybody asks for."""
    head = element("h1", _text(headline(found)))
    leak = words.told_leak(found)
    warning = element("p", element("strong", "Leaking.") + " " + _text(leak), kind="leak", role="note") if leak else ""
    names = [("Macro F1", "macro_f1"), ("AUC, mean", "auc"), ("mAP", "map")]
    names += [("Micro F1", "micro_f1")] if found.get("multi_label") else []
    title = "All labels right" if found.get("multi_label") else "Accuracy"
    numbers = [_number(title, percent(found["accuracy"]), percents(found["accuracy_interval"]))]
    numbers += [_number(name, _three(found[key])) for name, key in names]
    numbers.append(_number("Calibration error", _three(found["calibration"]["ece"])))
    if noise := found.get("false_alarms"):
        numbers.append(_number("False alarms an hour", rate(noise["per_hour"]), _rates(noise["interval"])))
    said = _said(words.told_origin(found)) + _said(words.told_whole(found))
    return head + warning + said + element("dl", "".join(numbers), kind="numbers")


def confusion(found: dict) -> str:
    """The confusion matrix with its numbers, or as a picture where there are too many classes, and the most frequent confusions."""
    if not found.get("confusion"):
        return ""
    matrix = np.array(found["confusion"])
    pairs = words.confusions(found)
    rows = [(_name(a), _name(b), str(count), str(clips), percent(count / clips)) for a, b, count, clips in pairs[:MOST_ROWS]]
    listed = _table(("there", "heard as", "clips", "of", "share"), rows, caption="The most frequent confusions") if rows else ""
    drawn = matrix_table(found["labels"], matrix) if len(matrix) <= MOST_CELLS else matrix_picture(matrix)
    return _section("What is taken for what", words.told_confusion(found), element("div", drawn + listed, kind="pair"))


def matrix_table(labels, matrix: np.ndarray) -> str:
    """Counts in cells, shaded by their share of the row: right ones framed, wrong ones in the other colour."""
    whole = np.maximum(matrix.sum(1, keepdims=True), 1)
    heads = "".join(element("th", element("span", _name(label)), scope="col") for label in labels)
    rows = []
    for i, label in enumerate(labels):
        cells = "".join(_cell(count, count / whole[i, 0], i == j) for j, count in enumerate(matrix[i].tolist()))
        rows.append(element("tr", element("th", _name(label), scope="row") + cells))
    inner = element("thead", element("tr", element("th", "there ↓ heard →", kind="corner") + heads)) + element("tbody", "".join(rows))
    return element("div", element("table", inner, kind="matrix"), kind="scroll")


def matrix_picture(matrix: np.ndarray) -> str:
    """The matrix of many classes as a picture, one pixel a cell, rows as shares; its numbers are in confusion_matrix.csv."""
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    address = pictures.png_uri(pictures.heat_png(shares[::-1], 0, 1))
    image = f'<img class="cells" src="{address}" alt="Confusion matrix of {len(matrix)} classes, a bright diagonal where most is right">'
    note = "Dark is no clip, bright all clips of the row. confusion_matrix.csv has the numbers."
    return element("figure", image + element("figcaption", note), kind="cells-figure")


def classes(found: dict) -> str:
    """The table of classes, the weakest first."""
    rows = sorted(found["per_class"], key=lambda row: (not row["clips"], row["f1"]))
    shares = ("precision", "recall", "f1", "auc", "average_precision")
    body = []
    for row in rows:
        numbers = [_three(row[key] if row["clips"] else None) for key in shares]
        body.append((_name(row["label"]), str(row["clips"]), str(row["groups"]), *numbers, _bar(row["f1"])))
    heads = ("class", "clips", "sources", "precision", "recall", "F1", "AUC", "average precision", "F1 drawn")
    return _section("Class by class", words.told_classes(found) + " The weakest stand first.", _table(heads, body))


def reliability(found: dict) -> str:
    """The reliability diagram and its bins."""
    rows = [row for row in found["calibration"]["bins"] if row["count"]]
    what = "label is there" if found.get("multi_label") else "answer is right"
    points, spans = [(row["score"], row["right"]) for row in rows], [row["interval"] for row in rows]
    series = Series(f"share of cases in which the {what}, with its 95 % interval", points, intervals=spans, joined=False)
    label, honest = "Reliability diagram: share right over score", ((0, 0), (1, 1), "as it should be")
    drawn = chart([series], Axis("score"), Axis("share right"), label, honest)
    cells = [
        (f"{row['low']:.2f}–{row['high']:.2f}", str(row["count"]), _three(row["score"]), _three(row["right"]), percents(row["interval"]))
        for row in rows
    ]  # fmt: skip
    numbers = _table(("score", "cases", "mean", "right", "95 % interval"), cells)
    return _section("Is a score to be believed?", words.told_calibration(found), _beside(drawn, numbers))


def thresholds(found: dict) -> str:
    """Precision and recall over the threshold, and the threshold of each class for a wanted precision."""
    rows, own = found["by_threshold"], found["at_threshold"]["threshold"]
    curves = [
        Series("precision: reported and right", [(row["threshold"], row["precision"]) for row in rows]),
        Series("recall: there and reported", [(row["threshold"], row["recall"]) for row in rows], "c1 dash"),
    ]
    label = "Precision and recall over the threshold"
    drawn = chart(curves, Axis("threshold"), Axis("share"), label, upright=(own, f"the model's own, {own:.2f}"))
    cells = [(f"{row['threshold']:.2f}", str(row["claimed"]), percent(row["precision"]), percent(row["recall"])) for row in rows]
    content = _beside(drawn, _table(("threshold", "reported", "precision", "recall"), cells))
    wanted = found["thresholds"]["precision"]
    content += element("h3", f"Thresholds for a precision of {100 * wanted:g} %") + _said(words.told_wanted(found)) + wanted_table(found)
    return _section("From which score on?", words.told_thresholds(found), content)


def wanted_table(found: dict) -> str:
    """The threshold of each class for the wanted precision."""
    rows = [
        (_name(row["label"]), _upwards(row["threshold"]), percent(row["precision"]), percents(row["precision_interval"]),
         percent(row["recall"]), f"{row['right']} of {row['claimed']}")
        for row in found["thresholds"]["per_class"]
    ]  # fmt: skip
    return _table(("class", "threshold", "precision", "95 % interval", "recall", "right of reported"), rows)


def alarms(found: dict) -> str:
    """Events an hour on background, over the threshold and by class; how to count them where nobody did."""
    noise = found.get("false_alarms")
    if not noise:
        said = "Not counted: run asm-rh eval with --background and a recording, or a folder of them, that holds none of the classes."
        return _section("False alarms", said)
    curve, label = noise["curve"], "False alarms per hour over the threshold"
    points, spans = [(row["threshold"], row["per_hour"]) for row in curve], [row["interval"] for row in curve]
    highest = max([high for _, high in spans] + [1.0])
    stretched = highest > 30
    y = Axis("events an hour" + (", each line ten times the one below" if stretched else ""), 0, highest, stretched)
    series = Series("events an hour, with their 95 % interval", points, "c1", spans)
    drawn = chart([series], Axis("threshold", 0.25, 1.0), y, label, upright=(noise["threshold"], f"in use, {noise['threshold']:.2f}"))
    cells = [(f"{row['threshold']:.2f}", str(row["events"]), rate(row["per_hour"]), _rates(row["interval"])) for row in curve]
    content = _beside(drawn, _table(("threshold", "events", "an hour", "95 % interval"), cells))
    if noise["labels"]:
        by_class = sorted(noise["labels"].items(), key=lambda pair: -pair[1])
        rows = [(_name(label), str(count), rate(noise["labels_per_hour"][label])) for label, count in by_class]
        content += _table(("class", "events", "an hour"), rows, caption=f"By class, at {noise['threshold']:.2f}")
    files = [(escape(row["file"] or "–"), f"{row['seconds']:.1f} s", str(row["events"])) for row in noise["files"]]
    content += folded(f"{many(len(files), 'recording')}", _table(("recording", "length", "events"), files))
    said = f"{words.told_alarms(noise)} A window began every {noise['hop_seconds']:g} s."
    return _section("False alarms", said, content + _skipped(noise["skipped"]))


def wrong(mistakes: list[dict]) -> str:
    """The mistakes that were made with the highest scores, with the files to listen to."""
    if not mistakes:
        return _section("The most certain mistakes", "There was no mistake.")
    rows = [(escape(row["file"]), _name(row["label"]), escape(row["what"]), f"{row['score']:.3f}") for row in mistakes]
    said = "Where the model was surest and wrong: these are worth listening to, as often the label is wrong, or two sounds are in one clip."
    return _section("The most certain mistakes", said, _table(("file", "there", "mistake", "score"), rows, "mistakes"))


def facts(found: dict) -> str:
    """How long a window takes, and which files could not be read."""
    said = words.told_speed(found["cpu"]) if found.get("cpu") else ""
    spread = found["clips_per_group"]
    said += f" A speaker or source has {spread['least']} to {spread['most']} clips, {spread['median']:g} in the middle."
    said += f" Calibration error over bins of equally many cases: {_three(found['calibration']['ece_equal_mass'])}."
    return _section("How it was measured", said.strip(), _skipped(found["skipped"]))


def _skipped(lines):
    if not lines:
        return ""
    items = element("ul", "".join(element("li", escape(line)) for line in lines))
    return folded(f"{many(len(lines), 'file')} could not be read and {'was' if len(lines) == 1 else 'were'} left out", items)


def _section(title, said, content=""):
    return element("section", element("h2", title) + _said(said) + content)


def _said(text):
    return element("p", _text(text))


def _text(words):
    """Escaped, and a number stays with its per cent sign."""
    return escape(words).replace(" %", "&nbsp;%")


def _table(heads, rows, kind="", caption=""):
    """A table that shows all of its rows; a very long one scrolls inside itself."""
    drawn = table(heads, rows, kind, caption)
    return element("div", drawn, kind="long") if len(rows) > MOST_CELLS else drawn


def _beside(drawn, numbers):
    return element("div", drawn + numbers, kind="beside")


def _number(name, value, below=""):
    under = element("dd", escape(below), kind="below") if below else ""
    return element("div", element("dt", name) + element("dd", _text(value)) + under)


def _rates(interval):
    return " to ".join(map(rate, interval))


def _name(label):
    return escape(shown(label))


def _three(value):
    return "–" if value is None else f"{value:.3f}"


def _upwards(threshold):
    """Three decimals, never below: rounded down it would claim more than was counted."""
    return "not reached" if threshold is None else f"{np.ceil(1000 * threshold) / 1000:.3f}"


def _cell(count, share, right):
    kind = "right" if right else "wrong"
    number = str(count) if count or right else element("span", "0", kind="none")
    return element("td", number, kind=kind, style=f"--share:{100 * share:.0f}%")


def _bar(share):
    return f'<span class="share" aria-hidden="true"><span style="width:{100 * share:.1f}%"></span></span>'
