"""The File tab in a real browser, read as a person reads it."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from app.examples import example_paths
from app.text import clock, shown
from asm_rh.classifier import Classifier

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
ROOT = Path(__file__).resolve().parents[2]
WORDS = ROOT.parent / "shared" / "data" / "speech_commands_v2_12"
YES_NO, LEFT_RIGHT, ON_OFF, *_ = example_paths()
DONE_MS = 120_000


@pytest.fixture(scope="module")
def classifier():
    torch.set_num_threads(1)
    return Classifier("asm-rh-keywords")


def expected(classifier, path, threshold=None):
    """The library's own events as the page's table writes them: label, start, end, score, peak."""
    scores = classifier.windows(path, hop_seconds=0.25, name=Path(path).name)
    events = scores.events(classifier.config.threshold if threshold is None else threshold)
    rows = [[shown(e.label), clock(e.start), clock(e.end), f"{e.score:.2f}", clock(e.peak)] for e in events]
    return scores, rows


def table(page):
    """The event table as the page shows it."""
    rows = page.locator("#timeline table.events tbody tr")
    return [row.locator("th, td").all_inner_texts() for row in rows.all()]


def upload(page, path, name=None):
    """Gives a file to the drop zone and waits until its result, or its trouble, is there."""
    page.set_input_files("#sound input[type=file]", path)
    page.wait_for_function(
        f"document.querySelector('#status').innerText.includes({json.dumps(name or Path(path).name)})", timeout=DONE_MS
    )
    page.wait_for_function("!document.querySelector('#status').innerText.includes('working')", timeout=DONE_MS)


def near(rows, others):
    """Equal but for one unit in the last digit of the scores: threads may sum in another order."""
    same = [[*r[:3], r[4]] for r in rows] == [[*o[:3], o[4]] for o in others]
    return same and all(abs(float(r[3]) - float(o[3])) < 0.011 for r, o in zip(rows, others, strict=True))


def test_opens_with_a_result(open_page, classifier):
    page = open_page()
    _, rows = expected(classifier, YES_NO)
    assert near(table(page), rows)
    large = page.locator(".heard-large").inner_text()
    best = max(rows, key=lambda row: row[3]) if rows else None
    assert large.startswith(best[0].upper() if best else "no event")
    assert page.locator("#heard [aria-live=polite] .heard-large").count() == 1
    assert page.locator("#timeline img").count() >= 2


def test_upload_shows_its_events(open_page, classifier, tmp_path):
    page = open_page()
    path = tmp_path / "mein <b>Ton é.wav"
    path.write_bytes(ON_OFF.read_bytes())
    upload(page, path, "2.09 s")
    assert near(table(page), expected(classifier, path)[1])
    assert page.locator("#timeline .tl").get_attribute("data-seconds").startswith("2.09")
    assert page.locator("#status b b").count() == 0


def test_example_button(open_page, classifier):
    page = open_page()
    page.click("#example-1")
    page.wait_for_function(
        f"document.querySelector('#status').innerText.includes('{LEFT_RIGHT.name}')", timeout=DONE_MS
    )
    page.wait_for_function(
        "document.querySelector('#timeline .tl').dataset.source.includes('left-right')", timeout=DONE_MS
    )
    assert near(table(page), expected(classifier, LEFT_RIGHT)[1])


def test_downloads_hold_the_result(open_page, classifier):
    page = open_page()
    scores, _ = expected(classifier, YES_NO)
    threshold = classifier.config.threshold
    texts = {}
    for kind in ("csv", "audacity", "raven", "jsonl", "json"):
        with page.expect_download() as download:
            page.click(f"#download-{kind}")
        assert download.value.suggested_filename.startswith(YES_NO.stem)
        texts[kind] = Path(download.value.path()).read_text(encoding="utf-8")
    events = len(scores.events(threshold))
    assert len(texts["csv"].splitlines()) == len(texts["raven"].splitlines()) == events + 1
    assert texts["audacity"] == scores.to_audacity(threshold=threshold)
    windows = [json.loads(line) for line in texts["jsonl"].splitlines()]
    got = np.array([list(window["scores"].values()) for window in windows])
    np.testing.assert_allclose(got, scores.scores, atol=1e-3)
    assert [w["start"] for w in json.loads(texts["json"])["windows"]] == scores.start.tolist()


def test_bad_file_says_so_and_keeps_the_result(open_page, tmp_path):
    page = open_page(allowed="Waveform load error")  # the recorder's own preview cannot draw it either
    before = table(page)
    path = tmp_path / "letter.wav"
    path.write_text("Dear all, this is no sound.\n" * 20)
    upload(page, path)
    message = page.locator("#status [role=alert]").inner_text()
    assert "letter.wav" in message and "/" not in message.replace("PyAV", "")
    assert table(page) == before
    upload(page, ON_OFF)
    assert page.locator("#status [role=alert]").count() == 0


def test_cancel_stops_the_work(open_page, tmp_path):
    page = open_page()
    before = table(page)
    path = tmp_path / "long.wav"
    noise = 0.1 * np.random.default_rng(0).standard_normal(16000 * 60 * 20)
    soundfile.write(path, noise, 16000, subtype="PCM_16")
    page.set_input_files("#sound input[type=file]", path)
    page.wait_for_selector("#cancel", state="visible")
    page.wait_for_function("/scoring|reading/.test(document.body.innerText)", timeout=DONE_MS)
    page.click("#cancel")
    page.wait_for_function("document.querySelector('#status').innerText.includes('Stopped')")
    page.wait_for_selector("#cancel", state="hidden")
    page.wait_for_timeout(3000)
    assert "Stopped" in page.locator("#status").inner_text() and table(page) == before
    upload(page, ON_OFF)  # the server is free again
    assert page.locator("#timeline .tl").get_attribute("data-seconds").startswith("2.0")


def test_clicking_the_axis_moves_the_moment(open_page):
    page = open_page()
    surface = page.locator(".tl-surface")
    box = surface.bounding_box()
    surface.click(position={"x": box["width"] * 0.9, "y": 30})
    page.wait_for_function("document.querySelector('#moment input').value > 3.6")
    moment = float(page.locator("#moment input").input_value())
    assert moment == pytest.approx(0.9 * 4.11, abs=0.05)
    surface.press("ArrowLeft")
    assert float(surface.get_attribute("aria-valuenow")) == pytest.approx(moment - 0.25, abs=0.01)
    page.wait_for_function(f"document.querySelector('#moment input').value < {moment - 0.2}")


def test_playing_moves_the_play_head(open_page):
    page = open_page()
    surface = page.locator(".tl-surface")
    surface.press("Home")
    page.click(".tl-play")
    page.wait_for_function("+document.querySelector('.tl-surface').getAttribute('aria-valuenow') > 0.3", timeout=20_000)
    assert page.locator(".tl-play").get_attribute("aria-pressed") == "true"
    page.click(".tl-play")
    page.wait_for_selector('.tl-play[aria-pressed="false"]')


def test_threshold_changes_events_without_a_new_analysis(open_page, classifier):
    page = open_page()
    box = page.locator("#threshold input[type=number]")
    box.fill("1")
    box.press("Enter")
    page.wait_for_function("document.querySelector('.heard-large').innerText.includes('no event above 1.00')")
    assert table(page) == []
    box.fill("0.2")
    box.press("Enter")
    page.wait_for_function("document.querySelectorAll('#timeline table.events tbody tr').length > 0")
    assert near(table(page), expected(classifier, YES_NO, 0.2)[1])


def test_hop_scores_again(open_page):
    page = open_page()
    box = page.locator("#hop input[type=number]")
    box.fill("0.5")
    box.press("Enter")
    page.wait_for_function("document.querySelector('#status').innerText.includes('every 0.50 s')", timeout=DONE_MS)
    assert "every 0.50 s: 2 scores a second" in page.locator("#hop-sentence").inner_text()


def test_long_sound_stays_small(open_page, tmp_path):
    page = open_page()
    path = tmp_path / "three-minutes.flac"
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(16000 * 180), 16000)
    upload(page, path)
    assert len(page.locator("#timeline").inner_html()) < 1_500_000
    assert page.locator(".tl-bands .tl-plot img").evaluate("image => image.naturalWidth") <= 1600


def test_phone_has_one_column_and_no_sideways_scroll(open_page):
    page = open_page(390, 844)
    for tab in ("About", "File"):
        page.get_by_role("tab", name=tab).click()
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    cut = page.evaluate(
        "[...document.querySelectorAll('#timeline *, .head *, #status *')]"
        ".filter(e => !e.closest('.scroll, svg') && e.getBoundingClientRect().right > 391).length"
    )
    assert cut == 0


def test_light_and_dark(open_page):
    page = open_page(color_scheme="light")
    colour = "getComputedStyle(document.querySelector('#timeline')).backgroundColor"
    light = page.evaluate(colour)
    page.click("button.mode")
    dark = page.evaluate(colour)
    assert light != dark
    page.reload()
    page.wait_for_selector("#timeline .tl")
    page.wait_for_function(f"{colour} === {json.dumps(dark)}")


def test_about_names_the_model(open_page):
    page = open_page()
    page.get_by_role("tab", name="About").click()
    page.wait_for_selector("table.about", state="visible")
    words = page.locator("table.about").inner_text()
    assert "HermitFrequencyMixing then RollTimeMixing" in words and "2402.18007" in words


def test_real_words_are_heard_in_order(open_page, tmp_path):
    if not WORDS.is_dir():
        pytest.skip("no folder of Speech Commands recordings")
    page = open_page()
    words = ["yes", "stop", "left", "go"]
    parts = [np.zeros(8000, np.float32)]
    for word in words:
        wave, rate = soundfile.read(sorted((WORDS / word).glob("*.flac"))[7], dtype="float32")
        assert rate == 16000
        parts += [wave, np.zeros(12000, np.float32)]
    path = tmp_path / "spoken.wav"
    soundfile.write(path, np.concatenate(parts), 16000, subtype="PCM_16")
    upload(page, path)
    heard = iter(row[0] for row in table(page))
    found = sum(any(word == other for other in heard) for word in words)
    assert found >= 3, page.locator(".heard-small").inner_text()
