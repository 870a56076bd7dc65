"""`asm-rh train`: flags to a training run."""

import sys
from contextlib import contextmanager
from pathlib import Path

from .cli_data import add_data, read_clips


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


def ordered_labels(labels):
    """Class names in alphabetical order, reserved ones last."""
    return tuple(sorted(set(labels), key=lambda name: (name.startswith("_"), name)))


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
