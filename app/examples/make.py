"""Makes the example clips beside this file: `python -m app.examples.make`. Needs the programs espeak-ng and flite."""

import subprocess
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from asm_rh import signals
from asm_rh.audio import decode, resample

from . import EXAMPLES, FOLDER

RATE = 16000
PEAK = 0.5


def espeak(word: str, path: str) -> None:
    """One word by espeak-ng, into a WAV file."""
    subprocess.run(["espeak-ng", "-v", "en-us+m3", "-s", "130", "-w", path, word], check=True)


def flite(word: str, path: str) -> None:
    """One word by flite, into a WAV file."""
    subprocess.run(["flite", "-voice", "slt", "-t", word, "-o", path], check=True)


def spoken(words, speak, pause_seconds: float = 0.45) -> np.ndarray:
    """Words with pauses before, between and after them: (samples,) at 16 kHz over a faint noise floor."""
    pause = np.zeros(round(pause_seconds * RATE), np.float32)
    parts = [pause]
    for word in words:
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "word.wav")
            speak(word, path)
            wave = resample(*decode(path), RATE)
        parts += [trimmed(wave), pause]
    wave = np.concatenate(parts)
    floor = 1e-4 * np.random.default_rng(0).standard_normal(len(wave))
    return (wave + floor).astype(np.float32)


def trimmed(wave: np.ndarray, floor: float = 0.02) -> np.ndarray:
    """The wave without its quiet ends, at PEAK."""
    loud = np.flatnonzero(np.abs(wave) > floor * np.abs(wave).max())
    wave = wave[loud[0] : loud[-1] + 1]
    return wave * (PEAK / np.abs(wave).max())


def clips() -> dict[str, np.ndarray]:
    """Every clip by its file name."""
    waves = (
        spoken(["yes", "no", "stop", "go"], espeak),
        spoken(["left", "right", "up", "down"], espeak),
        spoken(["on", "off"], flite),
        signals.chirp(2.0),
        signals.click(1.0, 0.5),
        signals.tones(2.0, (440.0, 2500.0)),
        signals.hum(np.random.default_rng(3), 2.0),
    )
    return {name: wave for (name, _, _), wave in zip(EXAMPLES, waves, strict=True)}


if __name__ == "__main__":
    for name, wave in clips().items():
        soundfile.write(FOLDER / name, wave, RATE, subtype="PCM_16")
        print(f"{name}: {len(wave) / RATE:.2f} s, {(FOLDER / name).stat().st_size / 1000:.0f} kB")
