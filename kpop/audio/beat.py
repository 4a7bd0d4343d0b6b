"""How fast a listener's own sound goes, and where its beats lie: claps, a hummed line, a count, a song.

Onsets are where the spectrum rises (spectral flux; Bello et al. 2005, "A tutorial on onset detection"). The tempo is
the one whose bars, beats, and parts of a beat are strongest in both the flux's autocorrelation (as Ellis 2007,
"Beat tracking by dynamic programming") and its Fourier transform: a wrong tempo is seldom strong in both (Peeters
2007, "Template-based estimation of time-varying tempo").

Where a clip of the listener's own stands in the bar, so that the song goes on in time with it.

Where a real song stands in its bar: beats by librosa (Ellis 2007, "Beat tracking by dynamic programming").

The beat of a song that was made to a machine's clock: one tempo and one phase for all of it, to a millisecond.
"""

import re
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import maximum_filter1d, uniform_filter1d
from scipy.signal import butter, find_peaks, sosfilt

from kpop.audio.stft import mel_filterbank, stft, stft_at
from kpop.constants import (
    BEATS_PER_BAR,
    FRAMES_PER_STEP,
    HOP_LENGTH,
    N_FFT,
    N_METRE_POSITIONS,
    SAMPLE_RATE_HZ,
    SIXTEENTHS_PER_BAR,
    STEP_SAMPLES,
    STEPS_PER_BAR,
    STEPS_PER_BEAT,
    TEMPO_BPM,
    exact_div,
)

FLUX_HOP = 80
FLUX_PER_S = exact_div(SAMPLE_RATE_HZ, FLUX_HOP)
N_BANDS = 24
LEVEL = 0.15  # root mean square that the flux is taken at
TEMPO_GAIN = 1000.0  # before the logarithm: what is 60 dB under full scale begins to count
BEAT_GAIN = 30.0  # here only what is loud: between the beats there is more that is soft
RISE_FRAMES = 4
EARLY_S = 0.007  # so much too soon the flux has drums and claps; a hum's middle of attack it has too late
AROUND_S = 0.6  # onsets stand out from the mean flux around them
LOWEST_BPM = TEMPO_BPM / 2**0.5  # every tempo is counted at the octave nearest to the model's own
TEMPI_BPM = LOWEST_BPM * 2 ** np.arange(0, 1, 1 / 400)
LEVELS = ((0.25, 1.0), (0.5, 1.0), (1.0, 1.0), (2.0, 1.0), (4.0, 0.5))  # bars to sixteenths: how many a beat, weight
FINE_LEVELS = LEVELS[2:]
N_FOURIER = 1 << 16
REFINEMENTS = ((0.03, 61), (0.002, 21))  # share of the tempo to look around, and how many to look at
PHASES = np.arange(0, 1, 1 / 256)
CLEAR = 11.0  # Rayleigh's test summed over beats, halves and quarters: claps without any beat reach 10, steady ones 14
FIRM = 2.3  # nepers over all bands, the mean stroke: the tremble of a held voice reaches 2, notes that are tied have 3
STROKE_HEIGHT, STROKES_APART = 0.1, 10  # share of the highest flux; frames


@dataclass(frozen=True)
class Pulse:
    """A steady beat: tempo in BPM, at the octave nearest to the model's, and seconds from the start to a beat."""

    tempo_bpm: float
    beat_s: float


def find_pulse(waveform: np.ndarray) -> Pulse | None:
    """The beat of a sound (n_samples,) float32 at 16 kHz, of four seconds or more; None where there is none clear."""
    bands = _bands(waveform)
    flux = _flux(bands, TEMPO_GAIN)
    if not flux.any():
        return None
    bpm = _refined(flux, TEMPI_BPM[_strengths(flux).argmax()])
    if _clarity(flux, bpm) < CLEAR:
        return None
    return Pulse(float(bpm), _beat_s(_flux(bands, BEAT_GAIN), bpm))


def _bands(waveform: np.ndarray) -> np.ndarray:
    """Magnitudes (n_frames, N_BANDS) every 5 ms, of a sound brought to LEVEL."""
    rms = np.sqrt(np.mean(np.square(waveform, dtype=np.float64))) or 1.0
    centres = np.arange(0, len(waveform), FLUX_HOP)
    magnitude = np.abs(stft_at(waveform, centres)) * np.float32(LEVEL / rms)
    bank = mel_filterbank(N_BANDS)
    return magnitude @ (bank / bank.sum(1, keepdims=True)).T


