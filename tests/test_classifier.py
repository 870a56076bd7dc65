"""The one prediction path: equal to the model called by hand, for every kind of input, with clear refusals."""

import io
import json
import math
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torchaudio.functional import resample

from asm_rh.audio import AudioError
from asm_rh.classifier import Classifier, warm_up
from asm_rh.config import FrontendConfig, ModelConfig
from asm_rh.model import AudioMixer

ROOT = Path(__file__).resolve().parent.parent
RATE = 16_000
MODEL = ModelConfig(
    labels=("no", "yes", "up", "_silence_"), window_seconds=0.5, frames=48, patch=(16, 16), stride=(16, 16), width=32,
    depth=2, token_hidden=16, channel_hidden=32, roll="grid", frontend=FrontendConfig(bands=32),
)  # fmt: skip


def random_model(config=MODEL, seed=0):
    torch.manual_seed(seed)
    model = AudioMixer(config).eval()
    with torch.no_grad():
        model.head[1].weight.mul_(5)  # untrained scores are nearly equal: make them differ
    return model


@pytest.fixture(scope="module")
def classifier():
    return Classifier(random_model(), "cpu")


def sound(seconds, rate=RATE, seed=0):
    """Noise whose colour changes, so that windows differ; float32, kept within 0.9."""
    random = np.random.default_rng(seed)
    count = round(seconds * rate)
    white, brown = random.standard_normal(count), np.cumsum(random.standard_normal(count))
    share = 0.5 + 0.5 * np.sin(np.arange(count) * 2 * np.pi / (0.7 * rate))
    mixed = share * white / np.abs(white).max() + (1 - share) * brown / np.abs(brown).max()
    return (0.9 * mixed / np.abs(mixed).max()).astype(np.float32)


def by_hand(model, samples, rate, window_seconds=0.5, hop_seconds=0.25):
    """Start, end and scores of every whole window and one shorter last one, the model called on each alone."""
    window, rows, reached, i = round(window_seconds * rate), [], 0, 0
    while True:
        start = round(i * hop_seconds * rate)
        piece = samples[start : start + window]
        if len(piece) < window and (reached >= len(samples) or (i and len(piece) < 0.025 * rate)):
            return rows
        wave = torch.from_numpy(piece.copy())[None]
        if rate != RATE:
            wave = resample(wave, rate, RATE)
        with torch.inference_mode():
            scores = model(wave[:, : model.config.window_samples]).double().softmax(1)[0].numpy()
        rows.append((start / rate, (start + len(piece)) / rate, len(piece) < window, scores))
        reached, i = start + len(piece), i + 1
        if len(piece) < window:
            return rows


def assert_equals_by_hand(found, rows, tolerance=2e-6):
    assert len(found) == len(rows)
    np.testing.assert_allclose(found.start, [row[0] for row in rows], atol=1e-12)
    np.testing.assert_allclose(found.end, [row[1] for row in rows], atol=1e-12)
    assert found.padded.tolist() == [row[2] for row in rows]
    np.testing.assert_allclose(found.scores, [row[3] for row in rows], atol=tolerance)


# ---------------------------------------------------------------------------------------------- equal to the model


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
@pytest.mark.parametrize("seconds", [0.5, 1.0, 2.13, 0.3])
def test_windows_equal_the_model_called_on_each(classifier, rate, seconds):
    samples = sound(seconds, rate)
    rows = by_hand(classifier.model, samples, rate)
    assert rows[-1][2] == (seconds in (2.13, 0.3))
    found = classifier.windows(samples, sampling_rate=rate)
    assert_equals_by_hand(found, rows)
    assert seconds < 1 or np.ptp(found.scores, axis=0).max() > 0.02, "windows must differ, or this proves nothing"
    assert found.labels == MODEL.labels and found.background == {"_silence_"}


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_every_kind_of_input_gives_the_same_scores(classifier, tmp_path, rate):
    steps = np.round(sound(1.3, rate) * 2**15).astype(np.int16)
    samples = steps.astype(np.float32) / 2**15
    path = tmp_path / "a.wav"
    soundfile.write(path, steps, rate, subtype="PCM_16")
    rows = by_hand(classifier.model, samples, rate)
    inputs = {
        "path": (path, None),
        "text": (str(path), None),
        "bytes": (path.read_bytes(), None),
        "file": (io.BytesIO(path.read_bytes()), None),
        "array": (samples, rate),
        "float64": (samples.astype(np.float64), rate),
        "list": (samples.tolist(), rate),
        "tuple": ((rate, steps), None),
        "dict": ({"array": samples, "sampling_rate": rate}, None),
        "raw": ({"raw": samples, "sampling_rate": rate}, None),
        "torch": (torch.from_numpy(samples), rate),
        "gradient": (torch.from_numpy(samples).requires_grad_(), rate),
        "row": (torch.from_numpy(samples)[None], rate),
    }
    for name, (audio, given) in inputs.items():
        found = classifier.windows(audio, sampling_rate=given)
        assert_equals_by_hand(found, rows)
        assert found.file == ("a.wav" if name in ("path", "text") else None), name


