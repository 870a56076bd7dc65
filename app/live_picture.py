"""The scrolling spectrogram of live sound, in the model's own bands, as bytes."""

import numpy as np
import torch

from asm_rh.audio import resample
from asm_rh.windows import WindowStream

BLOCK_FRAMES = 10
MARGIN_FRAMES = 2  # resampling errs near the edges of what it is given: those frames are not drawn
DARKEST, BRIGHTEST = -16.0, 12.0  # natural logarithms of energy: Kaldi's floor, and full scale


class LivePicture:
    """Columns of log-mel for a stream of mono chunks at `rate` Hz: one per frame of the front end, without seams.

    Each block of ten frames is computed from its own stretch of sound with a margin, so a column comes at most 0.15 s behind it.
    """

    def __init__(self, frontend, config, rate: int):
        self.frontend, self.model_rate, self.rate = frontend, config.sample_rate, rate
        hop, frame = config.frontend.hop_seconds, config.frontend.frame_seconds
        self.column_seconds = hop
        self.blocks = WindowStream(rate, (BLOCK_FRAMES - 1 + 2 * MARGIN_FRAMES) * hop + frame, BLOCK_FRAMES * hop)

    def feed(self, chunk: np.ndarray) -> np.ndarray:
        """Samples (n,) -> new columns (m, bands) uint8, 0 the darkest."""
        blocks = [wave for _, wave in self.blocks.push(chunk)]
        bands = self.frontend.banks.shape[1]
        if not blocks:
            return np.zeros((0, bands), np.uint8)
        waves = torch.from_numpy(resample(np.stack(blocks), self.rate, self.model_rate)).to(self.frontend.banks.device)
        with torch.inference_mode():
            frames = self.frontend(waves)[:, MARGIN_FRAMES : MARGIN_FRAMES + BLOCK_FRAMES]
        share = (frames.reshape(-1, bands) - DARKEST) / (BRIGHTEST - DARKEST)
        return (255 * share.clamp(0, 1)).round().byte().cpu().numpy()

    @property
    def first_seconds(self) -> float:
        """Centre of the first column after the start of the stream."""
        return MARGIN_FRAMES * self.column_seconds
