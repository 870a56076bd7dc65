"""The example clips: computed sounds and synthetic voices, made by `make.py`; none is a recording of a person."""

from pathlib import Path

FOLDER = Path(__file__).resolve().parent
EXAMPLES = (
    ("yes-no-stop-go_synthetic-voice.wav", "yes no stop go", "synthetic voice"),
    ("left-right-up-down_synthetic-voice.wav", "left right up down", "synthetic voice"),
    ("on-off_second-synthetic-voice.wav", "on off", "another synthetic voice"),
    ("chirp_computed.wav", "chirp, rising", "computed"),
    ("click-at-0.5s_computed.wav", "click at 0.5 s", "computed"),
    ("two-tones_computed.wav", "two tones", "computed"),
    ("hum_computed.wav", "mains hum", "computed"),
)


def example_paths() -> list[Path]:
    """Where the clips lie, in the order of EXAMPLES."""
    return [FOLDER / name for name, _, _ in EXAMPLES]
