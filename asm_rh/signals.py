"""Computed sounds: test signals whose answer is known beforehand, and tonal and noisy backgrounds to train against. numpy only."""

import numpy as np

RATE = 16000


def click(seconds: float = 1.0, at_seconds: float = 0.5, rate: int = RATE) -> np.ndarray:
    """One sample of full scale at `at_seconds`, zeros elsewhere: (samples,)."""
    wave = np.zeros(round(seconds * rate), np.float32)
    wave[round(at_seconds * rate)] = 1.0
    return wave


def chirp(seconds: float = 1.0, low_hz: float = 100.0, high_hz: float = 7000.0, rate: int = RATE) -> np.ndarray:
    """A sine that sweeps from low_hz to high_hz at a constant ratio per second: (samples,)."""
    t = np.arange(round(seconds * rate)) / rate
    ratio = np.log(high_hz / low_hz) / seconds
    return (0.5 * np.sin(2 * np.pi * low_hz * np.expm1(ratio * t) / ratio)).astype(np.float32)


def tones(seconds: float = 1.0, hz=(440.0, 2500.0), rate: int = RATE) -> np.ndarray:
    """Steady sines of equal loudness: (samples,)."""
    t = np.arange(round(seconds * rate)) / rate
    return (sum(np.sin(2 * np.pi * f * t) for f in hz) * 0.5 / len(hz)).astype(np.float32)


def hum(random: np.random.Generator, seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    """Mains hum or another steady harmonic tone with falling overtones: (samples,)."""
    base = random.choice([50.0, 60.0, random.uniform(40, 400)])
    t = np.arange(round(seconds * rate)) / rate
    falls = random.uniform(0.3, 2.0)
    overtones = range(1, int(min(40, 7000 / base)) + 1)
    wave = sum(np.sin(2 * np.pi * base * n * t + random.uniform(0, 6.28)) * random.uniform(0.2, 1) / n**falls for n in overtones)
    return _level(wave + 10 ** random.uniform(-3, -1) * random.standard_normal(len(t)), random)


def noise(random: np.random.Generator, seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    """Noise of a random colour, steady or slowly swelling: (samples,)."""
    n = round(seconds * rate)
    spectrum = np.fft.rfft(random.standard_normal(n))
    hz = np.maximum(np.fft.rfftfreq(n, 1 / rate), 20.0)
    wave = np.fft.irfft(spectrum * hz ** random.uniform(-1.2, 0.5), n)
    t = np.arange(n) / rate
    swell = 1 + random.uniform(0, 0.9) * np.sin(2 * np.pi * random.uniform(0.2, 8) * t + random.uniform(0, 6.28))
    return _level(wave * swell, random)


def music(random: np.random.Generator, seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    """Notes and chords of plucked or held overtones, with a drum now and then: (samples,)."""
    n = round(seconds * rate)
    wave, at = np.zeros(n), 0
    while at < n:
        length = min(n - at, round(random.uniform(0.08, 0.7) * rate))
        chord = 110 * 2 ** (random.integers(0, 40, random.integers(1, 4)) / 12)
        wave[at:] += sum(_note(random, f, n - at, rate) for f in chord)
        if random.random() < 0.4:
            hit = np.exp(-np.arange(n - at) / (rate * random.uniform(0.01, 0.08)))
            wave[at:] += random.uniform(0.5, 2) * hit * random.standard_normal(n - at)
        at += length
    return _level(wave, random)


def clicks(random: np.random.Generator, seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    """Knocks, ticks and crackles over a faint noise floor: (samples,)."""
    n = round(seconds * rate)
    wave = 10 ** random.uniform(-4, -2) * random.standard_normal(n)
    for at in random.integers(0, n, random.integers(1, 12)):
        ring = np.arange(n - at) / rate
        decay = np.exp(-ring / random.uniform(0.0005, 0.03))
        wave[at:] += random.uniform(0.1, 1) * decay * np.sin(2 * np.pi * random.uniform(200, 6000) * ring + random.uniform(0, 6.28))
    return _level(wave, random)


def sweep(random: np.random.Generator, seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    """A rising or falling whistle, siren or beep: (samples,)."""
    low = random.uniform(80, 1500)
    wave = chirp(seconds, low, min(7500.0, low * random.uniform(1.5, 12)), rate)
    return _level(wave if random.random() < 0.5 else wave[::-1], random)


BACKGROUNDS = {"hum": hum, "noise": noise, "music": music, "clicks": clicks, "sweep": sweep}


def _note(random, hz, samples, rate):
    t = np.arange(samples) / rate
    decay = np.exp(-t / random.uniform(0.05, 1.5))
    bright = random.uniform(0.8, 2.5)
    return decay * sum(np.sin(2 * np.pi * hz * k * t) / k**bright for k in range(1, 9) if hz * k < rate / 2)


def _level(wave, random):
    """Peak between -40 and 0 dB of full scale."""
    return (wave / (np.abs(wave).max() + 1e-9) * 10 ** random.uniform(-2, 0)).astype(np.float32)
