"""The page without a browser: words, work, handlers, wiring."""

import dataclasses
import importlib.util
import inspect
import json
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
import soundfile
import torch

from app import about, analysis, api, examples, files, inside_tab, text, ui
from app import overview as overviews
from app.models import OWN, Loaded, Models
from app.page import Page
from asm_rh import signals
from asm_rh.attribution import METHODS
from asm_rh.audio import AudioError
from asm_rh.checkpoint import Source
from asm_rh.classifier import Classifier
from asm_rh.config import preset
from asm_rh.model import AudioMixer
from asm_rh.scores import Event, WindowScores

ROOT = Path(__file__).resolve().parents[1]
LABELS = ("yes", "no", "stop", "_unknown_", "_silence_")


def model(**changes):
    torch.manual_seed(0)
    settings = dict(depth=2, width=64, token_hidden=32, channel_hidden=64)
    return AudioMixer(preset("asm-rh-keywords", labels=LABELS, **{**settings, **changes})).eval()


@pytest.fixture(scope="module", autouse=True)
def temporary_folder(tmp_path_factory):
    """Downloads that the page writes go where the tests' own files go."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        yield


@pytest.fixture(scope="module")
def classifier():
    return Classifier(model(), device="cpu")


@pytest.fixture
def page(classifier):
    models = Models(Loaded.own("some/where/tiny", classifier))
    return Page(models, models.own)


@pytest.fixture
def wav(tmp_path):
    """Two seconds of a chirp at 44.1 kHz."""
    path = tmp_path / "some sound.wav"
    soundfile.write(path, signals.chirp(2.0, rate=44100), 44100)
    return path


def visitor(name="a"):
    return SimpleNamespace(session_hash=name)


def wish(path, ticket=0):
    return analysis.Request(str(path), Path(path).name, ticket)


# ---------------------------------------------------------------------------------------------- words


def test_labels_as_people_read_them():
    assert [text.shown(x) for x in ("yes", "_silence_", "_background_noise_", "dog_bark", "_")] == [
        "yes", "silence", "background noise", "dog bark", " ",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "step", "words"),
    [(1.254, 0.01, "1.25 s"), (0, 1, "0 s"), (59.999, 0.01, "1:00.00"), (75, 5, "1:15"), (3661.5, 0.1, "1:01:01.5")],
)
def test_clock(seconds, step, words):
    assert text.clock(seconds, step) == words


def test_hop_sentence_is_computed():
    assert text.hop_sentence(1.0, 0.25) == "A window of 1.00 s every 0.25 s: 4 scores a second."
    assert text.hop_sentence(1.0, 1.0).endswith("every 1.00 s: one score a second.")
    assert text.hop_sentence(5.0, 2.5).endswith("one score every 2.50 s.")


def test_heard_names_the_best_and_the_order():
    events = [Event("stop", 0, 1, 0.6, 0.5), Event("yes", 1, 2, 0.97, 1.5)]
    assert text.heard(events, 0.5, None) == ("YES 0.97", "heard: stop · yes")
    assert text.heard([], 0.5, ("yes", 0.31, 1.25)) == ("no event above 0.50", "nearest: yes 0.31 at 1.25 s")
    assert text.listing("abcd", 2) == "a · b · and 2 more"


def test_signed_numbers():
    assert [text.signed(x) for x in (0.031, -0.4, 0.001, -0.001)] == ["+0.03", "−0.40", "±0.00", "±0.00"]


# ---------------------------------------------------------------------------------------------- the picture


def test_overview_puts_a_click_where_it_is(classifier, tmp_path):
    path = tmp_path / "click.wav"
    soundfile.write(path, signals.click(25.0, 12.5), 16000)  # three blocks of ten seconds
    seen = []
    picture = overviews.read(path, classifier.model.frontend, 60, seen.append)
    assert seen == [10, 20, 25] and picture.seconds == 25 and picture.peak == pytest.approx(1, abs=1e-3)
    assert len(picture.bands) <= 1600 and len(picture.envelope) <= 1600
    loudest = picture.band_start + (picture.bands.max(1).argmax() + 0.5) * picture.band_seconds
    assert loudest == pytest.approx(12.5, abs=picture.band_seconds)
    highest = (picture.envelope[:, 1].argmax() + 0.5) * picture.column_seconds
    assert highest == pytest.approx(12.5, abs=picture.column_seconds)


def test_overview_is_the_models_own_spectrogram(classifier, tmp_path):
    path = tmp_path / "tones.wav"
    wave = signals.tones(1.0)
    soundfile.write(path, wave, 16000, subtype="FLOAT")
    picture = overviews.read(path, classifier.model.frontend, 60)
    expected = classifier.model.frontend(torch.from_numpy(wave)[None])[0].numpy()
    np.testing.assert_allclose(picture.bands, expected, atol=1e-4)


def test_overview_refuses_what_is_too_long(classifier, wav):
    with pytest.raises(AudioError, match=r"longer than 0\.025 minutes"):
        overviews.read(wav, classifier.model.frontend, 1.5)


# ---------------------------------------------------------------------------------------------- the work


def test_analysis_is_the_librarys_own(classifier, wav):
    told = []
    result = analysis.analyse(classifier, wish(wav), 0.25, 60, progress=lambda share, words: told.append(share))
    expected = classifier.windows(wav, hop_seconds=0.25)
    assert np.array_equal(result.scores.scores, expected.scores) and result.scores.file == "some sound.wav"
    assert result.picture.seconds == 2 and told == sorted(told) and told[-1] == pytest.approx(1)


def test_a_void_ticket_stops_the_work_at_the_next_batch(classifier, tmp_path):
    path = tmp_path / "long.wav"
    soundfile.write(path, np.zeros(16000 * 40, np.float32), 16000)
    tickets, batches = analysis.Tickets(), []
    ticket = tickets.draw("a")

    def progress(share, words):
        if "scoring" in words:
            batches.append(share)
            tickets.void("a")

    with pytest.raises(analysis.Cancelled):
        analysis.analyse(classifier, wish(path), 0.25, 60, lambda: tickets.check("a", ticket), progress)
    assert len(batches) == 1


def test_tickets_belong_to_their_visitor():
    tickets = analysis.Tickets()
    first, other = tickets.draw("a"), tickets.draw("b")
    tickets.check("a", first)
    second = tickets.draw("a")
    with pytest.raises(analysis.Cancelled):
        tickets.check("a", first)
    tickets.check("a", second)
    tickets.check("b", other)
    tickets.void("a")
    with pytest.raises(analysis.Cancelled):
        tickets.check("a", second)
    tickets.void("nobody")


def test_hop_rises_only_for_long_sounds():
    assert analysis.fitting_hop(60, 0.25) == (0.25, "")
    hop, note = analysis.fitting_hop(7200, 0.25)
    assert hop == 0.36 and "0.25 to 0.36" in note and 7200 / hop <= analysis.MOST_WINDOWS


def test_trouble_names_the_sound_and_not_the_folder(classifier, tmp_path):
    path = tmp_path / "letter.wav"
    path.write_text("no sound")
    with pytest.raises(AudioError) as trouble:
        analysis.analyse(classifier, wish(path), 0.25, 60)
    assert "letter.wav" in str(trouble.value) and str(tmp_path) not in str(trouble.value)


def test_size_limit(wav):
    analysis.check_size(wav, 1)
    with pytest.raises(AudioError, match=r"0\.2 MB, expected at most 0\.1 MB"):
        analysis.check_size(wav, 0.1)


def test_nearest_and_moment_leave_background_out():
    scores = WindowScores([0, 1], [1, 2], [[0.2, 0.9], [0.3, 0.1]], ("yes", "_silence_"), background=("_silence_",))
    assert analysis.nearest(scores) == ("yes", pytest.approx(0.3), 1.5)
    assert analysis.best_moment(scores, []) == 1.5
    assert analysis.best_moment(scores, [Event("yes", 0, 1, 0.2, 0.5)]) == 0.5
    assert analysis.window_near(scores, 0.9) == 0 and analysis.window_near(scores, 99) == 1
    only = WindowScores([0], [1], [[1.0]], ("_silence_",), background=("_silence_",))
    assert analysis.nearest(only) is None and analysis.best_moment(only, []) == 0.5


def test_documents_follow_the_threshold(classifier, wav):
    result = analysis.analyse(classifier, wish(wav), 0.25, 60)
    low, high = (analysis.documents(result, threshold) for threshold in (0.0, 1.0))
    assert low["csv"][0] == "some sound.events.csv" and len(low["csv"][1].splitlines()) > 1
    assert len(high["csv"][1].splitlines()) == 1 and high["audacity"][1] == ""
    assert len(low["jsonl"][1].splitlines()) == len(json.loads(low["json"][1])["windows"]) == len(result.scores)
    assert low["raven"][1].startswith("Selection\t")


# ---------------------------------------------------------------------------------------------- handlers


def test_handlers_from_upload_to_result(page, wav):
    handlers = files.FileHandlers(page)
    request, cleared, status, cancel = handlers.uploaded(str(wav), OWN, visitor())
    assert cleared is None and "some sound.wav" in status and cancel["visible"]
    result, heard, status, axis, moment, cancel, *downloads = handlers.analyse(request, 0.25, 0.5, visitor(), quiet)
    assert "some sound.wav" in status and not cancel["visible"] and len(downloads) == len(analysis.FORMATS)
    assert "heard-large" in heard and 'class="tl"' in axis and 0 <= moment <= 2
    assert all(Path(path).name.startswith("some sound.") for path in downloads)
    heard, axis, *downloads = handlers.threshold_changed(result, 0.0, moment)
    assert "heard-large" in heard and axis.count('class="flag"') > 0


def quiet(*_):
    """Progress that nobody watches."""


def test_trouble_changes_the_status_line_only(page, tmp_path):
    path = tmp_path / "<b>letter.wav"
    path.write_text("no sound")
    handlers = files.FileHandlers(page)
    request = handlers.uploaded(str(path), OWN, visitor())[0]
    outputs = handlers.analyse(request, 0.25, 0.5, visitor(), quiet)
    assert 'role="alert"' in outputs[2] and "&lt;b&gt;letter.wav" in outputs[2] and str(tmp_path) not in outputs[2]
    assert outputs[5] == gr.update(visible=False)
    assert all(outputs[i] == gr.skip() for i in range(len(outputs)) if i not in (2, 5))


def test_a_newer_wish_leaves_the_page_to_the_newer_work(page, wav):
    handlers = files.FileHandlers(page)
    older = handlers.uploaded(str(wav), OWN, visitor())[0]
    newer = handlers.recorded(str(wav), OWN, visitor())[0]
    assert newer.name == "recording.wav"
    assert all(output == gr.skip() for output in handlers.analyse(older, 0.25, 0.5, visitor(), quiet))
    assert isinstance(handlers.analyse(newer, 0.25, 0.5, visitor(), quiet)[0], analysis.Analysis)


def test_an_answer_that_could_not_be_stopped_is_not_shown(page, wav, monkeypatch):
    handlers, analyse = files.FileHandlers(page), analysis.analyse

    def lent(*arguments, **callbacks):
        page.tickets.void("a")
        return analyse(*arguments)

    monkeypatch.setattr(analysis, "analysed", lent)
    request = handlers.uploaded(str(wav), OWN, visitor())[0]
    assert all(output == gr.skip() for output in handlers.analyse(request, 0.25, 0.5, visitor(), quiet))


def test_cancel_and_leave_void_the_ticket(page, wav):
    handlers = files.FileHandlers(page)
    for end in (handlers.cancel, handlers.leave):
        request = handlers.uploaded(str(wav), OWN, visitor())[0]
        end(visitor())
        assert handlers.analyse(request, 0.25, 0.5, visitor(), quiet)[0] == gr.skip()


def test_an_emptied_drop_zone_starts_nothing(page):
    assert all(output == gr.skip() for output in files.FileHandlers(page).uploaded(None, OWN, visitor()))


def test_the_browser_finds_sounds_with_odd_names(page, wav):
    odd = wav.rename(wav.with_name("take #1, 50%?.wav"))
    result = analysis.analyse(page.classifier, wish(odd), 0.25, 60)
    assert "take%20%231%2C%2050%25%3F.wav" in files.draw(page, result, 0.5, 0.0)


def test_a_sound_that_is_gone_is_said(page, wav):
    handlers = files.FileHandlers(page)
    result = handlers.analyse(handlers.uploaded(str(wav), OWN, visitor())[0], 0.25, 0.5, visitor(), quiet)[0]
    gone = dataclasses.replace(result, request=wish(wav.parent / "gone.wav"))
    html, *downloads, asked = inside_tab.InsideHandlers(page).moment(gone, 0.5, "", METHODS[0])
    assert "no longer on the server" in html and asked is None and not any(button["visible"] for button in downloads)


# ---------------------------------------------------------------------------------------------- the look inside


def test_inside_explains_the_very_window_that_was_scored(page, wav):
    scored = files.FileHandlers(page)
    result = scored.analyse(scored.uploaded(str(wav), OWN, visitor())[0], 0.3, 0.5, visitor(), quiet)[0]
    handlers = inside_tab.InsideHandlers(page)
    for number in (0, 2, len(result.scores) - 1):
        at = float(result.scores.start[number] + result.scores.end[number]) / 2
        html, *downloads, asked = handlers.moment(result, at, "", METHODS[0])
        told = json.loads(Path(downloads[2]["value"]).read_text(encoding="utf-8"))
        assert told["start"] == pytest.approx(float(result.scores.start[number]))
        np.testing.assert_allclose([told["scores"][label] for label in LABELS], result.scores.scores[number], atol=1e-5)
        assert all(words.replace("'", "&#x27;") in html for words in told["sentences"])
    assert handlers.opened(result, at, "", METHODS[0], asked) == [gr.skip()] * 5, "what is shown is not computed again"
    assert handlers.opened(result, 0.5, "", METHODS[0], asked)[0] != gr.skip()


# ---------------------------------------------------------------------------------------------- the endpoints


@pytest.mark.parametrize(
    "call",
    [api.Endpoints.classify, api.Endpoints.classify_windows, api.Endpoints.explain],
    ids=["classify", "classify_windows", "explain"],
)
def test_every_endpoint_has_the_limits_of_the_page(page, wav, call):
    assert call(api.Endpoints(dataclasses.replace(page, max_seconds=2.0)), str(wav))
    for limits, words in (({"max_seconds": 1.5}, "longer than 0.025 minutes"), ({"max_file_mb": 0.1}, "expected at most 0.1 MB")):
        with pytest.raises(gr.Error, match=words):
            call(api.Endpoints(dataclasses.replace(page, **limits)), str(wav))
    with pytest.raises(gr.Error, match="audio: got nothing"):
        call(api.Endpoints(page), None)


def test_the_length_of_a_sound_is_read_no_further_than_needed(wav, tmp_path):
    assert analysis.check_length(wav, 2.0) == 2.0
    hour = tmp_path / "hour.flac"
    soundfile.write(hour, np.zeros(3600 * 8000, np.float32), 8000)
    with pytest.raises(AudioError, match="longer than 1 minutes"):
        analysis.check_length(hour, 60)


# ---------------------------------------------------------------------------------------------- the page


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    model().save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: x\n---\n# A tiny model\n", encoding="utf-8")
    return ui.build(str(folder), 5, 1), folder


def test_three_endpoints_are_public_and_all_others_private(demo):
    dependencies = demo[0].config["dependencies"]
    assert len(dependencies) > 20
    public = {d["api_name"] for d in dependencies if d["api_visibility"] != "private"}
    assert public == {"classify", "classify_windows", "explain"}


def test_the_first_screen_has_a_result(demo):
    values = {c["props"].get("elem_id"): c["props"].get("value") for c in demo[0].config["components"]}
    assert "yes-no-stop-go" in values["status"] and 'class="tl"' in values["timeline"]
    assert "heard-large" in values["heard"] and not values["why"], "nothing is explained before it is asked"


def test_about_reads_the_configuration_and_the_card(demo):
    facts = dict(about.facts("tiny", model()))
    assert facts["Blocks"].startswith("2, width 64") and facts["Never an event"] == "unknown, silence"
    assert facts["Kind"] == "asm-rh: HermitFrequencyMixing then RollTimeMixing"
    assert about.card(Source(demo[1])) == "# A tiny model" and about.card(Source(Path("no/such"))) == about.card(None) == ""


def test_launch_settings_are_known_to_gradio():
    assert set(ui.launch_settings()) <= set(inspect.signature(gr.Blocks.launch).parameters)
    assert ui.launch_settings(5)["max_file_size"] == "5mb" and ui.launch_settings()["ssr_mode"] is False


def test_flags_have_the_documented_defaults():
    spec = importlib.util.spec_from_file_location("start", ROOT / "app.py")
    start = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(start)
    flags = vars(start.parse([]))
    assert flags == {
        "model": "asm-rh-keywords",
        "host": "127.0.0.1",
        "port": 7860,
        "share": False,
        "max_file_mb": 200,
        "max_minutes": 120,
        "max_listeners": 8,
        "mcp": False,
        "auth": [],
        "ssl_certfile": None,
        "ssl_keyfile": None,
        "root_path": None,
    }
    for wrong in (["--auth", "me"], ["--ssl-certfile", "a.pem"]):
        with pytest.raises(SystemExit):
            start.parse(wrong)
    assert not hasattr(start, "demo")


def test_examples_are_small_computed_and_said_to_be():
    for path, (name, _, kind) in zip(examples.example_paths(), examples.EXAMPLES, strict=True):
        sound = soundfile.info(path)
        assert (sound.samplerate, sound.channels, sound.subtype) == (16000, 1, "PCM_16")
        assert path.stat().st_size < 150_000
        assert ("synthetic-voice" in name and "synthetic voice" in kind) or ("computed" in name and kind == "computed")
    assert {p.name for p in examples.FOLDER.glob("*.wav")} == {name for name, _, _ in examples.EXAMPLES}
