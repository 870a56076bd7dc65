"""The server's half of the Live tab: listeners that never mix, a limit, an end, and exactly what was heard."""

import base64
import io
import threading
import time

import numpy as np
import pytest
import soundfile
import torch

from app.batching import Batcher
from app.live import KEEP_SECONDS, LiveServer
from app.live_picture import BRIGHTEST, DARKEST, LivePicture
from app.models import OWN, Loaded, Models
from asm_rh.activations import switched_off
from asm_rh.classifier import Classifier
from asm_rh.config import FrontendConfig, ModelConfig
from asm_rh.model import AudioMixer

RATE = 16_000
LABELS = ("low", "high", "_silence_")
CONFIG = ModelConfig(
    labels=LABELS, window_seconds=0.5, frames=48, patch=(16, 16), stride=(16, 16), width=32, depth=2,
    token_hidden=16, channel_hidden=32, roll="grid", frontend=FrontendConfig(bands=32),
)  # fmt: skip
SETTINGS = {"hop_seconds": 0.1, "smoothing_seconds": 0, "threshold": 0.5, "confirmations": 1}
STEP = (BRIGHTEST - DARKEST) / 255


@pytest.fixture(scope="module")
def classifier():
    torch.manual_seed(0)
    return Classifier(AudioMixer(CONFIG).eval(), "cpu")


@pytest.fixture(scope="module")
def models(classifier):
    return Models(Loaded.own("some/model", classifier))


@pytest.fixture
def server(models):
    return LiveServer(models, most_listeners=3)


def noise(seconds, seed=0, rate=RATE):
    """Int16 samples that grow and fade."""
    wave = np.random.default_rng(seed).standard_normal(round(seconds * rate)) * 3000
    return (wave * np.linspace(0.1, 1, len(wave))).astype(np.int16)


def pcm(samples):
    return base64.b64encode(samples.astype("<i2").tobytes()).decode()


def open_place(server, sid="listener-1", rate=RATE, **settings):
    answer = server.open({"sid": sid, "rate": rate, "settings": {**SETTINGS, **settings}})
    assert "error" not in answer, answer
    return answer


def push(server, samples, position, sid="listener-1"):
    answer = server.push({"sid": sid, "position": position, "pcm": pcm(samples)})
    assert "error" not in answer, answer
    return answer


def hear(server, samples, size, sid="listener-1"):
    """Sends everything in chunks, says bye -> (steps, changes)."""
    answers = [push(server, samples[i : i + size], i, sid) for i in range(0, len(samples), size)]
    answers.append(server.bye({"sid": sid}))
    steps = [step for answer in answers for step in answer["steps"]]
    return steps, [c for step in steps for c in step["changes"]] + [c for answer in answers for c in answer["changes"]]


# ---------------------------------------------------------------------------------------------- live = file


@pytest.mark.parametrize(("rate", "size"), [(16_000, 1600), (44_100, 4999), (48_000, 700)])
def test_what_comes_back_is_what_the_file_gives(server, classifier, rate, size):
    samples = noise(1.73, rate=rate)
    file = classifier.windows((rate, samples), hop_seconds=0.1)
    open_place(server, rate=rate, threshold=0.3)
    steps, changes = hear(server, samples, size)
    np.testing.assert_allclose([step["scores"] for step in steps], file.scores, atol=1e-5)
    np.testing.assert_allclose([(step["start"], step["at"]) for step in steps], np.stack([file.start, file.end], 1), atol=6e-5)
    ended = sorted((c["label"], round(c["start"], 3), round(c["end"], 3)) for c in changes if c["what"] == "ended")
    assert ended == sorted((e.label, round(e.start, 3), round(e.end, 3)) for e in file.events(0.3)) and ended


def test_the_place_says_what_the_settings_mean(server):
    answer = open_place(server, confirmations=3, smoothing_seconds=0.5)
    assert answer["labels"] == ["low", "high", "silence"] and answer["threshold"] == 0.5
    assert answer["sentence"] == (
        "A window of 0.50 s every 0.10 s. An event needs 3 of 3 windows at 0.50 or more: it is reported 0.20 s after the first. "
        "Scores are the mean of the last 0.50 s."
    )


# ---------------------------------------------------------------------------------------------- numbers of samples


def test_a_message_that_comes_twice_counts_once(server):
    open_place(server)
    samples = noise(2)
    first = push(server, samples[:9000], 0)
    assert first["steps"] and push(server, samples[:9000], 0) == first
    assert push(server, samples[9000:], 9000)["lost_seconds"] == 0


