"""What every tab of one page shares."""

from dataclasses import dataclass, field
from pathlib import Path

from asm_rh.classifier import Classifier
from asm_rh.frontends import band_centres_hz

from .analysis import Tickets

DEFAULT_HOP_SECONDS = 0.25
PRIVATE = {"api_visibility": "private"}


@dataclass(frozen=True)
class Page:
    """The model and the limits of a page; holds no visitor's data.

    `source` is a folder, shipped name or Hub id; `max_file_mb` in megabytes, `max_seconds` of sound.
    """

    source: str
    classifier: Classifier
    max_file_mb: float = 200
    max_seconds: float = 7200
    tickets: Tickets = field(default_factory=Tickets)

    @property
    def name(self) -> str:
        """The model's name as shown."""
        return Path(self.source).name

    @property
    def config(self):
        """The model's configuration."""
        return self.classifier.config

    @property
    def hop_seconds(self) -> float:
        """The hop that the page starts with."""
        return min(DEFAULT_HOP_SECONDS, self.config.window_seconds)

    @property
    def hz(self) -> list[float]:
        """Centre frequency of each band of the model's spectrogram in Hz."""
        return band_centres_hz(self.config.frontend)
