"""Measures of waveforms (n_samples,) float32 at 16 kHz, and of sets of songs, as the literature defines them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from itertools import product

import numpy as np
from scipy.linalg import eigvals
from scipy.ndimage import uniform_filter1d
from scipy.spatial.distance import cdist
from scipy.stats import entropy

from kpop.audio.loudness import integrated_loudness
from kpop.audio.stft import log_mel_db, log_mel_spectrogram, stft_at
from kpop.constants import (
    FRAMES_PER_S,
    FRAMES_PER_STEP,
    HOP_LENGTH,
    SAMPLE_RATE_HZ,
    SIXTEENTH_SAMPLES,
    SIXTEENTHS_PER_BAR,
    STEPS_PER_BAR,
    STEPS_PER_SIXTEENTH,
    TEMPO_BPM,
)
from kpop.corpus.score import KINDS
from kpop.corpus.theory import FIRST_MAJOR, LOOPS, chord_class, roman
from kpop.evaluation.fidelity import BINS_HZ, crest_factor_db
from kpop.similarity.features import chroma

TINY = 1e-12
BAR_FRAMES = FRAMES_PER_STEP * STEPS_PER_BAR
Project = Callable[[np.ndarray], np.ndarray]

# --- Rhythm

MIN_BPM, MAX_BPM = 60.0, 200.0


def onset_strength(level_db: np.ndarray) -> np.ndarray:
    """Mean rise (n_frames - 1,) in dB over the bands of a mel spectrogram (n_frames, n_mels) from frame to frame
    (spectral flux; Bello et al. 2005, "A tutorial on onset detection")."""
    return np.maximum(np.diff(level_db, axis=0), 0).mean(1)


def pulse(strength: np.ndarray) -> tuple[float, float]:
    """(pulse clarity, tempo in BPM) of an onset strength (n_frames,): height and lag of the highest peak of its
    autocorrelation between MIN_BPM and MAX_BPM (Lartillot et al. 2008, "Multi-feature modeling of pulse clarity").

    The clarity is near 0 without any pulse, 1 if every beat is like the one before; a parabola refines the lag.
    """
    lags = np.arange(int(FRAMES_PER_S * 60 / MAX_BPM) - 1, int(FRAMES_PER_S * 60 / MIN_BPM) + 2)
    signal = strength - strength.mean()
    products = np.array([np.mean(signal[lag:] * signal[:-lag]) for lag in lags])
    values = products / max(np.mean(signal**2), TINY)
    peak = int(values[1:-1].argmax()) + 1
    before, top, after = values[peak - 1 : peak + 2]
    curvature = before - 2 * top + after
    shift = 0.5 * (before - after) / curvature if curvature < -TINY else 0.0
    return float(top), float(FRAMES_PER_S * 60 / (lags[peak] + np.clip(shift, -0.5, 0.5)))


def tempo_error_percent(bpm: float, truth_bpm: float = TEMPO_BPM) -> float:
    """Deviation of a tempo from the truth, half and double time allowed (Gouyon et al. 2006, "Accuracy 2")."""
    return float(min(abs(bpm * factor / truth_bpm - 1) for factor in (0.5, 1.0, 2.0)) * 100)


# --- Keys and chords. Classes 0-11 are major, 12-23 minor, from C on.

CHROMA_FFT = 8192  # bins of 2 Hz separate semitones from about 80 Hz on
CHORD_RANGE_HZ, BASS_RANGE_HZ = (80.0, 2_000.0), (40.0, 200.0)
BASS_WEIGHT = 0.2  # of a root in the bass, added to a chord's score of at most 1
LOOP_BARS = 4


def song_chroma(waveform: np.ndarray, sixteenth_samples: int = SIXTEENTH_SAMPLES) -> tuple[np.ndarray, np.ndarray]:
    """Chroma (n_sixteenths, 12) of 80-2000 Hz and of the bass.

    Of spectral peaks alone (Gomez 2006, "Tonal description of music audio signals"), with square roots of magnitudes so
    that no partial dominates.
    """
    n_sixteenths = len(waveform) // sixteenth_samples
    centres = np.arange(n_sixteenths) * sixteenth_samples + sixteenth_samples // 2
    whole = waveform[: n_sixteenths * sixteenth_samples]

    ranges = CHORD_RANGE_HZ, BASS_RANGE_HZ
    return tuple(chroma(whole, centres, CHROMA_FFT, each, _peaks, lambda off: 1 - 2 * abs(off)) for each in ranges)


def _peaks(magnitude: np.ndarray, n_around: int = 31) -> np.ndarray:
    """Peaks of spectra (n_frames, n_bins): drums and consonants fill the bins around evenly."""
    return np.sqrt(np.maximum(magnitude - 1.5 * uniform_filter1d(magnitude, n_around, axis=1), 0))


def _standardised(values: np.ndarray) -> np.ndarray:
    centred = values - values.mean(-1, keepdims=True)
    return centred / np.maximum(centred.std(-1, keepdims=True), TINY)


# Krumhansl & Kessler (1982), as tabulated in Krumhansl (1990), "Cognitive foundations of musical pitch".
_MAJOR_PROFILE = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
_MINOR_PROFILE = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
_ROTATIONS = [np.roll(profile, tonic) for profile in (_MAJOR_PROFILE, _MINOR_PROFILE) for tonic in range(12)]
KEY_PROFILES = _standardised(np.array(_ROTATIONS))
_TRIADS = [np.isin(np.arange(12), np.add(root, third) % 12) for third in ((0, 4, 7), (0, 3, 7)) for root in range(12)]
TRIADS = np.array(_TRIADS) / np.sqrt(3)


def key(mean_chroma: np.ndarray) -> tuple[int, float]:
    """(key 0..23, clarity -1..1) of a chroma (12,): the Krumhansl-Kessler profile that correlates best (Krumhansl
    1990), and that correlation."""
    correlations = KEY_PROFILES @ _standardised(mean_chroma) / 12
    return int(correlations.argmax()), float(correlations.max())


def bar_chords(chroma_16ths: np.ndarray, bass_16ths: np.ndarray) -> np.ndarray:
    """Triads (n_bars,) 0..23: the binary template nearest in angle to the bar's mean chroma (Fujishima 1999), its score
    raised by its root in the bass."""
    n_bars = len(chroma_16ths) // SIXTEENTHS_PER_BAR
    bars = np.stack([chroma_16ths, bass_16ths])[:, : n_bars * SIXTEENTHS_PER_BAR]
    bars = bars.reshape(2, n_bars, SIXTEENTHS_PER_BAR, 12).mean(2)
    bars = bars - bars.min(2, keepdims=True)  # the noise of the drums is in all pitch classes
    whole, bass = bars / np.maximum(np.linalg.norm(bars, axis=2, keepdims=True), TINY)
    return (whole @ TRIADS.T + BASS_WEIGHT * np.tile(bass, 2)).argmax(1)


def progression_share(chords: np.ndarray) -> float:
    """Share 0..1 of bars that lie in four bars whose chords are one of the corpus's loops, in any key and rotation."""
    inside = np.zeros(len(chords), bool)
    for first in range(len(chords) - LOOP_BARS + 1):
        if _in_c(chords[first : first + LOOP_BARS]) in _known_loops():
            inside[first : first + LOOP_BARS] = True
    return float(inside.mean())


