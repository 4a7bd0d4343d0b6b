"""What the covers are drawn with: the house colours, and the few strokes that they share, as SVG.

The song as a picture: a mel spectrogram with the seed shaded, small enough for any connection.
"""

import math
import random
from functools import lru_cache

import numpy as np
import plotly.graph_objects as go

from kpop.audio.stft import mel_centres_hz
from kpop.constants import SAMPLE_RATE_HZ
from kpop.settings import GeneratedSong

SIZE = 120  # units along an edge
NIGHT, VIOLET, PLUM, PINK, PEACH, CREAM = "#150d1f", "#3b1d5c", "#8a1f73", "#e0428c", "#ffa07a", "#fff1d6"
AMBER, AQUA, BERRY, LEAF = "#ffb52e", "#6fe7f2", "#c0143c", "#5fbf7a"


def blend(ident: str, *colours: str) -> str:
    """A gradient from the top down, its colours at even distances."""
    return f'<linearGradient id="{ident}" x2="0" y2="1">{_stops(colours)}</linearGradient>'


def glow(ident: str, *colours: str, at: tuple[float, float] = (0.5, 0.5), reach: float = 0.7) -> str:
    """A gradient from the point `at` outwards; all in shares of width and height."""
    return f'<radialGradient id="{ident}" cx="{at[0]}" cy="{at[1]}" r="{reach}">{_stops(colours)}</radialGradient>'


def _stops(colours: tuple[str, ...]) -> str:
    share = 1 / (len(colours) - 1)
    return "".join(f'<stop offset="{i * share:.2f}" stop-color="{colour}"/>' for i, colour in enumerate(colours))


def paper(paint: str) -> str:
    return f'<rect width="{SIZE}" height="{SIZE}" fill="{paint}"/>'


def dots(chance: random.Random, n: int, top: float, bottom: float, sizes: tuple[float, float]) -> str:
    """n round dots anywhere between two heights, all of one size out of a span."""
    spots = "".join(f"M{chance.uniform(2, 118):.0f} {chance.uniform(top, bottom):.0f}h0" for _ in range(n))
    return f'<path d="{spots}" stroke="{CREAM}" stroke-width="{chance.uniform(*sizes):.1f}" stroke-linecap="round"/>'


def polar(radius: float, turn: float) -> tuple[float, float]:
    """A point round the middle. turn: share of a full turn from the right, downwards."""
    return 60 + radius * math.cos(math.tau * turn), 60 + radius * math.sin(math.tau * turn)


MAX_COLUMNS = 1000
MAX_BANDS = 128
FLOOR_DB = -80
HEIGHT_PX = 360
TICKS_HZ = (100, 500, 1000, 2000, 4000, 7000)
COLOURS = ("#150d1f", "#3b1d5c", "#8a1f73", "#e0428c", "#ffa07a", "#fff1d6")  # night, plum, magenta, apricot, cream
SEED_COLOUR = "#ffa07a"
DREAM_COLOUR = "#e0428c"
ENDLESS_WINDOW_S = (-20.0, 10.0)  # as in stage.js
TIME_AXIS = {
    "ticksuffix": " s",
    "nticks": 8,
    "ticklabeloverflow": "allow",
    "showgrid": False,
    "zeroline": False,
    "fixedrange": True,
}
HOVER = "%{x:.1f} s<br>%{y} Hz<br>%{z} dB<extra></extra>"


def spectrogram_figure(song: GeneratedSong) -> go.Figure:
    """Heatmap of dB over seconds (x) and mel bands named by their centre in Hz (y).

    Transparent, with no text colour of its own around the picture, so that the theme, dark or light, shows through.
    """
    length_s = len(song.waveform) / SAMPLE_RATE_HZ
    return _framed(_heatmap(song, length_s), song.mel_centres_hz, (0.0, length_s), song.seed_end_s)


@lru_cache(maxsize=16)  # a crowd asks for the same few
def empty_figure(length_s: float | None, seed_end_s: float) -> go.Figure:
    """The frame that a song's picture will stand in; length_s None: a song that never ends, around what is heard."""
    centres_hz = mel_centres_hz(MAX_BANDS)
    start_s, end_s = span_s = (0.0, length_s) if length_s else ENDLESS_WINDOW_S
    dark = go.Heatmap(
        z=np.full((len(centres_hz), 1), FLOOR_DB, np.int8),
        x0=(start_s + end_s) / 2,
        dx=end_s - start_s,
        y=[f"{hz:.0f}" for hz in centres_hz],
        zmin=FLOOR_DB,
        zmax=0,
        colorscale=list(COLOURS),
        showscale=False,
        hoverinfo="skip",
    )
    return _framed(dark, centres_hz, span_s, seed_end_s if length_s else None)


