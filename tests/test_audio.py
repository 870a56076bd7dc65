"""Decoding, mixing, resampling and cutting: every promise of asm_rh.audio and every error it gives."""

import io
import itertools
import os
import struct
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch

from asm_rh import audio
from asm_rh.audio import AudioError
from asm_rh.windows import WindowStream

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data"
RATE = 16_000


def tone(seconds=1.0, rate=RATE, hz=440.0, level=0.3):
    return (level * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def noise(samples, seed=0):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, samples).astype(np.float32)


def soundfile_bytes(samples, rate=RATE, format="WAV", subtype=None):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=format, subtype=subtype)
    return file.getvalue()


def av_bytes(samples, rate, container, codec):
    """Encode mono (n,) or stereo (n, 2) samples with PyAV."""
    layout = "mono" if samples.ndim == 1 else "stereo"
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        track = output.add_stream(codec, rate=rate, layout=layout)
        planes = np.ascontiguousarray(np.atleast_2d(samples.T))
        frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=layout)
        frame.sample_rate, frame.pts = rate, 0
        to_codec = av.AudioResampler(format=track.codec_context.format, layout=layout, rate=rate)
        for part in [*to_codec.resample(frame), *to_codec.resample(None), None]:
            output.mux(list(track.encode(part)))
    return file.getvalue()


def dominant_hz(samples, rate):
    return np.argmax(np.abs(np.fft.rfft(samples))) * rate / len(samples)


# ---------------------------------------------------------------------------------------------- decoding


@pytest.mark.parametrize(
    ("format", "subtype", "tolerance"),
    [
        ("WAV", "PCM_U8", 1 / 128),
        ("WAV", "PCM_16", 2e-4),
        ("WAV", "PCM_24", 1e-6),
        ("WAV", "PCM_32", 1e-6),
        ("WAV", "FLOAT", 0.0),
        ("WAV", "DOUBLE", 0.0),
        ("WAV", "ULAW", 0.02),
        ("FLAC", "PCM_16", 2e-4),
        ("AIFF", "PCM_16", 2e-4),
        ("OGG", "VORBIS", 0.05),
        ("OGG", "OPUS", 0.05),
        ("MP3", None, 0.05),
    ],
)
def test_decode_reads_what_soundfile_can(tmp_path, format, subtype, tolerance):
    sound = tone()
    path = tmp_path / f"tone.{format.lower()}"
    path.write_bytes(soundfile_bytes(sound, RATE, format, subtype))
    samples, rate = audio.decode(path)
    assert (rate, samples.dtype, samples.shape) == (RATE, np.float32, sound.shape)
    middle = slice(2000, 14000)
    assert np.abs(samples[middle] - sound[middle]).max() <= tolerance