def test_a_jump_is_lost_sound_and_a_step_back_is_refused(server):
    open_place(server)
    samples = noise(3)
    push(server, samples[:RATE], 0)
    answer = push(server, samples[RATE + 4000 :], RATE + 4000)
    assert answer["lost_seconds"] == 0.25
    assert [step["gap_seconds"] for step in answer["steps"] if step["gap_seconds"]] == [0.25]
    refusal = server.push({"sid": "listener-1", "position": 100, "pcm": pcm(samples[:50])})
    assert refusal == {"error": f"position: got sample 100, expected {len(samples)} or later", "code": "order"}


def test_a_listener_who_was_forgotten_goes_on_where_it_was(server):
    answer = server.open({"sid": "listener-2", "rate": RATE, "settings": SETTINGS, "position": 50_000})
    assert "error" not in answer
    answer = push(server, noise(1), 50_000, "listener-2")
    assert answer["lost_seconds"] == 0 and answer["steps"][0]["start"] == 50_000 / RATE


def test_other_settings_begin_a_new_grid_and_lose_nothing(server, classifier):
    open_place(server)
    samples = noise(2)
    push(server, samples[:12_345], 0)
    answer = server.change({"sid": "listener-1", "settings": {**SETTINGS, "hop_seconds": 0.25}})
    assert "every 0.25 s" in answer["sentence"]
    rest = push(server, samples[12_345:], 12_345)
    file = classifier.windows((RATE, samples[12_345:]), hop_seconds=0.25)
    np.testing.assert_allclose([step["scores"] for step in rest["steps"]], file.scores[: len(rest["steps"])], atol=1e-5)
    assert rest["lost_seconds"] == 0 and rest["steps"][0]["start"] == pytest.approx(12_345 / RATE, abs=1e-4)


# ---------------------------------------------------------------------------------------------- who is there


def test_one_listener_too_many_is_refused_until_somebody_leaves(server):
    for number in range(3):
        open_place(server, f"listener-{number}")
    refusal = server.open({"sid": "listener-9", "rate": RATE, "settings": SETTINGS})
    assert refusal["code"] == "full" and "every place is taken: at most 3 can listen" in refusal["error"]
    assert "error" not in server.bye({"sid": "listener-0"})
    open_place(server, "listener-9")


def test_a_closed_tab_is_forgotten(models):
    server = LiveServer(models, most_listeners=1, expire_seconds=0.2)
    open_place(server)
    assert server.open({"sid": "listener-2", "rate": RATE, "settings": SETTINGS})["code"] == "full"
    time.sleep(0.3)
    open_place(server, "listener-2")
    assert list(server.listeners) == ["listener-2"]
    gone = server.push({"sid": "listener-1", "position": 0, "pcm": ""})
    assert gone["code"] == "gone" and "no longer known" in gone["error"]


def test_an_empty_message_keeps_the_place(models):
    server = LiveServer(models, expire_seconds=0.4)
    open_place(server)
    for _ in range(4):
        time.sleep(0.15)
        push(server, np.zeros(0, np.int16), 0)