def _framed(
    picture: go.Heatmap, mel_centres_hz: np.ndarray, span_s: tuple[float, float], seed_end_s: float | None
) -> go.Figure:
    """seed_end_s None: the picture moves along, and where the seed ends is not drawn."""
    seed_end_s = None if seed_end_s is None else min(seed_end_s, span_s[1])
    layout = {  # in one piece: every later change of a figure costs milliseconds
        "xaxis": {**TIME_AXIS, "range": span_s},
        "yaxis": _frequency_axis(mel_centres_hz),
        "shapes": [] if seed_end_s is None else _seed_shapes(seed_end_s, span_s[1]),
        "annotations": _labels(seed_end_s is None),
        "height": HEIGHT_PX,
        "margin": {"l": 48, "r": 20, "t": 34, "b": 30},
        "hoverlabel": {"bgcolor": COLOURS[0], "bordercolor": SEED_COLOUR, "font": {"color": COLOURS[-1], "size": 13}},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "dragmode": False,
    }
    return go.Figure(picture, layout)


def _heatmap(song: GeneratedSong, length_s: float) -> go.Heatmap:
    picture = shrink(song.log_mel_db, MAX_COLUMNS, MAX_BANDS)
    column_s = length_s / len(picture)
    return go.Heatmap(
        z=picture.T,  # plotly wants (n_bands, n_columns)
        x0=column_s / 2,
        dx=column_s,
        y=[f"{hz:.0f}" for hz in band_centres_hz(song.mel_centres_hz)],  # names: a category axis reads them out
        zmin=FLOOR_DB,
        zmax=0,
        colorscale=list(COLOURS),
        showscale=False,
        zsmooth="fast",
        hovertemplate=HOVER,
    )


def shrink(log_mel_db: np.ndarray, max_columns: int, max_bands: int) -> np.ndarray:
    """(n_frames, n_mels) dB -> int8 dB, at most (max_columns, max_bands); each cell is the loudest of those it covers.

    Loudest, not mean: a drum hit of one frame must survive in a song of five minutes.
    """
    n_frames, n_mels = log_mel_db.shape
    loudest = np.maximum.reduceat(log_mel_db, _group_starts(n_frames, max_columns), axis=0)
    loudest = np.maximum.reduceat(loudest, _group_starts(n_mels, max_bands), axis=1)
    return np.clip(np.rint(np.nan_to_num(loudest, nan=FLOOR_DB)), FLOOR_DB, 0).astype(np.int8)


def band_centres_hz(mel_centres_hz: np.ndarray) -> np.ndarray:
    """Centres of the bands that `shrink` leaves."""
    starts = _group_starts(len(mel_centres_hz), MAX_BANDS)
    sizes = np.diff(starts, append=len(mel_centres_hz))
    return np.add.reduceat(mel_centres_hz, starts) / sizes


def _group_starts(n: int, max_groups: int) -> np.ndarray:
    """Where each of at most max_groups groups, as even as can be, of n things begins."""
    n_groups = min(n, max_groups)
    return np.arange(n_groups) * n // n_groups


def _frequency_axis(mel_centres_hz: np.ndarray) -> dict:
    centres_hz = band_centres_hz(mel_centres_hz)
    ticks_hz = [hz for hz in TICKS_HZ if centres_hz[0] <= hz <= centres_hz[-1]]
    return {
        "type": "category",
        "tickvals": [int(np.abs(centres_hz - hz).argmin()) for hz in ticks_hz],
        "ticktext": [f"{hz / 1000:g} kHz" if hz >= 1000 else f"{hz} Hz" for hz in ticks_hz],
        "showgrid": False,
        "fixedrange": True,
    }


def _seed_shapes(seed_end_s: float, length_s: float) -> list[dict]:
    """The seed's shade, the border to what the machine dreams, and a strip of colour for each along the top edge."""
    whole = {"yref": "y domain", "y0": 0, "y1": 1}
    strip = {"type": "rect", "yref": "paper", "y0": 1.01, "y1": 1.03, "line": {"width": 0}}
    line = {"color": "white", "width": 1.5, "dash": "dot"}
    shade = {"fillcolor": "white", "opacity": 0.16, "line": {"width": 0}, "name": "seed"}
    return [
        {"type": "rect", **whole, "x0": 0, "x1": seed_end_s, **shade},
        {"type": "line", **whole, "x0": seed_end_s, "x1": seed_end_s, "line": line, "opacity": 0.9},
        {**strip, "x0": 0, "x1": seed_end_s, "fillcolor": SEED_COLOUR},
        {**strip, "x0": seed_end_s, "x1": length_s, "fillcolor": DREAM_COLOUR},
    ]


def _labels(endless: bool) -> list[dict]:
    """At the picture's corners, where the two never meet, however short the seed."""
    if endless:
        return [_label("the machine dreams on", DREAM_COLOUR, "right")]
    return [_label("Kevin’s memory", SEED_COLOUR, "left"), _label("the machine dreams", DREAM_COLOUR, "right")]


def _label(words: str, colour: str, side: str) -> dict:
    return {
        "text": f'<span style="color:{colour}">■</span> {words}',
        "x": 0 if side == "left" else 1,
        "xref": "paper",
        "xanchor": side,
        "y": 1.04,
        "yref": "paper",
        "yanchor": "bottom",
        "showarrow": False,
    }
