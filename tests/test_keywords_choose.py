"""The commands on the weights' page are those that made them."""

from dataclasses import asdict

from asm_rh.augment import AugmentConfig
from asm_rh.cli import build_parser
from asm_rh.cli_train import augmentation
from asm_rh.train import TrainConfig
from benchmarks.keywords_choose import TRAIN_COMMAND, commands_of


def stage(finished=3, **changes):
    config = TrainConfig(**{"epochs": 3, **changes})
    return {"settings": asdict(config), "epochs": config.epochs, "finished_epochs": finished}


def test_a_command_has_the_flags_that_differ_and_gives_the_same_run():
    augment = AugmentConfig(warp=0.12, time_masks=2, mixup_probability=0.2)
    stages = [stage(seed=4), stage(2, batch_size=64, learning_rate=0.0008, augment=augment)]
    first, second = commands_of(stages)
    assert first == f"{TRAIN_COMMAND} --run-dir runs/stage1 --epochs 3 --seed 4"
    args = build_parser().parse_args(second.split()[1:])
    assert augmentation(args, AugmentConfig()) == augment
    assert (args.batch_size, args.learning_rate, args.epochs, args.stop_after, args.seed) == (64, 0.0008, 3, 2, 0)
    assert args.init == "runs/stage1" and str(args.run_dir) == "runs/stage2"
