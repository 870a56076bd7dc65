"""What is said of a model on the Hub: true to the folder, readable by the Hub's own client, and refused where the folder is not."""

import json

import pytest
import torch
from huggingface_hub import ModelCard

from asm_rh.card import CardError, completed_card, model_card, preprocessor_config, read_evidence
from asm_rh.cli import main
from asm_rh.config import ModelConfig, preset
from asm_rh.model import AudioMixer

CONFIG = ModelConfig(labels=("no", "yes", "a|b `c`"), kind="asm")
METRICS = {"clips": 8, "groups": 3, "accuracy": 0.75, "macro_f1": 0.7, "auc": None, "labels": list(CONFIG.labels), "split": "all"}
HISTORY = """epoch,train_loss,valid_loss,valid_accuracy,valid_macro_f1,valid_auc,seconds
1,1.5,1.4,0.4,0.35,0.6,3
2,1.2,1.1,0.8,0.75,nan,3
3,1.1,1.3,0.8,0.72,0.9,3
"""


def card(folder, config=CONFIG, license=None):
    return ModelCard(model_card(config, "me/mine", read_evidence(folder, config), license))


def test_a_folder_that_knows_nothing_claims_nothing(tmp_path):
    found = card(tmp_path)
    assert found.data.eval_results is None and found.data.license == "unknown" and found.data.library_name == "asm-rh"
    assert "Not measured" in found.text and "does not name the recordings" in found.text and "Confusion" not in found.text


def test_metrics_of_the_evaluation_go_before_the_training_history(tmp_path):
    (tmp_path / "history.csv").write_text(HISTORY)
    (tmp_path / "train.json").write_text('{"seed": 3, "learning_rate": 0.001, "augment": {}}')
    found = card(tmp_path)
    assert {r.metric_type: r.metric_value for r in found.data.eval_results} == {"accuracy": 0.8, "f1": 0.75}  # of equals, the lower loss
    assert {r.dataset_split for r in found.data.eval_results} == {"validation"}
    assert "Epoch 2 of 3, the best on validation; learning rate 0.001; seed 3." in found.text and "which also chose it" in found.text
    (tmp_path / "metrics.json").write_text(json.dumps({**METRICS, "data": ["owls"]}))
    found = card(tmp_path, license="mit")
    assert {r.metric_type: r.metric_value for r in found.data.eval_results} == {"accuracy": 0.75, "f1": 0.7}
    assert {(r.dataset_name, r.dataset_split) for r in found.data.eval_results} == {("owls", "all")}
    assert "8 clips of 3 speakers" in found.text and found.data.license == "mit"


def test_metrics_may_lie_in_the_report_beside_the_weights(tmp_path):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "metrics.json").write_text(json.dumps({**METRICS, "map": 0.8}))
    assert {r.metric_type: r.metric_value for r in card(tmp_path).data.eval_results} == {
        "accuracy": 0.75, "f1": 0.7, "mean_average_precision": 0.8,
    }  # fmt: skip
    (tmp_path / "metrics.json").write_text(json.dumps({**METRICS, "accuracy": 0.5}))
    assert "0.5000" in card(tmp_path).text, "the folder's own goes first"
    (tmp_path / "metrics.json").unlink()
    (tmp_path / "report" / "metrics.json").write_text("[]")
    with pytest.raises(CardError, match=r"report.metrics\.json holds a list"):
        read_evidence(tmp_path, CONFIG)


def test_a_leak_is_told_and_no_clean_split_is_claimed(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(METRICS))
    assert "none of those it was judged on was trained on" in card(tmp_path).text
    path.write_text(json.dumps({**METRICS, "protocol": "A random split.", "leaky": True}))
    text = card(tmp_path).text
    assert "These scores leak" in text and "A random split." in text and "none of those" not in text
    path.write_text(json.dumps({**METRICS, "protocol": "Official folds.", "leaky": False}))
    text = card(tmp_path).text
    assert "leak" not in text and "8 clips of 3 speakers or sources. Official folds." in text and "none of those" not in text


def test_of_several_labels_accuracy_says_what_it_counts(tmp_path):
    (tmp_path / "metrics.json").write_text(json.dumps({**METRICS, "multi_label": True, "subset_accuracy": 0.75, "map": 0.6}))
    text = card(tmp_path).text
    assert "| Accuracy, all labels of a clip right | 0.7500 |" in text and "| Mean average precision | 0.6000 |" in text


def test_labels_break_no_table(tmp_path):
    table = [{"label": label, "clips": 3, "precision": 1, "recall": 0.5} for label in CONFIG.labels]
    (tmp_path / "metrics.json").write_text(json.dumps({**METRICS, "per_class": table, "confusion": [[1, 0, 2]] * 3}))
    text = card(tmp_path).text
    assert "`a/b 'c'`" in text and "| | no | yes | a/b 'c' |\n|---|---|---|---|\n" in text
    assert "| a/b 'c' | 3 | 1.000 | 0.500 |" in text


