"""Any sound a user may hand in becomes mono float32 samples and a rate: decoded, checked, resampled, cut into windows.

soundfile reads first, PyAV reads what libsndfile refuses. Whole files and hour-long streams take the same path.
"""

import io
import math
import numbers
import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import soundfile

from .windows import MIN_SECONDS, WindowStream

MIN_RATE_HZ = 1_000
MAX_RATE_HZ = 768_000
MAX_CHANNELS = 64
FILE_KINDS = "wav, flac, ogg, opus, mp3, aiff, m4a, aac or webm"

INTEGER_SCALES = {"int8": 2.0**7, "uint8": 2.0**7, "int16": 2.0**15, "int32": 2.0**31}
# An uploaded playlist or script could tell FFmpeg to open other files or addresses: only containers of sound.
PYAV_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,eac3,flac,flv,matroska,webm,mov,mp4,m4a,mp3,"
    "mpeg,mpegts,ogg,tta,w64,wav,wv",
}
# torchaudio builds a filter of rate x target_rate values after dividing by their common factor.
MAX_RATIO_TERM = 2_000


class AudioError(ValueError):
    """Sound that cannot be used; the message says what was got, what was expected and what to do."""


# ---------------------------------------------------------------------------------------------- checks


def check_rate(rate: Any) -> int:
    """Return a sampling rate as int.

    `rate` in Hz: a positive integer, or a float without a fraction, from 1000 to 768000. Raises AudioError otherwise.
    """
    valid = isinstance(rate, numbers.Real) and math.isfinite(rate)
    if not valid or rate != int(rate) or not MIN_RATE_HZ <= rate <= MAX_RATE_HZ:
        raise AudioError(
            f"sampling rate: got {rate!r}, expected a whole number of Hz from {MIN_RATE_HZ} to {MAX_RATE_HZ}, "
            "for example sampling_rate=16000"
        )
    return int(rate)


def check_length(samples_count: int, rate: int) -> None:
    """Raise AudioError when `samples_count` samples at `rate` Hz last less than MIN_SECONDS."""
    seconds = samples_count / rate
    if seconds < MIN_SECONDS:
        unit = "sample" if samples_count == 1 else "samples"
        raise AudioError(
            f"audio too short: got {samples_count} {unit} at {rate} Hz = {1000 * seconds:.2f} ms, "
            f"expected at least {1000 * MIN_SECONDS:g} ms; give a longer recording"
        )


def _check_finite(samples: np.ndarray, first_sample: int, name: str) -> None:
    """`samples` (n,) or (n, channels), the first of them at position `first_sample` of the sound."""
    bad = ~np.isfinite(samples)
    if bad.any():
        position = first_sample + int(np.argmax(bad.reshape(len(samples), -1).any(axis=1)))
        raise AudioError(
            f"{name}: {int(bad.sum())} of {bad.size} values are NaN or infinite, the first at sample {position}; "
            "expected finite numbers, repair or cut the recording there"
        )


# ---------------------------------------------------------------------------------------------- arrays


def to_mono(array: Any) -> np.ndarray:
    """Turn one sound of any number of channels into float32 samples (n,), the mean of the channels.

    `array`: numpy, torch or list, of shape (n,), (n, channels) or (channels, n): the smaller side is taken as the
    channels, at most 64 of them, and of a square the second. int8, int16 and int32 are divided by their range to
    [-1, 1) (the very largest int32 round to 1), uint8 after subtracting 128; floats are kept as they are.
    Raises AudioError when empty, of another dtype, of more than two dimensions, or with NaN or infinite values.
    """
    values = _as_numpy(array)
    if values.ndim not in (1, 2):
        raise AudioError(
            f"audio array: got {values.ndim} dimensions {values.shape}, expected (n,), (n, channels) or (channels, n); "
            "give one sound at a time"
        )
    if values.size == 0:
        raise AudioError(f"audio array: got no samples, shape {values.shape}, expected at least one")
    if values.ndim == 2 and values.shape[0] < values.shape[1]:
        values = values.T
    if values.ndim == 2 and values.shape[1] > MAX_CHANNELS:
        raise AudioError(
            f"audio array: got shape {values.shape}, that is {values.shape[1]} channels, expected at most "
            f"{MAX_CHANNELS}; give the waveform of one sound, not a batch or a spectrogram"
        )
    scaled = _to_float(values)
    _check_finite(scaled, 0, "audio array")
    return scaled if scaled.ndim == 1 else scaled.mean(axis=1, dtype=np.float32)


