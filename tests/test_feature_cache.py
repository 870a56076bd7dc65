"""Raw features of many clips in one file: what the rows are, and what is refused."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from asm_rh import feature_cache
from asm_rh.audio import decode, resample
from asm_rh.classifier import Classifier
from asm_rh.config import FrontendConfig, ModelConfig
from asm_rh.datasets import Clip, DataError
from asm_rh.feature_cache import FeatureCache, build, clip_windows, concatenate, raw_settings
from asm_rh.frontends import LogMel
from asm_rh.model import AudioMixer

RATE = 16_000
CONFIG = ModelConfig(
    labels=("a", "b"), window_seconds=0.5, frames=48, patch=(16, 16), stride=(16, 16), width=32, depth=2,
    token_hidden=16, channel_hidden=32, roll="grid", frontend=FrontendConfig(bands=32),
)  # fmt: skip
PAUSE = CONFIG.replace(frontend={"pause": True})
HALF_PRECISION = 2e-3  # float16 has 11 bits: relative 2^-11, absolute 0.004 at the floor of -16


def write(path, seconds, rate=RATE, seed=0, level=0.1):
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = np.random.default_rng(seed).standard_normal(round(seconds * rate)).astype(np.float32) * level
    soundfile.write(path, wave, rate, subtype="FLOAT" if path.suffix == ".wav" else None)
    return path


def log_mel(wave):
    with torch.inference_mode():
        return LogMel(CONFIG.frontend, RATE)(torch.from_numpy(wave)[None])[0].numpy()


def cache(rows=6, **changes):
    random = np.random.default_rng(rows)
    columns = dict(
        features=random.standard_normal((rows, 48, 32)).astype(np.float16),
        label=np.array(["a", "b"] * rows)[:rows],
        group=np.array([f"g{i}" for i in range(rows)]),
        split=np.array(["train", "valid", "test"] * rows)[:rows],
        frontend=raw_settings(CONFIG),
    )
    return FeatureCache(**{**columns, **changes})


# ---------------------------------------------------------------------------------------------- rows


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_rows_are_the_log_mel_of_the_decoded_audio(tmp_path, rate):
    paths = [write(tmp_path / f"{i}.wav", 0.5, rate, seed=i) for i in range(3)]
    clips = [
        Clip(path, label, f"g{i}", split)
        for i, (path, label, split) in enumerate(zip(paths, "aba", ["train", None, "test"]))
    ]
    found = build(clips, CONFIG)
    assert found.features.shape == (3, 48, 32) and found.features.dtype == np.float16
    for row, path in zip(found.features, paths):
        samples, got_rate = decode(path)
        np.testing.assert_allclose(
            row, log_mel(resample(samples, got_rate, RATE))[:48], rtol=HALF_PRECISION, atol=HALF_PRECISION
        )
    assert found.label.tolist() == ["a", "b", "a"] and found.group.tolist() == ["g0", "g1", "g2"]
    assert found.split.tolist() == ["train", "train", "test"]
    assert found.weight.tolist() == [1, 1, 1] and not found.approximate.any()
    assert found.frontend == raw_settings(CONFIG) and found.skipped == []


def test_short_clip_goes_on_with_its_quietest_frame(tmp_path):
    loud = np.random.default_rng(0).standard_normal(3200).astype(np.float32)
    loud[1600:2400] *= 0.001
    soundfile.write(tmp_path / "a.wav", loud, RATE, subtype="FLOAT")
    row = build([Clip(tmp_path / "a.wav", "a", "g")], PAUSE).features[0].astype(np.float32)
    picture = log_mel(loud)
    assert picture.shape[0] == 18
    quietest = picture[np.array([frame.mean() for frame in picture]).argmin()]
    np.testing.assert_allclose(row[:18], picture, rtol=HALF_PRECISION, atol=HALF_PRECISION)
    np.testing.assert_allclose(row[18:], np.tile(quietest, (30, 1)), rtol=HALF_PRECISION, atol=HALF_PRECISION)


def test_clip_shorter_than_one_frame_is_filled_with_zeros(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.full(300, 0.5, np.float32), RATE, subtype="FLOAT")
    row = build([Clip(tmp_path / "a.wav", "a", "g")], PAUSE).features[0].astype(np.float32)
    whole = np.concatenate([np.full(300, 0.5, np.float32), np.zeros(100, np.float32)])
    np.testing.assert_allclose(row, np.tile(log_mel(whole), (48, 1)), rtol=HALF_PRECISION, atol=HALF_PRECISION)


@pytest.mark.parametrize("seconds", [0.02, 0.2, 0.5])
@pytest.mark.parametrize("frontend", [{}, {"padding": -1.0, "mean": 2.0}, {"centre": True, "mean": 0.0}, {"pause": True}])
def test_cached_clips_are_what_the_model_hears(tmp_path, frontend, seconds):
    config = CONFIG.replace(frontend=frontend)
    rising = np.linspace(0.01, 1, round(seconds * RATE))
    wave = (np.random.default_rng(1).standard_normal(len(rising)) * rising).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", wave, RATE, subtype="FLOAT")
    row = build([Clip(tmp_path / "a.wav", "a", "g")], config).features
    model = AudioMixer(config)
    heard = model.features(Classifier(model, "cpu").prepare(wave, RATE))
    trained = model.normalise(torch.from_numpy(row).float())
    torch.testing.assert_close(trained, heard, atol=0.02, rtol=0)
    if seconds == 0.2 and "pause" not in frontend:
        assert (heard[0, 20:48] == config.frontend.padding).all()


@pytest.mark.parametrize(
    ("seconds", "hop", "starts"),
    [
        (0.5, None, [0]),
        (1.0, None, [0, 8000]),
        (1.249, None, [0, 8000]),
        (1.25, None, [0, 8000, 16000]),
        (0.2, None, [0]),
        (1.0, 0.25, [0, 4000, 8000, 12000]),
        (0.9, 0.25, [0, 4000, 8000]),
    ],
)
def test_long_clips_are_cut_and_the_last_piece_kept_from_half_full(tmp_path, seconds, hop, starts):
    path = write(tmp_path / "a.wav", seconds)
    wave = decode(path)[0]
    parts = clip_windows(Clip(path, "a", "g"), CONFIG, hop)
    assert len(parts) == len(starts)
    for part, start in zip(parts, starts):
        np.testing.assert_array_equal(part, wave[start : start + 8000])
    found = build([Clip(path, "a", "g", "valid")], CONFIG, hop)
    assert found.label.tolist() == ["a"] * len(starts) and found.split.tolist() == ["valid"] * len(starts)


def test_only_the_marked_stretch_of_a_recording_is_taken(tmp_path):
    path = write(tmp_path / "a.wav", 2.0)
    wave = decode(path)[0]
    (part,) = clip_windows(Clip(path, "a", "g", start=0.75, end=1.1), CONFIG)
    np.testing.assert_array_equal(part, wave[12000:17600])
    np.testing.assert_array_equal(np.concatenate(clip_windows(Clip(path, "a", "g", start=1.0), CONFIG)), wave[16000:])


@pytest.mark.parametrize("hop", [0, -1.0, 1e-9, float("nan")])
def test_impossible_hop_is_refused(tmp_path, hop):
    with pytest.raises(ValueError, match=r"hop_seconds|NaN"):
        build([Clip(write(tmp_path / "a.wav", 1.0), "a", "g")], CONFIG, hop_seconds=hop)


# ---------------------------------------------------------------------------------------------- broken files


def test_unreadable_files_are_listed_and_not_fatal(tmp_path):
    (tmp_path / "text.wav").write_text("not sound")
    (tmp_path / "empty.wav").write_bytes(b"")
    clips = [Clip(tmp_path / name, "a", name) for name in ("text.wav", "empty.wav", "gone.wav")]
    good = Clip(write(tmp_path / "good.wav", 0.5), "b", "good")
    beyond = Clip(good.path, "a", "beyond", start=5.0)
    found = build([clips[0], good, beyond, *clips[1:]], CONFIG)
    assert found.group.tolist() == ["good"] and found.label.tolist() == ["b"]
    assert len(found.skipped) == 4
    for name in ("text.wav", "empty.wav", "gone.wav", "good.wav"):
        assert sum(name in line.split(":")[0] for line in found.skipped) == 1


def test_nothing_readable_is_an_error_that_names_the_first(tmp_path):
    (tmp_path / "text.wav").write_text("not sound")
    with pytest.raises(DataError, match=r"none of 1 files could be read; the first: .*text\.wav"):
        build([Clip(tmp_path / "text.wav", "a", "g")], CONFIG)
    with pytest.raises(DataError, match="none of 0 files"):
        build([], CONFIG)


def test_progress_sees_every_clip(tmp_path):
    clips = [Clip(write(tmp_path / f"{i}.wav", 0.5), "a", "g") for i in range(3)]
    seen = []
    build(clips, CONFIG, progress=lambda items: (seen.append(item) or item for item in items))
    assert seen == clips


# ---------------------------------------------------------------------------------------------- the table


def test_columns_of_another_length_are_refused():
    with pytest.raises(DataError, match="5 values of label for 6 rows"):
        cache(label=np.array(["a"] * 5))
    with pytest.raises(DataError, match="2 values of weight for 6 rows"):
        cache(weight=np.ones(2, np.float32))


def test_part_and_of_split_take_every_column_along():
    whole = cache(weight=np.arange(6, dtype=np.float32), approximate=np.arange(6) % 2 == 0)
    part = whole.of_split("valid")
    assert part.group.tolist() == ["g1", "g4"] and part.weight.tolist() == [1, 4]
    assert part.approximate.tolist() == [False, True] and part.label.tolist() == ["b", "a"]
    np.testing.assert_array_equal(part.features, whole.features[[1, 4]])
    assert part.frontend == whole.frontend
    assert len(whole.of_split("nothing")) == 0


def test_balance_gives_every_label_the_same_mass():
    whole = cache(label=np.array(["a", "b", "b", "b", "b", "c"]))
    whole.balance()
    assert whole.weight.tolist() == [2.0, 0.5, 0.5, 0.5, 0.5, 2.0] and whole.weight.dtype == np.float32


def test_concatenate_keeps_all_rows_in_order_and_what_was_skipped():
    first, second = cache(3, skipped=["x: bad"]), cache(4, skipped=["y: bad"], weight=np.full(4, 2.0, np.float32))
    both = concatenate([first, second])
    np.testing.assert_array_equal(both.features, np.concatenate([first.features, second.features]))
    assert both.group.tolist() == ["g0", "g1", "g2", "g0", "g1", "g2", "g3"]
    assert both.weight.tolist() == [1] * 3 + [2] * 4 and both.skipped == ["x: bad", "y: bad"]
    assert both.frontend == raw_settings(CONFIG)
    assert concatenate([cache(2, frontend={}), first]).frontend == raw_settings(CONFIG)


def test_concatenate_refuses_different_front_ends():
    other = raw_settings(CONFIG.replace(frontend={"preemphasis": 0.9}))
    with pytest.raises(DataError, match="different front ends"):
        concatenate([cache(), cache(frontend=other)])


def test_raw_settings_leave_out_only_what_comes_after_the_raw_features():
    short = CONFIG.replace(window_seconds=0.4)  # so that other frames still fit
    same = short.replace(frontend={"centre": True, "mean": 1.0, "std": 2.0, "padding": 3.0})
    assert raw_settings(same) == raw_settings(short)
    changes = {"frame_seconds": 0.02, "hop_seconds": 0.02, "fft_samples": 1024, "bands": 40, "low_hz": 50.0,
               "high_hz": 7000.0, "preemphasis": 0.5, "pause": True}  # fmt: skip
    for name, value in changes.items():
        assert raw_settings(short.replace(frontend={name: value})) != raw_settings(short), name
    assert raw_settings(short.replace(sample_rate=22050)) != raw_settings(short)


# ---------------------------------------------------------------------------------------------- the file


def test_save_and_load_round_trip(tmp_path):
    whole = cache(weight=np.linspace(0, 1, 6, dtype=np.float32), approximate=np.arange(6) > 3)
    path = tmp_path / "new" / "folder" / "cache.npz"
    whole.save(path)
    found = FeatureCache.load(path)
    for name in ("features", "label", "group", "split", "weight", "approximate"):
        got, wanted = getattr(found, name), getattr(whole, name)
        assert got.dtype == wanted.dtype
        np.testing.assert_array_equal(got, wanted)
    assert found.frontend == whole.frontend
    assert os.listdir(path.parent) == ["cache.npz"]
    assert path.stat().st_mode & 0o044, "others must be able to read it, as any file that is saved"


def test_weight_approximate_and_frontend_may_be_absent(tmp_path):
    whole = cache()
    np.savez(tmp_path / "c.npz", features=whole.features, label=whole.label, group=whole.group, split=whole.split)
    found = FeatureCache.load(tmp_path / "c.npz")
    assert found.weight.tolist() == [1] * 6 and not found.approximate.any() and found.frontend == {}


@pytest.mark.parametrize("name", ["features", "label", "group", "split"])
def test_missing_column_is_named(tmp_path, name):
    whole = cache()
    columns = {n: getattr(whole, n) for n in ("features", "label", "group", "split") if n != name}
    np.savez(tmp_path / "c.npz", **columns)
    with pytest.raises(DataError, match=f"has no {name}: expected a feature cache"):
        FeatureCache.load(tmp_path / "c.npz")


def test_garbage_is_refused_with_the_name_of_the_file(tmp_path):
    cache().save(tmp_path / "whole.npz")
    whole = (tmp_path / "whole.npz").read_bytes()
    np.save(tmp_path / "array.npy", np.zeros(3))
    flipped = bytearray(whole)
    flipped[2000] ^= 0xFF
    contents = {
        "empty.npz": b"",
        "text.npz": b"hello",
        "zip.npz": b"PK\x03\x04 hello",
        "cut.npz": whole[: len(whole) // 2],
        "flipped.npz": bytes(flipped),
        "array.npz": (tmp_path / "array.npy").read_bytes(),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=name):
            FeatureCache.load(tmp_path / name)
    with pytest.raises(DataError, match=r"gone\.npz"):
        FeatureCache.load(tmp_path / "gone.npz")


class Trap:
    """Unpickling this makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_pickled_arrays_are_refused_and_never_run(tmp_path):
    trap = np.empty(6, object)
    trap[:] = [Trap(tmp_path / "trapped")] * 6
    whole = cache()
    for name in ("features", "label", "frontend"):
        columns = {n: getattr(whole, n) for n in ("features", "label", "group", "split")}
        np.savez(tmp_path / "c.npz", **{**columns, name: trap})
        with pytest.raises(DataError, match=r"c\.npz is no feature cache"):
            FeatureCache.load(tmp_path / "c.npz")
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"features": np.zeros((6, 48), np.float16)},
        {"features": np.zeros(())},
        {"features": np.array([[["x"] * 2] * 2] * 6)},
        {"frontend": np.array("not json")},
        {"frontend": np.array("[1, 2]")},
        {"label": np.array(["a"])},
    ],
)
def test_columns_of_the_wrong_kind_are_refused(tmp_path, changes):
    whole = cache()
    columns = {n: getattr(whole, n) for n in ("features", "label", "group", "split")}
    np.savez(tmp_path / "c.npz", **{**columns, "frontend": json.dumps(whole.frontend), **changes})
    with pytest.raises(DataError, match="feature cache"):
        FeatureCache.load(tmp_path / "c.npz")


