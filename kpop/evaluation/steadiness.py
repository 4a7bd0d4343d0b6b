"""Does a long song stay a song? Its level, order and pulse by ten seconds, and three ways of falling apart."""

from dataclasses import dataclass

import numpy as np

from kpop.audio.loudness import integrated_loudness
from kpop.audio.stft import log_mel_db, stft
from kpop.constants import FRAMES_PER_STEP, SAMPLE_RATE_HZ, STEPS_PER_BAR
from kpop.evaluation.music import pulse, rise, spectral_entropy

PIECE_S = 10
QUIETEST_LUFS = -35.0
LOOP_BARS = 16  # how long a bar must repeat to be a collapse and no groove
BAR_FRAMES = FRAMES_PER_STEP * STEPS_PER_BAR
TINY = 1e-9


@dataclass(frozen=True)
class Course:
    """A song by ten seconds: level_lufs, entropy (0..1) and pulse (0..1), each (n_pieces,); repetition: the highest
    mean likeness (-1..1) of a bar to the next over any LOOP_BARS bars."""

    level_lufs: np.ndarray
    entropy: np.ndarray
    pulse: np.ndarray
    repetition: float


def course(waveform: np.ndarray) -> Course:
    """Measure a waveform (n_samples,) of ten seconds or more; what does not fill ten seconds is left out."""
    size = PIECE_S * SAMPLE_RATE_HZ
    pieces = [waveform[start : start + size] for start in range(0, len(waveform) - size + 1, size)]
    levels_db = [log_mel_db(np.abs(stft(piece))) for piece in pieces]
    return Course(
        np.array([integrated_loudness(piece) for piece in pieces]),
        np.array([spectral_entropy(level_db) for level_db in levels_db]),
        np.array([pulse(rise(level_db))[0] for level_db in levels_db]),
        repetition(log_mel_db(np.abs(stft(waveform)))),
    )


def drifts(song: Course) -> dict[str, float]:
    """How fast a song changes for good: absolute least-squares slopes per ten seconds. Verse and chorus in turn are no
    drift, a fade is."""
    tracks = {"level_drift_lu": song.level_lufs, "entropy_drift": song.entropy, "pulse_drift": song.pulse}
    return {name: abs(_slope(np.maximum(track, -70.0))) for name, track in tracks.items()}


def repetition(level_db: np.ndarray) -> float:
    """-1..1: correlation of each bar's mel spectrogram with the next bar's, mean over LOOP_BARS bars where highest."""
    n_bars = len(level_db) // BAR_FRAMES
    if n_bars < 2:
        return 0.0
    bars = level_db[: n_bars * BAR_FRAMES].reshape(n_bars, -1).astype(np.float64)
    bars = bars - bars.mean(1, keepdims=True)
    bars /= np.linalg.norm(bars, axis=1, keepdims=True) + TINY
    likeness = (bars[1:] * bars[:-1]).sum(1)
    span = min(LOOP_BARS, len(likeness))
    return float(np.convolve(likeness, np.full(span, 1 / span), mode="valid").max())


def verdict(song: Course, noise_entropy: float, most_repetition: float) -> str:
    """ "steady", or what the song collapses to: silence (ten seconds under -35 LUFS), noise (ten seconds with more
    spectral entropy than noise_entropy) or one bar (repetition above most_repetition)."""
    if song.level_lufs.min() < QUIETEST_LUFS:
        return "silence"
    if song.entropy.max() > noise_entropy:
        return "noise"
    return "one repeated bar" if song.repetition > most_repetition else "steady"


def _slope(track: np.ndarray) -> float:
    return float(np.polyfit(np.arange(len(track)), track, 1)[0]) if len(track) > 1 else 0.0
