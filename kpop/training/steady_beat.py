"""The beat of a song that was made to a machine's clock: one tempo and one phase for all of it, to a millisecond."""

import re
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import maximum_filter1d
from scipy.signal import butter, sosfilt

from kpop.grid import SAMPLE_RATE_HZ, SIXTEENTHS_PER_BAR, TEMPO_BPM, exact_div
from kpop.training.beats import BASS_HZ, metronome

BARS_PER_PHRASE = 4  # what the metronome of the LSTM counts
NEAR_GRID = 0.2  # a song this far from our tempo still sounds like itself when it is played at our tempo
NAMED_TEMPO = re.compile(r"(\d{2,3}(?:\.\d+)?)[ _-]?bpm", re.IGNORECASE)
NAMED_RANGE_BPM = 0.6  # a name gives whole numbers
HEARD_RANGE = 0.04  # librosa's tempo is right within this share
TEMPO_STEP_BPM = 0.005
WHOLE_BPM = 0.005  # studios set whole numbers: a tempo so near to one is that one
CLEAR = 0.15  # mean resultant length of onsets on the sixteenths: 0 anywhere, 1 all on them
CHANCE = 3.5  # the same times the square root of the number of onsets: what chance hardly reaches

CHUNK_SAMPLES = exact_div(SAMPLE_RATE_HZ, 1000)  # onsets are found to the millisecond
POWER_FLOOR = 1e-5
ONSET_RISE = 1.2  # nepers of power within two milliseconds
ONSET_APART = 25  # chunks: nearer ones are one stroke
STROKE = 30  # chunks that the bass of a stroke is measured over
NEAR_S = 0.02  # onsets farther from the grid belong to something else
TIGHT_S = 0.006  # and on the beats, once they are known
FEWEST_ONSETS = 32


@dataclass(frozen=True)
class Beat:
    """A steady beat.

    bpm: tempo, counted at the octave nearest to the grid's; downbeat_s: where four bars begin, at or before 0
    clarity: 0..1, how much of the percussion lies on the sixteenths; under CLEAR the rest means nothing
    """

    bpm: float
    downbeat_s: float
    clarity: float

    @property
    def bar_s(self) -> float:
        """Length of a bar in seconds."""
        return 240 / self.bpm

    @property
    def speed(self) -> float:
        """What a record player has to do to it: 125 / bpm, or 1 where that would be too much of a change."""
        return TEMPO_BPM / self.bpm if is_near_grid(self.bpm) else 1.0


FREE = Beat(float(TEMPO_BPM), 0.0, 0.0)  # for songs without a steady beat: bars are lengths, no more


def is_near_grid(bpm: float) -> bool:
    """Whether a song of this tempo can be played at ours."""
    return abs(bpm / TEMPO_BPM - 1) <= NEAR_GRID


def named_tempo(names: list[str]) -> float | None:
    """The tempo that one of the names tells, like "1_Hydrogen_mix_132bpm.ogg"."""
    found = [match for name in names if (match := NAMED_TEMPO.search(name))]
    return float(found[0][1]) if found else None


def steady_beat(percussion: np.ndarray, mix: np.ndarray, entries_s: np.ndarray, named_bpm: float | None) -> Beat:
    """Beat of a song from its percussion and its mix, both (n_samples,) float32, and the moments when parts come in.

    The tempo is the one near `named_bpm`, or near librosa's, that puts most onsets on its sixteenths; then a straight
    line through the onsets. Four bars begin where parts come in and the bass is strongest.
    """
    moments_s, weights = onsets(percussion)
    if len(moments_s) < FEWEST_ONSETS:
        return FREE
    bpm = _nearest_octave(named_bpm or metronome(percussion)[1])
    reach_bpm = NAMED_RANGE_BPM if named_bpm else bpm * HEARD_RANGE
    bpm, clarity = _best_tempo(moments_s, weights, bpm, reach_bpm)
    if clarity < max(CLEAR, CHANCE / np.sqrt(len(moments_s))):
        return FREE
    period_s = 15 / bpm
    turns = np.angle(np.dot(weights, np.exp(2j * np.pi / period_s * moments_s))) / (2 * np.pi)
    period_s, phase_s = _line(moments_s, weights, period_s, turns * period_s, NEAR_S)
    sixteenth = _bar_line(mix, moments_s, entries_s, period_s, phase_s)
    on_beat = (np.round((moments_s - phase_s) / period_s) - sixteenth) % 4 == 0  # those between may swing
    period_s, phase_s = _line(moments_s[on_beat], weights[on_beat], period_s, phase_s, TIGHT_S)
    period_s, phase_s = _whole_tempo(moments_s[on_beat], period_s, phase_s)
    phrase_s = period_s * SIXTEENTHS_PER_BAR * BARS_PER_PHRASE
    downbeat_s = (phase_s + sixteenth * period_s) % phrase_s - phrase_s
    return Beat(15 / period_s, downbeat_s, clarity)


def residuals_ms(percussion: np.ndarray, beat: Beat) -> tuple[float, float, float]:
    """How late the beats sound against `beat`, in milliseconds: medians over the first, middle and last third."""
    moments_s, _ = onsets(percussion)
    beats = (moments_s - beat.downbeat_s) * beat.bpm / 60
    late_s = (beats - np.round(beats)) * 60 / beat.bpm
    thirds = np.clip(moments_s / (len(percussion) / SAMPLE_RATE_HZ) * 3, 0, 2).astype(int)
    start, middle, end = (1000 * _centre(late_s[thirds == third]) for third in range(3))
    return start, middle, end


