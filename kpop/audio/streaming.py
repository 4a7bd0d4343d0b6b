"""Magnitudes to sound while they arrive: `reconstruct`, stretch by stretch.

After Prusa & Sondergaard (2016, "Real-time spectrogram inversion using phase gradient heap integration"): phases that
are given out stay, and heap integration goes on from them. Griffin-Lim then polishes what is new, beside what stays.
"""

import numpy as np

from kpop.audio.griffin_lim import SAMPLES_BEFORE_CENTRE, approach, overlapped, row_weights, shared_rows
from kpop.audio.phase import checked, integrate, phase_of, random_phase, with_phase
from kpop.audio.spectrum import frame_count, log_mel_db, stft
from kpop.grid import HOP_LENGTH, N_BINS, SAMPLE_RATE_HZ, exact_div

LEVEL_FALLS_DB_PER_S = 3.0  # what is faint beside the loudest moment of late is left to chance
KNOWN_FRAMES = 2  # heap integration starts from the last one, whose gradient needs the one before
PICTURE_FRAMES = 512
HOPS_BEFORE_CENTRE = exact_div(SAMPLES_BEFORE_CENTRE, HOP_LENGTH)


class PhaseStream:
    """Magnitudes in, waveform out, in pieces; working memory depends on the largest piece alone.

    seed: for the phases left to chance. n_iterations: of Griffin-Lim for every piece, 0 or more. hop: samples between
    frames. The same seed and the same pieces give the same bytes.
    """

    LOOK_AHEAD_FRAMES = 4  # polished with the frames before them, but done again once more is known

    def __init__(self, seed: int, n_iterations: int, hop: int = HOP_LENGTH) -> None:
        self._seed, self._n_iterations, self._hop = seed, n_iterations, hop
        self._n_stretches, self._level = 0, 0.0
        self._known = np.zeros((0, N_BINS), np.float32)
        self._known_phase = np.zeros(N_BINS, np.float32)
        self._pending = np.zeros((0, N_BINS), np.float32)
        self._before = np.zeros((shared_rows(hop), hop), np.float32)

    def push(self, magnitude: np.ndarray, last: bool = False) -> np.ndarray:
        """Samples float32 that are settled once these magnitudes (n_frames, N_BINS) are known, too; perhaps none.

        Over all pushes, of which one is the `last`, one hop of samples a frame. ValueError for magnitudes that are not
        finite or negative.
        """
        pending = np.concatenate([self._pending, checked(magnitude)])
        self._pending = pending
        n_fixed = len(pending) if last else len(pending) - self.LOOK_AHEAD_FRAMES
        if n_fixed <= (0 if last else len(self._before)):
            return np.zeros(0, np.float32)
        first, hop = self._n_stretches == 0, self._hop
        weights = row_weights(len(pending), first, len(pending) * hop if last else None, hop)
        spectrum = self._first_guess(pending)
        approach(spectrum, pending, self._before, weights, self._n_iterations)
        rows = overlapped(spectrum[:n_fixed], self._before)
        self._fix(spectrum[:n_fixed], rows)
        given = slice(SAMPLES_BEFORE_CENTRE * first, n_fixed * hop + SAMPLES_BEFORE_CENTRE * last)
        return rows.reshape(-1)[given] * weights.reshape(-1)[given]

    def _first_guess(self, pending: np.ndarray) -> np.ndarray:
        """Spectrum of the pending magnitudes by heap integration from the frames that are fixed."""
        fall = 10 ** (-LEVEL_FALLS_DB_PER_S / 20 * len(pending) * self._hop / SAMPLE_RATE_HZ)
        self._level = max(self._level * fall, float(pending.max()))
        magnitude = np.concatenate([self._known, pending])
        phase = random_phase(magnitude.shape, np.random.default_rng([self._seed, self._n_stretches]))
        n_known = len(self._known)
        phase[n_known - 1 : n_known] = self._known_phase
        integrate(magnitude, self._level, phase, n_known, self._hop)
        return with_phase(pending, phase[n_known:])

    def _fix(self, spectrum: np.ndarray, rows: np.ndarray) -> None:
        """The frames of `spectrum`, with their rows, are never touched again."""
        n_fixed = len(spectrum)
        self._known = self._pending[max(n_fixed - KNOWN_FRAMES, 0) : n_fixed].copy()
        self._known_phase = phase_of(spectrum[-1:])
        self._pending = self._pending[n_fixed:].copy()
        self._before = rows[n_fixed:].copy()
        self._n_stretches += 1


def picture_db(waveform: np.ndarray, n_mels: int) -> np.ndarray:
    """`log_mel_db` of a waveform (n_samples,), float32 (n_frames, n_mels), without its whole spectrum in memory."""
    picture = np.empty((frame_count(waveform.size), n_mels), np.float32)
    for start in range(0, len(picture), PICTURE_FRAMES):
        stop = min(start + PICTURE_FRAMES, len(picture))
        begin = max(start - HOPS_BEFORE_CENTRE, 0)
        spectrum = stft(waveform[begin * HOP_LENGTH : (stop - 1 + HOPS_BEFORE_CENTRE) * HOP_LENGTH])
        picture[start:stop] = log_mel_db(np.abs(spectrum[start - begin :][: stop - start]), n_mels)
    return picture
