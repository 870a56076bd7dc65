"""`asm-rh eval -o FOLDER`: files that agree with one another and with the figures, a page that needs nothing else, all or nothing."""

import csv
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile
import torch
from judged import noise, one_label, several_labels, told

from asm_rh import cli_eval
from asm_rh.card import read_evidence
from asm_rh.classifier import Classifier
from asm_rh.cli import main
from asm_rh.config import FrontendConfig, ModelConfig
from asm_rh.eval_files import NAMES, eval_files, matrix_csv, mistakes
from asm_rh.eval_page import MOST_CELLS, eval_page
from asm_rh.evaluate import evaluate
from asm_rh.events import EventSettings
from asm_rh.model import AudioMixer

RATE = 16_000
LABELS = ("no", "yes", "up & <away>")
MODEL = ModelConfig(
    labels=("no", "yes", "_silence_"), window_seconds=0.5, frames=48, patch=(16, 16), stride=(16, 16), width=32, depth=1, token_hidden=16,
    channel_hidden=32, roll="grid", frontend=FrontendConfig(bands=32),
)  # fmt: skip


def rows(data):
    return list(csv.DictReader(io.StringIO(data.decode())))


class Page(HTMLParser):
    """Which elements a page has, what they refer to, and whether every one that is opened is closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.names, self.links, self.text = [], [], [], ""
        self.feed(text)

    def handle_starttag(self, name, attributes):
        self.names.append(name)
        self.links += [value for key, value in attributes if key in ("src", "href", "srcset", "data", "action")]
        if name not in ("meta", "img", "br"):
            self.open.append(name)

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.text += data


# ---------------------------------------------------------------------------------------------- files


def test_tables_hold_the_figures():
    judged = one_label(LABELS, missing=1)
    found = told(judged, false_alarms=noise())
    files = eval_files(judged, found, ["sounds"])
    assert set(files) == set(NAMES) and json.loads(files["metrics.json"]) == json.loads(json.dumps(found))
    matrix = rows(files["confusion_matrix.csv"])
    assert [[int(row[label]) for label in LABELS] for row in matrix] == found["confusion"]
    assert [row["there"] for row in matrix] == list(LABELS)
    for row, own, limit in zip(rows(files["per_class.csv"]), found["per_class"], found["thresholds"]["per_class"], strict=True):
        assert row["label"] == own["label"] and int(row["clips"]) == own["clips"] and float(row["f1"]) == own["f1"]
        assert row["auc"] == ("" if own["auc"] is None else str(own["auc"]))
        assert row["threshold"] == ("" if limit["threshold"] is None else str(limit["threshold"]))
    said = rows(files["predictions.csv"])
    assert list(said[0]) == ["file", "label", "predicted", "score", "group"] and len(said) == 200
    assert np.mean([row["label"] == row["predicted"] for row in said]) == pytest.approx(found["accuracy"])
    assert said[0]["file"].startswith("sounds/") and said[0]["file"].endswith("clip 0.wav")
    assert sum(int(row["count"]) for row in rows(files["reliability.csv"])) == 200
    assert [row["events"] for row in rows(files["false_alarms.csv"])] == ["40", "3", "0"]


def test_a_class_may_have_the_name_of_a_column():
    assert matrix_csv(["there", "a,b"], [[1, 2], [3, 4]]) == 'there,there,"a,b"\nthere,1,2\n"a,b",3,4\n'


def test_thresholds_can_be_given_to_the_events():
    judged = one_label(LABELS, missing=1)
    chosen = json.loads(eval_files(judged, told(judged))["thresholds.json"])
    assert chosen["precision"] == 0.95 and set(chosen["thresholds"]) <= set(LABELS[:2]) and chosen["thresholds"]
    settings = EventSettings(thresholds=chosen["thresholds"])
    for label, threshold in chosen["thresholds"].items():
        column = LABELS.index(label)
        claimed = judged.scores[:, column] >= np.float32(settings.pair(label)[0])
        assert (judged.truth[claimed] == column).mean() >= 0.95, threshold


def test_the_surest_mistakes_come_first():
    judged = one_label(LABELS, clips=300)
    found = mistakes(judged, most=5)
    wrong = np.flatnonzero(judged.scores.argmax(1) != judged.truth)
    best = wrong[np.argsort(-judged.scores.max(1)[wrong], kind="stable")][:5]
    assert [row["file"] for row in found] == [judged.clips[i].name for i in best]
    assert found[0]["what"] == f"heard {LABELS[judged.scores[best[0]].argmax()]}" and found[0]["label"] == judged.clips[best[0]].label
    several = several_labels(LABELS)
    kinds = {row["what"].split()[0] for row in mistakes(several, most=100)}
    assert kinds == {"heard", "missed"}
    sure = [row["score"] if row["what"].startswith("heard") else 1 - row["score"] for row in mistakes(several, most=100)]
    assert sure == sorted(sure, reverse=True)


def test_of_several_labels_there_is_no_matrix():
    judged = several_labels(LABELS)
    files = eval_files(judged, told(judged))
    assert "confusion_matrix.csv" not in files and "false_alarms.csv" not in files
    text = Page(files["report.html"].decode()).text
    assert "What is taken for what" not in text and "Micro F1" in text and "mAP 0." in text and "have all their labels right" in text


# ---------------------------------------------------------------------------------------------- the page


@pytest.mark.parametrize("make", [lambda: one_label(LABELS, missing=1), lambda: several_labels(LABELS), lambda: one_label(LABELS, clips=1)])
def test_the_page_is_whole_escaped_and_alone(make):
    judged = make()
    found = told(judged, false_alarms=noise(), skipped=["a<b>.wav: not sound"])
    text = eval_page(found, mistakes(judged))
    page = Page(text)
    assert page.open == [] and page.links == [] and not any(part in text for part in ("http", "url(", "@import"))
    assert "away>" in page.text and "<away>" not in text and "street <1>.wav" in page.text and "a<b>.wav" in page.text
    assert "nan" not in page.text.lower() and "None" not in page.text
    assert "prefers-color-scheme: dark" in text and 'name="viewport"' in text
    assert page.names.count("svg") == 3 and page.text.count("95 % interval") >= 3
    for sentence in ("scores and shares are", "at which 95 % of what is reported is right", "In 30 minutes of background"):
        assert sentence in page.text.replace("\xa0", " "), sentence


def test_every_picture_has_words_before_it_and_its_numbers_beside_it():
    text = eval_page(told(one_label(LABELS), false_alarms=noise()), [])
    sections = re.findall(r"<section>.*?</section>", text, re.DOTALL)
    drawn = [part for part in sections if "<svg" in part]
    assert len(drawn) == 3
    for part in drawn:
        assert part.index("<p>") < part.index("<svg") < part.index("<table") and 'aria-label="' in part


def test_more_classes_than_can_be_read_become_a_picture():
    labels = [f"class {i}" for i in range(MOST_CELLS + 1)]
    page = Page(eval_page(told(one_label(labels, missing=3)), []))
    assert len(page.links) == 1 and page.links[0].startswith("data:image/png;base64,") and "class 40" in page.text
    assert "img" not in Page(eval_page(told(one_label(labels[:-1])), [])).names


def test_a_leak_is_the_first_thing_one_reads():
    found = told(one_label(LABELS), protocol="Random split of all clips.", leaky=True)
    text = Page(eval_page(found, [])).text
    assert "These figures are too good" in text and text.index("Leaking.") < text.index("Accuracy") and found["protocol"] in text
    assert "Leaking" not in Page(eval_page(told(one_label(LABELS), protocol="By speaker.", leaky=False), [])).text


def test_without_a_mistake_and_without_background_the_page_says_so():
    judged = one_label(LABELS)
    judged.truth = judged.scores.argmax(1)
    text = Page(eval_page(told(judged), mistakes(judged))).text
    assert "No clip was taken for another class." in text and "There was no mistake." in text and "with --background" in text


# ---------------------------------------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    torch.manual_seed(0)
    made = AudioMixer(MODEL)
    with torch.no_grad():
        made.head[1].weight.mul_(30)
    made.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """A folder of two classes, with a broken file, and a background recording beside it."""
    root, random = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for i in range(8):
        path = root / "sounds" / ("no", "yes")[i % 2] / f"{i}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        wave = random.standard_normal(RATE // 2)
        soundfile.write(path, 0.1 * wave if i % 3 else 0.01 * np.cumsum(wave), RATE)
    (root / "sounds" / "yes" / "broken.wav").write_text("not sound")
    (root / "noise").mkdir()
    soundfile.write(root / "noise" / "street.wav", 0.1 * random.standard_normal(3 * RATE), RATE)
    return root


@pytest.fixture(autouse=True)
def no_timing(request, monkeypatch):
    """Times the model in one test only: with more threads than free cores a call takes seconds."""
    if request.function is not test_a_folder_holds_the_report:
        monkeypatch.setattr("asm_rh.speed.cpu_milliseconds", lambda _: {"cores": 2, "milliseconds": {"1": 6.4, "2": 4.2}})


def evaluation(model, sounds, *more):
    return ["eval", str(model), "--data", str(sounds / "sounds"), "--split", "all", "--device", "cpu", *map(str, more)]


def test_a_folder_holds_the_report(model, sounds, tmp_path, capsys):
    folder = tmp_path / "deep" / "report"
    more = ("--background", sounds / "noise", "--hop-seconds", "0.25", "--thresholds-for", "0.6", "-o", folder)
    assert main(evaluation(model, sounds, *more)) == 0
    assert "of 8 clips were recognised" in (out := capsys.readouterr().out) and str(folder / "report.html") in out
    assert {path.name for path in folder.iterdir()} == set(NAMES)
    found = json.loads((folder / "metrics.json").read_text())
    assert found["model"] == "tiny" and found["data"] == ["sounds"] and found["split"] == "all" and len(found["skipped"]) == 1
    assert found["thresholds"]["precision"] == 0.6 == json.loads((folder / "thresholds.json").read_text())["precision"]
    noise = found["false_alarms"]
    classifier = Classifier(model, "cpu")
    expected = classifier.windows(sounds / "noise" / "street.wav", hop_seconds=0.25).events(threshold=MODEL.threshold)
    assert noise["hop_seconds"] == 0.25 and noise["events"] == len(expected) and noise["hours"] == pytest.approx(3 / 3600)
    assert set(found["cpu"]["milliseconds"]) == {"1", "2"}
    assert {row["file"].split("/")[0] for row in rows((folder / "predictions.csv").read_bytes())} == {"sounds"}
    assert str(tmp_path) not in (folder / "report.html").read_text()


def test_json_alone_holds_the_same(model, sounds, tmp_path, capsys):
    path = tmp_path / "metrics.json"
    assert main(evaluation(model, sounds, "-o", path)) == 0
    assert main(evaluation(model, sounds)) == 0
    out, written = json.loads(capsys.readouterr().out), json.loads(path.read_text())
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.json"]
    out.pop("cpu"), written.pop("cpu")
    assert out == written and "false_alarms" not in out and "predictions" not in out
    (tmp_path / "plain").write_text("")  # a file that is there stays a file
    assert main(evaluation(model, sounds, "-o", tmp_path / "plain")) == 0
    assert json.loads((tmp_path / "plain").read_text())["clips"] == 8


def test_a_second_report_replaces_the_first_and_leaves_others_files(model, sounds, tmp_path):
    for name in ("confusion_matrix.csv", "false_alarms.csv", "mine.txt", "report.html"):
        (tmp_path / name).write_text("old")
    assert main(evaluation(model, sounds, "-o", tmp_path)) == 0
    assert {p.name for p in tmp_path.iterdir()} == {*NAMES, "mine.txt"} - {"false_alarms.csv"}
    assert "old" not in (tmp_path / "confusion_matrix.csv").read_text() and (tmp_path / "mine.txt").read_text() == "old"


def test_a_full_disk_leaves_the_earlier_report_whole(model, sounds, tmp_path, capsys):
    resource = pytest.importorskip("resource")
    assert main(evaluation(model, sounds, "-o", tmp_path)) == 0
    before, limits = {p.name: p.read_bytes() for p in tmp_path.iterdir()}, resource.getrlimit(resource.RLIMIT_FSIZE)
    capsys.readouterr()
    for place in (tmp_path, tmp_path / "metrics.json"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (1500, limits[1]))  # the operating system lets no file grow further
        try:
            assert main(evaluation(model, sounds, "-o", place)) == 2
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        error = capsys.readouterr().err
        assert "could not be written" in error and "what was there is kept: make room, then go on" in error and error.count("\n") == 1
        assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before  # and no half-written file lies about


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--background", "nowhere"], "--background nowhere: no such file or folder"),
        (["--hop-seconds", "0.1"], "--hop-seconds is the step through --background"),
        (["--thresholds-for", "0"], "--thresholds-for 0.0: expected a share above 0"),
        (["--thresholds-for", "95"], "expected a share above 0 and at most 1, for example 0.95"),
        (["-o", "FILE/report"], "is a file, expected a folder to write into"),
        (["-o", "nowhere/metrics.json"], "expected a file name in a folder that exists"),
    ],
)
def test_mistakes_are_told_before_the_model_is_loaded(model, sounds, tmp_path, capsys, monkeypatch, more, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE").write_text("")
    monkeypatch.setattr(Classifier, "__init__", lambda *_: pytest.fail("the model was loaded"))
    assert main(evaluation(model, sounds, *more)) == 2
    assert words in capsys.readouterr().err


def test_backgrounds_that_cannot_be_used_are_told_before_any_clip_is_judged(model, sounds, tmp_path, capsys, monkeypatch):
    (tmp_path / "text.wav").write_text("not sound")
    monkeypatch.setattr("asm_rh.evaluate.judge", lambda *_: pytest.fail("clips were judged"))
    assert main(evaluation(model, sounds, "--background", sounds / "noise", "--hop-seconds", "9")) == 2
    assert "hop_seconds: got 9.0, expected above 0 and at most the window of 0.5 s" in capsys.readouterr().err
    assert main(evaluation(model, sounds, "--background", tmp_path)) == 2
    assert "no background to count false alarms on; the first: " in capsys.readouterr().err


def test_models_are_named_without_the_folders_of_this_machine(model, monkeypatch):
    assert cli_eval.model_name(str(model)) == "tiny" and cli_eval.model_name("user/owls@v2") == "user/owls@v2"
    monkeypatch.chdir(model)
    assert cli_eval.model_name(".") == "tiny"


def test_the_card_reads_the_report_beside_the_weights(model, sounds, tmp_path):
    assert main(evaluation(model, sounds, "-o", tmp_path / "report")) == 0
    assert read_evidence(tmp_path, MODEL).metrics["clips"] == 8
    (tmp_path / "metrics.json").write_text(json.dumps({**evaluate_of(model, sounds), "clips": 7}))
    assert read_evidence(tmp_path, MODEL).metrics["clips"] == 7, "the folder's own goes first"


def evaluate_of(model, sounds):
    from asm_rh.datasets import read_folder

    return evaluate(Classifier(model, "cpu"), read_folder(sounds / "sounds"))