def onsets(percussion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Moments (n,) in seconds at which strokes begin, and how steeply (n,), of a waveform (n_samples,)."""
    # The difference of neighbours favours what is sharp.
    power = np.log(_chunk_power(np.diff(percussion, prepend=np.float32(0))) + POWER_FLOOR)
    rise = np.zeros(len(power))
    rise[1:-1] = power[2:] - power[:-2]
    peaks = np.flatnonzero((rise >= ONSET_RISE) & (rise == maximum_filter1d(rise, 2 * ONSET_APART + 1)))
    return (peaks + 0.5) / 1000, rise[peaks]


def _nearest_octave(bpm: float) -> float:
    """66 is counted as 132, and 260 as 130; what is near the grid in no octave stays as it is."""
    return next((bpm * octave for octave in (1.0, 2.0, 0.5) if is_near_grid(bpm * octave)), bpm)


def _best_tempo(moments_s: np.ndarray, weights: np.ndarray, bpm: float, reach_bpm: float) -> tuple[float, float]:
    """The tempo on whose sixteenths the onsets lie best, and how well, 0..1."""
    tempi = np.arange(bpm - reach_bpm, bpm + reach_bpm, TEMPO_STEP_BPM)
    fits = [abs(np.dot(weights, np.exp(-2j * np.pi * tempo / 15 * moments_s))) for tempo in tempi]
    best = int(np.argmax(fits))
    return float(tempi[best]), float(fits[best] / weights.sum())


def _line(
    moments_s: np.ndarray, weights: np.ndarray, period_s: float, phase_s: float, near_s: float
) -> tuple[float, float]:
    """Period and phase in seconds of the straight line through the onsets nearer to it than `near_s`."""
    for _ in range(4):
        places = np.round((moments_s - phase_s) / period_s)
        near = np.abs(moments_s - phase_s - places * period_s) < near_s
        if near.sum() >= FEWEST_ONSETS:
            period_s, phase_s = np.polyfit(places[near], moments_s[near], 1, w=weights[near])
    return float(period_s), float(phase_s)


def _whole_tempo(moments_s: np.ndarray, period_s: float, phase_s: float) -> tuple[float, float]:
    """Period and phase of the whole tempo that is as good as the same, or else those given."""
    whole_bpm = round(15 / period_s)
    if abs(15 / period_s - whole_bpm) > WHOLE_BPM:
        return period_s, phase_s
    middle = np.round((np.median(moments_s) - phase_s) / period_s)
    phase_s, period_s = phase_s + middle * (period_s - 15 / whole_bpm), 15 / whole_bpm  # they meet in the middle
    return period_s, phase_s + _centre((moments_s - phase_s + period_s / 2) % period_s - period_s / 2)


def _bar_line(mix: np.ndarray, moments_s: np.ndarray, entries_s: np.ndarray, period_s: float, phase_s: float) -> int:
    """Which sixteenth, 0..63 from `phase_s`, begins four bars."""
    bass = _chunk_power(sosfilt(butter(2, BASS_HZ, fs=SAMPLE_RATE_HZ, output="sos"), mix))
    heard = np.concatenate([np.zeros(1), np.cumsum(bass)])
    chunks = np.round(moments_s * 1000).astype(int)
    before, after = (np.clip(chunks + way, 0, len(bass)) for way in (-STROKE, STROKE))
    rise = np.maximum(heard[after] - 2 * heard[np.clip(chunks, 0, len(bass))] + heard[before], 0)
    bass_votes = _votes(moments_s, np.sqrt(rise), period_s, phase_s)
    entry_votes = _votes(entries_s, np.ones(len(entries_s)), period_s, phase_s)
    by_bar = (bass_votes + entry_votes).reshape(BARS_PER_PHRASE, SIXTEENTHS_PER_BAR).sum(0)
    sixteenth = int(by_bar.argmax())
    return sixteenth + SIXTEENTHS_PER_BAR * int(entry_votes[sixteenth::SIXTEENTHS_PER_BAR].argmax())


def _votes(moments_s: np.ndarray, weights: np.ndarray, period_s: float, phase_s: float) -> np.ndarray:
    """Share (64,) of the weights on each sixteenth of four bars."""
    n_places = SIXTEENTHS_PER_BAR * BARS_PER_PHRASE
    places = np.round((moments_s - phase_s) / period_s).astype(int) % n_places
    return np.bincount(places, weights, n_places) / max(weights.sum(), 1e-9)


def _centre(late_s: np.ndarray) -> float:
    """Median of the deviations near 0; 0 if there are none."""
    near = late_s[np.abs(late_s) < NEAR_S]
    return float(np.median(near)) if near.size else 0.0


def _chunk_power(waveform: np.ndarray) -> np.ndarray:
    """Sum of squares (n_chunks,) of each whole millisecond of a waveform (n_samples,)."""
    chunks = waveform[: len(waveform) // CHUNK_SAMPLES * CHUNK_SAMPLES].reshape(-1, CHUNK_SAMPLES)
    return np.einsum("ij,ij->i", chunks, chunks)