@pytest.mark.parametrize("kind", ["array", "columns", "int16", "file"])
def test_stereo_is_the_mean_of_its_channels(classifier, tmp_path, kind):
    steps = np.stack([np.round(sound(0.8, seed=s) * 2**15) for s in (1, 2)], 1).astype(np.int16)
    both = steps.astype(np.float32) / 2**15
    rows = by_hand(classifier.model, both.mean(1), RATE)
    if kind == "file":
        soundfile.write(tmp_path / "a.flac", steps, RATE)
        found = classifier.windows(tmp_path / "a.flac")
    elif kind == "int16":
        found = classifier.windows((RATE, steps))
    else:
        found = classifier.windows(both if kind == "array" else both.T, sampling_rate=RATE)
    assert_equals_by_hand(found, rows)


def test_batch_size_does_not_matter(classifier):
    samples = sound(4.1, 44_100)
    wanted = classifier.windows(samples, sampling_rate=44_100, hop_seconds=0.1, batch_size=1)
    assert len(wanted) == 37
    for size in (2, 7, 16, 1000):
        found = classifier.windows(samples, sampling_rate=44_100, hop_seconds=0.1, batch_size=size)
        np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-6)
        np.testing.assert_array_equal(found.start, wanted.start)


def test_last_padded_window_is_marked_and_equals_the_model_on_the_short_wave(classifier):
    samples = sound(0.9)
    found = classifier.windows(samples, sampling_rate=RATE, hop_seconds=0.3)
    assert found.padded.tolist() == [False, False, True]
    assert (found.start[-1], found.end[-1]) == (pytest.approx(0.6), pytest.approx(0.9))
    with torch.inference_mode():
        short = classifier.model(torch.from_numpy(samples[9600:])[None]).softmax(1)[0].numpy()
        filled = classifier.model(torch.from_numpy(np.pad(samples[9600:], (0, 3200)))[None]).softmax(1)[0].numpy()
    np.testing.assert_allclose(found.scores[-1], short, atol=2e-6)
    assert np.abs(short - filled).max() > 1e-3, "padding the wave is another thing, or this proves nothing"


@pytest.mark.parametrize("window", [0.03, 0.2, 0.35])
def test_window_shorter_than_the_models(classifier, window):
    samples = sound(1.0)
    rows = by_hand(classifier.model, samples, RATE, window, window)
    assert_equals_by_hand(classifier.windows(samples, window, window, sampling_rate=RATE), rows)


def test_hop_is_half_a_window_unless_given(classifier):
    samples = sound(1.5)
    assert classifier.windows(samples, sampling_rate=RATE).start.tolist() == [0, 0.25, 0.5, 0.75, 1.0]
    assert classifier.windows(samples, 0.3, sampling_rate=RATE).start[:3].tolist() == pytest.approx([0, 0.15, 0.3])
    assert classifier.windows(samples, hop_seconds=0.5, sampling_rate=RATE).start.tolist() == [0, 0.5, 1.0]
    assert classifier.windows(samples, hop_seconds=0.75, sampling_rate=RATE).start.tolist() == [0, 0.75]


