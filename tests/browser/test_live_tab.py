"""The Live tab in a real Chromium whose microphone plays a known recording: what is heard, what arrives, what is said when it fails."""

import json
from functools import partial

import numpy as np
import pytest
import soundfile
from spoken import in_order

from app.examples import EXAMPLES, FOLDER
from asm_rh.audio import decode, resample
from asm_rh.classifier import Classifier
from asm_rh.interventions import causes
from benchmarks.live_browser import browser_with, compare, heard, noise_wav, open_live, scenario, served, start, stats, stop

pytestmark = pytest.mark.browser
WORDS = ["yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go"]
RATE = 16_000


@pytest.fixture(scope="module")
def classifier():
    return Classifier("asm-rh-keywords", "cpu")


@pytest.fixture(scope="module")
def hearing(playwright):
    """Starts a Chromium whose microphone plays a file."""
    return partial(browser_with, playwright)


@pytest.fixture(scope="module")
def real_words(shared_data, tmp_path_factory):
    """Ten keywords of speakers nobody trained on, with a second of pause after each, at several rates: {rate: path}."""
    from benchmarks.keywords_data import speech_split

    random, parts = np.random.default_rng(1), []
    for word in WORDS:
        paths = sorted((shared_data / "speech_commands_v2_12" / word).glob("*_nohash_*"))
        held_out = [path for path in paths if speech_split(path.stem.split("_nohash_")[0], 0) == "test"]
        parts += [pause(random), decode(held_out[int(random.integers(len(held_out)))])[0]]
    return written(np.concatenate([*parts, pause(random)]), tmp_path_factory.mktemp("words"))


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """(path, samples) of two minutes of noise."""
    path = tmp_path_factory.mktemp("noise") / "noise.wav"
    return path, noise_wav(path, 120)


def pause(random):
    return (0.001 * random.standard_normal(RATE)).astype(np.float32)


def written(wave, folder):
    paths = {}
    for rate in (16_000, 44_100, 48_000):
        paths[rate] = folder / f"words-{rate}.wav"
        soundfile.write(paths[rate], np.clip(resample(wave, RATE, rate), -1, 1), rate, subtype="PCM_16")
    return paths


def spans(events):
    return [(e["label"], round(e["start"], 2), round(e["end"], 2)) for e in sorted(events, key=lambda e: (e["start"], e["end"]))]


def listen(page, seconds):
    start(page)
    page.wait_for_timeout(round(1000 * seconds))
    stop(page)
    return heard(page)


def only_the_devices(slips):
    """Chromium's fake microphone repeats one of its 10 ms blocks now and then; what the page sends comes in blocks of 2048 samples."""
    return all(by % 441 == 0 for _, by in slips) and len(slips) <= 5


# ---------------------------------------------------------------------------------------------- what is heard


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_spoken_words_are_heard_live_as_in_the_file(page_url, real_words, classifier, rate, hearing):
    seconds = soundfile.info(real_words[rate]).duration
    with hearing(real_words[rate]) as browser:
        page = open_live(browser, page_url)
        samples, jumps = listen(page, seconds + 1)
        live = stats(page)
        file = classifier.windows((live["rate"], samples), hop_seconds=0.25)
        events = file.events(classifier.config.threshold)
        assert jumps == [] and live["lost"] == 0 and live["dropped"] == 0
        np.testing.assert_allclose([step["scores"] for step in live["steps"]], file.scores[: len(live["steps"])], atol=1e-5)
        assert spans(live["events"]) == [(e.label, round(e.start, 2), round(e.end, 2)) for e in events]
        assert in_order(WORDS, [event["label"] for event in live["events"]]) >= 9
        recording = classifier.windows(real_words[rate], hop_seconds=0.25).events(classifier.config.threshold)
        assert in_order([e.label for e in recording], [e["label"] for e in live["events"]]) >= len(recording) - 1


def test_synthetic_words_are_heard_and_the_last_seconds_become_a_file(page_url, tmp_path, classifier, hearing):
    name = next(name for name, title, kind in EXAMPLES if "synthetic voice" in kind)
    with hearing(FOLDER / name) as browser:
        page = open_live(browser, page_url)
        start(page)
        page.wait_for_selector(".lv-list li.ended")
        said = page.inner_text(".lv-aria")
        assert said.split(",")[0] in WORDS, "screen readers are told the event"
        page.wait_for_timeout(3000)
        page.click(".lv-replay")
        page.wait_for_function("document.querySelector('#status').innerText.includes('live-from-')")
        assert page.get_by_role("tab", name="File").get_attribute("aria-selected") == "true"
        page.get_by_role("tab", name="Live").click()
        stop(page)
        samples, _ = heard(page)
        assert len(samples) > 44_100


# ---------------------------------------------------------------------------------------------- none lost, none doubled


