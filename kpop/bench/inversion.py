"""Our inversions against librosa's Griffin-Lim: the same magnitudes, the same run, taking turns."""

import time
from collections.abc import Callable

import numpy as np

from kpop.audio.measures import spectral_convergence_db
from kpop.audio.phase import reconstruct
from kpop.audio.spectrum import WINDOW, frame_count, from_log_magnitude, stft
from kpop.audio.streaming import PhaseStream
from kpop.bench.readings import Aim, Reading, several, single
from kpop.codec.network import Codec
from kpop.generation.clips import built_in_clip, built_in_clips
from kpop.generation.synthesis import DECODED_ITERATIONS, analyse, decode, encode
from kpop.grid import HOP_LENGTH, N_FFT, SAMPLE_RATE_HZ

LIBROSA_ITERATIONS = 32  # librosa's default
PIECE_FRAMES = 128
WHOLE, STREAMED, LIBROSA = "ours, at once", "ours, streamed", "librosa, 32 iterations"
SEED = 7
NO_MORE = Aim(1.0)

Invert = Callable[[np.ndarray, int], np.ndarray]
"""Magnitudes (n_frames, N_BINS), n_samples -> waveform (n_samples,)."""


def at_once(magnitude: np.ndarray, n_samples: int) -> np.ndarray:
    """Heap integration and fast Griffin-Lim over the whole song."""
    return reconstruct(magnitude, n_samples, SEED, DECODED_ITERATIONS)


def streamed(magnitude: np.ndarray, n_samples: int) -> np.ndarray:
    """The same in pieces, as a listener gets it."""
    stream = PhaseStream(SEED, DECODED_ITERATIONS)
    starts = range(0, len(magnitude), PIECE_FRAMES)
    pieces = [stream.push(magnitude[at : at + PIECE_FRAMES], at + PIECE_FRAMES >= len(magnitude)) for at in starts]
    waveform = np.concatenate(pieces)[:n_samples]
    return np.pad(waveform, (0, n_samples - len(waveform)))


def with_librosa(magnitude: np.ndarray, n_samples: int) -> np.ndarray:
    """librosa.griffinlim, which has bins first and does not scale a full-scale sine to 1."""
    import librosa  # here, because only this needs it

    unscaled = magnitude.T * (WINDOW.sum() / 2)
    return librosa.griffinlim(
        unscaled, n_iter=LIBROSA_ITERATIONS, n_fft=N_FFT, hop_length=HOP_LENGTH, length=n_samples, random_state=SEED
    )


METHODS: dict[str, Invert] = {WHOLE: at_once, STREAMED: streamed, LIBROSA: with_librosa}


def music(length_s: float) -> np.ndarray:
    """Seed clips one after the other, from the first one on: (n_samples,) float32, a multiple of HOP_LENGTH."""
    n_samples = round(length_s * SAMPLE_RATE_HZ) // HOP_LENGTH * HOP_LENGTH
    clips = [built_in_clip(clip.name).waveform for clip in built_in_clips()]
    return np.resize(np.concatenate(clips), n_samples)


def true_magnitude(waveform: np.ndarray) -> np.ndarray:
    """What a waveform really has."""
    return np.abs(stft(waveform))


def decoded_magnitude(waveform: np.ndarray, codec: Codec) -> np.ndarray:
    """What the codec makes of it, which no waveform has."""
    log_magnitudes = decode(codec, encode(codec, analyse(waveform)))
    missing = frame_count(len(waveform)) - len(log_magnitudes)
    return from_log_magnitude(np.pad(log_magnitudes, ((0, max(missing, 0)), (0, 0)), mode="edge"))


def taking_turns(magnitude: np.ndarray, n_samples: int, n_rounds: int) -> tuple[dict, dict]:
    """(method -> seconds of each round, method -> spectral convergence in dB), each method warm before it is timed."""
    seconds = {name: [] for name in METHODS}
    for invert in METHODS.values():
        invert(magnitude[:65], 64 * HOP_LENGTH)
    convergence_db = {}
    for _ in range(n_rounds):
        for name, invert in METHODS.items():
            started = time.perf_counter()
            waveform = invert(magnitude, n_samples)
            seconds[name].append(time.perf_counter() - started)
            convergence_db[name] = spectral_convergence_db(magnitude, waveform)
    return seconds, convergence_db


def measure(codec: Codec, length_s: float, n_rounds: int, say: Callable[[str], None]) -> list[Reading]:
    """Seconds and nearness of each method, on true magnitudes and on decoded ones."""
    waveform, readings = music(length_s), []
    kinds = {"true": true_magnitude(waveform), "decoded": decoded_magnitude(waveform, codec)}
    for kind, magnitude in kinds.items():
        say(f"inverting {kind} magnitudes of {length_s:g} s")
        part = f"inversion of {length_s:g} s, {kind} magnitudes"
        seconds, convergence_db = taking_turns(magnitude, len(waveform), n_rounds)
        readings += [several(part, f"{name}", "s", values) for name, values in seconds.items()]
        readings += [single(part, f"{name}: convergence", "dB", value) for name, value in convergence_db.items()]
        for name in (WHOLE, STREAMED):
            ratios = np.array(seconds[name]) / np.array(seconds[LIBROSA])
            readings.append(several(part, f"{name}: share of librosa's time", "", ratios, NO_MORE))
    return readings