def test_last_window_of_a_model_with_long_frames_may_be_shorter_than_one_frame():
    frontend = dict(bands=32, frame_seconds=0.06, fft_samples=1024)
    model = random_model(MODEL.replace(frontend=frontend))
    samples = sound(0.54)
    found = Classifier(model, "cpu").windows(samples, hop_seconds=0.5, sampling_rate=RATE)
    assert found.padded.tolist() == [False, True]
    filled = torch.from_numpy(np.pad(samples[8000:], (0, 960 - 640)))[None]
    with torch.inference_mode():
        np.testing.assert_allclose(found.scores[-1], model(filled).softmax(1)[0], atol=2e-6)


def test_score_takes_many_windows_or_one_and_cuts_what_is_too_long(classifier):
    samples = np.stack([sound(0.5, seed=s) for s in range(3)])
    scores = classifier.score(samples, RATE)
    assert scores.shape == (3, 4) and scores.dtype == np.float32
    np.testing.assert_allclose(classifier.score(samples[1], RATE), scores[1:2], atol=1e-6)
    longer = np.concatenate([samples, samples], 1)
    np.testing.assert_allclose(classifier.score(longer, RATE), scores, atol=1e-6)


def test_the_name_of_the_sound_can_be_given(classifier, tmp_path):
    soundfile.write(tmp_path / "a.wav", sound(0.5), RATE)
    assert classifier.windows(tmp_path / "a.wav", name="there/a.wav").file == "there/a.wav"
    assert classifier.windows(sound(0.5), sampling_rate=RATE, name="microphone").file == "microphone"


# ---------------------------------------------------------------------------------------------- progress


def test_progress_gets_rising_seconds_up_to_the_end(classifier):
    seen = []
    classifier.windows(sound(5.1), sampling_rate=RATE, batch_size=4, progress=seen.append)
    assert len(seen) >= 5 and seen == sorted(set(seen))
    assert seen[-1] == pytest.approx(5.1) and seen[0] == pytest.approx(0.5 + 3 * 0.25)


def test_an_exception_from_progress_stops_the_work(classifier, tmp_path):
    soundfile.write(tmp_path / "long.wav", sound(60.0), RATE)
    calls = []

    def stop(seconds):
        calls.append(seconds)
        if len(calls) == 2:
            raise InterruptedError("enough")

    scored = []
    model = random_model()
    model.register_forward_hook(lambda *args: scored.append(1))
    with pytest.raises(InterruptedError, match="enough"):
        Classifier(model, "cpu").windows(tmp_path / "long.wav", batch_size=4, progress=stop)
    assert len(calls) == len(scored) == 2


# ---------------------------------------------------------------------------------------------- predict


def test_predict_is_sorted_and_top_k_none_gives_all(classifier):
    samples = sound(1.7)
    everything = classifier.predict(samples, RATE, top_k=None)
    assert sorted(row["label"] for row in everything) == sorted(MODEL.labels)
    assert [row.keys() for row in everything] == [{"label", "score"}] * 4
    scores = [row["score"] for row in everything]
    assert scores == sorted(scores, reverse=True) and all(isinstance(score, float) for score in scores)
    assert classifier.predict(samples, RATE, top_k=2) == everything[:2]
    assert classifier.predict(samples, RATE) == everything
    json.dumps(everything)
    pooled = classifier.windows(samples, sampling_rate=RATE).pooled()
    assert {row["label"]: row["score"] for row in everything} == dict(zip(MODEL.labels, pooled.tolist()))


def test_default_top_k_is_five():
    many = Classifier(random_model(MODEL.replace(labels=tuple("abcdefgh"))), "cpu")
    assert len(many.predict(sound(0.5), RATE)) == 5
    with pytest.raises(ValueError, match="top"):
        many.predict(sound(0.5), RATE, top_k=0)


def test_softmax_scores_sum_to_one_and_sigmoid_scores_need_not(classifier):
    samples = sound(1.7)
    np.testing.assert_allclose(classifier.windows(samples, sampling_rate=RATE).scores.sum(1), 1, atol=1e-6)
    model = random_model(MODEL.replace(output="sigmoid"))
    found = Classifier(model, "cpu").windows(samples, sampling_rate=RATE).scores
    assert (np.abs(found.sum(1) - 1) > 0.01).any() and found.min() >= 0 and found.max() <= 1
    with torch.inference_mode():
        logits = model(torch.from_numpy(samples[:8000])[None]).double()[0].numpy()
    np.testing.assert_allclose(found[0], 1 / (1 + np.exp(-logits)), atol=1e-6)