@pytest.mark.parametrize(
    ("container", "codec", "rate"),
    [("ipod", "aac", 16_000), ("mp4", "aac", 44_100), ("adts", "aac", 16_000), ("webm", "libopus", 48_000)],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_decode_reads_the_rest_with_pyav(container, codec, rate, channels):
    sound = tone(1.0, rate)
    if channels == 2:
        sound = np.stack([sound * 1.5, sound * 0.5], axis=1)
    samples, got_rate = audio.decode(av_bytes(sound, rate, container, codec))
    assert got_rate == rate
    assert samples.dtype == np.float32 and samples.ndim == 1
    assert rate <= len(samples) <= rate + 4096  # encoders of AAC fill up their last block
    assert dominant_hz(samples[:rate], rate) == pytest.approx(440, abs=2)
    assert np.sqrt(np.mean(samples[:rate] ** 2)) == pytest.approx(0.3 / np.sqrt(2), rel=0.08)


@pytest.mark.parametrize("codec", ["pcm_u8", "pcm_s16le", "pcm_s32le", "pcm_f32le", "pcm_f64le"])
def test_both_readers_scale_samples_the_same(monkeypatch, codec):
    stereo = np.stack([tone(0.5), 0.5 * tone(0.5, hz=300)], axis=1)
    data = av_bytes(stereo, RATE, "wav", codec)
    by_soundfile, _ = audio.decode(data)
    monkeypatch.setattr(audio, "_open_soundfile", lambda opened: (None, "switched off"))
    by_pyav, rate = audio.decode(data)
    assert rate == RATE
    assert by_pyav == pytest.approx(by_soundfile, abs=1e-7)
    assert by_pyav == pytest.approx(stereo.mean(axis=1), abs=1 / 127)


def test_the_name_of_a_file_decides_nothing(tmp_path):
    for name in ("flac.wav", "flac.raw", "flac"):
        path = tmp_path / name
        path.write_bytes(soundfile_bytes(tone(), format="FLAC"))
        assert audio.decode(path)[0].shape == (RATE,)


def test_decode_mixes_to_the_mean_of_the_channels():
    channels = np.stack([tone(), noise(RATE), np.zeros(RATE, np.float32)], axis=1)
    samples, _ = audio.decode(soundfile_bytes(channels, subtype="FLOAT"))
    assert samples == pytest.approx(channels.mean(axis=1), abs=1e-7)


def test_decode_never_normalises():
    quiet, loud = 1e-4 * noise(RATE), 3.0 * noise(RATE)
    for sound in (quiet, loud):
        assert np.array_equal(audio.decode(soundfile_bytes(sound, subtype="FLOAT"))[0], sound)


class Pipe(io.RawIOBase):
    """A binary file that cannot seek, like standard input."""

    def __init__(self, data):
        self.file = io.BytesIO(data)

    def readable(self):
        return True

    def readinto(self, buffer):
        return self.file.readinto(buffer)


@pytest.mark.parametrize("kind", ["wav", "m4a"])
def test_every_kind_of_source_gives_the_same_samples(tmp_path, kind):
    data = soundfile_bytes(tone()) if kind == "wav" else av_bytes(tone(), RATE, "ipod", "aac")
    path = tmp_path / f"tone.{kind}"
    path.write_bytes(data)
    expected, _ = audio.decode(path)
    middle_of_file = io.BytesIO(data)
    middle_of_file.seek(50)
    with open(path, "rb") as opened:
        sources = [str(path), data, bytearray(data), memoryview(data), middle_of_file, opened, Pipe(data)]
        for source in sources:
            samples, rate = audio.decode(source)
            assert rate == RATE and np.array_equal(samples, expected), type(source)
        assert not opened.closed and not middle_of_file.closed


@pytest.mark.parametrize("reader", ["soundfile", "pyav"])
@pytest.mark.parametrize("block_seconds", [0.003, 0.1, 0.37, 60.0])
def test_stream_gives_the_samples_of_decode_in_any_blocks(reader, block_seconds):
    sound = np.stack([noise(2 * RATE), noise(2 * RATE, seed=1)], axis=1)
    data = soundfile_bytes(sound) if reader == "soundfile" else av_bytes(sound, RATE, "ipod", "aac")
    expected, _ = audio.decode(data)
    rate, blocks = audio.stream(data, block_seconds)
    blocks = list(blocks)
    assert rate == RATE
    assert all(block.dtype == np.float32 and block.ndim == 1 for block in blocks)
    assert len(blocks) > 1 or block_seconds == 60.0
    assert max(map(len, blocks)) <= block_seconds * RATE + 1024
    assert min(map(len, blocks[:-1]), default=RATE) >= min(block_seconds, 1.0) * RATE
    assert np.array_equal(np.concatenate(blocks), expected)


def test_stream_opens_at_once_and_reads_lazily(monkeypatch):
    reads = []
    original = soundfile.SoundFile.read
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda self, *a, **k: reads.append(1) or original(self, *a, **k))
    _, blocks = audio.stream(soundfile_bytes(tone(5.0)), block_seconds=1.0)
    assert reads == []
    next(blocks)
    assert len(reads) == 1


@pytest.mark.parametrize("block_seconds", [0, -1.0, float("nan"), float("inf")])
def test_stream_refuses_impossible_blocks(block_seconds):
    with pytest.raises(AudioError, match="block_seconds: got .* expected a positive number"):
        audio.stream(soundfile_bytes(tone()), block_seconds)


