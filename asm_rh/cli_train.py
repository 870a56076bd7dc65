"""`asm-rh train`: flags to a training run."""

import json
import sys
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path

from .cli_data import add_data, read_clips, read_folds
from .recipes import RECIPES

# Each of these flags is a setting of TrainConfig; without the flag it is what the recipe says.
SETTINGS = {
    "epochs": (int, "passes over the training clips"),
    "stop_after": (int, "end after so many of the epochs"),
    "warmup_epochs": (float, "epochs in which the learning rate rises"),
    "clips_per_epoch": (int, "draw that many by weight, instead of every clip once"),
    "batch_size": (int, "clips of one step"),
    "micro_batch": (int, "clips computed at once, where memory does not hold a batch; changes no result"),
    "learning_rate": (float, "highest learning rate"),
    "weight_decay": (float, "pull of the weights towards zero"),
    "label_smoothing": (float, "share of each target that goes to the other classes"),
    "average_decay": (float, "of the running mean of the weights; 0: none"),
    "finish_share": (float, "last part of the epochs, with fewer approximate clips"),
    "finish_approximate": (float, "weight that approximate clips keep in it"),
    "seed": (int, "of the weights, the order and the augmentation"),
}
DESCRIPTION = "Trains on your own recordings. Several GPUs or machines: torchrun --nproc-per-node 2 -m asm_rh train ..."


def add_train(parser):
    parser.description = DESCRIPTION
    add_data(parser)
    parser.add_argument("--cache", type=Path, help="feature cache (.npz): read if there, else written from --data")
    parser.add_argument("--cache-hop-seconds", type=float, help="cut clips into windows so far apart (default: the window)")
    parser.add_argument("--quiet-db", type=float, help="windows so far below their clip's loudest are silence, not the clip's label")
    parser.add_argument("--preset", default="asm-rh-tiny-1s", help="sizes and front end (default: %(default)s)")
    parser.add_argument("--kind", help="asm-rh, asm-h, asm-r or asm (default: the preset's)")
    parser.add_argument("--roll", choices=("paper", "grid", "off"))
    parser.add_argument("--hermit", choices=("lossless", "truncated", "off"))
    parser.add_argument("--class-tokens", type=int, help="tokens of AST's kind, with positions; 0: the mean over the patches")
    parser.add_argument("--window-seconds", type=float, help="length of a window (default: the preset's)")
    parser.add_argument("--keep-normalisation", action="store_true", help="the preset's mean and spread, not those of the training clips")
    parser.add_argument("--run-dir", type=Path, help="folder for weights, history and the state to resume from")
    parser.add_argument("--resume", action="store_true", help="go on where the run in --run-dir stopped")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="N", help="one run for each; with --folds for each fold and seed")
    parser.add_argument("--init", help="start from other weights: deit, ast, mixer, a file, a folder, a shipped name or a Hub id")
    parser.add_argument(
        "--init-learning-rate-scale", type=float, metavar="X",
        help="rate of what --init brought, as a share of the rate of what is new (default: 0.1; 1 for weights of the same model)",
    )
    parser.add_argument(
        "--init-colours", choices=("sum", "grey"), default="sum", help="how red, green and blue become one (default: %(default)s)"
    )
    parser.add_argument("--recipe", choices=tuple(RECIPES), default="modern", help="the settings that no flag gives (default: %(default)s)")
    parser.add_argument("--show-recipe", action="store_true", help="print every setting as it would be used, and do nothing")
    for name, (kind, words) in SETTINGS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, help=f"{words} (default: the recipe's)")
    parser.add_argument("--balanced", action="store_true", help="draw every class equally often")
    parser.add_argument("--balanced-loss", action="store_true", help="let a clip count the more, the rarer its class")
    parser.add_argument("--mixup", type=float, help="share of clips mixed with another (default: the recipe's)")
    parser.add_argument(
        "--augment", nargs="+", default=[], metavar="NAME=VALUE", help="augmentation unlike the recipe's, such as warp=0.12 time_masks=2"
    )
    parser.add_argument("--threads", type=int, help="processor threads (default: torch's choice)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--no-bf16", action="store_true", help="float32 throughout")
    parser.add_argument("--tensorboard", action="store_true", help="also write curves for TensorBoard")
    parser.set_defaults(run=run_train)


def run_train(args):
    import torch

    from .classifier import checked_device
    from .workers import join, leave

    if args.show_recipe:
        print(json.dumps(asdict(train_config(args)), indent=2))
        return
    if args.run_dir is None:
        raise ValueError("--run-dir is missing: give a folder for weights and history")
    if args.threads is not None and args.threads < 1:
        raise ValueError(f"--threads {args.threads}: expected at least 1")
    if args.threads:
        torch.set_num_threads(args.threads)
    workers, args.device = join(args.device)
    checked_device(args.device)
    try:
        with resumable(args.run_dir):
            train_all(args, workers) if args.seeds or (args.folds and not args.fold) else train_one(args, workers)
    finally:
        leave()


def train_one(args, workers):
    """One run."""
    from .run_folder import describe_run
    from .train import fit

    clips = read_clips(args) if args.data else None
    model_config, cache = workers.from_first(lambda: training_data(args, clips))
    model_config, cache = normalised(args, model_config, cache), balanced(args, cache)
    initial = start_of(args, model_config)
    parts = (cache.of_split(name) for name in ("train", "valid"))
    history = fit(model_config, *parts, train_config(args), args.run_dir, args.resume, progress_printer(), initial, workers)
    if workers.is_first:
        describe_run(args.run_dir, clips)
        best = history.best
        print(f"best epoch {best['epoch']}: validation accuracy {best['valid_accuracy']:.4f}; weights in {args.run_dir}")