# ---------------------------------------------------------------------------------------------- where models come from


def test_a_folder_gives_the_same_scores_as_the_model_it_was_saved_from(classifier, tmp_path):
    classifier.model.save_pretrained(tmp_path)
    samples = sound(0.9)
    found = Classifier(tmp_path).windows(samples, sampling_rate=RATE).scores
    np.testing.assert_allclose(found, classifier.windows(samples, sampling_rate=RATE).scores, atol=1e-6)


def test_a_model_in_training_mode_is_put_into_evaluation():
    model = random_model(MODEL.replace(drop_path=0.9)).train()
    shared = Classifier(model, "cpu")
    first, second = (shared.windows(sound(0.9), sampling_rate=RATE).scores for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("device", ["nonsense", "cuda:99", "mps"])
def test_a_device_that_is_not_there_is_one_clear_error(device):
    if device == "mps" and torch.backends.mps.is_available():
        pytest.skip("there is one")
    with pytest.raises(ValueError, match=f"no device '{device}' here, expected cpu, cuda or mps"):
        Classifier(random_model(), device)


# ---------------------------------------------------------------------------------------------- refusals


def test_every_bad_input_gives_its_own_clear_error(classifier, tmp_path):
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "text.wav").write_text("this is no sound\n" * 100)
    soundfile.write(tmp_path / "no_samples.wav", np.zeros(0, np.float32), RATE)
    broken = sound(1.0)
    broken[777] = np.nan
    soundfile.write(tmp_path / "nan.wav", broken, RATE, subtype="FLOAT")
    cases = [
        (tmp_path / "empty.wav", None, r"empty\.wav: the file is empty \(0 bytes\)"),
        (tmp_path / "no_samples.wav", None, r"no_samples\.wav: the file opens but holds 0 samples"),
        (tmp_path / "nan.wav", None, r"nan\.wav: 1 of 16000 values are NaN or infinite, the first at sample 777"),
        (tmp_path / "text.wav", None, r"text\.wav: not a sound file that can be read"),
        (tmp_path / "gone.wav", None, r"file not found: .*gone\.wav"),
        (tmp_path, None, r"is a folder, expected a sound file"),
        (b"", None, r"the file is empty"),
        (b"rubbish" * 100, None, r"bytes: not a sound file"),
        (broken, RATE, r"audio array: 1 of 16000 values are NaN"),
        (np.zeros(1, np.float32), RATE, r"too short: got 1 sample at 16000 Hz"),
        (np.zeros(0, np.float32), RATE, r"got no samples"),
        (np.zeros(399, np.float32), RATE, r"too short: got 399 samples"),
        (sound(0.5), None, r"got an array without its rate"),
        (sound(0.5), 0, r"sampling rate: got 0"),
        (sound(0.5), -16000, r"sampling rate: got -16000"),
        (None, RATE, r"got None"),
        ({"array": sound(0.5)}, None, r"expected 'array' \(or 'raw'\) and 'sampling_rate'"),
        ((sound(0.5), RATE), None, r"expected \(rate, array\)"),
        (np.zeros((2, 3, 4)), RATE, r"got 3 dimensions"),
    ]
    messages = set()
    for audio, rate, message in cases:
        for call in (classifier.windows, classifier.predict):
            with pytest.raises(AudioError, match=message) as error:
                call(audio, sampling_rate=rate)
        assert "\n" not in str(error.value)
        messages.add(str(error.value))
    assert len(messages) == len(cases)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window_seconds": 0.6}, r"window_seconds=0\.6 is longer than the model's window of 0\.5 s"),
        ({"window_seconds": math.inf}, "window_seconds=inf is longer"),
        ({"window_seconds": math.nan}, "window_seconds"),
        ({"window_seconds": 0.01}, r"window_seconds: got 0\.01, expected at least 0\.025 s"),
        ({"window_seconds": 0.0}, "window_seconds"),
        ({"window_seconds": -1.0}, "window_seconds"),
        ({"hop_seconds": 0}, "hop_seconds: got 0"),
        ({"hop_seconds": -0.1}, "hop_seconds"),
        ({"hop_seconds": 1e-6}, "hop_seconds"),
        ({"hop_seconds": math.nan}, "hop_seconds"),
        ({"batch_size": 0}, "batch_size=0: expected at least 1"),
        ({"batch_size": -3}, "batch_size=-3"),
    ],
)
def test_every_bad_setting_gives_a_clear_error(classifier, settings, message):
    with pytest.raises(ValueError, match=message):
        classifier.windows(sound(1.0), sampling_rate=RATE, **settings)