@pytest.mark.parametrize(
    ("corpus", "suffix", "rate"), [("librispeech_speakers", "opus", 16_000), ("speech_commands_v2_12", "flac", 16_000)]
)
def test_real_recordings_decode(corpus, suffix, rate):
    folder = DATA / corpus
    if not folder.is_dir():
        pytest.skip(f"the recordings of {corpus} are not in ../shared/data")
    paths = sorted(folder.rglob(f"*.{suffix}"))
    assert paths, f"no .{suffix} under {corpus}"
    for path in paths[:: max(1, len(paths) // 60)]:
        samples, got_rate = audio.as_audio(path)
        assert got_rate == rate and 0.0 < np.abs(samples).max() <= 1.5, path.name


# ---------------------------------------------------------------------------------------------- unusable files


def check_refused(source, *words):
    with pytest.raises(AudioError) as caught:
        audio.decode(source)
    message = str(caught.value)
    assert all(word in message for word in words), message
    return message


def test_missing_file_folder_and_odd_sources_are_refused(tmp_path):
    check_refused(tmp_path / "no.wav", "file not found", "no.wav")
    check_refused("x" * 100_000, "file not found")
    check_refused(tmp_path, "is a folder")
    check_refused(3.5, "got float", "expected a path, bytes or a binary file object")
    check_refused(io.StringIO("RIFF"), "opened as text", "mode 'rb'")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_named_pipe_is_refused_and_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    check_refused(tmp_path / "pipe.wav", "not a regular file", "file object")


def test_empty_file_is_refused(tmp_path):
    path = tmp_path / "empty.wav"
    path.touch()
    check_refused(path, "empty.wav", "empty (0 bytes)")
    check_refused(b"", "empty (0 bytes)")
    check_refused(io.BytesIO(), "empty (0 bytes)")


@pytest.mark.parametrize("format", ["WAV", "AIFF", "OGG"])
def test_file_without_samples_is_refused(format):
    check_refused(soundfile_bytes(tone()[:0], format=format), "0 samples")


def test_sound_track_without_samples_is_refused_by_pyav_too(monkeypatch):
    monkeypatch.setattr(audio, "_open_soundfile", lambda opened: (None, "switched off"))
    check_refused(soundfile_bytes(tone()[:0]), "0 samples")


def test_empty_wav_with_a_comment_behind_it_is_refused():
    empty = soundfile_bytes(tone()[:0])[:44] + b"LIST" + struct.pack("<I", 4) + b"INFO"
    check_refused(empty[:4] + struct.pack("<I", len(empty) - 8) + empty[8:], "0 samples")


def test_text_named_wav_is_refused(tmp_path):
    path = tmp_path / "text.wav"
    path.write_text("this is a letter, not a sound\n" * 100)
    message = check_refused(path, "text.wav", "not a sound file", "soundfile:", "PyAV:", "expected wav, flac")
    assert "BytesIO" not in message


def test_random_bytes_are_refused():
    check_refused(np.random.default_rng(0).bytes(50_000), "not a sound file")


def test_picture_without_sound_is_refused():
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        track = output.add_stream("mpeg4", rate=5)
        track.width, track.height, track.pix_fmt = 32, 32, "yuv420p"
        for frame in (av.VideoFrame(32, 32, "yuv420p"), None):
            output.mux(list(track.encode(frame)))
    check_refused(file.getvalue(), "no sound track")


def test_playlist_cannot_make_the_reader_open_other_files(tmp_path):
    secret = tmp_path / "secret.aac"
    secret.write_bytes(av_bytes(tone(), RATE, "adts", "aac"))
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{secret}\n#EXT-X-ENDLIST\n"
    concat = f"ffconcat version 1.0\nfile {secret.name}\n"
    for name, text in (("list.m3u8", playlist), ("list.wav", playlist), ("list.ffconcat", concat)):
        (tmp_path / name).write_text(text)
        check_refused(tmp_path / name, "not a sound file")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("channels", [1, 2])
def test_nan_and_infinity_inside_a_file_are_refused(bad, channels):
    sound = np.zeros((30_000, channels), np.float32)
    sound[[25_000, 26_000], -1] = bad
    rate, blocks = audio.stream(soundfile_bytes(sound, subtype="FLOAT"), block_seconds=1.0)
    assert len(next(blocks)) == rate
    with pytest.raises(AudioError, match="2 of 14000 values are NaN or infinite, the first at sample 25000"):
        next(blocks)


@pytest.mark.parametrize(("subtype", "bytes_per_second"), [("PCM_16", 32_000), ("FLOAT", 64_000), ("ULAW", 16_000)])
def test_truncated_wav_is_refused(tmp_path, subtype, bytes_per_second):
    data = soundfile_bytes(tone(3.0), subtype=subtype)
    path = tmp_path / "cut.wav"
    path.write_bytes(data[: len(data) - 2 * bytes_per_second])
    for source in (path, path.read_bytes(), io.BytesIO(path.read_bytes())):
        check_refused(source, "truncated", "promises 3.000 s", "1.000 s are there")


def test_wav_is_measured_behind_other_chunks():
    data = soundfile_bytes(tone(2.0))
    extra = b"JUNK" + struct.pack("<I", 7) + b"1234567\0"
    longer = data[:12] + extra + data[12:]
    longer = longer[:4] + struct.pack("<I", len(longer) - 8) + longer[8:]
    assert len(audio.decode(longer)[0]) == 2 * RATE
    check_refused(longer[:-32_000], "truncated", "promises 2.000 s", "1.000 s")


def test_wav_that_lacks_less_than_one_sample_is_read():
    data = soundfile_bytes(tone())
    assert len(audio.decode(data[:-1])[0]) >= RATE - 1


@pytest.mark.parametrize(
    ("riff_bytes", "data_bytes"),
    [
        (0xFFFFFFFF, 0xFFFFFFFF),
        (0x7FFFF024, 0x7FFFF000),
        (0x7FFFFFFF, 0x7FFFFFFF),
        (0x80000024, 0x80000000),
        (0, 0),
        (36, 0),
        (0xFFFFFFFF, 0),
    ],
)
def test_wav_from_a_pipe_without_sizes_is_read(riff_bytes, data_bytes):
    sound = soundfile_bytes(tone())
    data = sound[:4] + struct.pack("<I", riff_bytes) + sound[8:40] + struct.pack("<I", data_bytes) + sound[44:]
    samples, rate = audio.decode(data)
    assert rate == RATE and np.array_equal(samples, audio.decode(sound)[0])


@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_damaged_files_are_refused(keep):
    for data in (soundfile_bytes(noise(RATE), format="FLAC"), av_bytes(noise(RATE), RATE, "adts", "aac")):
        check_refused(data[: int(keep * len(data))], "damaged at or after", "expected a whole file")
    data = av_bytes(noise(RATE), RATE, "ipod", "aac")
    check_refused(data[: int(keep * len(data))], "not a sound file")


# ---------------------------------------------------------------------------------------------- arrays


@pytest.mark.parametrize(
    ("dtype", "values", "expected"),
    [
        (np.int16, [-32768, 0, 16384, 32767], [-1.0, 0.0, 0.5, 32767 / 32768]),
        (np.int32, [-(2**31), 0, 2**30], [-1.0, 0.0, 0.5]),
        (np.int8, [-128, 0, 64, 127], [-1.0, 0.0, 0.5, 127 / 128]),
        (np.uint8, [0, 128, 192, 255], [-1.0, 0.0, 0.5, 127 / 128]),
        (np.float16, [-0.5, 0.25], [-0.5, 0.25]),
        (np.float32, [-3.0, 0.25], [-3.0, 0.25]),
        (np.float64, [-0.5, 1e-6], [-0.5, 1e-6]),
    ],
)
def test_to_mono_scales_integers_and_keeps_floats(dtype, values, expected):
    array = np.array(values, dtype=dtype)
    for given in (array, torch.from_numpy(array), array[:, None], array.astype(array.dtype.newbyteorder(">"))):
        mono = audio.to_mono(given)
        assert mono.dtype == np.float32
        assert np.array_equal(mono, np.array(expected, np.float32))


def test_to_mono_takes_the_smaller_side_as_channels():
    stereo = np.stack([noise(1000), noise(1000, seed=1)], axis=1)
    expected = stereo.mean(axis=1)
    for given in (stereo, stereo.T, torch.from_numpy(stereo), torch.from_numpy(stereo.T)):
        assert audio.to_mono(given) == pytest.approx(expected, abs=1e-7)
    assert audio.to_mono(np.array([[0.0, 1.0], [0.5, 0.5]])).tolist() == [0.5, 0.5]
    assert audio.to_mono(np.array([[0.0, 1.0], [1.0, 1.0]])).tolist() == [0.5, 1.0]
    assert len(audio.to_mono(np.zeros((1, 700)))) == len(audio.to_mono(np.zeros((700, 1)))) == 700


def test_to_mono_mixes_integers_without_overflow():
    loud = np.full((100, 2), 32_000, dtype=np.int16)
    assert np.allclose(audio.to_mono(loud), 32_000 / 32_768)


def test_to_mono_takes_tensors_of_every_kind():
    weights = torch.tensor([0.5, -0.25], requires_grad=True)
    for given in (weights, weights.detach().to(torch.bfloat16), [0.5, -0.25]):
        assert audio.to_mono(given).tolist() == [0.5, -0.25]


def test_to_mono_leaves_its_argument_alone():
    array = noise(100)
    audio.to_mono(array)
    assert np.array_equal(array, noise(100))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(0), "no samples"),
        (np.zeros((0, 2)), "no samples"),
        (np.zeros((1, 2, 300)), "3 dimensions"),
        (np.float32(0.5), "0 dimensions"),
        (np.zeros((128, 500)), "128 channels, expected at most 64"),
        (np.zeros(50, complex), "dtype complex128"),
        (torch.zeros(50, dtype=torch.complex64), "dtype complex64"),
        (np.zeros(50, bool), "dtype bool"),
        (np.array([None, 0.5]), "dtype object"),
        (np.zeros(50, np.int64), "dtype int64"),
        (np.zeros(50, np.uint16), "dtype uint16"),
        ("abc", "0 dimensions"),
        ([[0.0, 1.0], [0.5]], "no array"),
        (np.array([0.0, np.nan, np.inf, 0.0]), "2 of 4 values are NaN or infinite, the first at sample 1"),
        (np.array([[0.0, 0.0, 0.0], [0.0, 0.0, -np.inf]]), "1 of 6 values .* the first at sample 2"),
        (np.array([0.0, 1e300]), "1 of 2 values are NaN or infinite"),
    ],
)
def test_to_mono_refuses(array, message):
    with pytest.raises(AudioError, match=message):
        audio.to_mono(array)


