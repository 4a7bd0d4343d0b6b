"""Fidelity of copies: spectra and peaks; figures of an inversion and of a codec.

Waveforms are (n_samples,) float32 at 16 kHz.
"""

import math

import numpy as np
import torch

from kpop.audio.stft import (
    BIN_WIDTH_HZ,
    from_log_magnitude,
    log_mel_db,
    log_mel_spectrogram,
    mel_centres_hz,
    stft,
    stft_at,
)
from kpop.codec.model import Codec
from kpop.constants import FRAMES_PER_STEP, LABEL_SIZES, N_BINS, N_TUNE_CLASSES
from kpop.generation.pipeline import analyse, codec_copy, decode, encode
from kpop.training.codec import perplexity_shares
from kpop.training.data import INT16_SCALE, Songs

CONSONANTS_HZ = 2_000.0
BINS_HZ = np.arange(N_BINS) * BIN_WIDTH_HZ


def spectral_convergence_db(reference_magnitude: np.ndarray, waveform: np.ndarray) -> float:
    """20 log10 of || |STFT(waveform)| - M || / || M ||, Frobenius norms; lower is closer, -inf is equal.

    M is `reference_magnitude` (n_frames, N_BINS); ValueError unless the waveform has as many frames.
    """
    magnitude = np.abs(stft(waveform))
    if reference_magnitude.shape != magnitude.shape:
        raise ValueError(f"the waveform's frames do not match magnitudes of shape {reference_magnitude.shape}")
    error = np.linalg.norm((magnitude - reference_magnitude).astype(np.float64))
    return _ratio_db(error, np.linalg.norm(reference_magnitude.astype(np.float64)))


def log_mel_error_db(reference: np.ndarray, waveform: np.ndarray) -> float:
    """Mean absolute difference in dB of the 80-band log-mel spectrograms (floor -80 dB) of two equally long sounds."""
    if reference.shape != waveform.shape:
        raise ValueError(f"the waveforms differ in length: {reference.size} and {waveform.size}")
    return float(np.abs(log_mel_spectrogram(reference) - log_mel_spectrogram(waveform)).mean(dtype=np.float64))


def crest_factor_db(waveform: np.ndarray) -> float:
    """Peak over root mean square in dB: 3 for a sine, some 15 for a song, over 20 for clicks; 0 for silence."""
    if not np.any(waveform):
        return 0.0
    return _ratio_db(np.abs(waveform).max(), math.sqrt(np.mean(np.square(waveform, dtype=np.float64))))


def band_energy_db(waveform: np.ndarray, low_hz: float, high_hz: float) -> float:
    """Mean over frames of the power summed over bins from low_hz to below high_hz, in dB; -inf if none."""
    magnitude = np.abs(stft(waveform)[:, (low_hz <= BINS_HZ) & (high_hz > BINS_HZ)])
    return _ratio_db(math.sqrt(np.square(magnitude, dtype=np.float64).sum(axis=1).mean()), 1.0)


def copy_figures(waveform: np.ndarray, copy: np.ndarray) -> dict[str, float]:
    """Fidelity of a copy: spectral convergence and log-mel error in dB, crest factors of both in dB."""
    return {
        "spectral_convergence_db": spectral_convergence_db(np.abs(stft(waveform)), copy),
        "log_mel_error_db": log_mel_error_db(waveform, copy),
        "crest_factor_db": crest_factor_db(waveform),
        "crest_factor_of_copy_db": crest_factor_db(copy),
    }


def consonant_flux_db(waveform: np.ndarray, hop: int, sung_steps: np.ndarray) -> float:
    """Spectral flux at sung syllables: mean rise in dB of the mel bands from 2 kHz on, over the four frames around the
    steps (n,) at which they begin."""
    n_frames = len(waveform) // hop
    level_db = log_mel_db(np.abs(stft_at(waveform, np.arange(n_frames) * hop)))[:, mel_centres_hz() >= CONSONANTS_HZ]
    frames = sung_steps[(sung_steps > 0) & (sung_steps < n_frames // FRAMES_PER_STEP - 1)] * FRAMES_PER_STEP
    return float(np.maximum(level_db[frames + 1] - level_db[frames - 2], 0).mean())


def _ratio_db(numerator: float, denominator: float) -> float:
    if numerator == 0:
        return -math.inf
    return 20 * math.log10(numerator / denominator) if denominator > 0 else math.inf


def codec_figures(codec: Codec, songs: Songs) -> dict[str, float]:
    """Means over composed songs: log-mel error, and absolute differences in treble energy, crest factor and flux at
    consonants, in dB; and the smallest perplexity of a codebook's tokens, as a share of its size."""
    rows, tokens = [], []
    for song in songs:
        waveform = song.waveform / INT16_SCALE
        log_magnitudes = analyse(waveform, song.hop)
        tokens.append(encode(codec, log_magnitudes))
        levels = [log_mel_db(from_log_magnitude(each)) for each in (decode(codec, tokens[-1]), log_magnitudes)]
        copy = codec_copy(waveform, codec, song.hop)
        sung = np.flatnonzero(song.labels[:, LABEL_SIZES.index(N_TUNE_CLASSES)] % 2)
        flux, flux_of_copy = (consonant_flux_db(each, song.hop, sung) for each in (waveform, copy))
        treble, treble_of_copy = (band_energy_db(each, 4_000, 8_000) for each in (waveform, copy))
        figures = {
            "spectral_convergence_db": spectral_convergence_db(np.abs(stft(waveform)), copy),
            "log_mel_error_db": np.abs(levels[0] - levels[1]).mean(),
            "log_mel_error_after_inversion_db": log_mel_error_db(waveform, copy),
            "treble_difference_db": abs(treble_of_copy - treble),
            "consonant_flux_difference_db": abs(flux_of_copy - flux),
            "crest_difference_db": abs(crest_factor_db(copy) - crest_factor_db(waveform)),
        }
        rows.append(figures)
    use = perplexity_shares(torch.from_numpy(np.concatenate(tokens)), codec.config.flat_codebook_sizes)
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]} | {"least_codebook_use": min(use)}
