"""One window explained: every sentence is true for the numbers in it, and the files hold what was said."""

import json
import re

import numpy as np
import pytest
import soundfile
import torch

from asm_rh import signals
from asm_rh.activations import record, switched_off, taps
from asm_rh.classifier import Classifier
from asm_rh.cli import main
from asm_rh.config import FrontendConfig, ModelConfig
from asm_rh.explain import explain
from asm_rh.insight import roll_map
from asm_rh.model import AudioMixer
from asm_rh.report import arrays, report, save, summary
from asm_rh.sentences import fell, sentences, told_mixing, told_readings, told_roll, told_roll_maps
from asm_rh.words import signed

CONFIG = ModelConfig(
    labels=("dull", "bright", "_silence_"), window_seconds=0.4, frames=40, patch=(16, 16), stride=(8, 8), width=32, depth=3,
    token_hidden=16, channel_hidden=32, roll="grid", frontend=FrontendConfig(bands=32),
)  # fmt: skip
MOVES = re.compile(r"(\d+) % (?:of the features )?(?:(\d+) ms (later|earlier))?(?: and )?(?:(\d+) bands? (up|down))?")


def classifier_of(**changes):
    torch.manual_seed(1)
    model = AudioMixer(CONFIG.replace(**changes)).eval()
    with torch.no_grad():
        model.head[1].weight.mul_(5)
    return Classifier(model, "cpu")


@pytest.fixture(scope="module")
def classifier():
    return classifier_of()


def sound(seconds=0.4, seed=0):
    return signals.BACKGROUNDS["music"](np.random.default_rng(seed), seconds).astype(np.float32)


@pytest.fixture(scope="module")
def found(classifier):
    return explain(classifier, sound(), 16_000, start=2.0, name="test")


# ---------------------------------------------------------------------------------------------- sentences


def test_the_first_sentence_is_what_the_model_says(found, classifier):
    scores = classifier.score(sound(), 16_000)[0]
    words = sentences(found)[0]
    assert words == f"From 2.00 to 2.40 s the model says {classifier.labels[scores.argmax()]} {scores.max():.2f}."


def test_every_fall_in_a_sentence_is_measured_again(found, classifier):
    column = classifier.labels.index(found.label)
    names = {"its roll": ".roll", "its Hermitian transform": ".hermit", "the whole block": ""}
    told = 0
    for number, words in enumerate(sentences(found)[1:-1]):
        assert words.startswith(f"Block {number}: ")
        for part, change in re.findall(rf"without (.*?) {found.label} (falls by \d\.\d+|rises by \d\.\d+|stays)", words):
            with switched_off(classifier.model, [f"blocks.{number}{names[part]}"]):
                fall = found.score - classifier.score(sound(), 16_000)[0][column]
            assert change == fell(fall)
            told += 1
    assert told == 9


