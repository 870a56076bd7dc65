"""Flags that name recordings and their split, and the clips they stand for."""

from pathlib import Path


def add_data(parser):
    parser.add_argument("--data", type=Path, action="append", default=[], help="folder of recordings; may be given several times")
    parser.add_argument("--layout", choices=("folder", "speech-commands"), default="folder", help="what the folders below --data mean")
    parser.add_argument("--group-pattern", help="regular expression whose first group, in a file's stem, is the speaker or source")
    parser.add_argument("--valid-share", type=float, default=0.1, help="share of speakers for validation (default: %(default)s)")
    parser.add_argument("--test-share", type=float, default=0.1, help="share of speakers for testing (default: %(default)s)")
    parser.add_argument("--split-seed", type=int, default=0)


def read_clips(args, complete=True):
    """Clips of every --data folder, split by speaker; where `complete`, every class is in every split."""
    from .datasets import read_folder, read_speech_commands, split_by_group

    if not args.data:
        raise ValueError("nothing to read: give --data FOLDER")
    clips = []
    for root in args.data:
        clips += read_speech_commands(root) if args.layout == "speech-commands" else read_folder(root, args.group_pattern)
    return split_by_group(clips, args.valid_share, args.test_share, args.split_seed, complete)