@cache
def _known_loops() -> frozenset[tuple[int, ...]]:
    """All rotations of the corpus's loops as triads, the first root C; a bar of two chords counts as either."""
    found = set()
    for (mode, _), loops in LOOPS.items():
        for loop in loops:
            bars = [[chord_class(roman(one, 0, mode)) - FIRST_MAJOR for one in bar.split("-")] for bar in loop.split()]
            found |= {_in_c(np.roll(chords, -turn)) for chords in product(*bars) for turn in range(LOOP_BARS)}
    return frozenset(found)


def _in_c(chords: np.ndarray) -> tuple[int, ...]:
    """The chords transposed so that the first has root C."""
    return tuple(((chords - chords[0]) % 12 + chords // 12 * 12).tolist())


# --- Hooks

HOOK_FFT, HOOK_RANGE_HZ = 2048, (220.0, 2_000.0)  # as short as a sixteenth, above the bass
HOOK_BARS = 4
KEY_CHANGES = range(-2, 3)  # semitones that a chorus may be transposed by
CHORUS = 1 + 2 * KINDS.index("chorus")  # section label of its first four bars


def chorus_matches(
    waveform: np.ndarray, hop: int, sections: np.ndarray, rng: np.random.Generator | None = None
) -> np.ndarray:
    """How much each later chorus's first four bars are like the first one's, -1..1 (n_choruses - 1,).

    The mean of two correlations, in the best key: of chroma less the mean of its bar, so that chords count as little as
    possible and the tune as much, and of onset strength less the mean of its place in the bar, so that the groove does
    not count. sections: (n_steps,) section labels. rng: rotates the bars of the later ones, for a control.
    """
    sixteenth = hop * FRAMES_PER_STEP * STEPS_PER_SIXTEENTH
    centres = np.arange(len(waveform) // sixteenth) * sixteenth + sixteenth // 2
    notes = chroma(
        waveform, centres, HOOK_FFT, HOOK_RANGE_HZ, partial(_peaks, n_around=15), lambda off: 1 - 2 * abs(off)
    )
    notes /= np.maximum(np.linalg.norm(notes, axis=1, keepdims=True), TINY)
    strength = onset_strength(log_mel_db(_magnitude(waveform, hop)))
    strength = strength[: len(centres) * FRAMES_PER_STEP * STEPS_PER_SIXTEENTH].reshape(len(centres), -1).mean(1)
    starts = np.flatnonzero((sections == CHORUS) & (np.roll(sections, 1) != CHORUS)) // STEPS_PER_SIXTEENTH
    blocks = []
    for start in starts[starts + HOOK_BARS * SIXTEENTHS_PER_BAR <= len(centres)]:
        block = slice(start, start + HOOK_BARS * SIXTEENTHS_PER_BAR)
        tune, onsets = notes[block].reshape(HOOK_BARS, -1, 12), strength[block].reshape(HOOK_BARS, -1)
        order = np.roll(range(HOOK_BARS), rng.integers(1, HOOK_BARS) if rng and blocks else 0)
        blocks.append(((tune - tune.mean(1, keepdims=True))[order], (onsets - onsets.mean(0))[order]))
    if not blocks:
        return np.zeros(0)
    (tune, onsets), *later = blocks
    matches = [
        (max(_cosine(tune, np.roll(other, key, 2)) for key in KEY_CHANGES) + _cosine(onsets, strokes)) / 2
        for other, strokes in later
    ]
    return np.array(matches)


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float((one * other).sum() / max(np.linalg.norm(one) * np.linalg.norm(other), TINY))


# --- Features of a song for the table

OCTAVES_HZ = (63, 125, 250, 500, 1000, 2000, 4000)  # centres (IEC 61260); the last band extends to 8 kHz
SILENCE_DB = -120.0
WINDOW_BANDS = 20


@dataclass(frozen=True)
class SongFeatures:
    """What the table needs of a song that begins with a bar."""

    values: dict[str, float]  # the measures that are one number per song
    octaves_db: np.ndarray  # (7,) levels of the octave bands less their mean
    windows: np.ndarray  # (n_bars - 1, 68) statistics of each two consecutive bars


def analyse_song(waveform: np.ndarray, hop: int = HOP_LENGTH) -> SongFeatures:
    """Features of a waveform of four bars at least.

    hop: samples between frames that make a bar BAR_FRAMES of them; then the tempo reads TEMPO_BPM, whatever it is.
    """
    magnitude = _magnitude(waveform, hop)
    level_db = log_mel_db(magnitude)
    strength = onset_strength(level_db)
    chroma_16ths, bass_16ths = song_chroma(waveform, hop * FRAMES_PER_STEP * STEPS_PER_SIXTEENTH)
    clarity, bpm = pulse(strength)
    song_key, key_clarity = key(chroma_16ths.mean(0))
    values = {
        "pulse_clarity": clarity,
        "tempo_error_percent": tempo_error_percent(bpm),
        "key_clarity": key_clarity,
        "progression_bars": progression_share(bar_chords(chroma_16ths, bass_16ths)),
        "crest_db": crest_factor_db(waveform),
    }
    windows = window_statistics(level_db, strength, np.roll(chroma_16ths, -(song_key % 12), axis=1))
    return SongFeatures(values, octave_balance_db(magnitude), windows)


def _magnitude(waveform: np.ndarray, hop: int) -> np.ndarray:
    return np.abs(stft_at(waveform, np.arange(0, len(waveform) + 1, hop)))


def octave_balance_db(magnitude: np.ndarray) -> np.ndarray:
    """(7,) mean power of each octave band in dB, less the mean of the seven: independent of loudness."""
    power = np.square(magnitude).mean(0)
    edges_hz = np.array([*(centre / 2**0.5 for centre in OCTAVES_HZ), np.inf])
    octave = np.searchsorted(edges_hz, BINS_HZ, side="right") - 1
    levels = np.array([power[octave == index].sum() for index in range(len(OCTAVES_HZ))])
    levels_db = 10 * np.log10(np.maximum(levels, 10 ** (SILENCE_DB / 10)))
    return levels_db - levels_db.mean()


def window_statistics(level_db: np.ndarray, strength: np.ndarray, key_chroma: np.ndarray) -> np.ndarray:
    """(n_bars - 1, 68) of each two consecutive bars: mean and deviation of 20 mel bands, share of the 12 degrees above
    the tonic, and mean onset strength at each sixteenth of the bar."""
    n_bars = min(len(key_chroma) // SIXTEENTHS_PER_BAR, len(strength) // BAR_FRAMES)
    bands = level_db[: n_bars * BAR_FRAMES].reshape(n_bars, BAR_FRAMES, WINDOW_BANDS, -1).mean(3)
    onsets = strength[: n_bars * BAR_FRAMES].reshape(n_bars, SIXTEENTHS_PER_BAR, -1).mean(2)
    degrees = key_chroma[: n_bars * SIXTEENTHS_PER_BAR].reshape(n_bars, SIXTEENTHS_PER_BAR, 12).mean(1)
    degrees = degrees / np.maximum(degrees.sum(1, keepdims=True), TINY)
    frames = np.concatenate([bands[:-1], bands[1:]], 1)
    means = [(part[:-1] + part[1:]) / 2 for part in (degrees, onsets)]
    return np.concatenate([frames.mean(1), frames.std(1), *means], 1)


def balance_difference_db(octaves_db: np.ndarray, reference_db: np.ndarray, leave_one_out: bool) -> np.ndarray:
    """(n_songs,) mean absolute difference of songs' octave bands (n_songs, 7) from those of the mean reference song.

    leave_one_out: the songs are the reference themselves, and each is compared with the mean of the others.
    """
    total, n = reference_db.sum(0), len(reference_db)
    means = (total - octaves_db) / (n - 1) if leave_one_out else total / n
    return np.abs(octaves_db - means).mean(1)


# --- Distances between sets of songs, each song an array (n_windows, n_features)

N_COMPONENTS = 12
N_DRAWS = 60
Windows = list[np.ndarray]


def fit_components(songs: Windows) -> Project:
    """The projection (n_windows, n_features) -> (n_windows, N_COMPONENTS) to the songs' principal components."""
    windows = np.concatenate(songs)
    mean, scale = windows.mean(0), windows.std(0) + 1e-9
    components = np.linalg.svd((windows - mean) / scale, full_matrices=False)[2][:N_COMPONENTS].T
    return lambda windows: (windows - mean) / scale @ components


def frechet_distance(one: np.ndarray, other: np.ndarray) -> float:
    """Squared Frechet distance between normal distributions fitted to two sets (n, n_components) (Heusel et al. 2017;
    Kilgour et al. 2019, "Frechet audio distance")."""
    first, second = np.cov(one.T), np.cov(other.T)
    mixed = np.sqrt(np.maximum(eigvals(first @ second).real, 0)).sum()  # the trace of the product's square root
    return float(np.square(one.mean(0) - other.mean(0)).sum() + np.trace(first + second) - 2 * mixed)


def diversity(songs: Windows, project: Project) -> np.ndarray:
    """(n_songs,) mean distance of each song's mean window from those of the other songs of its set."""
    means = np.array([project(song).mean(0) for song in songs])
    return cdist(means, means).sum(1) / (len(songs) - 1)


def frechet_distances(rows: dict[str, Windows], reference: str) -> dict[str, np.ndarray]:
    """Row -> (N_DRAWS,) Frechet distances of its songs from the reference row's.

    Each draw splits the song numbers at random: the reference songs of one half span the components, and every row's
    songs of the other half are compared with them. All sets are thus of one size, and no song is compared with a copy
    of itself. All rows must be equally long; with fewer than four songs nothing is returned.
    """
    if len(rows[reference]) < 4:
        return {}
    distances = {row: np.empty(N_DRAWS) for row in rows}
    for draw in range(N_DRAWS):
        order = np.random.default_rng([draw, 7]).permutation(len(rows[reference]))
        known, others = order[: len(order) // 2 * 2].reshape(2, -1)
        project = fit_components([rows[reference][index] for index in known])
        known_windows = project(np.concatenate([rows[reference][index] for index in known]))
        for row, songs in rows.items():
            windows = project(np.concatenate([songs[index] for index in others]))
            distances[row][draw] = frechet_distance(windows, known_windows)
    return distances


# --- Stability of long songs

PIECE_S = 10
SILENCE_LUFS = -35.0
REPEATED_BARS = 16  # a bar repeated for longer is a collapse


@dataclass(frozen=True)
class Stability:
    """level_lufs and entropy (0..1) of every ten seconds, each (n_pieces,); repetition: the highest mean correlation
    (-1..1) of a bar with the next over any REPEATED_BARS bars."""

    level_lufs: np.ndarray
    entropy: np.ndarray
    repetition: float


def stability(waveform: np.ndarray, hop: int = HOP_LENGTH) -> Stability:
    """Of a waveform of ten seconds or more; what does not fill ten seconds is left out. hop: see analyse_song()."""
    size = PIECE_S * SAMPLE_RATE_HZ
    pieces = waveform[: len(waveform) // size * size].reshape(-1, size)
    return Stability(
        np.array([integrated_loudness(piece) for piece in pieces]),
        np.array([spectral_entropy(log_mel_spectrogram(piece)) for piece in pieces]),
        repetition(log_mel_db(_magnitude(waveform, hop))),
    )


def spectral_entropy(level_db: np.ndarray) -> float:
    """0..1, entropy of the power over the mel bands as a share of its maximum, mean over frames (Misra et al. 2004,
    "Spectral entropy based feature for robust ASR"): near 0 for a sine, near 1 for white noise."""
    return float((entropy(10 ** (level_db.astype(np.float64) / 10), axis=1) / np.log(level_db.shape[1])).mean())


def repetition(level_db: np.ndarray) -> float:
    """-1..1: correlation of each bar's mel spectrogram with the next bar's, mean over REPEATED_BARS where highest."""
    n_bars = len(level_db) // BAR_FRAMES
    bars = level_db[: n_bars * BAR_FRAMES].reshape(n_bars, -1).astype(np.float64)
    bars = bars - bars.mean(1, keepdims=True)
    bars /= np.linalg.norm(bars, axis=1, keepdims=True) + 1e-9
    correlations = (bars[1:] * bars[:-1]).sum(1)
    span = min(REPEATED_BARS, len(correlations))
    return float(np.convolve(correlations, np.full(span, 1 / span), mode="valid").max())


def collapse(song: Stability, max_entropy: float, max_repetition: float) -> str:
    """ "steady", or what the song collapses to: silence (ten seconds under -35 LUFS), noise (ten seconds with more
    spectral entropy than max_entropy) or one repeated bar (repetition above max_repetition)."""
    if song.level_lufs.min() < SILENCE_LUFS:
        return "silence"
    if song.entropy.max() > max_entropy:
        return "noise"
    return "one repeated bar" if song.repetition > max_repetition else "steady"
