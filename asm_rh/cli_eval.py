"""`asm-rh eval`: a model judged on labelled recordings, as JSON or as a folder with a report."""

import json
from pathlib import Path

from .cli_data import add_data, read_fold
from .cli_output import check_folder, check_output, write, write_folder


def add_eval(parser):
    parser.add_argument("model", metavar="MODEL", help="folder, shipped name or Hub id user/repo[@revision]")
    add_data(parser)
    parser.add_argument("--device")
    parser.add_argument("--split", choices=("train", "valid", "test", "all"), default="test")
    parser.add_argument("--background", type=Path, action="append", default=[], metavar="FILE_OR_FOLDER",
                        help="recordings without any of the classes: counts false alarms per hour; may be given several times")  # fmt: skip
    parser.add_argument("--hop-seconds", type=float, help="from one window of the background to the next (default: a quarter of a window)")
    parser.add_argument("--thresholds-for", type=float, default=0.95, metavar="PRECISION",
                        help="share of what a class reports that is to be right, for its threshold (default: %(default)s)")  # fmt: skip
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.json|FOLDER",
                        help="JSON, or a folder with report.html, tables and JSON (default: JSON to standard output)")  # fmt: skip
    parser.set_defaults(run=run_eval)


def run_eval(args):
    from .alarms import checked_hop, false_alarms
    from .classifier import Classifier
    from .evaluate import check_labels, figures, judge
    from .speed import cpu_milliseconds

    folder = is_folder(args.output)
    (check_folder if folder else check_output)(args.output)
    sounds = background_files(args)
    if not 0 < args.thresholds_for <= 1:
        raise ValueError(f"--thresholds-for {args.thresholds_for}: expected a share above 0 and at most 1, for example 0.95")
    classifier = Classifier(args.model, args.device)
    fold = read_fold(args, complete=False)
    clips = [clip for clip in fold.clips if args.split in ("all", clip.split)]
    # What can fail at once goes before what takes long.
    check_labels(classifier.labels, clips, classifier.config.output)
    hop_seconds = checked_hop(classifier.config.window_seconds, args.hop_seconds)
    noise = {"false_alarms": false_alarms(classifier, sounds, hop_seconds, progress=bar("backgrounds"))} if sounds else {}
    judged = judge(classifier, clips, bar("clips"))
    found = {"model": model_name(args.model), "data": [root.resolve().name for root in args.data], "split": args.split}
    found |= figures(judged, precision=args.thresholds_for, protocol=fold.protocol, leaky=fold.leaky)
    found |= {**noise, "cpu": cpu_milliseconds(classifier)}
    if folder:
        save(judged, found, args)
    else:
        write(json.dumps(found, indent=2) + "\n", args.output)


def is_folder(path) -> bool:
    """Whether --output asks for a folder: what is one already, or what is no file and does not end in .json."""
    return path is not None and (path.is_dir() or not (path.exists() or path.suffix == ".json"))


def model_name(model: str) -> str:
    """A folder's own name, or the name as it was given: reports are for others, who do not have the folders of this machine."""
    return Path(model).resolve().name if Path(model).is_dir() else model


def background_files(args) -> list[Path]:
    """Every file that --background means; ValueError where one is not there."""
    from .datasets import audio_files

    if args.hop_seconds is not None and not args.background:
        raise ValueError("--hop-seconds is the step through --background: give a background recording as well")
    missing = [path for path in args.background if not path.exists()]
    if missing:
        raise ValueError(f"--background {missing[0]}: no such file or folder")
    return [file for path in args.background for file in (audio_files(path) if path.is_dir() else [path])]


def save(judged, found, args):
    """Writes the folder and says on standard output what came of it."""
    from .eval_files import NAMES, eval_files
    from .eval_words import told_whole

    write_folder(args.output, eval_files(judged, found, args.data), NAMES)
    print(f"{told_whole(found)}\nreport: {args.output / 'report.html'}")


def bar(unit):
    """A progress bar over items, on terminals only."""
    from tqdm import tqdm

    return lambda items: tqdm(items, unit=unit, disable=None, leave=False)
