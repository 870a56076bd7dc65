"""The recipes of the shipped weights, the ideas tried on them, and the networks that learn other sounds first."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from trees import tone

from asm_rh.checkpoint import load
from asm_rh.datasets import Clip
from asm_rh.model import AudioMixer
from benchmarks import best, cards, ideas, pretrain

DATA = Path(__file__).parent.parent.parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="needs the recordings in ../shared/data")
SMALL = dict(width=16, depth=2, token_hidden=8, channel_hidden=32)


@pytest.mark.parametrize("name", best.TARGETS)
def test_the_best_recipes_can_be_built_and_their_pages_know_them(name):
    target = best.TARGETS[name]
    config = target.model([Clip(Path("a"), label, "g") for label in "ab"])
    assert config.roll == "grid" and config.kind == "asm-rh" and ("_silence_" in config.labels) == target.backgrounds
    assert target.train().epochs > 0 and name in cards.SETS
    assert set(target.start) <= set(pretrain.LESSONS)


@pytest.mark.parametrize(("name", "idea"), [(name, idea) for name, found in ideas.IDEAS.items() for idea in found])
def test_an_idea_changes_what_it_names_and_nothing_else(name, idea):
    change, plain = ideas.IDEAS[name][idea], best.PLAIN[name]
    target = plain.but(**change)
    clips = [Clip(Path("a"), label, "g") for label in "ab"]
    model = AudioMixer(target.model(clips)).eval()
    assert model(torch.zeros(1, model.config.window_samples)).shape == (1, len(model.config.labels))
    now, before = target.model(clips).to_dict(), plain.model(clips).to_dict()
    assert {key for key in now if now[key] != before[key]} == set(change.get("sizes", ()))
    train, old = target.train(), plain.train()
    fields = {key for key in vars(train) if key != "augment" and getattr(train, key) != getattr(old, key)}
    assert fields <= set(change.get("settings", ())) and target.start == change.get("start", ())
    assert idea == ideas.AS_IT_IS or idea in cards.IDEA_WORDS
    assert {key for key in vars(train.augment) if vars(train.augment)[key] != vars(old.augment)[key]} == set(change.get("augment", ()))


@needs_data
@pytest.mark.parametrize(("first", "then"), [("urbansound8k", "environment"), ("esc10", "urbansound8k")])
def test_nothing_of_the_later_set_is_heard_before(first, then):
    fold = best.TARGETS[then].folds(DATA)[0]
    later = {clip.group for clip in fold.clips}
    heard = {clip.group.removeprefix(f"{first}/") for clip in pretrain.lesson_clips(first, DATA, later)}
    assert heard and not heard & later
    assert len({clip.group for clip in pretrain.lesson_clips(first, DATA, set())}) == len(heard) + 7, "seven recordings are in both"


@pytest.mark.slow
def test_a_run_begins_with_the_weights_that_learned_other_sounds_first(tmp_path, monkeypatch):
    for name, hertz in (("low", 200.0), ("high", 3000.0)):
        for i in range(40):
            tone(tmp_path / "tones" / name / f"{i}.wav", hertz + i, 1.0)
    for name, hertz in (("a", 500.0), ("b", 1500.0)):
        for i in range(10):
            tone(tmp_path / "later" / name / f"{i}.wav", hertz + i, 1.0)
    monkeypatch.setitem(pretrain.LESSONS, "tones", pretrain.Lesson("tones", "folder", 1.0))
    monkeypatch.setattr(pretrain, "SETTINGS", dict(epochs=1, batch_size=16))
    small = dict(epochs=1, batch_size=4, learning_rate=1e-9, average_decay=0.0, initial_learning_rate_scale=1.0, weight_decay=0)
    changes = dict(folder="later", layout="folder", tested=(), count=3, settings=small, sizes=SMALL, start=("tones",))
    target = replace(best.TARGETS["urbansound8k"], **changes)
    found = target.folds(tmp_path)
    start = best.begun(target, found, tmp_path, tmp_path / "start")
    assert load(start).config.labels == ("tones high", "tones low")
    written = (start / "model.safetensors").stat().st_mtime_ns
    assert best.begun(target, found, tmp_path, start) == start and (start / "model.safetensors").stat().st_mtime_ns == written
    best.learn(target, found[0], tmp_path / "features.npz", tmp_path, tmp_path / "run", start)
    old, new = load(start).state_dict(), load(tmp_path / "run").state_dict()
    assert all(torch.allclose(old[name], new[name], atol=1e-6) for name in new if not name.startswith("head."))
    assert best.begun(replace(target, start=()), found, tmp_path, tmp_path / "none") is None


def test_ideas_are_compared_over_the_folds_that_both_have(tmp_path):
    for idea, fold, values in (("as it is", "1", [0.5, 0.8]), ("as it is", "2", [0.7]), ("longer", "1", [0.9]), ("longer", "3", [0.1])):
        folder = tmp_path / idea / f"fold-{fold}"
        folder.mkdir(parents=True)
        epochs = best.PLAIN["emotion-random"].but(**ideas.IDEAS["emotion-random"][idea]).train().epochs
        rows = [0.1] * (epochs - len(values)) + values
        (folder / "history.csv").write_text("epoch,valid_accuracy\n" + "".join(f"{i},{value}\n" for i, value in enumerate(rows, 1)))
    unfinished = tmp_path / "wider" / "fold-1"
    unfinished.mkdir(parents=True)
    (unfinished / "history.csv").write_text("epoch,valid_accuracy\n1,0.99\n")
    found = ideas.summed("emotion-random", tmp_path)
    assert found == {
        "validation_accuracy": {"as it is": {"1": 0.8, "2": 0.7}, "longer": {"1": 0.9, "3": 0.1}}, "gain": {"longer": pytest.approx(0.1)},
    }  # fmt: skip
