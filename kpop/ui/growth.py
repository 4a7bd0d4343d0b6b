"""The spectrogram of a song while it is made, as an image that grows."""

import base64
import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageColor

from kpop.audio.io import SAMPLE_WIDTH_BYTES, from_pcm
from kpop.audio.stft import log_mel_spectrogram
from kpop.constants import FRAMES_PER_S, HOP_LENGTH
from kpop.ui.spectrogram import COLOURS, FLOOR_DB, MAX_COLUMNS, N_BANDS

if TYPE_CHECKING:
    from kpop.engine import PcmBuffer

LOUDEST_DB = -5.3  # usual level of the loudest cell of a song at -14 LUFS; a full-scale sine is 0 dB
MARGIN_FRAMES = 2  # on either side of a frame's centre that its window covers
ENDLESS_COLUMNS = 1000  # of two frames: 30 s
ENDLESS_FRAMES_PER_COLUMN = 2


class GrowingSpectrogram:
    """Columns over a whole song, at most MAX_COLUMNS, or over the last 30 s of an endless one; each is computed once.

    columns: (n_done, N_BANDS) int8 dB, each the maximum of the frames that it covers; n_dropped: of an endless song
    """

    def __init__(self, pcm: "PcmBuffer") -> None:
        self.pcm = pcm
        n_frames = pcm.n_samples // HOP_LENGTH + 1 if pcm.n_samples else 0
        self.frames_per_column = -(-n_frames // MAX_COLUMNS) or ENDLESS_FRAMES_PER_COLUMN
        self.columns, self.n_dropped = np.zeros((0, N_BANDS), np.int8), 0

    @property
    def span_s(self) -> tuple[float, float]:
        """From where to where in the song the columns reach, in seconds."""
        column_s = self.frames_per_column / FRAMES_PER_S
        return self.n_dropped * column_s, (self.n_dropped + len(self.columns)) * column_s

    def update(self) -> None:
        """Add the columns that have become complete."""
        n_samples = self.pcm.n_bytes // SAMPLE_WIDTH_BYTES
        first = (self.n_dropped + len(self.columns)) * self.frames_per_column
        n_new = n_samples // HOP_LENGTH + 1 - first
        if n_samples != self.pcm.n_samples:
            n_new = (n_new - MARGIN_FRAMES) // self.frames_per_column * self.frames_per_column
        if n_new <= 0:
            return
        start, stop = max(first - MARGIN_FRAMES, 0), first + n_new + MARGIN_FRAMES
        pcm = self.pcm.read(*(SAMPLE_WIDTH_BYTES * HOP_LENGTH * frame for frame in (start, stop)))
        level_db = log_mel_spectrogram(from_pcm(pcm), N_BANDS)[first - start :][:n_new] - LOUDEST_DB
        columns = np.maximum.reduceat(level_db, np.arange(0, len(level_db), self.frames_per_column))
        self.columns = np.concatenate([self.columns, np.clip(np.rint(columns), FLOOR_DB, 0).astype(np.int8)])
        if not self.pcm.n_samples:
            n_old = max(len(self.columns) - ENDLESS_COLUMNS, 0)
            self.columns, self.n_dropped = self.columns[n_old:], self.n_dropped + n_old


def png_uri(columns: np.ndarray) -> str:
    """data: URI of a PNG in the figure's colours. columns: (n_columns, n_bands) int8 dB, FLOOR_DB to 0."""
    image = Image.fromarray((columns.T[::-1] - FLOOR_DB).astype(np.uint8), "P")
    image.putpalette(PALETTE)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _palette() -> bytes:
    """RGB of FLOOR_DB to 0, one colour a dB."""
    rgb = np.array([ImageColor.getrgb(colour) for colour in COLOURS])
    positions = np.linspace(0, len(COLOURS) - 1, 1 - FLOOR_DB)
    channels = [np.interp(positions, range(len(COLOURS)), channel) for channel in rgb.T]
    return np.stack(channels, 1).astype(np.uint8).tobytes()


PALETTE = _palette()