@pytest.mark.parametrize("listeners, delay_seconds", [(1, 0.0), (4, 0.0), (1, 0.6)])
def test_every_sample_arrives_once(playwright, listeners, delay_seconds):
    for page in scenario(playwright, 20, listeners, delay_seconds)["pages"]:
        assert page["samples_compared"] > 18 * 44_100
        assert (page["samples_different"], page["jumps"], page["lost_seconds"]) == (0, 0, 0.0), page
        assert only_the_devices(page["slips"]), page
        if delay_seconds > 0.5:  # whether a quick model keeps up is a matter of what else the computer does
            assert page["windows_dropped"] > 0


def test_a_browser_that_cannot_read_the_track_itself_hears_by_a_worklet(page_url, noise, hearing):
    path, played = noise
    with hearing(path) as browser:
        page = open_live(browser, page_url, before="delete window.MediaStreamTrackProcessor")
        samples, jumps = listen(page, 4)
        found = compare(played, samples)
        assert page.evaluate("window.MediaStreamTrackProcessor") is None
        assert jumps == [] and found.different == 0 and found.compared > 3 * 44_100


def test_a_connection_that_is_away_for_five_seconds_costs_nothing(page_url, noise, hearing):
    path, played = noise
    with hearing(path) as browser:
        page = open_live(browser, page_url)
        start(page)
        page.wait_for_timeout(2000)
        page.context.set_offline(True)
        page.wait_for_function("document.querySelector('.lv-say').innerText.includes('connection is away')")
        page.wait_for_timeout(5000)
        page.context.set_offline(False)
        page.wait_for_function("document.querySelector('.lv-say').innerText.includes('connection is back')")
        page.wait_for_timeout(3000)
        stop(page)
        samples, jumps = heard(page)
        found = compare(played, samples)
        assert jumps == [] and found.different == 0 and only_the_devices(found.slips) and found.compared > 8 * 44_100
        assert stats(page)["lost"] == 0


# ---------------------------------------------------------------------------------------------- what is said when it fails


def test_one_listener_too_many_is_told_so_and_a_closed_tab_makes_room(noise, hearing):
    with served(0.0, "--max-listeners", "1") as (url, _), hearing(noise[0]) as browser:
        first, second = open_live(browser, url), open_live(browser, url)
        start(first)
        second.click(".lv-go")
        second.wait_for_function("document.querySelector('.lv-say').innerText.includes('at most 1 can listen')")
        assert second.get_attribute(".live", "data-state") == "stopped"
        first.close()
        for _ in range(30):
            second.click(".lv-go")
            second.wait_for_function("['stopped', 'listening'].includes(document.querySelector('.live').dataset.state)")
            if second.get_attribute(".live", "data-state") == "listening":
                break
            second.wait_for_timeout(1000)
        second.wait_for_function("document.querySelector('.live').stats.answered > 0")


def test_a_permission_that_is_denied_has_its_remedy(page_url, noise, hearing):
    with hearing(noise[0], "--deny-permission-prompts") as browser:
        page = open_live(browser, page_url, permissions=[])
        page.click(".lv-go")
        page.wait_for_function("document.querySelector('.lv-say').innerText.includes('may not use the microphone')")
        assert page.get_attribute(".live", "data-state") == "stopped" and page.inner_text(".lv-go") == "Start listening"


def test_an_insecure_page_says_why_there_is_no_microphone(page_url, noise, hearing):
    with hearing(noise[0]) as browser:
        context = browser.new_context(permissions=["microphone"])
        context.add_init_script("Object.defineProperty(window, 'isSecureContext', { value: false })")
        page = context.new_page()
        page.goto(page_url)
        page.get_by_role("tab", name="Live").click()
        page.wait_for_function("document.querySelector('.lv-say')?.innerText.includes('secure pages only')")
        page.click(".lv-go")
        page.wait_for_function("document.querySelector('.live').dataset.state === 'stopped'")
        assert "http://localhost" in page.inner_text(".lv-say")


def test_a_microphone_that_is_unplugged_ends_in_a_clear_state(page_url, noise, hearing):
    with hearing(noise[0]) as browser:
        page = open_live(browser, page_url)
        page.evaluate("""() => {
          const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
          navigator.mediaDevices.getUserMedia = async (wish) => (window.opened = await open(wish));
        }""")
        start(page)
        page.evaluate("window.opened.getAudioTracks()[0].dispatchEvent(new Event('ended'))")
        page.wait_for_selector('.live[data-state="stopped"]')
        assert "microphone is gone" in page.inner_text(".lv-say")
        start(page)
        stop(page)