def train_all(args, workers):
    """A run for every fold and seed, and what they say together."""
    from .crossval import cross_validate, told

    folds = read_folds(args)
    clips = folds[0].clips
    model_config, cache = workers.from_first(lambda: training_data(args, clips))

    def prepared(part):
        return normalised(args, model_config, part), balanced(args, part)

    found = cross_validate(
        folds, args.seeds or [train_config(args).seed], cache, prepared, train_config(args), args.run_dir,
        lambda config: start_of(args, config, fresh=True), args.resume, progress_printer(), workers,
    )
    if workers.is_first:
        print(told(found))


def train_config(args):
    """The recipe's settings with those that flags give."""
    given = {name: getattr(args, name) for name in SETTINGS if getattr(args, name) is not None}
    if args.init_learning_rate_scale is not None:
        given["initial_learning_rate_scale"] = args.init_learning_rate_scale
    recipe = RECIPES[args.recipe].train
    return recipe.replace(
        **given, balanced_loss=args.balanced_loss, bf16=not args.no_bf16, device=args.device, tensorboard=args.tensorboard,
        augment=augmentation(args, recipe.augment),
    )


def balanced(args, cache):
    """The cache, every class drawn equally often where that is asked for."""
    if args.balanced:
        train = cache.split == "train"
        part = cache.part(train)
        part.balance()
        cache.weight[train] = part.weight
    return cache


def normalised(args, config, cache):
    """The configuration with the mean and spread of the training clips; centred front ends and a model to start from keep their own."""
    from .feature_cache import statistics

    if args.keep_normalisation or config.frontend.centre:
        return config
    mean, std = start_statistics(args, config) or statistics(cache.of_split("train"))
    return config.replace(frontend={"mean": mean, "std": std})


def start_statistics(args, config):
    """Mean and spread of the model that --init names, where the run could go on with it whole; None elsewhere."""
    from .transfer import is_same_model, own_config
    from .weight_files import read_weights

    own = own_config(read_weights(args.init)) if args.init else None
    if own is None:
        return None
    found = {"mean": own.frontend.mean, "std": own.frontend.std}
    return tuple(found.values()) if is_same_model(own, config.replace(frontend=found)) else None


def start_of(args, model_config, fresh=False):
    """What a new run starts from: nothing, the whole of the same model, or what can be taken from another network."""
    from .checkpoint import load
    from .transfer import is_same_model, own_config, transfer
    from .weight_files import read_weights

    if not args.init or (args.resume and not fresh):  # a run that goes on has its start in its state
        return None
    weights = read_weights(args.init)
    if args.init_learning_rate_scale is None and is_same_model(own_config(weights), model_config):
        return load(args.init)
    found = transfer(weights, model_config, args.init_colours)
    print(found.report())
    return found


def augmentation(args, start):
    """An AugmentConfig with the wanted changes."""
    known = {field.name: type(field.default) for field in fields(start)}
    changes = {} if args.mixup is None else {"mixup_probability": args.mixup}
    for pair in args.augment:
        name, _, value = pair.partition("=")
        if name not in known:
            raise ValueError(f"--augment {pair}: expected NAME=VALUE with one of {', '.join(known)}")
        try:
            changes[name] = bool(int(value)) if known[name] is bool else known[name](value)
        except ValueError:
            raise ValueError(f"--augment {pair}: expected a number, whole for a count of masks, 0 or 1 for a switch") from None
    return replace(start, **changes)


def training_data(args, clips):
    """The model configuration and the feature cache that the flags ask for; where clips are given, they decide the splits."""
    from .feature_cache import FeatureCache

    if args.cache and args.cache.exists():
        cache = FeatureCache.load(args.cache)
        if clips:
            cache.assign({clip.name: clip.split or "train" for clip in clips})
        return model_config(args, labels_in(cache)), cache
    if not clips:
        raise ValueError("nothing to read: give --data FOLDER, or --cache FILE of an earlier run")
    config = model_config(args, [clip.label for clip in clips])
    cache = build_cache(clips, config, args.cache, args.cache_hop_seconds, args.quiet_db)
    return model_config(args, labels_in(cache)), cache


def labels_in(cache):
    """Every label of a cache, and `_silence_` where it has quiet windows."""
    from .config import SILENCE

    return cache.label.tolist() + [SILENCE] * bool(cache.quiet.any())


def model_config(args, labels):
    """The preset with the wanted changes, for these labels."""
    from .config import preset
    from .datasets import split_labels

    changes = {k: getattr(args, k) for k in ("kind", "roll", "hermit", "window_seconds", "class_tokens") if getattr(args, k) is not None}
    lists = [split_labels(label) for label in set(labels)]
    several = any(len(names) > 1 for names in lists)
    changes["output"] = "sigmoid" if several else RECIPES[args.recipe].output
    return preset(args.preset, ordered_labels([name for names in lists for name in names]), **changes)


def ordered_labels(labels):
    """Class names in alphabetical order, reserved ones last."""
    return tuple(sorted(set(labels), key=lambda name: (name.startswith("_"), name)))


def build_cache(clips, config, path, hop_seconds=None, quiet_db=None):
    """Features of the clips, with progress; kept in `path` where one is given."""
    from tqdm import tqdm

    from .feature_cache import build

    cache = build(clips, config, hop_seconds, lambda items: tqdm(items, desc="features", unit="clip", file=sys.stderr), quiet_db)
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
