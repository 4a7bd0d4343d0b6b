"""Codes to sound: decoder, phase, loudness; all at once, or song by song in chunks."""

from typing import Protocol

import numpy as np
import torch

from kpop.audio import phase
from kpop.audio.mastering import LiveMaster, finished_master
from kpop.audio.phase import reconstruct
from kpop.audio.spectrum import frame_count, from_log_magnitude, log_magnitude, stft_at
from kpop.audio.streaming import PhaseStream
from kpop.codec.chunks import ChunkDecoder
from kpop.codec.network import Codec
from kpop.grid import FRAMES_PER_STEP, HOP_LENGTH, STEP_SAMPLES

DECODED_ITERATIONS = 8  # no waveform has quite the magnitudes that a codec decodes, so more come no nearer


def analyse(waveform: np.ndarray, hop: float = HOP_LENGTH) -> np.ndarray:
    """Log-magnitude (n_steps * FRAMES_PER_STEP, N_BINS) float32 of a waveform; its last step is filled with zeros.

    hop: samples between frames; need not be a whole number.
    """
    n_frames = int(-(-len(waveform) // (hop * FRAMES_PER_STEP)) * FRAMES_PER_STEP)
    centres = np.rint(np.arange(n_frames) * hop).astype(int)
    whole = np.pad(waveform, (0, max(0, int(centres.max(initial=0)) + 1 - len(waveform))))
    return log_magnitude(np.abs(stft_at(whole, centres)))


def encode(codec: Codec, log_magnitudes: np.ndarray) -> np.ndarray:
    """Codes (n_steps, n_streams) int64 of log-magnitudes (n_steps * FRAMES_PER_STEP, N_BINS)."""
    return codec.encode(torch.from_numpy(log_magnitudes).unsqueeze(0))[0].numpy()


def decode(codec: Codec, codes: np.ndarray) -> np.ndarray:
    """Log-magnitudes (n_steps * FRAMES_PER_STEP, N_BINS) float32 of codes (n_steps, n_streams) int64."""
    return codec.decode(torch.from_numpy(codes).unsqueeze(0))[0].numpy()


def sound(log_magnitudes: np.ndarray, n_samples: int, seed: int) -> np.ndarray:
    """Waveform (n_samples,) float32 of log-magnitudes, not yet at its final loudness.

    seed: for the phases left to chance. A frame that is missing at the end is as the one before it.
    """
    frames = _exactly(log_magnitudes, frame_count(n_samples))
    return reconstruct(from_log_magnitude(frames), n_samples, seed, DECODED_ITERATIONS)


def master(waveform: np.ndarray) -> np.ndarray:
    """The finished song: -14 LUFS, true peak below -1 dBFS, ending in silence without a click."""
    return finished_master([waveform])


def warm_up() -> None:
    """Compile (or load from numba's cache) all that a song's sound needs, so that the first song does not wait."""
    phase.warm_up()
    LiveMaster().push(finished_master([np.zeros(STEP_SAMPLES, np.float32)]), last=True)


class KeepsClip(Protocol):
    """What of the seed is heard as it is: kpop.generation.seed.Seed."""

    def keep_clip(self, first_frame: int, decoded: np.ndarray) -> np.ndarray:
        """Decoded log-magnitudes (n_frames, N_BINS) from `first_frame` on, with the clip's own where it stays."""


class SongSound:
    """Codes of one song in, its waveform out, in chunks; working memory depends on the largest chunk alone.

    n_samples: length of the song, None for one that ends with its last step. seed_number: for the phases left to
    chance. hop: samples between frames, which is the song's tempo. The waveform is raw: not yet at its final loudness.
    The same chunks give the same bytes.
    """

    def __init__(
        self, codec: Codec, seed: KeepsClip, n_samples: int | None, seed_number: int, hop: int = HOP_LENGTH
    ) -> None:
        self._seed, self._n_samples, self._hop = seed, n_samples, hop
        self._decoder = ChunkDecoder(codec)
        self._phases = PhaseStream(seed_number, DECODED_ITERATIONS, hop)
        self._n_frames, self._n_given = 0, 0

    def push(self, codes: np.ndarray, last: bool = False) -> np.ndarray:
        """Samples float32 that are settled once these codes (n_steps, n_codes) int64 are known, too; perhaps none.

        Over all pushes, of which one is the `last`, exactly n_samples.
        """
        decoded = self._decoder.push(torch.from_numpy(codes), last).numpy()
        decoded = self._seed.keep_clip(self._n_frames, decoded)
        if self._n_samples is not None:
            left = frame_count(self._n_samples, self._hop) - self._n_frames
            decoded = _exactly(decoded, left) if last else decoded[:left]
        self._n_frames += len(decoded)
        samples = self._phases.push(from_log_magnitude(decoded), last)
        if self._n_samples is not None:
            samples = samples[: self._n_samples - self._n_given]
        self._n_given += len(samples)
        return samples


def _exactly(frames: np.ndarray, n_frames: int) -> np.ndarray:
    """n_frames of them; those missing at the end are as the last one."""
    return np.pad(frames[:n_frames], ((0, max(n_frames - len(frames), 0)), (0, 0)), mode="edge")
