"""The command `asm-rh`: classify, live, devices, explain, space, data, train, eval, info, push."""

import argparse
import json
import math
import os
import sys
from contextlib import suppress
from pathlib import Path

from . import __version__
from .cli_check import add_data_commands
from .cli_eval import add_eval
from .cli_output import check_folder, check_output, write, write_folder
from .cli_train import add_train
from .microphone import MicrophoneError

FORMATS = ("json", "csv", "jsonl", "audacity", "raven")
NAMELESS = ("audacity", "raven")  # tables that do not say of which sound they are


def main(argv=None) -> int:
    """Runs one command; what goes wrong for the user's sake is one line on standard error and exit code 2, Ctrl-C is 130."""
    args = build_parser().parse_args(argv)
    try:
        return args.run(args) or 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        abandon_output()
        return 0
    except (ValueError, OSError, MicrophoneError) as error:
        print(f"asm-rh: error: {error}", file=sys.stderr)
        return 2


def abandon_output():
    """Whoever read standard output is gone: Python would fail once more when it flushes the rest at the end of the program."""
    with suppress(OSError), open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def build_parser() -> argparse.ArgumentParser:
    """All commands and their flags."""
    parser = argparse.ArgumentParser(prog="asm-rh", description="Live, explainable audio classification with mixer models.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_classify(commands.add_parser("classify", help="score sound files"))
    add_live(commands.add_parser("live", help="score the microphone, live"))
    add_devices(commands.add_parser("devices", help="list the microphones"))
    add_explain(commands.add_parser("explain", help="say why: what each block moved and whether it mattered"))
    add_space(commands.add_parser("space", help="a folder that can be pushed as a Hugging Face Space"))
    add_data_commands(commands.add_parser("data", help="look at recordings before training on them"))
    add_train(commands.add_parser("train", help="train on your own recordings"))
    add_eval(commands.add_parser("eval", help="judge a model on labelled recordings"))
    add_info(commands.add_parser("info", help="say what a model is"))
    add_push(commands.add_parser("push", help="put a model on the Hugging Face Hub"))
    return parser


def add_model(parser):
    parser.add_argument("--model", default="asm-rh-keywords", help="folder, shipped name or user/repo[@revision] (default: %(default)s)")
    parser.add_argument("--device", help="cpu, cuda or mps (default: the best there is)")


def add_classify(parser):
    parser.add_argument("files", nargs="+", metavar="FILE")
    add_model(parser)
    parser.add_argument("--top-k", type=int, default=5, help="classes listed per file (default: %(default)s)")
    parser.add_argument("--window-seconds", type=float, help="length of a window (default: the model's)")
    parser.add_argument("--hop-seconds", type=float, help="from one window's start to the next (default: half a window)")
    parser.add_argument("--threshold", type=float, help="score from which an event is reported (default: the model's)")
    parser.add_argument("--format", choices=FORMATS, default="json", help="json and jsonl hold windows, the others events")
    parser.add_argument("-o", "--output", type=Path, help="file, or folder for the tables of several sounds (default: standard output)")
    parser.set_defaults(run=run_classify)


def run_classify(args):
    from .classifier import Classifier

    if args.top_k < 1:
        raise ValueError(f"--top-k {args.top_k}: expected at least 1")
    check_threshold(args.threshold)
    apart = args.format in NAMELESS and len(args.files) > 1
    if apart and args.output is None:
        raise ValueError(f"--format {args.format} of {len(args.files)} files: its tables name no file, so give -o FOLDER for one each")
    (check_folder if apart else check_output)(args.output)
    classifier, parts, failed = Classifier(args.model, args.device), [], 0
    for path in args.files:
        try:
            found = classifier.windows(path, args.window_seconds, args.hop_seconds, name=path)
        except (ValueError, OSError) as error:
            if len(args.files) == 1:
                raise
            print(f"asm-rh: error: {error}", file=sys.stderr)
            failed += 1
            continue
        parts.append((path, render(found, args, classifier.config.threshold)))
    if not parts:
        raise ValueError(f"none of {len(args.files)} files could be scored")
    if apart:
        write_folder(args.output, tables(parts))
    else:
        write(join([part for _, part in parts], args.format), args.output)
    return 1 if failed else 0


def tables(parts):
    """{file name: table} of several (sound, text); sounds of one name in several folders are numbered."""
    found = {}
    for path, text in parts:
        name, number = f"{Path(path).name}.txt", 2
        while name in found:
            name, number = f"{Path(path).name}-{number}.txt", number + 1
        found[name] = text.encode()
    return found


def check_threshold(threshold):
    """Refuses what is no score."""
    if threshold is not None and not 0 <= threshold <= 1:
        raise ValueError(f"--threshold {threshold}: expected a score from 0 to 1")


def render(found, args, default_threshold):
    """One file's result in the wanted format; a dict for json."""
    if args.format == "json":
        return found.to_dict(top_k=args.top_k)
    if args.format == "jsonl":
        return found.to_jsonl()
    threshold = default_threshold if args.threshold is None else args.threshold
    return getattr(found, f"to_{args.format}")(threshold=threshold)


def join(parts, form):
    """Results of several files as one text; a table keeps one header."""
    if form == "json":
        return json.dumps(parts, indent=2, ensure_ascii=False) + "\n"
    if form == "csv":
        return parts[0] + "".join(part.split("\n", 1)[1] for part in parts[1:])
    return "".join(parts)


def add_live(parser):
    add_model(parser)
    parser.add_argument("--mic", metavar="NAME|NUMBER", help="part of the microphone's name, or its number (default: the system's)")
    parser.add_argument("--hop-seconds", type=float, help="from one window's start to the next (default: a quarter of a window)")
    parser.add_argument("--smoothing-seconds", type=float, default=0.0, help="mean over windows that ended so lately (default: none)")
    parser.add_argument("--threshold", type=float, help="score from which an event is reported (default: the model's)")
    parser.add_argument("--confirmations", type=int, default=1, help="windows in a row that must reach it (default: %(default)s)")
    parser.add_argument("--seconds", type=float, help="stop after so much sound (default: at Ctrl-C)")
    parser.add_argument("--jsonl", action="store_true", help="JSON lines, as when the output is not a terminal")
    parser.set_defaults(run=run_live)


def run_live(args):
    from .live_cli import JsonLines, StatusLine, listen
    from .microphone import Microphone, find

    check_threshold(args.threshold)
    if args.seconds is not None and not 0 < args.seconds < math.inf:
        raise ValueError(f"--seconds {args.seconds}: expected above 0")
    microphone = Microphone(find(args.mic))
    session = live_session(args, microphone.device.rate)
    show = JsonLines if args.jsonl or not sys.stdout.isatty() else StatusLine
    listen(session, microphone, show(session, microphone, args.model), args.seconds)


def live_session(args, rate):
    """One listener's session for sound at `rate` Hz, as the flags ask for."""
    from .classifier import Classifier
    from .streaming import EventSettings, StreamSession, StreamSettings

    classifier = Classifier(args.model, args.device)
    config = classifier.config
    threshold = config.threshold if args.threshold is None else args.threshold
    hop_seconds = config.window_seconds / 4 if args.hop_seconds is None else args.hop_seconds
    events = EventSettings(threshold, confirmations=args.confirmations)
    settings = StreamSettings(config.window_seconds, hop_seconds, args.smoothing_seconds, events, drop_late=True)
    return StreamSession(classifier.score, rate, classifier.labels, config.background_labels, settings)


def add_devices(parser):
    parser.set_defaults(run=run_devices)


def run_devices(args):
    from .microphone import NO_MICROPHONE, devices

    there = devices()
    if not there:
        raise MicrophoneError(NO_MICROPHONE)
    for device in there:
        mark, channels = "*" if device.is_default else " ", f"{device.channels} channel{'s' * (device.channels != 1)}"
        print(f"{mark} {device.number:>3}  {device.name}, {device.system}  ({channels}, {device.rate} Hz)")


def add_explain(parser):
    parser.add_argument("file", metavar="FILE")
    add_model(parser)
    parser.add_argument("--at", type=float, help="middle of the window in seconds (default: where a class that counts is most certain)")
    parser.add_argument("--label", help="class to explain (default: the winning one)")
    parser.add_argument("--method", choices=("integrated-gradients", "occlusion"), default="integrated-gradients")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for report.html, maps.npz and summary.json")
    parser.set_defaults(run=run_explain)


def run_explain(args):
    from .classifier import Classifier
    from .explain import explain
    from .report import save
    from .sentences import sentences

    classifier = Classifier(args.model, args.device)
    start, wave, rate = classifier.window_at(args.file, args.at)
    found = explain(classifier, wave, rate, start, args.label, args.method, Path(args.model).name)
    print("\n".join(sentences(found)))
    for path in save(found, args.output):
        print(path, file=sys.stderr)


def add_space(parser):
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a new or an empty folder")
    parser.add_argument("--model", default="asm-rh-keywords", help="folder, shipped name or Hub id (default: %(default)s)")
    parser.set_defaults(run=run_space)


def run_space(args):
    from .space import assemble

    files = assemble(args.folder, args.model)
    print(f"{len(files)} files in {args.folder}; push it with: hf upload YOU/NAME {args.folder} --repo-type space")


def add_info(parser):
    parser.add_argument("model", metavar="MODEL", help="folder, shipped name, Hub id user/repo[@revision], or a preset's name")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(run=run_info)


def run_info(args):
    from .info import describe, describe_text

    facts = describe(args.model)
    print(json.dumps(facts, indent=2, ensure_ascii=False) if args.json else describe_text(facts))


def add_push(parser):
    parser.add_argument("folder", metavar="FOLDER", help="folder of weights, such as a run folder, or a shipped name")
    parser.add_argument("repo", metavar="USER/REPO", help="where to; made if it is not there; user/repo@branch names a branch")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument("--revision", metavar="BRANCH", help="branch to write to (default: main)")
    parser.add_argument("--license", help="licence of the weights, in the Hub's words, such as cc-by-4.0 (default: the card's, or unknown)")
    parser.add_argument("--dry-run", type=Path, metavar="FOLDER", help="write what would be uploaded into a new folder, and send nothing")
    parser.set_defaults(run=run_push)


def run_push(args):
    from .hub import parse_id, prepare, push

    if args.dry_run is None:
        print(push(args.folder, args.repo, args.private, args.revision, license=args.license))
        return
    repo, _ = parse_id(args.repo, args.revision)
    for path in sorted(prepare(args.folder, args.dry_run, repo, args.license).iterdir()):
        print(path)