@pytest.mark.parametrize("where", ["write", "replace"])
def test_interrupted_save_leaves_the_earlier_file_whole(tmp_path, monkeypatch, where):
    earlier, later = cache(3), cache(5)
    path = tmp_path / "cache.npz"
    earlier.save(path)
    before = path.read_bytes()

    def half(file, **arrays):
        file.write(b"PK half")
        raise KeyboardInterrupt

    def stop(*_):
        raise OSError("no space left on device")

    if where == "write":
        monkeypatch.setattr(feature_cache.np, "savez", half)
    else:
        monkeypatch.setattr("asm_rh.files.os.replace", stop)
    with pytest.raises((KeyboardInterrupt, OSError)):
        later.save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["cache.npz"], "no half-written file is left behind"


def test_real_clips_build_to_finite_rows(shared_data):
    root = shared_data / "speech_commands_v2_12"
    paths = [path for folder in ("yes", "_silence_") for path in sorted((root / folder).glob("*.flac"))[:3]]
    if not paths:
        pytest.skip("no speech_commands_v2_12")
    found = build([Clip(path, "a", path.stem) for path in paths], CONFIG)
    assert len(found) == 12 and found.skipped == []  # one second each: two windows of half a second
    assert np.isfinite(found.features).all() and found.features.min() >= -16


# ---------------------------------------------------------------------------------------------- statistics and splits


@pytest.mark.parametrize("centre", [False, True])
def test_statistics_are_those_of_all_cells(centre):
    found = cache(7)
    cells = found.features.astype(np.float64)
    cells = cells - cells.mean((1, 2), keepdims=True) if centre else cells
    mean, std = feature_cache.statistics(found, centre)
    assert mean == pytest.approx(0 if centre else cells.mean(), abs=1e-5) and std == pytest.approx(cells.std(), rel=1e-5)


def test_splits_are_assigned_by_clip():
    found = cache(4)
    found.clip = np.array(["a", "b", "a", "c"])
    found.assign({"a": "test", "b": "train", "c": "valid", "d": "train"})
    assert found.split.tolist() == ["test", "train", "test", "valid"]
    with pytest.raises(DataError, match="holds 2 clips that the data does not, such as b"):
        found.assign({"a": "test"})
