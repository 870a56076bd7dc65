"""What every tab of one page shares."""

from dataclasses import dataclass, field, replace

from asm_rh.classifier import Classifier
from asm_rh.frontends import band_centres_hz

from .analysis import Tickets
from .models import Loaded, Models

DEFAULT_HOP_SECONDS = 0.25
PRIVATE = {"api_visibility": "private"}


@dataclass(frozen=True)
class Page:
    """One model as the tabs see it, and the limits of the page; holds no visitor's data.

    A visitor's choice is a key of `models`, and `of(key)` the page with that model. `max_file_mb` in megabytes, `max_seconds` of sound.
    """

    models: Models
    loaded: Loaded
    max_file_mb: float = 200
    max_seconds: float = 7200
    tickets: Tickets = field(default_factory=Tickets)

    def of(self, key: str) -> "Page":
        """The same page with another model; raises CheckpointError as `Models.of` does."""
        return replace(self, loaded=self.models.of(key))

    @property
    def classifier(self) -> Classifier:
        """The model as a classifier."""
        return self.loaded.classifier

    @property
    def name(self) -> str:
        """The model's name as shown."""
        return self.loaded.name

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