def _as_numpy(array: Any) -> np.ndarray:
    # Recognised by its methods, so that reading a file needs no torch.
    if hasattr(array, "detach") and hasattr(array, "cpu"):
        array = array.detach().cpu()
        return (array.float() if array.is_floating_point() else array).numpy()
    try:
        return np.asarray(array)
    except ValueError as error:
        raise AudioError(f"audio array: got a list that is no array ({error}), expected numbers of one shape") from None


def _to_float(values: np.ndarray) -> np.ndarray:
    kind = values.dtype.name
    if kind in INTEGER_SCALES:
        offset = 128.0 if kind == "uint8" else 0.0
        return (values.astype(np.float32) - np.float32(offset)) / np.float32(INTEGER_SCALES[kind])
    if not np.issubdtype(values.dtype, np.floating):
        raise AudioError(
            f"audio array: got dtype {kind}, expected float, int16, int32, int8 or uint8; "
            "convert it, for example array.astype('float32') with values from -1 to 1"
        )
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def resample(samples: np.ndarray, rate: int, target_rate: int) -> np.ndarray:
    """Resample a whole sound with torchaudio's default windowed sinc filter.

    `samples` (n,) or (batch, n) at `rate` Hz -> float32 of ceil(n * target_rate / rate) samples; unchanged when the
    rates are equal. Raises AudioError for other shapes and impossible rates.
    """
    rate, target_rate = check_rate(rate), check_rate(target_rate)
    samples = np.asarray(samples, dtype=np.float32)
    if samples.ndim not in (1, 2) or samples.shape[-1] == 0:
        raise AudioError(f"resample: got shape {samples.shape}, expected (n,) or (batch, n) with n > 0")
    if rate == target_rate:
        return samples
    import torch
    from torchaudio.functional import resample as sinc_resample

    source_term, target_term = _rate_ratio(rate, target_rate)
    # A copy, as torch takes neither read-only nor reversed memory.
    resampled = sinc_resample(torch.from_numpy(samples.copy()), source_term, target_term).numpy()
    return _fit(resampled, -(-samples.shape[-1] * target_rate // rate))


def _rate_ratio(rate: int, target_rate: int) -> tuple[int, int]:
    """The two rates divided by their common factor, or the nearest small ratio when they share none."""
    ratio = Fraction(target_rate, rate)
    if max(ratio.numerator, ratio.denominator) <= MAX_RATIO_TERM:
        return ratio.denominator, ratio.numerator
    # 44101 -> 16000 Hz would need a filter of 5 GB; the nearest ratio is off by less than one part in 1000, 2 cents.
    limit = MAX_RATIO_TERM if ratio < 1 else max(1, int(MAX_RATIO_TERM / ratio))
    ratio = ratio.limit_denominator(limit)
    return ratio.denominator, ratio.numerator


def _fit(samples: np.ndarray, samples_count: int) -> np.ndarray:
    missing = samples_count - samples.shape[-1]
    if missing <= 0:
        return samples[..., :samples_count]
    return np.pad(samples, [(0, 0)] * (samples.ndim - 1) + [(0, missing)], mode="edge")


# ---------------------------------------------------------------------------------------------- files


def decode(source: Any) -> tuple[np.ndarray, int]:
    """Read a whole sound file.

    `source`: path, bytes, or binary file object (read from its start, left open) -> (float32 (n,), rate in Hz), mono
    by the mean of the channels. Raises AudioError as `stream` does.
    """
    rate, blocks = stream(source)
    return np.concatenate(list(blocks)), rate


def stream(source: Any, block_seconds: float = 10.0) -> tuple[int, Iterator[np.ndarray]]:
    """Read a sound file piece by piece in constant memory.

    `source` as in `decode` -> (rate in Hz, iterator of float32 mono blocks of about `block_seconds`). Raises
    AudioError: at once for a missing, empty, truncated WAV or unreadable file; while reading for one that holds no
    samples, is damaged further on, or holds NaN or infinite values.
    """
    if not block_seconds > 0 or not math.isfinite(block_seconds):
        raise AudioError(f"block_seconds: got {block_seconds!r}, expected a positive number of seconds")
    opened, name = _open_source(source)
    sound, refusal = (None, "sizes missing") if _check_wav(opened, name) else _open_soundfile(opened)
    if sound is None:
        rate, blocks = _stream_pyav(opened, name, block_seconds, refusal)
    else:
        rate, blocks = sound.samplerate, _soundfile_blocks(sound, name, block_seconds)
    return check_rate(rate), _checked(blocks, name)


def _checked(blocks: Iterable[np.ndarray], name: str) -> Iterator[np.ndarray]:
    total = 0
    for block in blocks:
        _check_finite(block, total, name)
        total += len(block)
        yield block
    if total == 0:
        raise _no_samples(name)


def _no_samples(name: str) -> AudioError:
    return AudioError(f"{name}: the file opens but holds 0 samples, expected sound; record or export it again")


def _open_source(source: Any) -> tuple[str | BinaryIO, str]:
    """A path as str or a seekable binary file at its start, and the name for messages."""
    if isinstance(source, (str, os.PathLike)):
        return _checked_path(Path(source)), str(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        opened, name = io.BytesIO(source), "bytes"
    elif hasattr(source, "read"):
        opened, name = _seekable(source), str(getattr(source, "name", None) or "file object")
    else:
        raise AudioError(f"audio file: got {type(source).__name__}, expected a path, bytes or a binary file object")
    if _size(opened) == 0:
        raise AudioError(f"{name}: the file is empty (0 bytes), expected {FILE_KINDS}")
    return opened, name


def _checked_path(path: Path) -> str:
    # os.path answers False where Path raises, as for a text of a million characters.
    if not os.path.exists(path):
        raise AudioError(f"file not found: {str(path)[:200]}; expected a file on this computer, check the path")
    if path.is_dir():
        raise AudioError(f"{path} is a folder, expected a sound file; give the files in it one by one")
    if not path.is_file():
        raise AudioError(f"{path} is not a regular file; open it in binary mode and give the file object")
    if path.stat().st_size == 0:
        raise AudioError(f"{path}: the file is empty (0 bytes), expected {FILE_KINDS}")
    return str(path)


def _seekable(file: BinaryIO) -> BinaryIO:
    if isinstance(file.read(0), str):
        raise AudioError("file object: got one opened as text, expected binary; open it with mode 'rb'")
    seekable = file.seekable() if hasattr(file, "seekable") else hasattr(file, "seek")
    return file if seekable else io.BytesIO(file.read())


def _size(file: BinaryIO) -> int:
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    return size


# ---------------------------------------------------------------------------------------------- soundfile


def _open_soundfile(opened: str | BinaryIO) -> tuple[soundfile.SoundFile | None, str]:
    """The opened sound, or None and the reason why libsndfile refuses it."""
    try:
        return soundfile.SoundFile(opened), ""
    except soundfile.LibsndfileError as error:
        return None, error.error_string.rstrip(".")
    except TypeError as error:  # a name ending in .raw: soundfile then wants to be told the rate
        return None, str(error)


def _soundfile_blocks(sound: soundfile.SoundFile, name: str, block_seconds: float) -> Iterator[np.ndarray]:
    block_samples = max(1, round(block_seconds * sound.samplerate))
    total = 0
    with sound:
        while True:
            try:
                block = sound.read(block_samples, dtype="float32", always_2d=True)
            except soundfile.SoundFileError as error:
                raise _damaged(name, total / sound.samplerate, str(error)) from None
            if len(block) == 0:
                break
            total += len(block)
            yield block.mean(axis=1, dtype=np.float32)


def _damaged(name: str, seconds: float, reason: str) -> AudioError:
    return AudioError(
        f"{name}: damaged at or after {seconds:.3f} s ({reason}); expected a whole file, copy or export it again"
    )


# ---------------------------------------------------------------------------------------------- RIFF/WAVE headers


class _WavHeader(NamedTuple):
    """What the header of a RIFF/WAVE says, and how many bytes of sound are there."""

    file_is_whole: bool
    data_bytes: int
    present_bytes: int
    byte_rate: int
    frame_bytes: int


def _check_wav(opened: str | BinaryIO, name: str) -> bool:
    """Raise AudioError for a truncated RIFF/WAVE, which libsndfile would read as shorter sound without a word.

    Returns True for one whose sizes were never filled in so that libsndfile sees no sound, though there is some.
    """
    try:
        with open(opened, "rb") if isinstance(opened, str) else nullcontext(opened) as file:
            header = _read_wav_header(file)
            file.seek(0)
    except OSError as error:
        raise AudioError(
            f"{name}: cannot be read ({error.strerror or error}); check the file and your rights"
        ) from None
    if header is None or _is_placeholder(header.data_bytes):
        return False
    if header.data_bytes == 0:
        return header.present_bytes > 0 and not header.file_is_whole
    missing_bytes = header.data_bytes - header.present_bytes
    if missing_bytes >= max(1, header.frame_bytes) and header.byte_rate:
        promised, present = header.data_bytes / header.byte_rate, header.present_bytes / header.byte_rate
        raise AudioError(
            f"{name}: truncated, the header promises {promised:.3f} s but {present:.3f} s are there; "
            "expected a whole file, copy or download it again"
        )
    return False


def _is_placeholder(data_bytes: int) -> bool:
    # Programs that write WAV into a pipe cannot go back to fill in the size: they leave 0 or one of these.
    return data_bytes >= 0xFFFFFF00 or 0x7FFFF000 <= data_bytes <= 0x80000000


def _read_wav_header(file: BinaryIO) -> _WavHeader | None:
    size = _size(file)
    riff, riff_bytes, wave = struct.unpack("<4sI4s", file.read(12).ljust(12, b"\0"))
    if (riff, wave) != (b"RIFF", b"WAVE"):
        return None
    byte_rate, frame_bytes = 0, 1
    # A bound, as a hostile file may consist of a million empty chunks.
    for _ in range(1000):
        chunk_id, chunk_bytes = struct.unpack("<4sI", file.read(8).ljust(8, b"\0"))
        if chunk_id == b"data":
            return _WavHeader(riff_bytes + 8 == size, chunk_bytes, size - file.tell(), byte_rate, frame_bytes)
        next_chunk = file.tell() + chunk_bytes + chunk_bytes % 2
        if chunk_id == b"fmt ":
            byte_rate, frame_bytes = struct.unpack("<8xIH2x", file.read(16).ljust(16, b"\0"))
        if next_chunk >= size:
            break
        file.seek(next_chunk)
    return None


# ---------------------------------------------------------------------------------------------- PyAV


def _stream_pyav(
    opened: str | BinaryIO, name: str, block_seconds: float, refusal: str
) -> tuple[int, Iterator[np.ndarray]]:
    import av

    if not isinstance(opened, str):
        opened.seek(0)
    try:
        container = av.open(opened, options=dict(PYAV_OPTIONS), metadata_errors="ignore")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise AudioError(
            f"{name}: not a sound file that can be read (soundfile: {refusal}; PyAV: {_reason(error)}); "
            f"expected {FILE_KINDS}"
        ) from None
    if not container.streams.audio:
        container.close()
        raise AudioError(f"{name}: the file holds no sound track, expected {FILE_KINDS}")
    frames = _pyav_frames(container, name)
    # AAC may decode at twice the rate that the container states: only a decoded frame tells.
    first = next(frames, None)
    if first is None:
        raise _no_samples(name)
    return first.sample_rate, _pyav_blocks(first, frames, name, block_seconds)


def _pyav_frames(container: Any, name: str) -> Iterator[Any]:
    import av

    seconds = 0.0
    with container:
        try:
            for frame in container.decode(audio=0):
                yield frame
                seconds += frame.samples / frame.sample_rate
        except av.FFmpegError as error:
            raise _damaged(name, seconds, _reason(error)) from None


def _pyav_blocks(first: Any, frames: Iterator[Any], name: str, block_seconds: float) -> Iterator[np.ndarray]:
    rate = first.sample_rate
    pending, held, total = [_frame_to_mono(first)], first.samples, first.samples
    for frame in frames:
        if frame.sample_rate != rate:
            raise _damaged(name, total / rate, f"the rate changes from {rate} to {frame.sample_rate} Hz")
        if held >= block_seconds * rate:
            yield np.concatenate(pending)
            pending, held = [], 0
        pending.append(_frame_to_mono(frame))
        held += frame.samples
        total += frame.samples
    yield np.concatenate(pending)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _frame_to_mono(frame: Any) -> np.ndarray:
    values = frame.to_ndarray()
    if not frame.format.is_planar:
        values = values.reshape(-1, frame.layout.nb_channels).T
    return _to_float(values).mean(axis=0, dtype=np.float32)


# ---------------------------------------------------------------------------------------------- anything


def as_audio(audio: Any, sampling_rate: int | None = None) -> tuple[np.ndarray, int]:
    """Take whatever a user hands in as one whole sound.

    `audio`: path, bytes or binary file of a sound file; array or tensor (see `to_mono`) with `sampling_rate` in Hz;
    (rate, array) as Gradio gives it; {"array" or "raw", "sampling_rate"}. -> (float32 (n,), rate in Hz).
    Raises AudioError when it cannot be read, has no rate or two, or lasts less than 25 ms.
    """
    rate, blocks = as_stream(audio, sampling_rate)
    blocks = list(blocks)
    samples = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
    check_length(len(samples), rate)
    return samples, rate


def as_stream(
    audio: Any, sampling_rate: int | None = None, block_seconds: float = 10.0
) -> tuple[int, Iterator[np.ndarray]]:
    """Take whatever a user hands in as (rate in Hz, iterator of float32 mono blocks); files are read lazily.

    `audio` and errors as in `as_audio`, except that the length is not checked (`windows` does).
    """
    if isinstance(audio, (str, os.PathLike, bytes, bytearray, memoryview)) or hasattr(audio, "read"):
        rate, blocks = stream(audio, block_seconds)
        _one_rate(rate, sampling_rate, "the file")
        return rate, blocks
    array, rate = _array_and_rate(audio, sampling_rate)
    return rate, iter([to_mono(array)])


def _array_and_rate(audio: Any, sampling_rate: int | None) -> tuple[Any, int]:
    if audio is None:
        raise AudioError(
            "audio: got None, expected a file, an array with sampling_rate, or (rate, array); record first"
        )
    if isinstance(audio, dict):
        return _from_dict(audio, sampling_rate)
    if isinstance(audio, tuple):
        return _from_tuple(audio, sampling_rate)
    if sampling_rate is None:
        raise AudioError("audio: got an array without its rate, expected both; give sampling_rate in Hz")
    return audio, check_rate(sampling_rate)


def _from_dict(audio: dict, sampling_rate: int | None) -> tuple[Any, int]:
    array = audio.get("array") if audio.get("array") is not None else audio.get("raw")
    if array is None or audio.get("sampling_rate") is None:
        raise AudioError(
            f"audio: got a dict with {sorted(map(str, audio))}, expected 'array' (or 'raw') and 'sampling_rate'"
        )
    return array, _one_rate(check_rate(audio["sampling_rate"]), sampling_rate, "the dict")


def _from_tuple(audio: tuple, sampling_rate: int | None) -> tuple[Any, int]:
    if len(audio) != 2 or np.ndim(audio[0]) != 0:
        raise AudioError(
            f"audio: got a tuple of {[type(part).__name__ for part in audio]}, expected (rate, array); "
            "for (array, rate) give the array and sampling_rate=rate"
        )
    return audio[1], _one_rate(check_rate(audio[0]), sampling_rate, "the tuple")


def _one_rate(rate: int, sampling_rate: int | None, giver: str) -> int:
    if sampling_rate is not None and check_rate(sampling_rate) != rate:
        raise AudioError(
            f"sampling rate: {giver} says {rate} Hz but sampling_rate={sampling_rate}; expected one rate, "
            "leave sampling_rate out"
        )
    return rate


# ---------------------------------------------------------------------------------------------- windows


def windows(
    rate: int, blocks: Iterable[np.ndarray], window_seconds: float, hop_seconds: float
) -> Iterator[tuple[int, np.ndarray, bool]]:
    """Cut a stream of mono blocks into windows on a fixed grid, in constant memory and for any lengths of the blocks.

    Yields (start_sample, window float32 (m,), padded). Window i starts at round(i * hop_seconds * rate) and has
    m = round(window_seconds * rate) samples; the last one may be shorter, then padded is True: it is left short. Each
    window reaches further than the one before; a last one shorter than 25 ms is dropped unless it is the only one.
    Raises AudioError for a window below 25 ms or a hop below one sample at once, for too short audio while reading.
    """
    rate = check_rate(rate)
    try:
        stream = WindowStream(rate, window_seconds, hop_seconds)
    except ValueError as error:
        raise AudioError(str(error)) from None
    return _cut(stream, blocks)


def _cut(stream: WindowStream, blocks: Iterable[np.ndarray]) -> Iterator[tuple[int, np.ndarray, bool]]:
    for block in blocks:
        if np.ndim(block) != 1:
            raise AudioError(f"block: got shape {np.shape(block)}, expected mono samples (n,); mix with to_mono first")
        yield from ((start, window, False) for start, window in stream.each(block))
    if stream.index == 0:
        check_length(stream.end, stream.rate)
    if tail := stream.tail():
        yield *tail, True
