"""Live sound equals the file: any chunks, the same windows, scores and events; what is lost is counted, never hidden."""

import time

import numpy as np
import pytest

from asm_rh.classifier import Classifier
from asm_rh.config import FrontendConfig, ModelConfig
from asm_rh.model import AudioMixer
from asm_rh.streaming import EventSettings, Smoother, StreamSession, StreamSettings, WindowStream

LABELS = ("low", "high", "_silence_")
CONFIG = ModelConfig(
    labels=LABELS, window_seconds=0.5, frames=48, patch=(16, 16), stride=(16, 16), width=32, depth=2,
    token_hidden=16, channel_hidden=32, roll="grid", frontend=FrontendConfig(bands=32),
)  # fmt: skip


@pytest.fixture(scope="module")
def classifier():
    import torch

    torch.manual_seed(0)
    model = AudioMixer(CONFIG).eval()
    with torch.no_grad():
        windows = torch.from_numpy(sound(4, 16_000)).unfold(0, 8000, 1600)
        model.head[1].weight.mul_(20)
        model.head[1].bias -= model(windows).median(0).values  # scores that differ from window to window
    return Classifier(model, "cpu")


def brightness(waves, rate):
    """A stand-in for a model, quick and exact: how often the sign changes."""
    high = (np.diff(np.sign(waves), axis=1) != 0).mean(1, dtype=np.float64)
    return np.stack([1 - high, high, np.zeros(len(waves))], 1).astype(np.float32)


def session(score=brightness, rate=1000, **settings):
    chosen = StreamSettings(**{"window_seconds": 0.5, "hop_seconds": 0.1, **settings})
    return StreamSession(score, rate, LABELS, ["_silence_"], chosen)