# ---------------------------------------------------------------------------------------------- anything


def test_as_audio_takes_every_form():
    sound = tone()
    data = soundfile_bytes(sound, subtype="FLOAT")
    forms = [
        (data, None),
        (data, RATE),
        (sound, RATE),
        (torch.from_numpy(sound), np.int64(RATE)),
        (list(map(float, sound)), float(RATE)),
        ((RATE, sound), None),
        ((RATE, sound), RATE),
        ({"array": sound, "sampling_rate": RATE}, None),
        ({"raw": torch.from_numpy(sound), "sampling_rate": RATE, "path": None}, RATE),
    ]
    for given, sampling_rate in forms:
        samples, rate = audio.as_audio(given, sampling_rate)
        assert type(rate) is int and rate == RATE
        assert samples.dtype == np.float32 and np.array_equal(samples, sound)
        stream_rate, blocks = audio.as_stream(given, sampling_rate, block_seconds=0.1)
        assert stream_rate == RATE and np.array_equal(np.concatenate(list(blocks)), sound)


def test_as_audio_takes_gradio_stereo_int16():
    left, right = np.full(4800, 16384, np.int16), np.full(4800, -8192, np.int16)
    samples, rate = audio.as_audio((48_000, np.stack([left, right], axis=1)))
    assert rate == 48_000 and np.array_equal(samples, np.full(4800, 0.125, np.float32))