def test_every_move_in_a_sentence_is_counted_again(found, classifier):
    for number, words in enumerate(sentences(found)[1:-1]):
        roll = roll_map(classifier.model, number)
        told = [m for m in MOVES.finditer(words.split("its frequency")[0]) if m[2] or m[4]]
        assert len(told) == 4
        for share, ms, when, bands, where in (m.groups() for m in told):
            later = (int(ms) // 80 if ms else 0) * (1 if when == "later" else -1)
            up = (int(bands) if bands else 0) * (1 if where == "up" else -1)
            counted = ((roll.time == later) & (roll.band == up) & ~roll.wrapped).mean()
            assert int(share) == round(100 * counted)


def test_the_last_sentence_reads_the_support(found):
    words = sentences(found)[-1]
    changes = re.findall(r"(falls by \d\.\d+|rises by \d\.\d+|stays)", words)
    assert changes == [fell(x) for x in (found.support.fall, found.support.random_fall, found.control.fall)]
    alone = re.findall(r"it is (\d\.\d+), with nothing but as many random cells (\d\.\d+)\.", words)
    assert alone == [(f"{found.support.strongest_alone:.2f}", f"{found.support.random_alone:.2f}")]


def test_words_for_changes():
    assert (fell(0.214), fell(-0.03), fell(0.004), fell(-0.004)) == ("falls by 0.21", "rises by 0.03", "stays", "stays")


def test_the_energy_sentences_are_computed_again(found, classifier):
    """From recorded tensors alone, with loops over the grid."""
    wave = classifier.prepare(sound(), 16_000)
    with torch.no_grad(), record(classifier.model, taps(classifier.model)) as tensors:
        classifier.model(wave)
    rows, columns = classifier.config.grid
    for block in range(3):
        x, y = (tensors[f"blocks.{block}.roll.{end}"][0].double().numpy() for end in ("in", "out"))
        before, after = (np.sqrt((z**2).mean(1)).reshape(rows, columns) for z in (x, y))
        words = told_roll_maps(found, block)
        changed = 100 * np.linalg.norm(after - before) / np.linalg.norm(before)
        assert words.startswith(f"The map of energy changed by {changed:.0f} %")
        place = re.search(r"most at (.*?) to (.*?), (\d+\.\d+) to (\d+\.\d+) s \((.*?)\)", words)
        r, c = np.unravel_index(np.abs(after - before).argmax(), before.shape)
        assert place[5] == signed((after - before)[r, c])
        assert float(place[3]) == pytest.approx(2.0 + 0.08 * c, abs=0.006), "patches are 80 ms apart"
        roll = roll_map(classifier.model, block)
        around = 100 * (y**2)[roll.wrapped].sum() / (y**2).sum()
        assert f"; {around:.0f} % of the energy went around an edge." in words
        far = re.search(r"carried a feature (\d+) ms and (\d+) bands? by now", words)
        moves = [max(abs(move[i]) for b in range(block + 1) for move in roll_map(classifier.model, b).moves()) for i in (0, 1)]
        assert int(far[1]) == min(80 * moves[0] * (block + 1), 80 * (columns - 1)) and int(far[2]) == min(moves[1] * (block + 1), rows - 1)


def test_the_mixing_sentence_is_computed_again(found, classifier):
    rows, columns = classifier.config.grid
    for block in range(3):
        matrix, words = found.mixings[block].from_to, told_mixing(found, block)
        other_time = sum(matrix[i, j] for i in range(len(matrix)) for j in range(len(matrix)) if i % columns != j % columns)
        other_band = sum(matrix[i, j] for i in range(len(matrix)) for j in range(len(matrix)) if i // columns != j // columns)
        shares = [f"{100 * part / matrix.sum():.0f} %" for part in (other_time, other_band)]
        assert f"{shares[0]} went to another time and {shares[1]} to another band" in words
        bins = re.search(r"Half of the energy lies in (\d+) of (\d+) Hermitian bins before the learned mixing and in (\d+) after", words)
        for count, energy in ((int(bins[1]), found.mixings[block].before), (int(bins[3]), found.mixings[block].after)):
            falling = sorted(energy, reverse=True)
            assert sum(falling[:count]) >= sum(energy) / 2 > sum(falling[: count - 1])


def test_the_readings_sentence_gives_each_readings_score(found):
    column = found.labels.index(found.label)
    words = told_readings(found)
    for reading, name in zip(found.readings, ("the paper's listing", "the grid of patches", "no roll"), strict=True):
        assert f"with {name} {reading.scores[column]:.2f}" in words
    assert words.count("(as trained)") == 1 and f"{found.score:.2f} (as trained)" in words


def test_a_model_without_the_transform_has_features_and_no_bins():
    found = explain(classifier_of(hermit="off"), sound(), 16_000)
    assert "features (the transform of this model is off)" in told_mixing(found, 0)
    assert "per feature" in report(found) and "per Hermitian bin" not in report(found)


TURNED = "its roll only turned features inside their patches"


@pytest.mark.parametrize(("roll", "words"), [("paper", TURNED), ("off", "its roll moved nothing")])
def test_other_readings_are_told_as_they_are(roll, words):
    found = explain(classifier_of(roll=roll), sound(), 16_000)
    assert told_roll(found.rolls[0], found.grid) == words


@pytest.mark.parametrize("kind", ["asm", "asm-h"])
def test_a_model_with_class_tokens_is_explained_over_its_patches(kind, tmp_path):
    changed = classifier_of(kind=kind, roll="off", class_tokens=2)
    found = explain(changed, sound(), 16_000)
    wanted = changed.score(sound(), 16_000)[0]
    np.testing.assert_allclose(found.scores, wanted, atol=1e-6)
    patches = CONFIG.grid[0] * CONFIG.grid[1]
    assert found.followed.energy.shape[2] == patches and found.followed.tokens.max() < patches
    assert found.followed.energy[0, 0].argmax() == found.followed.tokens[0], "behind the stem only the patch itself has changed"
    np.testing.assert_allclose(found.followed.energy[:, 0].sum(1), found.followed.energy[:, 0].max(1))
    if kind == "asm-h":
        assert found.mixings[0].from_to.shape == (patches, patches)
    assert len(save(found, tmp_path / "why")) == 3


@pytest.mark.parametrize("kind", ["asm-h", "asm-r", "asm"])
def test_kinds_without_a_mechanism_do_not_speak_of_it(kind):
    found = explain(classifier_of(kind=kind), sound(), 16_000)
    words = " ".join(sentences(found))
    assert ("its roll" in words) == (kind == "asm-r") and ("frequency mixing" in words) == (kind == "asm-h")
    assert report(found).startswith("<!doctype html>")


def test_another_class_can_be_explained_and_an_unknown_one_not(classifier):
    found = explain(classifier, sound(), 16_000, label="_silence_")
    assert found.label == "_silence_" and found.attribution.label == 2
    with pytest.raises(ValueError, match="no class 'loud' in this model; available: dull, bright, _silence_"):
        explain(classifier, sound(), 16_000, label="loud")


# ---------------------------------------------------------------------------------------------- files


def test_summary_and_maps_hold_the_numbers(found):
    told = json.loads(json.dumps(summary(found)))
    assert told["sentences"] == sentences(found) and told["scores"][found.label] == pytest.approx(found.score)
    falls = [fall for block in told["blocks"] for fall in block["falls"].values()]
    assert falls == pytest.approx(list(found.falls().values()))
    maps = arrays(found)
    np.testing.assert_array_equal(maps["block1_roll_token"], found.rolls[1].token)
    np.testing.assert_array_equal(maps["block2_mixing_from_to"], found.mixings[2].from_to)
    assert maps["features"].shape == maps["attribution"].shape == (40, 32)


def test_the_report_needs_nothing_else(found, tmp_path):
    paths = save(found, tmp_path / "new" / "folder")
    assert [path.name for path in paths] == ["report.html", "maps.npz", "summary.json"]
    text = paths[0].read_text(encoding="utf-8")
    page, script = text.split("<script>")
    assert not re.search(r"(src|href)=\"(?!data:)", page), "everything is inside"
    assert "fetch(" not in script and "import" not in script
    assert page.count("<audio") == 3 and page.count('class="cause"') == 9
    for words in [*sentences(found), *(words for block in summary(found)["blocks"] for words in block["sentences"])]:
        assert words.replace("'", "&#x27;") in text
    with np.load(paths[1]) as maps:
        assert maps["scores"].shape == (3,)


def test_labels_cannot_break_the_page():
    config = CONFIG.replace(labels=("<script>alert(1)</script>", "b", "c"))
    torch.manual_seed(0)
    found = explain(Classifier(AudioMixer(config).eval(), "cpu"), sound(), 16_000, label=config.labels[0])
    assert report(found).count("<script>") == 1 and "alert(1)</script>" not in report(found)


def test_kept_and_removed_are_the_window(found):
    np.testing.assert_allclose(found.kept + found.removed, sound(), atol=1e-5)


# ---------------------------------------------------------------------------------------------- the window, the command


def test_the_window_around_a_moment(classifier):
    wave = sound(2.0)
    start, part, rate = classifier.window_at((16_000, wave), 1.0)
    assert (start, rate, len(part)) == (0.8, 16_000, 6400)
    np.testing.assert_array_equal(part, wave[12_800:19_200])
    scores = classifier.windows((16_000, wave), hop_seconds=0.1)
    best = scores.scores[:, :2].max(1).argmax()
    assert classifier.window_at((16_000, wave))[0] == pytest.approx(scores.start[best])
    assert classifier.window_at((16_000, wave), 1.0, hop_seconds=0.03)[0] == pytest.approx(0.81), "the window whose middle is nearest"
    with pytest.raises(ValueError, match="at 9 s: the sound lasts from 0 to 2.00 s"):
        classifier.window_at((16_000, wave), 9.0)


def test_the_command_writes_a_report(classifier, tmp_path, capsys):
    classifier.model.save_pretrained(tmp_path / "model")
    soundfile.write(tmp_path / "a.wav", sound(1.5), 16_000)
    command = ["explain", str(tmp_path / "a.wav"), "--model", str(tmp_path / "model"), "--at", "0.7", "-o", str(tmp_path / "why")]
    assert main(command) == 0
    out, err = capsys.readouterr()
    told = json.loads((tmp_path / "why" / "summary.json").read_text())
    assert out.splitlines() == told["sentences"] and told["model"] == "model"
    assert told["start"] <= 0.7 <= told["end"] and "report.html" in err
    assert main([*command, "--label", "loud"]) == 2 and "no class 'loud'" in capsys.readouterr().err
    assert main([*command[:4], "--at", "7", "-o", str(tmp_path)]) == 2 and "the sound lasts from" in capsys.readouterr().err