def sound(seconds, rate=1000, seed=0):
    """Noise that is now dull, now bright."""
    random = np.random.default_rng(seed)
    wave = random.standard_normal(round(seconds * rate)).astype(np.float32)
    dull = np.convolve(wave, np.ones(8) / 8, "same").astype(np.float32)
    return np.where(np.arange(len(wave)) // (rate // 2) % 3 == 0, wave, dull) * 0.1


def chunks(wave, random, most=None):
    while len(wave):
        size = int(random.integers(0, most or max(2, len(wave))))
        yield wave[:size]
        wave = wave[size:]


def hear(live, parts):
    """Every step, and every event that ended."""
    steps = [step for part in parts for step in live.feed(part)]
    more, ended = live.finish()
    events = [event for step in steps + more for event in step.events] + [change.event for change in ended if change.what == "ended"]
    return steps + more, sorted(events, key=lambda e: (e.start, e.end))


# ---------------------------------------------------------------------------------------------- live = file


@pytest.mark.parametrize("rate", [16_000, 44_100, pytest.param(48_000, marks=pytest.mark.slow)])
def test_live_scores_and_events_are_the_files_in_any_chunking(classifier, rate):
    wave, random = sound(2.3, rate), np.random.default_rng(rate)
    file = classifier.windows(wave, sampling_rate=rate, hop_seconds=0.1)
    assert np.ptp(file.scores, axis=0).max() > 0.05, "scores that never change prove nothing"
    threshold = float(np.median(file.scores[:, 0]))
    wanted = file.events(threshold)
    assert wanted
    for _ in range(70):  # 210 chunkings in all
        settings = StreamSettings(0.5, 0.1, events=EventSettings(threshold))
        live = StreamSession(classifier.score, rate, LABELS, ["_silence_"], settings)
        steps, events = hear(live, chunks(wave, random, int(random.choice([500, 5000, 50_000]))))
        np.testing.assert_allclose([s.scores for s in steps], file.scores, atol=1e-5)
        np.testing.assert_array_equal([s.start for s in steps], file.start)
        np.testing.assert_array_equal([s.at for s in steps], file.end)
        assert [s.padded for s in steps] == file.padded.tolist()
        assert [(e.label, e.start, e.end) for e in events] == [(e.label, e.start, e.end) for e in wanted]


def test_smoothing_and_confirmations_do_not_depend_on_the_chunks_either():
    random, wave = np.random.default_rng(1), sound(6)
    found = []
    for _ in range(40):
        live = session(smoothing_seconds=0.3, events=EventSettings(0.3, confirmations=2, of=3, hold_off_seconds=0.2))
        steps, events = hear(live, chunks(wave, random, 700))
        found.append((np.stack([s.smoothed for s in steps]).tobytes(), tuple(events)))
    assert len(set(found)) == 1 and found[0][1]


def test_steps_carry_the_audio_time_and_the_compute_time():
    live = session(score=lambda waves, rate: (time.sleep(0.02), brightness(waves, rate))[1])
    steps = live.feed(sound(0.75))
    assert [(s.start, s.at) for s in steps] == [(0.0, 0.5), (0.1, 0.6), (0.2, 0.7)]
    assert all(s.compute_ms >= 20 / 3 and s.gap_seconds == 0 and s.dropped == 0 for s in steps)


# ---------------------------------------------------------------------------------------------- smoothing


def test_smoother_is_the_mean_of_the_last_seconds():
    smooth, rows = Smoother(0.5), np.eye(6, 3, dtype=np.float32)
    got = [smooth.feed(0.25 * i, row) for i, row in enumerate(rows)]
    np.testing.assert_allclose(got[0], rows[0])
    for i in range(1, 6):
        np.testing.assert_allclose(got[i], (rows[i - 1] + rows[i]) / 2)
    smooth.reset()
    np.testing.assert_allclose(smooth.feed(9.0, rows[1]), rows[1])


def test_no_smoothing_leaves_the_scores_alone():
    row = np.ones(3, np.float32)
    assert Smoother(0).feed(1.0, row) is row


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_impossible_smoothing_is_refused(seconds):
    with pytest.raises(ValueError, match="smoothing_seconds: got"):
        Smoother(seconds)


# ---------------------------------------------------------------------------------------------- gaps


def test_a_gap_is_told_and_starts_the_grid_anew():
    live, wave = session(), sound(2.2)
    before = live.feed(wave[:750], 0)
    after = live.feed(wave[1000:2200], 1000)
    assert [s.start for s in before] == [0.0, 0.1, 0.2]
    tail, first = after[0], after[1]
    assert tail.padded and (tail.start, tail.at) == (0.3, 0.75), "what was heard before the gap is scored like the end of a file"
    assert (first.start, first.at, first.gap_seconds) == (1.0, 1.5, pytest.approx(0.25))
    assert [s.gap_seconds for s in after[2:]] == [0.0] * (len(after) - 2) and live.lost_seconds == pytest.approx(0.25)
    np.testing.assert_allclose(first.scores, brightness(wave[None, 1000:1500], 1000)[0])


def test_a_gap_ends_events_and_forgets_confirmations():
    high = np.where(np.arange(4000) % 2, 0.1, -0.1).astype(np.float32)
    live = session(events=EventSettings(0.9, confirmations=3))
    began = [c.what for s in live.feed(high[:700], 0) for c in s.changes]
    assert began == ["began"]
    steps = live.feed(high[:600], 5000)
    assert [c.what for s in steps for c in s.changes] == ["ended"]
    assert steps[-1].refused == {"high": "2 of 3 confirmations"}


def test_a_sound_that_ends_right_behind_a_gap_tells_what_the_gap_ended():
    high = np.where(np.arange(4000) % 2, 0.1, -0.1).astype(np.float32)
    live = session(events=EventSettings(0.9))
    live.feed(high[:700], 0)
    assert live.feed(high[:10], 2000) == []
    steps, ended = live.finish()
    assert steps == [] and [c.what for c in ended] == ["ended"] and live.finish() == ([], [])


def test_samples_from_the_past_are_refused():
    live = session()
    live.feed(sound(0.3), 0)
    with pytest.raises(ValueError, match="position: got sample 100, expected 300 or later"):
        live.feed(sound(0.3), 100)
    assert live.feed(sound(0.3)[:200], 300), "and nothing was lost by it"


def test_nothing_is_lost_without_a_gap():
    live = session()
    for part in chunks(sound(5), np.random.default_rng(3), 400):
        live.feed(part, live.position)
    assert live.lost_seconds == 0 and live.position == 5000 and live.dropped == 0


# ---------------------------------------------------------------------------------------------- late


def slow(seconds):
    def score(waves, rate):
        time.sleep(seconds * len(waves))
        return brightness(waves, rate)

    return score


def test_a_slow_model_drops_windows_but_no_samples():
    live, wave = session(score=slow(0.15), drop_late=True), sound(4)
    steps = live.feed(wave[:600])
    for start in range(600, 4000, 200):
        steps += live.feed(wave[start : start + 200])
    assert live.position == 4000 and live.lost_seconds == 0
    assert live.dropped > 0 and live.dropped == sum(s.dropped for s in steps)
    assert len(steps) + live.dropped == 36, "a window is scored or counted"
    for step in steps:
        wanted = wave[round(step.start * 1000) : round(step.at * 1000)]
        np.testing.assert_allclose(step.scores, brightness(wanted[None], 1000)[0])
    assert steps[-1].at == 4.0, "the newest is always scored"


def test_a_quick_model_catches_up_after_a_stall():
    live, wave = session(drop_late=True), sound(6)
    live.feed(wave[:1000])
    steps = live.feed(wave[1000:])  # five seconds at once
    assert len(steps) == 50 and live.dropped == 0


# ---------------------------------------------------------------------------------------------- memory and refusals


def test_an_hour_holds_no_more_than_a_window():
    live = session(rate=1000)
    for _ in range(3600):
        live.feed(np.zeros(1000, np.float32))
        assert sum(map(len, live.stream.pieces)) <= 500
    assert live.position == 3_600_000 and len(live.smoother.held) == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(window_seconds=0.01), "window_seconds: got 0.01, expected at least 0.025 s"),
        (dict(hop_seconds=0.0), "hop_seconds: got 0.0 at 1000 Hz"),
        (dict(smoothing_seconds=-1.0), "smoothing_seconds: got -1.0"),
    ],
)
def test_impossible_settings_are_refused_at_once(settings, message):
    with pytest.raises(ValueError, match=message):
        session(**settings)


def test_chunks_must_be_mono():
    with pytest.raises(ValueError, match="block: got shape .10, 2., expected mono"):
        session().feed(np.zeros((10, 2), np.float32))


def test_window_stream_by_hand():
    stream = WindowStream(10, 0.5, 0.3)
    assert stream.push(np.arange(4)) == []
    ((start, window),) = stream.push(np.arange(4, 7))
    assert start == 0 and window.tolist() == [0, 1, 2, 3, 4]
    ((start, window),) = stream.push(np.arange(7, 8))
    assert start == 3 and window.tolist() == [3, 4, 5, 6, 7]
    assert stream.tail() is None
