"""Mel spectrograms: Plotly heatmaps with the seed shaded, and images that grow. Slow to import: plotly and scipy."""

import base64
import io
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go
from PIL import Image
from plotly.colors import sample_colorscale

from kpop.audio.io import SAMPLE_WIDTH_BYTES, from_pcm
from kpop.audio.stft import log_mel_spectrogram, mel_centres_hz
from kpop.constants import FRAMES_PER_S, HOP_LENGTH, SAMPLE_RATE_HZ
from kpop.settings import GeneratedSong

if TYPE_CHECKING:
    from kpop.engine import PcmBuffer

MAX_COLUMNS = 1000
N_BANDS = 128
FLOOR_DB = -80
TICKS_HZ = (100, 500, 1000, 2000, 4000, 7000)
COLOURS = ("#150d1f", "#3b1d5c", "#8a1f73", "#e0428c", "#ffa07a", "#fff1d6")  # of FLOOR_DB to 0 dB, at even distances
PALETTE = [  # red, green, blue, 0 to 255, of every dB in turn
    int(255 * share + 1e-6)
    for colour in sample_colorscale(list(COLOURS), 1 - FLOOR_DB, colortype="tuple")
    for share in colour
]
SEED_COLOUR = "#ffa07a"
GENERATED_COLOUR = "#e0428c"
ABOVE = {"xref": "paper", "y": 1.04, "yref": "paper", "yanchor": "bottom", "showarrow": False}
LABEL = '<span style="color:{}">■</span> {}'  # in opposite corners, where they cannot overlap however short the seed is
SEED_LABEL = ABOVE | {"text": LABEL.format(SEED_COLOUR, "the clip"), "x": 0, "xanchor": "left"}
GENERATED_LABEL = ABOVE | {"text": LABEL.format(GENERATED_COLOUR, "generated"), "x": 1, "xanchor": "right"}
CENTRES_HZ = mel_centres_hz(N_BANDS)
HOVER = {"zsmooth": "fast", "hovertemplate": "%{x:.1f} s<br>%{y} Hz<br>%{z} dB<extra></extra>"}
AXIS = {"showgrid": False, "fixedrange": True}
LAYOUT = {
    "yaxis": AXIS
    | {
        "type": "category",
        "tickvals": [int(np.abs(CENTRES_HZ - hz).argmin()) for hz in TICKS_HZ],
        "ticktext": [f"{hz / 1000:g} kHz" if hz >= 1000 else f"{hz} Hz" for hz in TICKS_HZ],
    },
    "margin": {"l": 48, "r": 20, "t": 34, "b": 30},
    "hoverlabel": {"bgcolor": COLOURS[0], "bordercolor": SEED_COLOUR, "font": {"color": COLOURS[-1], "size": 13}},
    "paper_bgcolor": "rgba(0,0,0,0)",
    "plot_bgcolor": "rgba(0,0,0,0)",
    "dragmode": False,
}

LOUDEST_DB = -5.3  # usual level of the loudest cell of a song at -14 LUFS; a full-scale sine is 0 dB
MARGIN_FRAMES = 2  # on either side of a frame's centre that its window covers
ENDLESS_WINDOW_S = (-20.0, 10.0)  # around the playback position, as in the player's script
ENDLESS_COLUMNS = 1000  # of two frames: 30 s
ENDLESS_FRAMES_PER_COLUMN = 2


def spectrogram_figure(song: GeneratedSong) -> go.Figure:
    """Heatmap of dB over seconds (x) and mel bands labelled with their centre in Hz (y)."""
    length_s = len(song.waveform) / SAMPLE_RATE_HZ
    return _figure(shrink(song.log_mel_db, MAX_COLUMNS), (0.0, length_s), song.seed_end_s, HOVER)


@lru_cache(maxsize=16)
def empty_figure(length_s: float | None, seed_end_s: float) -> go.Figure:
    """The same without a picture, for a song that is being generated; length_s None: endless, and without a seed."""
    span_s, seed_end_s = ((0.0, length_s), seed_end_s) if length_s else (ENDLESS_WINDOW_S, None)
    return _figure(np.full((1, N_BANDS), FLOOR_DB, np.int8), span_s, seed_end_s, {"hoverinfo": "skip"})


def shrink(level_db: np.ndarray, max_columns: int) -> np.ndarray:
    """(n_frames, n_bands) dB -> int8 (at most max_columns, n_bands) within FLOOR_DB..0."""
    n_columns = min(len(level_db), max_columns)
    return _columns(level_db, np.arange(n_columns) * len(level_db) // n_columns)


def _columns(level_db: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The maximum of the frames from each start to the next: a drum hit of one frame must survive in a long song."""
    return np.clip(np.rint(np.maximum.reduceat(level_db, starts)), FLOOR_DB, 0).astype(np.int8)


def _figure(level_db: np.ndarray, span_s: tuple[float, float], seed_end_s: float | None, hover: dict) -> go.Figure:
    """Transparent without text colours, for both themes. level_db: (n_columns, N_BANDS); seed_end_s None: endless."""
    start_s, end_s = span_s
    column_s = (end_s - start_s) / len(level_db)
    heatmap = go.Heatmap(
        z=level_db.T,
        x0=start_s + column_s / 2,
        dx=column_s,
        y=[f"{hz:.0f}" for hz in CENTRES_HZ],  # categories: the axis is spaced by bands, the hover text in Hz
        zmin=FLOOR_DB,
        zmax=0,
        colorscale=list(COLOURS),
        showscale=False,
        **hover,
    )
    time_axis = {"range": span_s, "ticksuffix": " s", "nticks": 8, "ticklabeloverflow": "allow", "zeroline": False}
    layout = LAYOUT | {"xaxis": AXIS | time_axis}  # passed at once: every later change of a figure costs milliseconds
    if seed_end_s is None:
        return go.Figure(heatmap, layout | {"annotations": [GENERATED_LABEL]})
    border_s = min(seed_end_s, end_s)
    seed, generated = {"x0": 0, "x1": border_s}, {"x0": border_s, "x1": end_s}
    whole = {"yref": "y domain", "y0": 0, "y1": 1}
    strip = {"type": "rect", "yref": "paper", "y0": 1.01, "y1": 1.03, "line": {"width": 0}}
    shade = {"type": "rect", "name": "seed", "fillcolor": "white", "opacity": 0.16, "line": {"width": 0}}
    border = {"type": "line", "opacity": 0.9, "line": {"color": "white", "width": 1.5, "dash": "dot"}}
    layout["shapes"] = [
        shade | whole | seed,
        border | whole | {"x0": border_s, "x1": border_s},
        strip | seed | {"fillcolor": SEED_COLOUR},
        strip | generated | {"fillcolor": GENERATED_COLOUR},
    ]
    return go.Figure(heatmap, layout | {"annotations": [SEED_LABEL, GENERATED_LABEL]})


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
        pcm = self.pcm.read(start * HOP_LENGTH * SAMPLE_WIDTH_BYTES, stop * HOP_LENGTH * SAMPLE_WIDTH_BYTES)
        level_db = log_mel_spectrogram(from_pcm(pcm), N_BANDS)[first - start :][:n_new] - LOUDEST_DB
        columns = _columns(level_db, np.arange(0, len(level_db), self.frames_per_column))
        self.columns = np.concatenate([self.columns, columns])
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