@pytest.mark.parametrize(
    "text", ["# Mine\n", "---\ntags: [x]\n---\n# Mine\n", "---\n\n---\n# Mine\n", "---\r\ntags: [x]\r\n---\r\n# Mine\r\n", ""]
)
def test_a_readme_keeps_its_words(tmp_path, text):
    completed = completed_card(text, CONFIG, "me/mine", read_evidence(tmp_path, CONFIG), "mit")
    found = ModelCard(completed)
    assert found.data.library_name == "asm-rh" and found.data.license == "mit" and found.data.pipeline_tag == "audio-classification"
    assert completed.endswith("# Mine" + text[text.index("# Mine") + 6 :] if text else "")
    assert completed.count("---") == 2 and (found.data.tags == ["x"] or "[x]" not in text)
    assert completed_card(completed, CONFIG, "me/mine", read_evidence(tmp_path, CONFIG)) == completed  # and once is enough


@pytest.mark.parametrize("front", ["---\n[1, 2]\n---\n", "---\na: [\n---\n"])
def test_front_matter_that_is_none(tmp_path, front):
    with pytest.raises(CardError, match="front matter of README.md"):
        completed_card(front, CONFIG, "me/mine", read_evidence(tmp_path, CONFIG))


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("metrics.json", "{", "Expecting property name"),
        ("metrics.json", "[]", "holds a list, expected an object"),
        ("metrics.json", '{"accuracy": 95, "clips": 3}', "is not what `asm-rh eval"),
        ("metrics.json", '{"accuracy": 0.5}', "is not what `asm-rh eval"),
        ("metrics.json", '{"accuracy": 0.5, "clips": 3, "confusion": [[1]]}', "is not what `asm-rh eval"),
        ("metrics.json", '{"accuracy": 0.5, "clips": 3, "per_class": ["x"]}', "is not what `asm-rh eval"),
        ("metrics.json", '{"accuracy": 0.5, "clips": 3, "labels": ["x"]}', "it belongs to another model"),
        ("history.csv", "epoch,valid_accuracy\nx,1\n", "is not the history of a training run"),
        ("history.csv", "a,b\n1,2\n", "is not the history of a training run"),
        ("train.json", "[" * 100_000, "recursion"),
    ],
)
def test_files_that_cannot_be_what_they_are_called(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(CardError) as caught:
        read_evidence(tmp_path, CONFIG)
    assert words in str(caught.value) and name in str(caught.value)


def test_the_front_end_in_other_libraries_words():
    fields = preprocessor_config(preset("asm-rh-keywords", labels=["a", "b"]))
    assert (fields["sampling_rate"], fields["num_mel_bins"], fields["win_length"], fields["hop_length"]) == (16000, 40, 480, 160)
    assert (fields["frequency_min"], fields["frequency_max"], fields["nb_max_samples"]) == (0.0, 4000.0, 16000)
    assert fields["center_each_window"] and fields["pad_with_quietest_frame"]
    json.dumps(fields, allow_nan=False)


def test_a_dry_run_needs_no_network(tmp_path, capsys):
    config = ModelConfig(width=32, depth=1, token_hidden=8, channel_hidden=24, frames=48, stride=(16, 16), window_seconds=0.4)
    AudioMixer(config).save_pretrained(tmp_path / "mine")
    (tmp_path / "mine" / "last.ckpt").write_bytes(b"not for others")
    assert main(["push", str(tmp_path / "mine"), "me/mine", "--dry-run", str(tmp_path / "out")]) == 0
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["README.md", "config.json", "model.safetensors", "preprocessor_config.json"]
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "out" / name) for name in written]
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "mine" / name).read_bytes()
    assert AudioMixer.from_pretrained(tmp_path / "out").config == config
    assert main(["push", str(tmp_path / "mine"), "me/mine", "--dry-run", str(tmp_path / "out")]) == 2
    assert "is not empty: expected a new or an empty folder" in capsys.readouterr().err
    assert main(["push", str(tmp_path / "mine"), "mine", "--dry-run", str(tmp_path / "new")]) == 2
    assert "'mine' is no Hub id: expected user/repo" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_model_from_memory_goes_with_what_its_folder_says_of_it_until_it_is_changed(tmp_path):
    config = ModelConfig(width=32, depth=1, token_hidden=8, channel_hidden=24, frames=48, stride=(16, 16), window_seconds=0.4)
    AudioMixer(config).save_pretrained(tmp_path / "mine")
    (tmp_path / "mine" / "metrics.json").write_text(json.dumps({**METRICS, "labels": list(config.labels)}))
    model = AudioMixer.from_pretrained(tmp_path / "mine")
    unchanged = ModelCard((model.push_to_hub("me/mine", dry_run=tmp_path / "unchanged") / "README.md").read_text(encoding="utf-8"))
    assert {r.metric_type: r.metric_value for r in unchanged.data.eval_results} == {"accuracy": 0.75, "f1": 0.7}
    with torch.no_grad():
        model.stem.bias[0] += 1
    for name, changed in (("changed", model), ("new", AudioMixer(config))):
        card = ModelCard((changed.push_to_hub("me/mine", dry_run=tmp_path / name) / "README.md").read_text(encoding="utf-8"))
        assert card.data.eval_results is None and "Not measured" in card.text
    assert AudioMixer.from_pretrained(tmp_path / "changed").stem.bias[0] == model.stem.bias[0]
