"""The command `asm-rh`: classify, live, devices, explain, space, train, eval, info, push."""

import argparse
import json
import math
import os
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

from . import __version__
from .microphone import MicrophoneError

FORMATS = ("json", "csv", "jsonl", "audacity", "raven")


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
    parser.add_argument("-o", "--output", type=Path, help="file to write (default: standard output)")
    parser.set_defaults(run=run_classify)


def run_classify(args):
    from .classifier import Classifier

    if args.top_k < 1:
        raise ValueError(f"--top-k {args.top_k}: expected at least 1")
    check_threshold(args.threshold)
    check_output(args.output)
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
        parts.append(render(found, args, classifier.config.threshold))
    if not parts:
        raise ValueError(f"none of {len(args.files)} files could be scored")
    write(join(parts, args.format), args.output)
    return 1 if failed else 0


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
    if form in ("csv", "raven"):
        return parts[0] + "".join(part.split("\n", 1)[1] for part in parts[1:])
    return "".join(parts)


def write(text, path):
    """To a file, or to standard output."""
    if path is None:
        sys.stdout.write(text)
    else:
        path.write_text(text, encoding="utf-8")


def check_output(path):
    """Refuses a place that cannot be written to before the work rather than after it."""
    if path is not None and (path.is_dir() or not path.parent.is_dir()):
        raise ValueError(f"--output {path}: expected a file name in a folder that exists")


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


def add_data(parser):
    parser.add_argument("--data", type=Path, action="append", default=[], help="folder of recordings; may be given several times")
    parser.add_argument("--layout", choices=("folder", "speech-commands"), default="folder", help="what the folders below --data mean")
    parser.add_argument("--group-pattern", help="regular expression whose first group, in a file's stem, is the speaker or source")
    parser.add_argument("--valid-share", type=float, default=0.1, help="share of speakers for validation (default: %(default)s)")
    parser.add_argument("--test-share", type=float, default=0.1, help="share of speakers for testing (default: %(default)s)")
    parser.add_argument("--split-seed", type=int, default=0)


