"""`asm-rh eval`: a model judged on labelled recordings."""

import json
from pathlib import Path

from .cli_data import add_data, read_fold
from .cli_output import check_output, write


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
    fold = read_fold(args, complete=False)
    clips = [clip for clip in fold.clips if args.split in ("all", clip.split)]
    source = {"data": [root.name for root in args.data], "split": args.split, "protocol": fold.protocol, "leaky": fold.leaky}
    found = {**source, **evaluate(classifier, clips)}
    write(json.dumps(found, indent=2) + "\n", args.output)
