"""`asm-rh train` from a table of recordings: folds and seeds in one command, clips with several labels, and what stands in the way."""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file
from test_cli import RATE, one_line_error, tiny_preset, training  # noqa: F401

from asm_rh import config
from asm_rh.checkpoint import load
from asm_rh.cli import main
from asm_rh.crossval import METRICS_FILE
from asm_rh.feature_cache import FeatureCache, statistics

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Eight speakers of six clips each, tones or hiss, in a table; and one in which half of the clips are both."""
    root, random = tmp_path_factory.mktemp("table"), np.random.default_rng(5)
    one, several = (["file_name,label,group"] for _ in range(2))
    for i in range(48):
        time, label = np.arange(RATE // 2) / RATE, ("tone", "hiss")[i % 2]
        hiss, tone = random.standard_normal(len(time)) * 0.05, 0.3 * np.sin(2 * np.pi * random.uniform(900, 1200) * time)
        soundfile.write(root / f"{i:02d}.wav", {"tone": tone, "hiss": hiss}[label] + (tone + hiss if i % 4 > 1 else 0), RATE)
        one.append(f"{i:02d}.wav,{label},speaker{i // 6}")
        several.append(f"{i:02d}.wav,{'hiss;tone' if i % 4 > 1 else label},speaker{i // 6}")
    (root / "one.csv").write_text("\n".join(one) + "\n")
    (root / "several.csv").write_text("\n".join(several) + "\n")
    return root


def command(table, run, *more, name="one.csv"):
    return training(run, "--data", table / name, "--layout", "manifest", "--epochs", "2", *more)


def single(table, run, *more, name="one.csv"):
    return command(table, run, "--folds", "2", "--fold", "1", *more, name=name)


def test_folds_and_seeds_in_one_command(table, tiny_preset, tmp_path, capsys):  # noqa: F811
    wanted = command(table, tmp_path / "run", "--folds", "2", "--seeds", "0", "1", "--cache", tmp_path / "f.npz")
    assert main(wanted) == 0
    out = capsys.readouterr().out
    found = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (found["folds"], found["seeds"], found["leaky"]) == (2, 2, False) and sum(run["clips"] for run in found["runs"]) == 96
    assert f"accuracy {found['accuracy']['mean']:.4f} (95 % interval of the mean" in out and "folds by speaker or source" in out
    folders = sorted(path.parent for path in (tmp_path / "run").glob(f"fold-*/seed-*/{METRICS_FILE}"))
    assert len(folders) == 4 and all((folder / "split.csv").exists() and (folder / "environment.txt").exists() for folder in folders)
    assert main(["eval", str(folders[0]), "--data", str(table / "one.csv"), "--layout", "manifest", "--folds", "2", "--fold", "1"]) == 0
    told = json.loads(capsys.readouterr().out)
    one = json.loads((folders[0] / METRICS_FILE).read_text())
    assert told["accuracy"] == pytest.approx(one["accuracy"]) and told["auc"] == pytest.approx(one["auc"], abs=1e-3), "the same test part"
    assert told["protocol"] == one["protocol"]
    before = (tmp_path / "run" / "summary.json").read_text()
    assert main(wanted) == 2 and "holds a run already" in capsys.readouterr().err
    assert main([*wanted, "--resume"]) == 0
    assert (tmp_path / "run" / "summary.json").read_text() == before


def test_a_leaky_split_is_called_so_in_every_output(table, tiny_preset, tmp_path, capsys):  # noqa: F811
    assert main(command(table, tmp_path / "run", "--folds", "2", "--fold", "1", "--random-split", "--seeds", "0")) == 0
    assert "leaky" in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["leaky"] is True
    data = ["--data", str(table / "one.csv"), "--layout", "manifest", "--random-split"]
    assert main(["eval", str(tmp_path / "run" / "fold-1" / "seed-0"), *data, "-o", str(tmp_path / "report")]) == 0
    assert json.loads((tmp_path / "report" / "metrics.json").read_text())["leaky"] is True
    assert "leaky" in (tmp_path / "report" / "report.html").read_text().lower()


def test_a_cache_is_no_reason_to_train_on_another_fold(table, tiny_preset, tmp_path):  # noqa: F811
    for name in "12":
        assert main(command(table, tmp_path / name, "--folds", "2", "--fold", name, "--cache", tmp_path / "f.npz")) == 0
    tables = [(tmp_path / name / "split.csv").read_text().split()[1:] for name in "12"]
    first, second = ({line.split(",")[0] for line in lines if line.endswith(",test")} for lines in tables)
    assert len(first) + len(second) == 48 and first.isdisjoint(second)
    a, b = (load_file(tmp_path / name / "model.safetensors") for name in "12")
    assert not torch.equal(a["stem.weight"], b["stem.weight"])


def test_the_front_end_gets_the_mean_and_spread_of_the_training_clips_alone(table, tiny_preset, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setitem(config.PRESETS, "test-tiny", {**config.PRESETS["test-tiny"], "frontend": {"bands": 32}})
    assert main(single(table, tmp_path / "run", "--cache", tmp_path / "f.npz")) == 0
    cache, front = FeatureCache.load(tmp_path / "f.npz"), load(tmp_path / "run").config.frontend
    assert (front.mean, front.std) == statistics(cache.of_split("train")) != statistics(cache)
    assert main(single(table, tmp_path / "kept", "--cache", tmp_path / "f.npz", "--keep-normalisation")) == 0
    assert load(tmp_path / "kept").config.frontend.mean == config.FrontendConfig().mean
    assert main(single(table, tmp_path / "on", "--cache", tmp_path / "f.npz", "--init", tmp_path / "kept")) == 0
    assert load(tmp_path / "on").config.frontend.mean == config.FrontendConfig().mean, "weights go on with the scale they were made for"


def test_clips_with_several_labels_are_trained_and_judged_as_such(table, tiny_preset, tmp_path, capsys):  # noqa: F811
    assert main(single(table, tmp_path / "run", "--epochs", "30", "--average-decay", "0.9", name="several.csv")) == 0
    model = load(tmp_path / "run")
    assert model.config.output == "sigmoid" and model.config.labels == ("hiss", "tone")
    capsys.readouterr()
    judge = ["eval", str(tmp_path / "run"), "--data", str(table / "several.csv"), "--layout", "manifest", "--folds", "2", "--fold", "1"]
    assert main(judge) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["multi_label"] and found["map"] > 0.9 and "confusion" not in found


def test_quiet_windows_become_silence(table, tiny_preset, tmp_path):  # noqa: F811
    folder = tmp_path / "data"
    folder.mkdir()
    rows = ["file_name,label,group"]
    for i in range(12):
        wave = np.concatenate([soundfile.read(table / f"{i:02d}.wav")[0], np.zeros(RATE)])
        soundfile.write(folder / f"{i:02d}.wav", wave, RATE)
        rows.append(f"{i:02d}.wav,{('tone', 'hiss')[i % 2]},speaker{i // 2}")
    (folder / "one.csv").write_text("\n".join(rows) + "\n")
    assert main(single(folder, tmp_path / "run", "--quiet-db", "30", "--cache", tmp_path / "f.npz")) == 0
    assert load(tmp_path / "run").config.labels == ("hiss", "tone", "_silence_")
    cache = FeatureCache.load(tmp_path / "f.npz")
    assert cache.quiet.sum() == 24 and len(cache) == 36 and set(cache.label) == {"tone", "hiss"}


def test_tensorboard_is_optional(table, tiny_preset, tmp_path, capsys):  # noqa: F811
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        assert main(single(table, tmp_path / "run", "--tensorboard")) == 2
        assert "--tensorboard needs the package tensorboard: pip install tensorboard" in capsys.readouterr().err
    else:
        assert main(single(table, tmp_path / "run", "--tensorboard")) == 0
        assert list((tmp_path / "run" / "tb").iterdir())


# ---------------------------------------------------------------------------------------------- a full disk, a killed process

SCRIPT = """
import sys, torch
torch.set_num_threads(1)
from asm_rh import config
from test_cli import TINY
config.PRESETS["test-tiny"] = TINY
from asm_rh.cli import main
sys.exit(main())
"""


def spawned(arguments, **settings):
    where = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    pipes = dict(stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return subprocess.Popen([sys.executable, "-c", SCRIPT, *arguments], env=where, **pipes, **settings)


def no_file_above(size):
    """Writing more than that fails in the middle, as on a disk that is full."""
    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit


@pytest.mark.slow
@pytest.mark.parametrize("size", [40_000, 100])
def test_a_disk_that_fills_leaves_the_epoch_before_and_says_so(table, tiny_preset, tmp_path, size):  # noqa: F811
    arguments = single(table, tmp_path / "run", "--epochs", "4", "--cache", tmp_path / "f.npz", "--threads", "1")
    assert spawned([*arguments, "--stop-after", "2"]).wait(100) == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    assert all(len(before[name]) > 40_000 for name in ("last.ckpt", "model.safetensors"))
    out, err = spawned([*arguments, "--resume"], preexec_fn=no_file_above(size)).communicate(timeout=100)
    last = err.strip().splitlines()[-1]
    assert last.startswith("asm-rh: error: ") and "could not be written" in last and "what was there is kept" in last
    assert "Traceback" not in err
    after = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    assert {name: after[name] for name in ("last.ckpt", "model.safetensors")} == {
        name: before[name] for name in ("last.ckpt", "model.safetensors")
    }
    assert not [name for name in after if name.startswith(".")], "nothing half is left"
    assert spawned([*arguments, "--resume"]).communicate(timeout=100)[0].startswith("best epoch")


@pytest.mark.slow
def test_a_process_killed_in_mid_epoch_goes_on_to_the_weights_of_a_straight_run(table, tiny_preset, tmp_path):  # noqa: F811
    arguments = single(table, tmp_path / "run", "--epochs", "30", "--cache", tmp_path / "f.npz", "--threads", "1")
    straight = spawned(single(table, tmp_path / "straight", "--epochs", "30", "--cache", tmp_path / "f.npz", "--threads", "1"))
    assert straight.wait(200) == 0
    going = spawned(arguments)
    seen = 0
    for line in going.stderr:
        seen += "epoch 12/30" in line
        if seen:
            os.kill(going.pid, signal.SIGKILL)
            break
    assert going.wait(30) == -signal.SIGKILL and (tmp_path / "run" / "last.ckpt").exists()
    assert spawned([*arguments, "--resume"]).wait(200) == 0
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("run", "straight"))
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)