def add_train(parser):
    add_data(parser)
    parser.add_argument("--cache", type=Path, help="feature cache (.npz): read if there, else written from --data")
    parser.add_argument("--preset", default="asm-rh-tiny-1s", help="sizes and front end (default: %(default)s)")
    parser.add_argument("--kind", help="asm-rh, asm-h, asm-r or asm (default: the preset's)")
    parser.add_argument("--roll", choices=("paper", "grid", "off"))
    parser.add_argument("--hermit", choices=("lossless", "truncated", "off"))
    parser.add_argument("--window-seconds", type=float, help="length of a window (default: the preset's)")
    parser.add_argument("--run-dir", type=Path, required=True, help="folder for weights, history and the state to resume from")
    parser.add_argument("--resume", action="store_true", help="go on where the run in --run-dir stopped")
    parser.add_argument("--init", help="start from other weights: deit, ast, mixer, a file, a folder, a shipped name or a Hub id")
    parser.add_argument(
        "--init-learning-rate-scale", type=float, metavar="X",
        help="rate of what --init brought, as a share of the rate of what is new (default: 0.1; 1 for weights of the same model)",
    )
    parser.add_argument(
        "--init-colours", choices=("sum", "grey"), default="sum", help="how red, green and blue become one (default: %(default)s)"
    )
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--stop-after", type=int, default=0, help="end after so many of the epochs (default: all)")
    parser.add_argument("--warmup-epochs", type=float, default=2.0, help="epochs in which the learning rate rises (default: %(default)s)")
    parser.add_argument("--clips-per-epoch", type=int, default=0, help="draw that many by weight (default: every clip once)")
    parser.add_argument("--balanced", action="store_true", help="draw every class equally often")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--label-smoothing", type=float, default=0.1)
    parser.add_argument("--mixup", type=float, default=0.0, help="share of clips mixed with another")
    parser.add_argument(
        "--augment", nargs="+", default=[], metavar="NAME=VALUE", help="other augmentation than the usual, such as warp=0.12 time_masks=2"
    )
    parser.add_argument("--finish-share", type=float, default=0.0, help="last part of the epochs, with fewer approximate clips")
    parser.add_argument("--finish-approximate", type=float, default=0.0, help="weight that approximate clips keep in it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="processor threads (default: torch's choice)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--no-bf16", action="store_true", help="float32 throughout")
    parser.set_defaults(run=run_train)


def run_train(args):
    import torch

    from .classifier import checked_device
    from .train import TrainConfig, fit

    checked_device(args.device)
    if args.threads is not None and args.threads < 1:
        raise ValueError(f"--threads {args.threads}: expected at least 1")
    if args.threads:
        torch.set_num_threads(args.threads)
    model_config, cache = training_data(args)
    train = cache.of_split("train")
    if args.balanced:
        train.balance()
    config = TrainConfig(
        epochs=args.epochs, stop_after=args.stop_after, warmup_epochs=args.warmup_epochs, clips_per_epoch=args.clips_per_epoch,
        batch_size=args.batch_size, learning_rate=args.learning_rate,
        label_smoothing=args.label_smoothing, finish_share=args.finish_share, finish_approximate=args.finish_approximate,
        seed=args.seed, bf16=not args.no_bf16, device=args.device, augment=augmentation(args),
        initial_learning_rate_scale=0.1 if args.init_learning_rate_scale is None else args.init_learning_rate_scale,
    )
    with resumable(args.run_dir):
        initial = start_of(args, model_config)
        history = fit(model_config, train, cache.of_split("valid"), config, args.run_dir, args.resume, progress_printer(), initial)
    best = history.best
    print(f"best epoch {best['epoch']}: validation accuracy {best['valid_accuracy']:.4f}; weights in {args.run_dir}")


def start_of(args, model_config):
    """What a new run starts from: nothing, the whole of the same model, or what can be taken from another network."""
    from .checkpoint import load
    from .transfer import is_same_model, own_config, transfer
    from .weight_files import read_weights

    if not args.init or args.resume:  # a run that goes on has its start in its state
        return None
    weights = read_weights(args.init)
    if args.init_learning_rate_scale is None and is_same_model(own_config(weights), model_config):
        return load(args.init)
    found = transfer(weights, model_config, args.init_colours)
    print(found.report())
    return found


def augmentation(args):
    """The default augmentation with the wanted changes."""
    from dataclasses import fields

    from .augment import AugmentConfig

    known, changes = {field.name: type(field.default) for field in fields(AugmentConfig)}, {"mixup_probability": args.mixup}
    for pair in args.augment:
        name, _, value = pair.partition("=")
        if name not in known:
            raise ValueError(f"--augment {pair}: expected NAME=VALUE with one of {', '.join(known)}")
        try:
            changes[name] = known[name](value)
        except ValueError:
            raise ValueError(f"--augment {pair}: expected a number, whole for a count of masks") from None
    return AugmentConfig(**changes)


def training_data(args):
    """The model configuration and the feature cache that the flags ask for."""
    from .config import preset
    from .feature_cache import FeatureCache

    changes = {k: getattr(args, k) for k in ("kind", "roll", "hermit", "window_seconds") if getattr(args, k) is not None}
    if args.cache and args.cache.exists():
        cache = FeatureCache.load(args.cache)
        return preset(args.preset, ordered_labels(cache.label.tolist()), **changes), cache
    if not args.data:
        raise ValueError("nothing to read: give --data FOLDER, or --cache FILE of an earlier run")
    clips = read_clips(args)
    config = preset(args.preset, ordered_labels([clip.label for clip in clips]), **changes)
    cache = build_cache(clips, config, args.cache)
    return config, cache


def read_clips(args, complete=True):
    """Clips of every --data folder, split by speaker; where `complete`, every class is in every split."""
    from .datasets import read_folder, read_speech_commands, split_by_group

    if not args.data:
        raise ValueError("nothing to read: give --data FOLDER")
    clips = []
    for root in args.data:
        clips += read_speech_commands(root) if args.layout == "speech-commands" else read_folder(root, args.group_pattern)
    return split_by_group(clips, args.valid_share, args.test_share, args.split_seed, complete)


def build_cache(clips, config, path):
    """Features of the clips, with progress; kept in `path` where one is given."""
    from tqdm import tqdm

    from .feature_cache import build

    cache = build(clips, config, progress=lambda items: tqdm(items, desc="features", unit="clip", file=sys.stderr))
    for line in cache.skipped:
        print(f"left out: {line}", file=sys.stderr)
    if path:
        cache.save(path)
    return cache


def ordered_labels(labels):
    """Class names in alphabetical order, reserved ones last."""
    return tuple(sorted(set(labels), key=lambda name: (name.startswith("_"), name)))


@contextmanager
def resumable(run_dir):
    """Says how to go on when the user interrupts."""
    try:
        yield
    except KeyboardInterrupt:
        if (run_dir / "last.ckpt").exists():
            print(f"\nstopped; finished epochs are kept. Go on with the same command and --resume (run folder {run_dir})", file=sys.stderr)
        else:
            print("\nstopped before the first epoch was finished: start again with the same command", file=sys.stderr)
        raise


def progress_printer():
    """One line that rewrites itself in a terminal, a line per report elsewhere."""
    tty = sys.stderr.isatty()
    return lambda line: print(("\r\x1b[K" if tty else "") + line, end="" if tty else "\n", file=sys.stderr, flush=True)


def add_eval(parser):
    parser.add_argument("model", metavar="MODEL", help="folder, shipped name or Hub id user/repo[@revision]")
    add_data(parser)
    parser.add_argument("--device")
    parser.add_argument("--split", choices=("train", "valid", "test", "all"), default="test")
    parser.add_argument("-o", "--output", type=Path, help="write the JSON here (default: standard output)")
    parser.set_defaults(run=run_eval)


def run_eval(args):
    from .classifier import Classifier
    from .evaluate import evaluate

    check_output(args.output)
    classifier = Classifier(args.model, args.device)
    clips = [clip for clip in read_clips(args, complete=False) if args.split in ("all", clip.split)]
    found = {"data": [root.name for root in args.data], "split": args.split, **evaluate(classifier, clips)}
    write(json.dumps(found, indent=2) + "\n", args.output)


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
