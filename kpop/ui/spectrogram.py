"""The mel spectrogram of a song as a Plotly heatmap with the seed shaded. Slow to import: plotly and scipy."""

from functools import lru_cache

import numpy as np
import plotly.graph_objects as go

from kpop.audio.stft import mel_centres_hz
from kpop.constants import SAMPLE_RATE_HZ
from kpop.settings import GeneratedSong

MAX_COLUMNS = 1000
N_BANDS = 128
FLOOR_DB = -80
HEIGHT_PX = 360
TICKS_HZ = (100, 500, 1000, 2000, 4000, 7000)
COLOURS = ("#150d1f", "#3b1d5c", "#8a1f73", "#e0428c", "#ffa07a", "#fff1d6")  # of FLOOR_DB to 0 dB, at even distances
SEED_COLOUR = "#ffa07a"
GENERATED_COLOUR = "#e0428c"
ENDLESS_WINDOW_S = (-20.0, 10.0)  # around the playback position, as in the player's script
HOVER = "%{x:.1f} s<br>%{y} Hz<br>%{z} dB<extra></extra>"


def spectrogram_figure(song: GeneratedSong) -> go.Figure:
    """Heatmap of dB over seconds (x) and mel bands labelled with their centre in Hz (y)."""
    length_s = len(song.waveform) / SAMPLE_RATE_HZ
    level_db = shrink(song.log_mel_db, MAX_COLUMNS)
    texts = {"zsmooth": "fast", "hovertemplate": HOVER}
    return _figure(level_db, song.mel_centres_hz, (0.0, length_s), song.seed_end_s, texts)


@lru_cache(maxsize=16)
def empty_figure(length_s: float | None, seed_end_s: float) -> go.Figure:
    """The same without a picture, for a song that is being generated. length_s: None for an endless song."""
    span_s, seed_end_s = ((0.0, length_s), seed_end_s) if length_s else (ENDLESS_WINDOW_S, None)
    silence_db = np.full((1, N_BANDS), FLOOR_DB, np.int8)
    return _figure(silence_db, mel_centres_hz(N_BANDS), span_s, seed_end_s, {"hoverinfo": "skip"})


def shrink(level_db: np.ndarray, max_columns: int) -> np.ndarray:
    """(n_frames, n_bands) dB -> int8 (at most max_columns, n_bands) within FLOOR_DB..0.

    Each column is the maximum of its frames: a drum hit of one frame must survive in a song of five minutes.
    """
    n_frames = len(level_db)
    n_columns = min(n_frames, max_columns)
    loudest = np.maximum.reduceat(level_db, np.arange(n_columns) * n_frames // n_columns, axis=0)
    return np.clip(np.rint(np.nan_to_num(loudest, nan=FLOOR_DB)), FLOOR_DB, 0).astype(np.int8)


def _figure(
    level_db: np.ndarray, centres_hz: np.ndarray, span_s: tuple[float, float], seed_end_s: float | None, texts: dict
) -> go.Figure:
    """Transparent and without text colours, for both themes. seed_end_s None: endless, without a seed."""
    start_s, end_s = span_s
    column_s = (end_s - start_s) / len(level_db)
    heatmap = go.Heatmap(
        z=level_db.T,  # (n_bands, n_columns)
        x0=start_s + column_s / 2,
        dx=column_s,
        y=[f"{hz:.0f}" for hz in centres_hz],  # categories: the axis is spaced by bands, the hover text in Hz
        zmin=FLOOR_DB,
        zmax=0,
        colorscale=list(COLOURS),
        showscale=False,
        **texts,
    )
    layout = {  # passed at once, since every later change of a figure costs milliseconds
        "xaxis": {"range": span_s, "ticksuffix": " s", "nticks": 8, "ticklabeloverflow": "allow", "zeroline": False}
        | {"showgrid": False, "fixedrange": True},
        "yaxis": _frequency_axis(centres_hz),
        "shapes": [] if seed_end_s is None else _seed_shapes(min(seed_end_s, end_s), end_s),
        "annotations": _labels(endless=seed_end_s is None),
        "height": HEIGHT_PX,
        "margin": {"l": 48, "r": 20, "t": 34, "b": 30},
        "hoverlabel": {"bgcolor": COLOURS[0], "bordercolor": SEED_COLOUR, "font": {"color": COLOURS[-1], "size": 13}},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "dragmode": False,
    }
    return go.Figure(heatmap, layout)


def _frequency_axis(centres_hz: np.ndarray) -> dict:
    ticks_hz = [hz for hz in TICKS_HZ if centres_hz[0] <= hz <= centres_hz[-1]]
    return {
        "type": "category",
        "tickvals": [int(np.abs(centres_hz - hz).argmin()) for hz in ticks_hz],
        "ticktext": [f"{hz / 1000:g} kHz" if hz >= 1000 else f"{hz} Hz" for hz in ticks_hz],
        "showgrid": False,
        "fixedrange": True,
    }


def _seed_shapes(seed_end_s: float, length_s: float) -> list[dict]:
    """The shaded seed, its border, and a coloured strip above each part."""
    whole = {"yref": "y domain", "y0": 0, "y1": 1}
    strip = {"type": "rect", "yref": "paper", "y0": 1.01, "y1": 1.03, "line": {"width": 0}}
    line = {"color": "white", "width": 1.5, "dash": "dot"}
    shade = {"fillcolor": "white", "opacity": 0.16, "line": {"width": 0}, "name": "seed"}
    return [
        {"type": "rect", **whole, "x0": 0, "x1": seed_end_s, **shade},
        {"type": "line", **whole, "x0": seed_end_s, "x1": seed_end_s, "line": line, "opacity": 0.9},
        {**strip, "x0": 0, "x1": seed_end_s, "fillcolor": SEED_COLOUR},
        {**strip, "x0": seed_end_s, "x1": length_s, "fillcolor": GENERATED_COLOUR},
    ]


def _labels(endless: bool) -> list[dict]:
    """In opposite corners, where they cannot overlap however short the seed is."""
    if endless:
        return [_label("the machine dreams on", GENERATED_COLOUR, "right")]
    return [_label("Kevin’s memory", SEED_COLOUR, "left"), _label("the machine dreams", GENERATED_COLOUR, "right")]


def _label(text: str, colour: str, side: str) -> dict:
    place = {"x": float(side == "right"), "xref": "paper", "xanchor": side, "y": 1.04, "yref": "paper"}
    return {"text": f'<span style="color:{colour}">■</span> {text}', "yanchor": "bottom", "showarrow": False} | place