def test_as_stream_reads_files_lazily():
    sound = tone(5.0)
    rate, blocks = audio.as_stream(soundfile_bytes(sound), block_seconds=1.0)
    assert [len(block) for block in blocks] == [rate] * 5


@pytest.mark.parametrize(
    ("given", "sampling_rate", "message"),
    [
        (noise(1000), None, "give sampling_rate"),
        (None, None, "got None"),
        (None, RATE, "got None"),
        ({"array": noise(1000)}, None, "expected 'array' .* and 'sampling_rate'"),
        ({"sampling_rate": RATE, "bytes": b""}, None, r"got a dict with \['bytes', 'sampling_rate'\]"),
        ((noise(1000), RATE), None, r"expected \(rate, array\); for \(array, rate\)"),
        ((RATE, noise(1000), 1), None, r"expected \(rate, array\)"),
        ((RATE, noise(1000)), 8000, "the tuple says 16000 Hz but sampling_rate=8000"),
        ({"array": noise(1000), "sampling_rate": RATE}, 8000, "the dict says 16000 Hz"),
        (soundfile_bytes(tone()), 8000, "the file says 16000 Hz"),
    ],
)
def test_as_audio_refuses(given, sampling_rate, message):
    with pytest.raises(AudioError, match=message):
        audio.as_audio(given, sampling_rate)


@pytest.mark.parametrize("rate", [0, -16_000, 999, 768_001, 16_000.5, float("nan"), float("inf"), "16000", True, None])
def test_impossible_rates_are_refused(rate):
    with pytest.raises(AudioError, match="sampling rate: got .* expected a whole number of Hz from 1000 to 768000"):
        audio.check_rate(rate)
    if rate is not None:
        with pytest.raises(AudioError, match="sampling rate"):
            audio.as_audio(noise(100_000), rate)


