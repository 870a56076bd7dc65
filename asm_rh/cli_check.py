"""`asm-rh data check`: what recordings are like, said before training on them."""

import json
import re
import shlex
import sys
from pathlib import Path

from .cli_data import add_layout, read_all, split

NAMES_SHOWN = 5


def add_data_commands(parser):
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    check = commands.add_parser("check", help="say what is there and what would spoil training")
    check.add_argument("data", nargs="+", type=Path, metavar="DIR", help="folder of recordings, a table of them, or a dataset of the Hub")
    add_layout(check)
    check.add_argument("--json", action="store_true", help="as JSON, with every name")
    check.set_defaults(run=run_check, layout=None)


def run_check(args):
    """Exit code 0 when all is well, 1 when something would spoil training; what cannot be read at all is an error, 2."""
    from tqdm import tqdm

    from .corpora import guess_layout
    from .data_check import check, suggested_folds

    left_out = []
    if args.layout is None:
        args.layout = guess_layout(args.data[0])
    clips = read_all(args, lambda what, names: left_out.append({"what": what, "names": names}))
    bar = lambda items: tqdm(items, desc="listening", unit="clip", file=sys.stderr, leave=False)  # noqa: E731
    found = check(clips, lambda them: split(them, args), bar)
    folds = suggested_folds(clips) if found["cannot_be_split"] and args.folds is None else None
    found = {"data": [str(path) for path in args.data], "layout": args.layout, **found, "left_out": left_out}
    found["command"] = command(args, found, folds)
    print(json.dumps(found, indent=2, ensure_ascii=False) if args.json else text(found))
    return 1 if found["problems"] else 0


def command(args, found, folds=None) -> str:
    """The training command that suits what was found."""
    words = ["asm-rh", "train", *(word for path in args.data for word in ("--data", str(path)))]
    words += ["--layout", args.layout] if args.layout != "folder" else []
    words += ["--group-pattern", args.group_pattern] if args.group_pattern else []
    words += ["--folds", str(args.folds or folds)] if args.folds or folds else []
    words += ["--random-split"] if args.random_split else []
    words += ["--window-seconds", f"{found['window_seconds']:g}"] if found["window_seconds"] else []
    sizes = [row["clips"] for row in found["classes"]]
    words += ["--balanced"] if max(sizes) > 3 * min(sizes) else []
    return shlex.join([*words, "--run-dir", f"runs/{args.data[0].resolve().stem}"])


# ---------------------------------------------------------------------------------------------- as people read it


def text(found) -> str:
    """The findings as lines."""
    groups = found["groups"].values()
    known = f"{len(groups)} speakers or sources of {_range(groups)}" if found["groups_known"] else "speakers or sources not known"
    classes = len(found["classes"])
    lines = [f"{' '.join(found['data'])}, read as {found['layout']}"]
    lines += [f"{found['clips']} clips, {classes} class{'es' * (classes != 1)}, {known}", "", *_table(found["classes"]), ""]
    lines += [f"{name:<11} {what}" for name, what in _facts(found)]
    lines += _listed("left out", [f"{row['what']}: {_names(row['names'])}" for row in found["left_out"]], every=True)
    lines += _listed("cannot be read", [f"{row['clip']}: {row['why']}" for row in found["unreadable"]])
    for what in ("splits", "labels", "groups"):
        lines += _listed(f"same sound, two {what}", [" = ".join(names) for names in found["duplicates"][f"across_{what}"]])
    lines += _listed("warnings", found["warnings"], every=True) + _listed("problems", found["problems"], every=True)
    verdict = "Something would spoil training; once it is repaired:" if found["problems"] else "Fit for training:"
    return _shorter("\n".join([*lines, "", verdict, f"  {found['command']}"]), found["data"])


def _shorter(lines, roots):
    """Clips are named as below their folder; the command and the first line keep it, as no slash follows there."""
    for root in roots:
        if root != ".":  # names below it do not begin with it
            lines = re.sub(rf"(?<![\w./-]){re.escape(root)}/", "", lines)
    return lines


def _table(rows):
    width = max(len("class"), *(len(row["label"]) for row in rows))
    columns = [name for name in ("clips", "groups", "seconds", "train", "valid", "test") if name in rows[0]]
    lines = [f"{'class':<{width}}" + "".join(f"{name:>9}" for name in columns)]
    for row in rows:
        lines.append(f"{row['label']:<{width}}" + "".join(f"{row[name]:>9.0f}" for name in columns))
    return lines


def _facts(found):
    if found["folds"]:
        several = f"; the table shows fold {found['folds'][0]}" if len(found["folds"]) > 1 else ""
        yield "split", found["protocol"] + several
    if found["seconds"]:
        times = found["seconds"]
        yield "lengths", f"{times['min']:.2f} s to {times['max']:.2f} s, median {times['median']:.2f} s, {_clock(times['total'])} in all"
        yield "rates", ", ".join(f"{rate} Hz: {count}" for rate, count in found["rates_hz"].items())
        yield "channels", ", ".join(f"{channels}: {count}" for channels, count in found["channels"].items())
    silent, quiet = found["digital_silence"], found["quiet"]
    such = f", such as {(silent or quiet)[0]}" if silent or quiet else ""
    yield "silent", f"{len(silent)} digitally, {len(quiet)} more below -60 dBFS{such}" if such else "none"
    yield "clipped", f"{len(found['clipped'])}, such as {found['clipped'][0]}" if found["clipped"] else "none"
    yield "unreadable", str(len(found["unreadable"]) or "none")
    twice = found["duplicates"]
    if twice["sets"]:
        crossing = ", ".join(f"{len(twice[f'across_{what}'])} across {what}" for what in ("labels", "groups", "splits"))
        yield "duplicates", f"{twice['clips']} clips are {_count(twice['sets'], 'sound')}: {crossing}"
    else:
        yield "duplicates", "none"
    if found["window_seconds"]:
        yield "window", f"{found['window_seconds']:g} s holds nine of ten clips whole; longer ones are cut into windows"


def _count(number, what):
    return f"{number} {what}{'' if number == 1 else 's'}"


def _listed(title, names, every=False):
    if not names:
        return []
    shown = names if every else names[:NAMES_SHOWN]
    more = [f"  and {len(names) - len(shown)} more (--json lists all)"] if len(shown) < len(names) else []
    return ["", f"{title}:", *(f"  {name}" for name in shown), *more]


def _names(names):
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more


def _range(counts):
    least, most = min(counts), max(counts)
    return f"{_count(least, 'clip')} each" if least == most else f"{least} to {most} clips"


def _clock(seconds):
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
