"""Flags that name recordings and their split, and the clips they stand for."""

import sys
from pathlib import Path

from .corpora import LAYOUTS, read_layout
from .datasets import tell
from .protocols import folds


def add_data(parser):
    parser.add_argument(
        "--data", type=Path, action="append", default=[],
        help="folder of recordings, a table of them (.csv, .jsonl), or a dataset of the Hub; may be given several times",
    )
    add_layout(parser)


def add_layout(parser):
    """What the recordings mean and how they are split."""
    parser.add_argument("--layout", choices=tuple(LAYOUTS), default="folder", help="what is below --data (default: %(default)s)")
    parser.add_argument("--group-pattern", help="regular expression whose first group, in a file's stem, is the speaker or source")
    parser.add_argument("--folds", type=int, metavar="N", help="split by speaker into N folds (default: the official ones, or one split)")
    parser.add_argument("--fold", metavar="NAME", help="only this fold, by the name of what it tests")
    parser.add_argument("--random-split", action="store_true", help="split regardless of speakers, as many papers do; marked as leaky")
    parser.add_argument("--valid-share", type=float, default=0.1, help="share of speakers for validation (default: %(default)s)")
    parser.add_argument("--test-share", type=float, default=0.1, help="share of speakers for testing (default: %(default)s)")
    parser.add_argument("--split-seed", type=int, default=0)


def read_all(args, note=tell):
    """Clips of every --data, not yet split; `note(what, names)` hears what is left out."""
    if not args.data:
        raise ValueError("nothing to read: give --data FOLDER")
    return [clip for root in args.data for clip in read_layout(args.layout, root, args.group_pattern, note)]


def split(clips, args, complete=True):
    """The folds that the flags ask for; where `complete`, a class that cannot be trained or judged is refused."""
    return folds(
        clips, args.folds, args.random_split, args.valid_share, args.test_share, args.split_seed, args.fold, complete
    )


def read_folds(args, complete=True):
    """Every fold that the flags ask for, one where the data are split once."""
    return split(read_all(args), args, complete)


def read_fold(args, complete=True):
    """The only fold, or of several the first, which standard error then names."""
    found = read_folds(args, complete)
    if len(found) > 1:
        print(f"{len(found)} folds, of which this run takes one, fold {found[0].name}; --fold NAME takes another", file=sys.stderr)
    if len(found) > 1 or found[0].leaky or args.fold is not None:
        print(found[0].protocol, file=sys.stderr)
    return found[0]


def read_clips(args, complete=True):
    """Clips of every --data with the split of `read_fold`."""
    return read_fold(args, complete).clips