@pytest.mark.parametrize("rate", [1000, 768_000, 16_000.0, np.int32(44_100), np.float64(8000)])
def test_possible_rates_become_int(rate):
    assert audio.check_rate(rate) == rate and type(audio.check_rate(rate)) is int


def test_a_file_with_an_impossible_rate_is_refused():
    check_refused(soundfile_bytes(tone(), rate=500), "sampling rate: got 500")


def test_audio_below_25_ms_is_refused():
    with pytest.raises(AudioError, match="got 1 sample at 16000 Hz = 0.06 ms, expected at least 25 ms"):
        audio.as_audio(noise(1), RATE)
    with pytest.raises(AudioError, match="got 399 samples at 16000 Hz = 24.94 ms"):
        audio.as_audio(soundfile_bytes(noise(399)))
    assert len(audio.as_audio(noise(400), RATE)[0]) == 400
    for rate in (1000, 8000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000):
        fewest = -(-rate // 40)
        audio.check_length(fewest, rate)
        with pytest.raises(AudioError, match="audio too short"):
            audio.check_length(fewest - 1, rate)


def test_audio_errors_are_value_errors():
    assert issubclass(AudioError, ValueError)


# ---------------------------------------------------------------------------------------------- resampling


def test_resample_is_the_default_of_torchaudio():
    from torchaudio.functional import resample

    sound = noise(44_100)
    expected = resample(torch.from_numpy(sound), 44_100, 16_000).numpy()
    got = audio.resample(sound, 44_100, 16_000)
    assert got.dtype == np.float32 and np.array_equal(got, expected)


def test_resample_keeps_a_tone():
    for rate in (8000, 22_050, 44_100, 48_000):
        got = audio.resample(tone(1.0, rate), rate, 16_000)
        assert len(got) == 16_000
        assert got[500:-500] == pytest.approx(tone(1.0, 16_000)[500:-500], abs=3e-3)


def test_resample_of_a_batch_is_that_of_its_rows():
    batch = np.stack([noise(4800, seed) for seed in range(3)])
    got = audio.resample(batch, 48_000, 16_000)
    assert got.shape == (3, 1600)
    for row, expected in zip(got, batch, strict=True):
        assert row == pytest.approx(audio.resample(expected, 48_000, 16_000), abs=1e-6)


def test_resample_to_the_same_rate_changes_nothing():
    sound = noise(1000)
    assert np.array_equal(audio.resample(sound, RATE, RATE), sound)


@pytest.mark.parametrize(
    ("rate", "target_rate"), [(44_101, 16_000), (16_000, 44_101), (22_254, 16_000), (16_000, 16_001)]
)
def test_resample_of_rates_without_common_factor_is_right_and_small(rate, target_rate):
    assert max(audio._rate_ratio(rate, target_rate)) <= audio.MAX_RATIO_TERM
    got = audio.resample(tone(1.0, rate), rate, target_rate)
    assert len(got) == target_rate
    assert dominant_hz(got, target_rate) == pytest.approx(440, abs=1.5)
    assert got[500:-500] == pytest.approx(tone(1.0, target_rate)[500:-500], abs=0.06)


@pytest.mark.parametrize("samples_count", [400, 401, 12_345])
@pytest.mark.parametrize("rate", [8000, 22_254, 44_100, 44_101])
def test_resample_gives_the_promised_length(rate, samples_count):
    assert len(audio.resample(noise(samples_count), rate, RATE)) == -(-samples_count * RATE // rate)


def test_resample_takes_read_only_and_reversed_arrays(recwarn):
    read_only = np.frombuffer(noise(4800).tobytes(), np.float32)
    expected = audio.resample(noise(4800), 48_000, RATE)
    assert np.array_equal(audio.resample(read_only, 48_000, RATE), expected)
    assert len(audio.resample(read_only[::-1], 48_000, RATE)) == 1600
    assert not [warning for warning in recwarn if "writable" in str(warning.message)]


def test_resample_refuses_other_shapes():
    for shape in ((0,), (2, 3, 4)):
        with pytest.raises(AudioError, match="resample: got shape"):
            audio.resample(np.zeros(shape), 8000, 16_000)


# ---------------------------------------------------------------------------------------------- windows


def cut(sound, window_seconds, hop_seconds, rate=1000, blocks=None):
    return list(audio.windows(rate, [sound] if blocks is None else blocks, window_seconds, hop_seconds))


def spans(cuts):
    return [(start, start + len(window), padded) for start, window, padded in cuts]


@pytest.mark.parametrize(
    ("samples_count", "window_seconds", "hop_seconds", "expected"),
    [
        # exactly one window, one less, one more
        (1000, 1.0, 0.5, [(0, 1000, False)]),
        (999, 1.0, 0.5, [(0, 999, True)]),
        (1001, 1.0, 0.5, [(0, 1000, False), (500, 1001, True)]),
        # the last window is full: nothing follows, although more starts lie inside the sound
        (
            2000,
            1.0,
            0.25,
            [(0, 1000, False), (250, 1250, False), (500, 1500, False), (750, 1750, False), (1000, 2000, False)],
        ),
        # one short window at most, the first to reach the end
        (1300, 1.0, 0.25, [(0, 1000, False), (250, 1250, False), (500, 1300, True)]),
        # side by side, with a tail of 100 ms, of 25 ms, and one of 24 ms that is dropped
        (2100, 1.0, 1.0, [(0, 1000, False), (1000, 2000, False), (2000, 2100, True)]),
        (2025, 1.0, 1.0, [(0, 1000, False), (1000, 2000, False), (2000, 2025, True)]),
        (2024, 1.0, 1.0, [(0, 1000, False), (1000, 2000, False)]),
        # gaps between windows: a sound that ends in the gap, and one that ends behind it
        (1400, 1.0, 1.5, [(0, 1000, False)]),
        (1600, 1.0, 1.5, [(0, 1000, False), (1500, 1600, True)]),
        # much shorter than a window
        (25, 10.0, 5.0, [(0, 25, True)]),
        # the grid does not drift: starts are rounded from i * hop, not summed
        (200, 0.1, 0.0333, [(0, 100, False), (33, 133, False), (67, 167, False), (100, 200, False)]),
    ],
)
def test_windows_by_hand(samples_count, window_seconds, hop_seconds, expected):
    sound = np.arange(samples_count, dtype=np.float32)
    cuts = cut(sound, window_seconds, hop_seconds)
    assert spans(cuts) == expected
    for start, window, _ in cuts:
        assert window.dtype == np.float32
        assert np.array_equal(window, sound[start : start + len(window)])


def test_windows_do_not_depend_on_the_blocks():
    random = np.random.default_rng(0)
    for _ in range(150):
        rate = int(random.choice([1000, 1001, 8000, 11_025]))
        sound = noise(int(random.integers(rate // 20, 4 * rate)), seed=int(random.integers(1000)))
        window_seconds, hop_seconds = random.uniform(0.025, 1.5), random.uniform(0.005, 2.0)
        edges = np.sort(random.integers(0, len(sound) + 1, int(random.integers(0, 60))))
        got = cut(sound, window_seconds, hop_seconds, rate, np.split(sound, edges))
        whole = cut(sound, window_seconds, hop_seconds, rate)
        assert spans(got) == spans(whole)
        for (start, window, padded), (_, expected, _) in zip(got, whole, strict=True):
            assert start in {round(i * hop_seconds * rate) for i in range(len(got))}
            assert len(window) == round(window_seconds * rate) or padded
            assert np.array_equal(window, expected)
            assert np.array_equal(window, sound[start : start + len(window)])


def test_windows_of_single_samples():
    sound = noise(300)
    got = cut(sound, 0.1, 0.03, blocks=(sound[i : i + 1] for i in range(300)))
    assert spans(got) == spans(cut(sound, 0.1, 0.03))
    assert all(np.array_equal(window, sound[start : start + len(window)]) for start, window, _ in got)


def test_windows_cover_the_whole_sound_without_idle_ones():
    for samples_count in range(25, 700, 7):
        ends = [stop for _, stop, _ in spans(cut(noise(samples_count), 0.2, 0.05))]
        assert ends[-1] == samples_count
        assert all(later > earlier for earlier, later in itertools.pairwise(ends))


def test_windows_come_as_soon_as_they_are_full():
    taken = []

    def blocks():
        for index in range(100):
            taken.append(index)
            yield noise(100)

    stream = audio.windows(1000, blocks(), 0.3, 0.1)
    next(stream)
    assert len(taken) == 3
    next(stream)
    assert len(taken) == 4


def test_windows_belong_to_the_caller():
    sound = noise(1000)
    for _, window, _ in audio.windows(1000, [sound[:500], sound[500:]], 0.4, 0.1):
        window[:] = 0.0
    assert np.array_equal(sound, noise(1000))
    cuts = audio.windows(1000, [sound], 0.4, 0.1)
    next(cuts)[1][:] = 0.0
    assert np.array_equal(next(cuts)[1], sound[100:500])


def test_windows_hold_little():
    stream = WindowStream(1000, 0.25, 0.1)
    for index in range(1000):
        stream.push(np.full(100, index, np.float32))
        assert sum(map(len, stream.pieces)) <= 350


def test_windows_across_wide_gaps_hold_little():
    stream, starts = WindowStream(1000, 0.1, 20.0), []
    for _ in range(500):
        starts += [start for start, _ in stream.push(np.zeros(100, np.float32))]
        assert sum(map(len, stream.pieces)) <= 200
    assert starts == [0, 20_000, 40_000]


@pytest.mark.parametrize(
    ("window_seconds", "hop_seconds", "message"),
    [
        (0.0249, 0.1, "window_seconds: got 0.0249, expected at least 0.025 s"),
        (0.0, 0.1, "window_seconds: got 0.0"),
        (-1.0, 0.1, "window_seconds: got -1.0"),
        (float("nan"), 0.1, "window_seconds: got nan"),
        (float("inf"), 0.1, "window_seconds: got inf"),
        (1.0, 0.0, "hop_seconds: got 0.0"),
        (1.0, -0.5, "hop_seconds: got -0.5"),
        (1.0, 1e-9, "hop_seconds: got 1e-09 at 16000 Hz, expected above 0 and at least one sample"),
        (1.0, float("nan"), "hop_seconds: got nan"),
    ],
)
def test_windows_refuse_impossible_settings_at_once(window_seconds, hop_seconds, message):
    with pytest.raises(AudioError, match=message):
        audio.windows(RATE, iter(()), window_seconds, hop_seconds)


@pytest.mark.parametrize("samples_count", [0, 1, 24])
def test_windows_refuse_too_short_audio(samples_count):
    with pytest.raises(AudioError, match=f"got {samples_count} samples? at 1000 Hz"):
        cut(noise(samples_count), 1.0, 0.5)


def test_windows_refuse_blocks_that_are_not_mono():
    with pytest.raises(AudioError, match="block: got shape"):
        cut(np.zeros((500, 2)), 0.1, 0.1)


def test_file_to_windows_end_to_end(tmp_path):
    path = tmp_path / "sound.flac"
    sound = noise(5 * 8000 + 4000)
    soundfile.write(path, sound, 8000)
    rate, blocks = audio.as_stream(path, block_seconds=0.7)
    cuts = list(audio.windows(rate, blocks, 1.0, 1.0))
    assert spans(cuts) == [(8000 * i, 8000 * i + 8000, False) for i in range(5)] + [(40_000, 44_000, True)]
    assert np.concatenate([window for _, window, _ in cuts]) == pytest.approx(sound, abs=2e-4)


# ---------------------------------------------------------------------------------------------- an hour

# The high-water mark of the program itself: getrusage would report that of the pytest process it was started from.
MEASURE = """
import sys
from asm_rh import audio
rate, blocks = audio.as_stream(sys.argv[1])
count = sum(len(window) for _, window, _ in audio.windows(rate, blocks, 1.0, 1.0))
peak_kb = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")][0]
print(count, rate, peak_kb)
"""


def write_sound(path, minutes):
    minute = 0.1 * noise(60 * RATE)
    if path.suffix == ".flac":
        with soundfile.SoundFile(path, "w", RATE, 1) as file:
            for _ in range(minutes):
                file.write(minute)
        return
    # Frames of AAC stand for themselves: one encoded minute may simply be repeated.
    path.write_bytes(av_bytes(minute, RATE, "adts", "aac") * minutes)


def measure(path):
    command = [sys.executable, "-c", MEASURE, str(path)]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    count, rate, peak_kb = map(int, output.split())
    return count / rate, peak_kb / 1024


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="measures memory through Linux' /proc")
@pytest.mark.parametrize("suffix", [".flac", ".aac"])
def test_an_hour_needs_the_memory_of_a_minute(tmp_path, suffix):
    peaks_mb = []
    for minutes in (1, 60):
        path = tmp_path / f"sound{minutes}{suffix}"
        write_sound(path, minutes)
        seconds, peak_mb = measure(path)
        assert seconds == pytest.approx(60 * minutes, rel=0.01)
        peaks_mb.append(peak_mb)
    # An hour of float32 at 16 kHz is 220 MB.
    assert peaks_mb[1] - peaks_mb[0] < 15, peaks_mb