def test_a_computer_that_slept_leaves_a_gap_that_is_told(page_url, noise, hearing):
    with hearing(noise[0]) as browser:
        page = open_live(browser, page_url)
        start(page)
        page.wait_for_timeout(2000)
        page.evaluate("() => { const now = Date.now; Date.now = () => now() + 30000; }")
        page.wait_for_function("document.querySelector('.lv-say').innerText.includes('passed without sound')")
        page.wait_for_timeout(2500)
        stop(page)
        own = stats(page)
        assert own["gaps"] == pytest.approx(30, abs=0.5) and own["lost"] == pytest.approx(0, abs=0.01)
        _, jumps = heard(page)
        assert [round(samples / own["rate"]) for _, samples in jumps] == [30]
        assert any(step["gap_seconds"] == pytest.approx(30, abs=0.5) for step in own["steps"])


def test_a_pause_is_no_loss(page_url, noise, hearing):
    with hearing(noise[0]) as browser:
        page = open_live(browser, page_url)
        start(page)
        page.wait_for_timeout(1500)
        page.click(".lv-pause")
        page.wait_for_timeout(300)
        before = stats(page)["sent"]
        page.wait_for_timeout(2000)
        assert stats(page)["sent"] - before < 0.2 * 44_100
        page.click(".lv-pause")
        page.wait_for_timeout(2000)
        stop(page)
        own = stats(page)
        assert own["gaps"] == pytest.approx(2.3, abs=0.6) and own["lost"] == pytest.approx(0, abs=0.01)


# ---------------------------------------------------------------------------------------------- what each block does


def test_blocks_are_looked_at_only_while_that_is_open(page_url, real_words, hearing, classifier):
    with hearing(real_words[48_000]) as browser:
        page = open_live(browser, page_url)
        start(page)
        page.wait_for_timeout(2500)
        assert stats(page)["looks"] == 0, "nothing is computed while it is closed"
        page.click(".lv-inside summary")
        page.wait_for_function("document.querySelector('.live').stats.inside")
        page.select_option(".lv-inside select", "block")
        page.wait_for_timeout(1500)
        shown = page.locator(".lv-block output").all_inner_texts()
        assert len(shown) == classifier.config.depth and all(words != "–" for words in shown)
        page.click(".lv-inside summary")
        page.wait_for_timeout(700)
        looks, last = stats(page)["looks"], stats(page)["inside"]
        page.wait_for_timeout(1500)
        assert stats(page)["looks"] == looks
        stop(page)
        samples, _ = heard(page)
        rate = stats(page)["rate"]
        wave = samples[round(last["at"] * rate) - round(rate) :][: round(rate)].astype(np.float32) / 2**15
        scores, found = causes(classifier.model, classifier.prepare(wave, rate))
        best = int(scores.argmax())
        assert last["score"] == pytest.approx(float(scores[best]), abs=1e-5)
        for cause in found:
            assert last["blocks"][cause.block][cause.part] == pytest.approx(float(scores[best] - cause.scores[best]), abs=2e-4)


# ---------------------------------------------------------------------------------------------- settings and looks


def test_settings_are_explained_and_outlive_a_reload(page_url, noise, hearing):
    with hearing(noise[0]) as browser:
        page = open_live(browser, page_url)
        page.click(".lv-settings summary")
        page.fill("[data-setting=confirmations]", "3")
        page.fill("[data-setting=hop_seconds]", "0.25")
        page.wait_for_function("document.querySelector('.lv-sentence').innerText.includes('3 of 3 windows')")
        assert "it is reported 0.50 s after the first" in page.inner_text(".lv-sentence")
        page.reload()
        page.get_by_role("tab", name="Live").click()
        page.wait_for_function("document.querySelector('.lv-sentence').textContent.includes('3 of 3 windows')")
        assert page.input_value("[data-setting=confirmations]") == "3"


def test_the_browser_says_what_it_did_with_the_sound(page_url, noise, hearing):
    with hearing(noise[0]) as browser:
        page = open_live(browser, page_url)
        start(page)
        page.wait_for_function("document.querySelector('.lv-facts').innerText.includes('kHz')")
        words = page.inner_text(".lv-facts")
        assert "echo cancelling off, noise suppression off, gain control off" in words
        page.wait_for_function("document.querySelector('.lv-status').innerText.includes('lost 0.0 s')")
        assert -70 < int(page.get_attribute(".lv-level", "aria-valuenow")) < 0
        stop(page)


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_sticks_out(page_url, noise, width, hearing):
    with hearing(noise[0]) as browser:
        page = open_live(browser, page_url, width=width)
        start(page)
        page.wait_for_timeout(2500)
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, json.dumps({"page": wide})
        painted = page.evaluate("""() => {
          const canvas = document.querySelector(".lv-bands canvas");
          return new Set(canvas.getContext("2d").getImageData(canvas.width - 40, 0, 40, canvas.height).data).size;
        }""")
        assert painted > 20, "the newest sound is drawn at the right"
        stop(page)
