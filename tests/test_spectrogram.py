"""What is drawn: spectrograms, exact in seconds, Hz and dB, and the covers of the seed clips."""

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from kpop.audio.stft import mel_centres_hz
from kpop.constants import FRAMES_PER_S, SAMPLE_RATE_HZ
from kpop.generation.clips import ClipInfo, built_in_clips
from kpop.settings import GeneratedSong, Settings
from kpop.ui.assets import STATIC_DIR, cover_uri, style
from kpop.ui.player import Layout
from kpop.ui.spectrogram import FLOOR_DB, MAX_COLUMNS, empty_figure, shrink, spectrogram_figure

CENTRES_HZ = mel_centres_hz(128)


def figure_of(length_s: float, seed_end_s: float = 7.68, tone_s: float = 1.0):
    """Noise, and a tone of 0 dB in band 64."""
    shape = round(length_s * FRAMES_PER_S), len(CENTRES_HZ)
    log_mel_db = np.random.default_rng(1).uniform(-90, -10, shape).astype(np.float32)
    log_mel_db[round(tone_s * FRAMES_PER_S), 64] = 0
    waveform = np.zeros(round(length_s * SAMPLE_RATE_HZ), np.float32)
    return spectrogram_figure(GeneratedSong(waveform, log_mel_db, seed_end_s, Settings(length_s=length_s)))


@pytest.mark.parametrize("length_s", [4, 30, 300])
def test_axes_are_in_seconds_and_hz_and_the_payload_stays_below_half_a_megabyte(length_s):
    figure = figure_of(length_s, tone_s=length_s / 2)
    heatmap, axis = figure.data[0], figure.layout.yaxis
    assert len(figure.to_json()) < 500_000
    assert figure.layout.xaxis.range == pytest.approx((0, length_s), abs=0.02)
    band, column = np.unravel_index(np.argmax(heatmap.z), np.shape(heatmap.z))
    assert (float(heatmap.y[band]), heatmap.z[band][column]) == (round(CENTRES_HZ[64]), 0)
    assert heatmap.x0 + column * heatmap.dx == pytest.approx(length_s / 2, abs=0.2)
    ticks_hz = {text: float(heatmap.y[place]) for text, place in zip(axis.ticktext, axis.tickvals, strict=True)}
    assert ticks_hz["4 kHz"] == pytest.approx(4000, rel=0.03)


@pytest.mark.parametrize(("length_s", "seed_end_s"), [(30, 7.68), (4, 2.0)])
def test_the_seed_is_shaded_and_named_also_before_the_song_is_there(length_s, seed_end_s):
    for figure in (figure_of(length_s, seed_end_s), empty_figure(length_s, seed_end_s)):
        (shade,) = [shape for shape in figure.layout.shapes if shape.name == "seed"]
        assert (shade.x0, shade.x1) == (0, pytest.approx(seed_end_s))
        texts = " ".join(annotation.text for annotation in figure.layout.annotations)
        assert "the clip" in texts
        assert "generated" in texts


def test_the_figure_suits_both_themes_a_finger_scrolls_past_it_and_an_endless_one_has_no_seed():
    layout = empty_figure(None, 7.68).layout
    assert (layout.xaxis.range, layout.shapes) == ((-20, 10), ())
    assert (layout.paper_bgcolor, layout.plot_bgcolor, layout.font.color) == ("rgba(0,0,0,0)", "rgba(0,0,0,0)", None)
    assert (layout.dragmode, layout.xaxis.fixedrange, layout.yaxis.fixedrange) == (False, True, True)


@pytest.mark.parametrize("n_frames", [1, 999, 1001, 20_000])
def test_shrinking_keeps_the_loudest_frame(n_frames):
    log_mel_db = np.full((n_frames, 128), -np.inf, np.float32)
    log_mel_db[n_frames // 2, 100] = -3
    small = shrink(log_mel_db, MAX_COLUMNS)
    assert small.shape == (min(n_frames, MAX_COLUMNS), 128)
    assert (small.min(), small.max()) == (FLOOR_DB, -3)


ROOT = Path(__file__).parents[1]
STRANGER = ClipInfo('<b>"&x', "Their Clip", "")


@pytest.mark.parametrize("clip", [*built_in_clips(), STRANGER], ids=lambda clip: clip.name)
def test_a_cover_is_a_small_picture_without_words_that_fits_between_quotes(clip):
    uri = cover_uri(clip)
    assert not set('"<>#\\\n') & set(uri)
    svg = unquote(uri.removeprefix("data:image/svg+xml,"))
    assert len(svg) < 4000
    root = ElementTree.fromstring(svg)
    assert root.get("viewBox") == "0 0 120 120"
    assert root.find(".//{*}text") is None
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert set(re.findall(r'(?:url\(|href=")#([^")]+)', svg)) == set(ids)


def test_the_style_sheet_has_no_tag_since_streamlit_would_drop_it_all_and_its_keys_are_on_the_page():
    assert style("page").count("<") == 2
    source = "".join(path.read_text(encoding="utf-8") for path in [ROOT / "app.py", *(ROOT / "kpop/ui").glob("*.py")])
    keys = set(re.findall(r"\.st-key-([\w-]+)", (STATIC_DIR / "page.css").read_text(encoding="utf-8")))
    keys -= {f"layout-{name}" for name in Layout._fields}
    assert {key for key in keys if f'"{key}"' not in source and key != "song-0"} == set()
