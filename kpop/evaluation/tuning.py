"""Do held notes stay in tune and still on their way through the codec?"""

import numpy as np
from scipy.signal import find_peaks

from kpop.audio.loudness import normalise
from kpop.audio.stft import BIN_WIDTH_HZ, stft
from kpop.codec.model import Codec
from kpop.constants import BAR_SAMPLES, HOP_LENGTH, SAMPLE_RATE_HZ, SIXTEENTHS_PER_BAR
from kpop.corpus.mix import stem
from kpop.corpus.score import Note
from kpop.generation.pipeline import codec_copy

N_BARS = 2
N_PARTIALS = 12
LOWEST_HZ, HIGHEST_HZ = 100.0, 3_000.0
APART_HZ = 20.0
AUDIBLE = 10 ** (-45 / 20)  # partials softer than this, against the strongest, do not count
LONG_FFT = 1 << 18
NEAR_CENTS = 45.0  # this far around its peak lies a partial's power
CHORDS = ((48, 60, 64, 67), (45, 57, 60, 64), (41, 57, 60, 65), (43, 59, 62, 67))  # midi: bass, then pad


def held_chord(palette: str, chord: tuple[int, ...]) -> np.ndarray:
    """A bass note and a pad of a palette's band, held for N_BARS, (n,) float32 at -14 LUFS."""
    n, length = N_BARS * BAR_SAMPLES, N_BARS * SIXTEENTHS_PER_BAR
    bass = stem("bass", palette, (Note(0, length, chord[0], 0.8),), n)
    pad = stem("pad", palette, tuple(Note(0, length, midi, 0.8) for midi in chord[1:]), n)
    return normalise((0.3 * bass + 0.3 * pad).astype(np.float32))


def partials_hz(waveform: np.ndarray) -> np.ndarray:
    """Frequencies of the N_PARTIALS strongest partials between LOWEST_HZ and HIGHEST_HZ."""
    hz, level = _long_spectrum(waveform)
    peaks, _ = find_peaks(level, height=level.max() * AUDIBLE, distance=round(APART_HZ / (hz[1] - hz[0])))
    peaks = peaks[(hz[peaks] > LOWEST_HZ) & (hz[peaks] < HIGHEST_HZ)]
    strongest = peaks[np.argsort(level[peaks])[::-1][:N_PARTIALS]]
    return np.sort(hz[strongest])


def cents_off(reference: np.ndarray, copy: np.ndarray, partials_hz: np.ndarray) -> np.ndarray:
    """By how many cents each of the reference's partials is moved in the copy.

    A partial is the centre of gravity of the power near its peak: detuned oscillators make one pitch of many peaks.
    """
    before, after = (_centres_hz(sound, partials_hz) for sound in (reference, copy))
    return 1_200 * np.log2(after / before)


def _centres_hz(waveform: np.ndarray, partials_hz: np.ndarray) -> np.ndarray:
    hz, level = _long_spectrum(waveform)
    centres = []
    for partial_hz in partials_hz:
        near = np.abs(1_200 * np.log2(np.maximum(hz, 1.0) / partial_hz)) < NEAR_CENTS
        centres.append(np.average(hz[near], weights=level[near] ** 2))
    return np.array(centres)


def warble_db(reference: np.ndarray, copy: np.ndarray, expected_hz: np.ndarray) -> float:
    """How much the partials of a copy waver: standard deviation over frames, in dB, of their level against the
    reference's, mean over partials; 0 when every frame is equally too loud or too soft."""
    bins = np.round(expected_hz / BIN_WIDTH_HZ).astype(int)
    rows = slice(BAR_SAMPLES // 2 // HOP_LENGTH, -(BAR_SAMPLES // 4) // HOP_LENGTH)
    levels = [20 * np.log10(np.maximum(np.abs(stft(sound))[rows][:, bins], 1e-6)) for sound in (reference, copy)]
    return float((levels[1] - levels[0]).std(axis=0).mean())


def tuning_figures(codec: Codec, palettes: tuple[str, ...]) -> dict[str, float]:
    """Cents by which partials of held chords move (median and 95th percentile of the absolute, share within 5), and
    their warble."""
    cents, warbles = [], []
    for palette in palettes:
        for chord in CHORDS:
            reference = held_chord(palette, chord)
            copy = codec_copy(reference, codec)
            expected = partials_hz(reference)
            cents.append(np.abs(cents_off(reference, copy, expected)))
            warbles.append(warble_db(reference, copy, expected))
    everything = np.concatenate(cents)
    return {
        "median_cents_off": float(np.median(everything)),
        "p95_cents_off": float(np.percentile(everything, 95)),
        "share_within_5_cents": float(np.mean(everything < 5)),
        "warble_db": float(np.mean(warbles)),
    }


def _long_spectrum(waveform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(hz, magnitude) of the middle of a sound, at a hundredth of a semitone's width or finer above 100 Hz."""
    middle = waveform[BAR_SAMPLES // 2 : -(BAR_SAMPLES // 4)]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle)), LONG_FFT))
    return np.fft.rfftfreq(LONG_FFT, 1 / SAMPLE_RATE_HZ), spectrum