def test_listeners_at_once_never_mix(server, classifier):
    sounds = {f"listener-{i}": noise(3, seed=i) for i in range(3)}
    found = {}

    def listen(sid):
        open_place(server, sid)
        found[sid] = hear(server, sounds[sid], 1700, sid)[0]

    threads = [threading.Thread(target=listen, args=(sid,)) for sid in sounds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for sid, samples in sounds.items():
        wanted = classifier.windows((RATE, samples), hop_seconds=0.1).scores
        np.testing.assert_allclose([step["scores"] for step in found[sid]], wanted, atol=1e-5)
    assert server.listeners == {}


# ---------------------------------------------------------------------------------------------- bad messages


@pytest.mark.parametrize(
    ("call", "message", "words"),
    [
        ("open", {}, "sid: expected a name"),
        ("open", {"sid": "listener-1", "rate": "x", "settings": SETTINGS}, "rate"),
        ("open", {"sid": "listener-1", "rate": RATE}, "settings: got {}, expected numbers for hop_seconds"),
        ("open", {"sid": "listener-1", "rate": RATE, "settings": {**SETTINGS, "hop_seconds": 9}}, "hop: got 9 s, expected 0.05 s to"),
        ("open", {"sid": "listener-1", "rate": RATE, "settings": {**SETTINGS, "threshold": 2}}, "threshold: got 2.0"),
        ("open", {"sid": "listener-1", "rate": RATE, "settings": {**SETTINGS, "confirmations": 99}}, "confirmations: got 99"),
        ("open", {"sid": "listener-1", "rate": RATE, "settings": {**SETTINGS, "smoothing_seconds": float("nan")}}, "smoothing: got nan"),
        ("open", {"sid": "listener-1", "rate": RATE, "settings": {**SETTINGS, "confirmations": 1e400}}, "settings: got"),
        ("push", {"sid": "nobody-here", "position": 0, "pcm": ""}, "no longer known"),
        ("push", {"sid": "here-already", "position": -1, "pcm": ""}, "position: got -1"),
        ("push", {"sid": "here-already", "position": 0, "pcm": "%%%"}, "pcm: expected base64"),
        ("push", {"sid": "here-already", "position": 0, "pcm": "AA=="}, "pcm: expected base64 of 16-bit samples"),
        ("push", {"sid": "here-already", "position": 0, "pcm": pcm(np.zeros(11 * RATE, np.int16))}, "got 11.0 s at once"),
        ("push", {"sid": "here-already", "position": 0, "pcm": None}, "pcm: expected base64"),
        ("change", {"sid": "here-already", "settings": {"hop_seconds": 1}}, "expected numbers for"),
        ("bye", "nonsense", "no longer known"),
    ],
)
def test_bad_messages_are_answered_not_raised(server, call, message, words):
    open_place(server, "here-already")
    answer = getattr(server, call)(message)
    assert words in answer["error"] and answer["code"] in {"bad", "gone"}


def test_trouble_in_the_model_reaches_the_page(classifier):
    def broken(waves, rate):
        raise RuntimeError("out of memory")

    server = LiveServer(Models(Loaded(OWN, "broken", classifier, Batcher(broken), 1.0)))
    open_place(server)
    answer = server.push({"sid": "listener-1", "position": 0, "pcm": pcm(noise(1))})
    assert answer["error"] == "RuntimeError: out of memory"


# ---------------------------------------------------------------------------------------------- the last seconds


def read(wav):
    return soundfile.read(io.BytesIO(wav), dtype="int16")


def test_the_last_seconds_are_exactly_what_was_sent_from_a_window_on(server):
    open_place(server, hop_seconds=0.25)
    samples = noise(14.3)
    for start in range(0, len(samples), 3210):
        push(server, samples[start : start + 3210], start)
    wav, began = server.last_seconds_wav("listener-1")
    sound, rate = read(wav)
    assert rate == RATE and began == 4.5, "the first window of the grid in the last ten seconds"
    np.testing.assert_array_equal(sound, samples[round(4.5 * RATE) :])


def test_the_last_seconds_leave_a_gap_out(server):
    open_place(server)
    push(server, noise(2), 0)
    push(server, noise(3, seed=1), 5 * RATE)
    wav, began = server.last_seconds_wav("listener-1")
    assert began == 5.0
    np.testing.assert_array_equal(read(wav)[0], noise(3, seed=1))


def test_before_anything_was_heard_there_is_nothing_to_look_at(server):
    open_place(server)
    with pytest.raises(ValueError, match="nothing was heard yet"):
        server.last_seconds_wav("listener-1")
    with pytest.raises(ValueError, match="no longer known"):
        server.last_seconds_wav("somebody-else")


def test_long_listening_holds_little(server):
    open_place(server, hop_seconds=0.5)
    listener = server.listeners["listener-1"]
    for second in range(60):
        push(server, np.zeros(RATE, np.int16), second * RATE)
    assert sum(len(samples) for _, samples in listener.kept) <= (KEEP_SECONDS + 3.5) * RATE
    assert sum(map(len, listener.session.stream.pieces)) <= RATE and sum(map(len, listener.picture.blocks.pieces)) <= RATE


# ---------------------------------------------------------------------------------------------- the picture


@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_the_picture_has_no_seams_in_any_chunking(classifier, rate):
    samples = noise(1.5, rate=rate).astype(np.float32) / 2**15
    low = np.fft.irfft(np.where(np.arange(len(samples) // 2 + 1) < 7000 * 1.5, np.fft.rfft(samples), 0)).astype(np.float32)
    from asm_rh.audio import resample

    with torch.inference_mode():
        whole = classifier.model.frontend(torch.from_numpy(resample(low, rate, RATE))[None])[0].numpy()
    for size in (97, 4800, len(low)):
        picture = LivePicture(classifier.model.frontend, CONFIG, rate)
        columns = np.concatenate([picture.feed(low[i : i + size]) for i in range(0, len(low), size)])
        assert columns.shape[1] == 32 and len(columns) >= 1.5 / 0.01 - 20
        drawn = columns * STEP + DARKEST
        wanted = whole[2 : 2 + len(columns)]
        loud = wanted > wanted.max() - 8
        np.testing.assert_allclose(drawn[loud], wanted[loud], atol=STEP + 0.06)


def test_every_column_has_its_time(server):
    open_place(server)
    samples = noise(2)
    at, seen = [], 0
    for start in range(0, len(samples), 1777):
        answer = push(server, samples[start : start + 1777], start)
        count = len(base64.b64decode(answer["columns"])) // 32
        if count:
            at.append(answer["columns_at"])
            assert answer["columns_at"] == pytest.approx(0.02 + 0.01 * seen)
        seen += count
    assert len(at) > 10 and seen > 180


def test_the_live_worker_takes_one_thread_and_leaves_the_others_theirs(classifier):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        seen = []
        score, classifier.score = classifier.score, lambda waves, rate: (seen.append(torch.get_num_threads()), score(waves, rate))[1]
        try:
            loaded = Loaded.own("some/model", classifier)
            loaded.score(np.zeros((1, 8000), np.float32), RATE)
        finally:
            del classifier.score
        seen = seen[-1:]
        other = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        other.start()
        other.join()
        assert seen == [1, 3] and torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


# ---------------------------------------------------------------------------------------------- batches


def test_windows_of_several_callers_share_a_forward_pass():
    sizes, gate = [], threading.Event()

    def score(waves, rate):
        sizes.append(len(waves))
        gate.wait(5)
        return waves[:, :1] * rate

    batcher, found = Batcher(score), {}

    def ask(number):
        found[number] = batcher(np.full((2, 8), number, np.float32), 10)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(5)]
    threads[0].start()
    while not sizes:
        time.sleep(0.01)
    for thread in threads[1:]:
        thread.start()
    time.sleep(0.1)
    gate.set()
    for thread in threads:
        thread.join()
    assert sizes[0] == 2 and sum(sizes) == 10 and len(sizes) <= 3
    for number, rows in found.items():
        np.testing.assert_array_equal(rows, np.full((2, 1), number * 10, np.float32))


def test_trouble_of_one_batch_stays_there():
    def score(waves, rate):
        if rate == 1:
            raise ValueError("too slow a rate")
        return waves

    batcher = Batcher(score)
    with pytest.raises(ValueError, match="too slow a rate"):
        batcher(np.zeros((1, 4), np.float32), 1)
    assert batcher(np.ones((1, 4), np.float32), 2).sum() == 4


# ---------------------------------------------------------------------------------------------- what each block does


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_a_look_inside_is_of_the_newest_window(server, classifier, rate):
    samples = noise(1.2, rate=rate)
    open_place(server, rate=rate)
    push(server, samples, 0)
    answer = server.inside({"sid": "listener-1"})
    newest = samples[-round(0.5 * rate) :].astype(np.float32) / 2**15
    scores = classifier.score(newest, rate)[0]
    assert answer["at"] == pytest.approx(1.2, abs=1e-4) and answer["score"] == pytest.approx(scores.max(), abs=1e-5)
    assert LABELS[int(scores.argmax())].strip("_") == answer["label"]
    for block, falls in enumerate(answer["blocks"]):
        assert set(falls) == {"roll", "hermit", "block"}
        for part, fall in falls.items():
            with switched_off(classifier.model, [f"blocks.{block}" + ("" if part == "block" else f".{part}")]):
                without = classifier.score(newest, rate)[0, int(scores.argmax())]
            assert fall == pytest.approx(scores.max() - without, abs=1e-4)


def test_a_look_inside_too_early_or_while_another_looks(server):
    open_place(server)
    push(server, noise(0.2), 0)
    assert "less than one window" in server.inside({"sid": "listener-1"})["error"]
    assert server.inside({"sid": "nobody-here"})["code"] == "gone"
    push(server, noise(0.5), 3200)
    with server.looking:
        assert server.inside({"sid": "listener-1"}) == {"busy": True}
    assert "blocks" in server.inside({"sid": "listener-1"})


def test_a_gap_is_never_inside_the_newest_window(server):
    open_place(server)
    push(server, noise(0.7), 0)
    push(server, noise(0.2), 20_000)
    assert "less than one window" in server.inside({"sid": "listener-1"})["error"]