def _flux(bands: np.ndarray, gain: float) -> np.ndarray:
    """How much the spectrum rises at each frame (n_frames,), beyond what it does all the time."""
    level, flux = np.log1p(gain * bands), np.zeros(len(bands))
    rises = np.maximum(level[RISE_FRAMES:] - level[:-RISE_FRAMES], 0).sum(1)
    flux[RISE_FRAMES // 2 :][: len(rises)] = rises
    return np.maximum(flux - uniform_filter1d(flux, round(AROUND_S * FLUX_PER_S)), 0)


def _strengths(flux: np.ndarray) -> np.ndarray:
    """How strong each of TEMPI_BPM is."""
    waves = np.abs(np.fft.rfft(flux, N_FOURIER)) / flux.sum()
    waves_hz = np.fft.rfftfreq(N_FOURIER, 1 / FLUX_PER_S)
    alike = _autocorrelation(flux)
    total = np.zeros(len(TEMPI_BPM))
    for a_beat, weight in LEVELS:
        hz = TEMPI_BPM / 60 * a_beat
        lags = np.interp(FLUX_PER_S / hz, np.arange(len(alike)), alike, right=0)
        total += weight * (np.interp(hz, waves_hz, waves) + np.maximum(lags, 0))
    return total


def _autocorrelation(flux: np.ndarray) -> np.ndarray:
    """(n_frames,), 1 at lag 0; long lags, which few frames have, count less."""
    n = len(flux)
    power = np.square(np.abs(np.fft.rfft(flux - flux.mean(), 2 * n)))
    alike = np.fft.irfft(power)[:n]
    return alike / max(alike[0], 1e-12) * n / np.maximum(n - np.arange(n), n // 3)


def _refined(flux: np.ndarray, bpm: float) -> float:
    """The tempo nearby whose beats and their parts are most in phase over the whole sound."""
    for reach, n in REFINEMENTS:
        tempi = bpm * np.linspace(1 - reach, 1 + reach, n)
        fits = sum(weight * np.abs(_wave(flux, tempi / 60 * a_beat)) for a_beat, weight in FINE_LEVELS)
        bpm = tempi[fits.argmax()]
    return bpm


def _wave(flux: np.ndarray, hz: np.ndarray) -> np.ndarray:
    """Fourier transform of the flux at some frequencies, as a share of all flux: complex, at most 1."""
    time_s = np.arange(len(flux)) / FLUX_PER_S
    return np.exp(-2j * np.pi * np.outer(hz, time_s)) @ flux / flux.sum()


def _clarity(flux: np.ndarray, bpm: float) -> float:
    """How far beyond chance strokes lie on the beats and their parts (Rayleigh's test); 0 where there are none."""
    strokes, _ = find_peaks(flux, height=STROKE_HEIGHT * flux.max(), distance=STROKES_APART)
    weights = flux[strokes]
    if not weights.any() or np.average(weights, weights=weights) < FIRM:
        return 0.0
    n_strokes = weights.sum() ** 2 / np.square(weights).sum()
    levels = np.array([a_beat for a_beat, _ in FINE_LEVELS])
    return float(n_strokes * np.square(np.abs(_wave(flux, bpm / 60 * levels))).sum())


def _beat_s(flux: np.ndarray, bpm: float) -> float:
    """Seconds to the first beat."""
    levels = np.array([a_beat for a_beat, _ in FINE_LEVELS])
    waves = _wave(flux, bpm / 60 * levels)
    turns = np.exp(2j * np.pi * np.outer(PHASES, levels))
    fits = (turns * waves).real @ [weight for _, weight in FINE_LEVELS]
    return float(PHASES[fits.argmax()] * 60 / bpm + EARLY_S) % (60 / bpm)


N_BASS_MELS = 6  # below about 250 Hz: kick drum and bass
HARMONY_MELS = slice(6, 36)  # about 250 Hz to 1.5 kHz: chords and melody
OPENING = 0.3  # who begins after silence mostly begins with a one: counts as so much of the other signs
TINY = 1e-9


def first_slot(waveform: np.ndarray, hop: float = HOP_LENGTH, beat: int | None = None, opening: bool = False) -> int:
    """Metronome position 0..STEPS_PER_BAR-1 of the clip's first step: (n_samples,) float32 at 16 kHz.

    hop: samples between frames at the clip's tempo. beat: step of its first beat, where that is known. opening: whether
    there is silence before it. The beat lies where the spectrum rises most (spectral flux; Bello et al. 2005, "A
    tutorial on onset detection"), a bar begins where the bass rises and the harmony changes most.
    """
    centres = np.arange(1 + int(len(waveform) / hop)) * hop
    level = np.abs(stft_at(waveform, np.rint(centres).astype(int))) @ mel_filterbank().T
    rise = np.maximum(np.diff(level, axis=0, prepend=level[:1]), 0)
    if beat is None:
        beat = int(np.argmax(_by_phase(rise.sum(1), STEPS_PER_BEAT)))
    bass, harmony = rise[:, :N_BASS_MELS].sum(1), np.sqrt(level[:, HARMONY_MELS])
    return -(beat + STEPS_PER_BEAT * _downbeat(bass, harmony, beat, opening)) % STEPS_PER_BAR


def _downbeat(bass: np.ndarray, harmony: np.ndarray, beat: int, opening: bool) -> int:
    """Which of the first four beats, counted from step beat on, begins a bar."""
    in_bass = _by_phase(bass, STEPS_PER_BAR)[beat::STEPS_PER_BEAT]
    length = STEPS_PER_BEAT * FRAMES_PER_STEP
    beats = harmony[beat * FRAMES_PER_STEP :]
    beats = beats[: len(beats) // length * length].reshape(-1, length, harmony.shape[1]).mean(1)
    change = np.abs(np.diff(beats, axis=0, prepend=beats[:1])).sum(1)
    firsts = (BEATS_PER_BAR, *range(1, BEATS_PER_BAR))  # nothing is known of the change to the first beat of all
    in_harmony = np.array([_mean(change[first::BEATS_PER_BAR]) for first in firsts])
    signs = in_bass / max(in_bass.sum(), TINY) + 2 * in_harmony / max(in_harmony.sum(), TINY)
    signs[0] += OPENING * opening
    return int(np.argmax(signs))


def _mean(values: np.ndarray) -> float:
    """Their mean, 0 when there are none."""
    return float(values.mean()) if len(values) else 0.0


def _by_phase(flux: np.ndarray, period_steps: int) -> np.ndarray:
    """(period_steps,) mean flux at and around each phase of a period; phases that the clip does not reach have none."""
    n_steps = len(flux) // FRAMES_PER_STEP
    steps = flux[: n_steps * FRAMES_PER_STEP].reshape(n_steps, FRAMES_PER_STEP).sum(1)
    steps, phases = steps[1:], np.arange(1, n_steps) % period_steps  # what the first rises from is not known
    total = np.bincount(phases, steps, minlength=period_steps)
    mean = total / np.maximum(np.bincount(phases, minlength=period_steps), 1)
    return mean + 0.5 * (np.roll(mean, 1) + np.roll(mean, -1))


FEWEST_BEATS = 8  # with fewer the tempo is a guess
BASS_HZ = 160.0


def metronome(waveform: np.ndarray) -> tuple[np.ndarray, float]:
    """Metronome slots (n_steps,) int16 of a song (n_samples,) float32, and its tempo in BPM.

    Beats are librosa's; the downbeat is the one of every four with most bass. A song without a clear beat is given
    the metronome of our corpus.
    """
    import librosa  # here, because it is slow to import and training on our own corpus does without it

    n_steps = len(waveform) // STEP_SAMPLES
    _, beats = librosa.beat.beat_track(
        y=waveform, sr=SAMPLE_RATE_HZ, hop_length=HOP_LENGTH, start_bpm=TEMPO_BPM, units="frames"
    )
    if len(beats) < FEWEST_BEATS:
        return (np.arange(n_steps) % N_METRE_POSITIONS).astype(np.int16), float(TEMPO_BPM)
    beats_s = beats * HOP_LENGTH / SAMPLE_RATE_HZ
    moments = beat_positions(beats_s, np.arange(n_steps) * STEP_SAMPLES / SAMPLE_RATE_HZ)
    slots = np.floor((moments - _downbeat_beats(waveform, beats)) * STEPS_PER_BEAT).astype(int) % N_METRE_POSITIONS
    return slots.astype(np.int16), float(60 / np.median(np.diff(beats_s)))


def beat_positions(beats_s: np.ndarray, moments_s: np.ndarray) -> np.ndarray:
    """How many beats have passed at each moment, as fractions; beyond both ends the beat goes on evenly."""
    period = float(np.median(np.diff(beats_s)))
    inside = np.interp(moments_s, beats_s, np.arange(len(beats_s)))
    before = np.minimum(moments_s - beats_s[0], 0) / period
    after = np.maximum(moments_s - beats_s[-1], 0) / period
    return inside + before + after


def _downbeat_beats(waveform: np.ndarray, beats: np.ndarray) -> int:
    """Which of the first four beats begins a bar."""
    n_bass_bins = int(BASS_HZ * N_FFT / SAMPLE_RATE_HZ)
    bass = np.abs(stft(waveform)[:, 1:n_bass_bins]).sum(1)
    rise = np.maximum(np.diff(bass, prepend=0), 0)
    strength = np.array([rise[max(beat - 3, 0) : beat + 4].max() for beat in np.minimum(beats, len(rise) - 1)])
    return int(np.argmax([strength[first::BEATS_PER_BAR].mean() for first in range(BEATS_PER_BAR)]))


BARS_PER_PHRASE = 4  # what the metronome of the LSTM counts
NEAR_GRID = 0.2  # a song this far from our tempo still sounds like itself when it is played at our tempo
NAMED_TEMPO = re.compile(r"(\d{2,3}(?:\.\d+)?)[ _-]?bpm", re.IGNORECASE)
NAMED_RANGE_BPM = 0.6  # a name gives whole numbers
HEARD_RANGE = 0.04  # librosa's tempo is right within this share
TEMPO_STEP_BPM = 0.005
WHOLE_BPM = 0.005  # studios set whole numbers: a tempo so near to one is that one
STEADY_CLEAR = 0.15  # mean resultant length of onsets on the sixteenths: 0 anywhere, 1 all on them
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
    clarity: 0..1, how much of the percussion lies on the sixteenths; under STEADY_CLEAR the rest means nothing
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
    if clarity < max(STEADY_CLEAR, CHANCE / np.sqrt(len(moments_s))):
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
