"""The picture of a song: small, true in seconds, Hz and dB, with the seed shaded where it is."""

import json

import numpy as np
import pytest

from kpop.constants import FRAMES_PER_S, SAMPLE_RATE_HZ
from kpop.settings import GeneratedSong, Settings
from kpop.ui.spectrogram import FLOOR_DB, MAX_BANDS, MAX_COLUMNS, shrink, spectrogram_figure

N_MELS = 128
LOWEST_HZ, HIGHEST_HZ = 40, 7800
CENTRES_HZ = np.geomspace(LOWEST_HZ, HIGHEST_HZ, N_MELS)


def song_of(length_s: float, seed_end_s: float = 7.68, log_mel_db: np.ndarray | None = None) -> GeneratedSong:
    """Noise, or the picture given, in as many bands as it has."""
    if log_mel_db is None:
        n_frames = round(length_s * FRAMES_PER_S)
        log_mel_db = np.random.default_rng(1).uniform(-90, 0, (n_frames, N_MELS)).astype(np.float32)
    waveform = np.zeros(round(length_s * SAMPLE_RATE_HZ), np.float32)
    centres_hz = np.geomspace(LOWEST_HZ, HIGHEST_HZ, log_mel_db.shape[1])
    return GeneratedSong(waveform, log_mel_db, centres_hz, seed_end_s, Settings(length_s=length_s))


def ticks_hz(figure) -> dict[str, float]:
    """What stands at the y axis, and the centre of the band that it stands at."""
    axis, bands = figure.layout.yaxis, figure.data[0].y
    return {text: float(bands[place]) for text, place in zip(axis.ticktext, axis.tickvals, strict=True)}


@pytest.mark.parametrize("length_s", [4, 30, 300])
def test_payload_stays_below_half_a_megabyte(length_s):
    assert len(spectrogram_figure(song_of(length_s)).to_json()) < 500_000


@pytest.mark.parametrize("length_s", [4, 30, 300])
def test_time_axis_runs_over_the_whole_song_in_seconds(length_s):
    figure = spectrogram_figure(song_of(length_s))
    heatmap = figure.data[0]
    assert figure.layout.xaxis.range == pytest.approx((0, length_s), abs=0.02)
    assert figure.layout.xaxis.ticksuffix == " s"
    last_column_s = heatmap.x0 + (np.shape(heatmap.z)[1] - 1) * heatmap.dx
    assert last_column_s + heatmap.dx / 2 == pytest.approx(length_s, abs=0.02)


def test_frequency_axis_names_bands_in_hz():
    ticks = ticks_hz(spectrogram_figure(song_of(30)))
    assert ticks["100 Hz"] == pytest.approx(100, rel=0.03)
    assert ticks["4 kHz"] == pytest.approx(4000, rel=0.03)


def test_hover_reads_seconds_hz_and_db():
    heatmap = spectrogram_figure(song_of(30)).data[0]
    assert "%{x:.1f} s" in heatmap.hovertemplate
    assert "%{y} Hz" in heatmap.hovertemplate
    assert "%{z} dB" in heatmap.hovertemplate
    assert len(set(heatmap.y)) == N_MELS  # bands of one name would fall together
    assert [float(name) for name in heatmap.y] == pytest.approx(CENTRES_HZ, abs=0.5)
    assert np.min(heatmap.z) == FLOOR_DB
    assert np.max(heatmap.z) == 0


def test_a_tone_stands_in_its_own_band_and_second():
    log_mel_db = np.full((2000, N_MELS), -100, np.float32)
    log_mel_db[1000:1004, 64] = -6
    heatmap = spectrogram_figure(song_of(30, log_mel_db=log_mel_db)).data[0]
    band, column = np.unravel_index(np.argmax(heatmap.z), np.shape(heatmap.z))
    assert heatmap.z[band][column] == -6
    assert float(heatmap.y[band]) == pytest.approx(CENTRES_HZ[64], abs=0.5)
    assert heatmap.x0 + column * heatmap.dx == pytest.approx(1000 / FRAMES_PER_S, abs=0.05)


@pytest.mark.parametrize("band", [0, 99, 150, 199])
def test_a_tone_keeps_its_frequency_when_there_are_more_bands_than_fit(band):
    log_mel_db = np.full((267, 200), -100, np.float32)
    log_mel_db[:, band] = -6
    heatmap = spectrogram_figure(song_of(4, 2, log_mel_db)).data[0]
    shown_hz = float(heatmap.y[np.argmax(np.max(heatmap.z, axis=1))])
    assert shown_hz == pytest.approx(np.geomspace(LOWEST_HZ, HIGHEST_HZ, 200)[band], rel=0.03)


@pytest.mark.parametrize(("length_s", "seed_end_s"), [(30, 7.68), (300, 7.68), (4, 2.0)])
def test_seed_is_shaded_from_the_start_to_where_the_machine_goes_on(length_s, seed_end_s):
    figure = spectrogram_figure(song_of(length_s, seed_end_s))
    (shade,) = [shape for shape in figure.layout.shapes if shape.name == "seed"]
    assert (shade.x0, shade.x1) == (0, pytest.approx(seed_end_s))
    words = " ".join(annotation.text for annotation in figure.layout.annotations)
    assert "Kevin’s memory" in words
    assert "the machine dreams" in words


def test_background_is_transparent_so_that_both_themes_show_through():
    layout = spectrogram_figure(song_of(4)).layout
    assert layout.paper_bgcolor == layout.plot_bgcolor == "rgba(0,0,0,0)"
    assert layout.font.color is None


def test_a_finger_scrolls_past_instead_of_zooming():
    layout = spectrogram_figure(song_of(4)).layout
    assert layout.dragmode is False
    assert layout.xaxis.fixedrange
    assert layout.yaxis.fixedrange


@pytest.mark.parametrize("n_frames", [1, 267, 999, 1000, 1001, 20_000])
def test_shrinking_keeps_the_loudest_cell_and_never_exceeds_its_limits(n_frames):
    log_mel_db = np.full((n_frames, 200), -70, np.float32)
    log_mel_db[n_frames // 2, 100] = -3
    small = shrink(log_mel_db, MAX_COLUMNS, MAX_BANDS)
    assert small.shape == (min(n_frames, MAX_COLUMNS), MAX_BANDS)
    assert small.dtype == np.int8
    assert small.max() == -3


def test_cells_without_a_number_show_as_silence():
    log_mel_db = np.array([[np.nan, -np.inf], [-1, 3]], np.float32)
    assert shrink(log_mel_db, 10, 10).tolist() == [[FLOOR_DB, FLOOR_DB], [-1, 0]]


def test_payload_is_sent_as_bytes_not_as_digits():
    z = json.loads(spectrogram_figure(song_of(30)).to_json())["data"][0]["z"]
    assert z["dtype"] == "i1"