def test_damage_in_the_middle_of_a_long_file_is_an_error_not_a_short_answer(classifier, tmp_path):
    samples = sound(25.0)
    samples[24 * RATE] = np.inf
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    with pytest.raises(AudioError, match="the first at sample 384000"):
        classifier.windows(tmp_path / "a.wav")


# ---------------------------------------------------------------------------------------------- threads


def test_eight_threads_on_one_classifier_give_the_single_thread_results(classifier):
    jobs = [(sound(0.5 + 0.37 * (i % 8), rate, seed=i), rate) for i in range(8) for rate in (16_000, 48_000)]
    expected = [classifier.windows(samples, sampling_rate=rate).scores for samples, rate in jobs]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            found = list(pool.map(lambda job: classifier.windows(job[0], sampling_rate=job[1]).scores, jobs))
            for got, wanted in zip(found, expected):
                np.testing.assert_allclose(got, wanted, atol=1e-6)


# ---------------------------------------------------------------------------------------------- memory

MEASURED = """
import runpy, sys
from pathlib import Path

code = 1
try:
    sys.argv[0] = "asm_rh"
    runpy.run_module("asm_rh", run_name="__main__")
except SystemExit as stopped:
    code = stopped.code
status = Path("/proc/self/status").read_text()
print("VmHWM kB", status.split("VmHWM:")[1].split()[0], file=sys.stderr)
sys.exit(code)
"""


@pytest.fixture(scope="module")
def one_hour(tmp_path_factory):
    """One hour of noise and tones, 16 kHz FLAC, written in blocks."""
    path, random = tmp_path_factory.mktemp("hour") / "hour.flac", np.random.default_rng(0)
    block = random.standard_normal(60 * RATE) * 0.05
    with soundfile.SoundFile(path, "w", RATE, 1) as file:
        for minute in range(60):
            tone = np.sin(2 * np.pi * (200 + 30 * minute) * np.arange(len(block)) / RATE)
            file.write(np.roll(block, 997 * minute) + 0.1 * tone)
    return path


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize("which", ["tiny", "default"])
def test_one_hour_stays_under_700_megabytes(one_hour, tmp_path, which):
    options = []
    if which == "tiny":
        random_model().save_pretrained(tmp_path / "model")
        options = ["--model", str(tmp_path / "model")]
    elif not (ROOT / "checkpoints" / "asm-rh-keywords" / "model.safetensors").is_file():
        pytest.skip("no default model")
    output = tmp_path / "out.jsonl"
    arguments = ["classify", str(one_hour), "--device", "cpu", "--format", "jsonl", "-o", str(output), *options]
    done = subprocess.run([sys.executable, "-c", MEASURED, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    megabytes = int(done.stderr.split("VmHWM kB")[1]) / 1000
    print(f"{which}: {megabytes:.0f} MB")
    assert megabytes < 700
    lines = output.read_text().splitlines()
    assert len(lines) == (3600 / 0.25 - 1 if which == "tiny" else 3600 / 0.5 - 1)
    assert json.loads(lines[-1])["end"] == 3600.0


# ---------------------------------------------------------------------------------------------- threads


def in_a_thread(work):
    """Runs `work` in a thread of its own and gives what it returned: torch keeps its number of threads per thread."""
    found = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.parametrize(("quick_seconds", "wanted"), [(10.0, 1), (0.0, 3)])
def test_a_quick_model_is_left_one_thread(quick_seconds, wanted):
    calls = []

    def work():
        torch.set_num_threads(3)
        warm_up(lambda waves, rate: calls.append((waves.shape, rate, torch.get_num_threads())), np.zeros((1, 8)), 4, quick_seconds)
        return torch.get_num_threads()

    before = torch.get_num_threads()
    try:
        assert in_a_thread(work) == wanted and calls == [((1, 8), 4, 1)] * 2
    finally:
        torch.set_num_threads(before)
