"""What an evaluation found, in plain sentences; text, not HTML."""

from .words import shown

FEW_CLIPS = 30


def percent(share: float | None) -> str:
    """0.954 -> "95.4 %"; a dash for what is not known."""
    return "–" if share is None else f"{100 * share:.1f} %"


def percents(interval) -> str:
    """(0.939, 0.965) -> "93.9 to 96.5 %"."""
    return "–" if interval is None else f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f} %"


def rate(value: float) -> str:
    """Events per hour: as many digits as are worth reading."""
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def many(count: int, word: str) -> str:
    """(1, clip) -> "1 clip", (2, clip) -> "2 clips"."""
    return f"{count} {word}" + ("" if count == 1 else "s")


def told_whole(found: dict) -> str:
    """How many clips were right, and within what that may be luck."""
    right, clips = round(found["accuracy"] * found["clips"]), found["clips"]
    what = "have all their labels right and no other" if found.get("multi_label") else "were recognised"
    return (
        f"{right} of {many(clips, 'clip')} {what}, {percent(found['accuracy'])}. With as many other clips of the same kind, "
        f"{percents(found['accuracy_interval'])} would be no surprise."
    )


def told_origin(found: dict) -> str:
    """Where the clips come from and how they were kept apart from training."""
    data = ", ".join(found.get("data") or []) or "recordings"
    sources = "one speaker or source" if found["groups"] == 1 else f"{found['groups']} speakers or sources"
    split = f", split {found['split']}" if found.get("split") else ""
    said = f"Judged on {many(found['clips'], 'clip')} of {sources} in {data}{split}."
    return f"{said} {found['protocol']}" if found.get("protocol") else said


def told_leak(found: dict) -> str:
    """The warning over figures that cannot be trusted; empty where they can."""
    if not found.get("leaky"):
        return ""
    return (
        "These figures are too good: the same speakers, sources or recordings were in training and in judging. They say nothing about new "
        "recordings; judge with the official folds, or with a split by speaker or source."
    )


def told_confusion(found: dict) -> str:
    """The most frequent mistake."""
    pairs = confusions(found)
    if not pairs:
        return "No clip was taken for another class."
    truth, heard, count, clips = pairs[0]
    return (
        f"Rows are what was there, columns what was heard; the diagonal is right. The most frequent mistake: {shown(truth)} heard as "
        f"{shown(heard)}, {count} of {many(clips, 'clip')}."
    )


def confusions(found: dict) -> list[tuple]:
    """(there, heard, clips, clips of that class), the most frequent first."""
    labels, matrix = found["labels"], found["confusion"]
    pairs = [
        (labels[i], labels[j], count, sum(row)) for i, row in enumerate(matrix) for j, count in enumerate(row) if count and i != j
    ]  # fmt: skip
    return sorted(pairs, key=lambda pair: (-pair[2], pair[3]))


def told_classes(found: dict) -> str:
    """The weakest and the strongest class."""
    rows = sorted((row for row in found["per_class"] if row["clips"]), key=lambda row: row["f1"])
    missing = [shown(row["label"]) for row in found["per_class"] if not row["clips"]]
    said = f"The weakest class is {shown(rows[0]['label'])}, F1 {rows[0]['f1']:.3f}" if rows else "No class occurs"
    said += f"; the strongest is {shown(rows[-1]['label'])}, F1 {rows[-1]['f1']:.3f}." if len(rows) > 1 else "."
    few = [shown(row["label"]) for row in rows if row["clips"] < FEW_CLIPS]
    if few:
        which = "Every class has" if len(few) == len(rows) else f"{_listed(few)}: these have"
        said += f" {which} fewer than {FEW_CLIPS} clips, so chance alone moves its figures by several points."
    return said + (f" Not among these clips, and in no mean: {_listed(missing)}." if missing else "")


def told_calibration(found: dict) -> str:
    """Whether a score means what it says."""
    rows = [row for row in found["calibration"]["bins"] if row["count"]]
    total = sum(row["count"] for row in rows)
    lean = sum(row["count"] * (row["score"] - row["right"]) for row in rows) / total
    mood = "neither too sure nor too careful" if abs(lean) < 0.01 else "too sure of itself" if lean > 0 else "too careful"
    what = "labels with a score of 0.9 are there" if found.get("multi_label") else "answers with a score of 0.9 are right"
    return (
        f"Where scores are honest, nine in ten {what}, and the points lie on the dotted line. Here scores and "
        f"shares are {100 * found['calibration']['ece']:.1f} points apart in the mean (expected calibration error); on the whole the model "
        f"is {mood}."
    )


def told_thresholds(found: dict) -> str:
    """What the model's own threshold gives on these clips."""
    at = found["at_threshold"]
    if not at["claimed"]:
        return f"At the model's threshold of {at['threshold']:.2f} nothing is reported."
    return (
        f"A class is reported when its score reaches a threshold: a higher one reports less and is right more often. At the model's own, "
        f"{at['threshold']:.2f}, {percent(at['precision'])} of what is reported is right, and {percent(at['recall'])} of what is there is "
        "reported."
    )


def told_wanted(found: dict) -> str:
    """How far the wanted precision can be had."""
    wanted, rows = found["thresholds"]["precision"], found["thresholds"]["per_class"]
    never = [shown(row["label"]) for row in rows if row["threshold"] is None]
    said = (
        f"The lowest threshold of each class at which {100 * wanted:g} % of what is reported is right on these clips; thresholds.json "
        "holds them exactly. From few clips they are little more than luck: see the interval."
    )
    return said + (f" No threshold does for {_listed(never)}." if never else "")


def told_alarms(alarms: dict) -> str:
    """How often something is reported where nothing is."""
    minutes, low_high = 60 * alarms["hours"], alarms["interval"]
    length = f"{minutes:.0f} minutes" if minutes >= 2 else f"{60 * minutes:.0f} seconds"
    return (
        f"In {length} of background nothing is to be reported. At the threshold of {alarms['threshold']:.2f} there were "
        f"{many(alarms['events'], 'false alarm')}, {rate(alarms['per_hour'])} an hour; from so short a time, anything from "
        f"{rate(low_high[0])} to {rate(low_high[1])} an hour would be no surprise."
    )


def told_speed(cpu: dict) -> str:
    """Milliseconds per window on this machine."""
    taken = " and ".join(f"{value:.1f} ms with {many(int(threads), 'thread')}" for threads, value in cpu["milliseconds"].items())
    machine = f"on the machine that made this report, {many(cpu['cores'], 'core')}"
    return f"One window takes {taken} {machine}: the median of repeated calls, slower where others kept it busy."


def _listed(names, most=12):
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
