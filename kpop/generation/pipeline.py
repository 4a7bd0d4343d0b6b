"""Two rules of form that every song of our corpus keeps, and that an LSTM forgets in a long song.

What a section is changes every four bars and only there, and there is no outro until the song's last eight bars. All
else is the LSTM's own choice.

Codes to sound: decoder, phase, loudness; all at once, or song by song in chunks.

The pipeline: the networks, ready to play. What is played on it is a dream: see dream.py.

Copies of a sound through the first stages of its path, for hearing and measuring what each stage keeps.
"""

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from kpop.audio import phase
from kpop.audio.loudness import TARGET_LUFS, LiveMaster, finished_master, integrated_loudness, normalise
from kpop.audio.measures import crest_factor_db, log_mel_error_db, spectral_convergence_db
from kpop.audio.phase import StreamingPhase, reconstruct
from kpop.audio.stft import frame_count, from_log_magnitude, log_magnitude, stft, stft_at
from kpop.checkpoint import load_checkpoint
from kpop.codec.model import Codec
from kpop.codec.streaming import StreamingDecoder
from kpop.constants import (
    FRAMES_PER_STEP,
    HOP_LENGTH,
    N_METRE_POSITIONS,
    N_SECTION_CLASSES,
    STEP_SAMPLES,
    STEPS_PER_BAR,
)
from kpop.corpus.labels import KINDS
from kpop.generation.clips import SeedClip
from kpop.generation.seed import EncodedClip, Seed, clip_hop
from kpop.lstm import places
from kpop.lstm.model import TokenLstm
from kpop.lstm.pack import PackedLstm
from kpop.lstm.places import Places
from kpop.settings import Settings

OUTRO = [1 + 2 * KINDS.index("outro") + later for later in (0, 1)]
ENDING_STEPS = 8 * STEPS_PER_BAR
WITHIN, BETWEEN, WITHIN_ENDING, BETWEEN_ENDING = 1, 2, 3, 4  # kinds of step: within four bars or between, 0 is unruled


def _grammars() -> np.ndarray:
    changes = np.ones((N_SECTION_CLASSES + 1, N_SECTION_CLASSES), bool)  # after a section that is not known: any
    np.fill_diagonal(changes, False)
    early = changes.copy()
    early[:, OUTRO] = False
    stays = np.eye(N_SECTION_CLASSES, dtype=bool)
    grammars = np.ones((5, *changes.shape), bool)
    grammars[BETWEEN], grammars[BETWEEN_ENDING] = early, changes
    grammars[WITHIN], grammars[WITHIN_ENDING] = np.vstack([stays, early[-1:]]), np.vstack([stays, changes[-1:]])
    return grammars


GRAMMARS = _grammars()
"""bool (n_kinds, N_SECTION_CLASSES + 1, N_SECTION_CLASSES): may this label follow that one? As Places takes it."""


def kinds(slots: np.ndarray, n_steps_left: int | None) -> np.ndarray:
    """Kinds int64 (n_steps,) of steps at metronome slots (n_steps + 1,), the slot after the last of them included.

    n_steps_left: of the song, from the first of these steps on; None if it never ends. A step's section label is that
    of the step after it.
    """
    between = slots[1:] < slots[:-1]
    ending = np.zeros(len(between), bool)
    if n_steps_left is not None:
        ending = n_steps_left - np.arange(len(between)) <= ENDING_STEPS
    return 1 + between + 2 * ending


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
    """Codes (n_steps, n_codebooks) int64 of log-magnitudes (n_steps * FRAMES_PER_STEP, N_BINS)."""
    return codec.encode(torch.from_numpy(log_magnitudes).unsqueeze(0))[0].numpy()


def decode(codec: Codec, codes: np.ndarray) -> np.ndarray:
    """Log-magnitudes (n_steps * FRAMES_PER_STEP, N_BINS) float32 of codes (n_steps, n_codebooks) int64."""
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
        self._decoder = StreamingDecoder(codec)
        self._phases = StreamingPhase(seed_number, DECODED_ITERATIONS, hop)
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


N_CLIPS_KEPT = 16


class Pipeline:
    """Codec and LSTM, ready to play."""

    def __init__(self, codec: Codec, lstm: TokenLstm, info: dict) -> None:
        self.codec, self.info = codec, info
        self.lstm: TokenLstm | None = lstm  # only for measuring it: what plays is packed
        self.packed = PackedLstm.of(lstm)
        self.metronome_rate = info.get("metronome_rate", 1.0)  # slots a step: the tempo of what it was trained on
        self.knows_labels = info.get("knows_labels", True)
        self.n_labels, self.n_codebooks = lstm.config.n_labels, lstm.config.n_codebooks
        # the labels are a layer together
        self.layers = [0] * self.n_labels + [1 + band for band in codec.config.codebook_bands]
        self._heard: OrderedDict[tuple, EncodedClip] = OrderedDict()
        self._hearing = threading.Lock()

    @classmethod
    def load(cls, checkpoint: Path, only_to_play: bool = False) -> "Pipeline":
        """Raises KpopError when the checkpoint is missing or damaged. only_to_play: without the unpacked LSTM."""
        pipeline = cls(*load_checkpoint(checkpoint))
        for compile_all in (places.warm_up, warm_up):  # else the first song would wait for the compiler
            compile_all()
        if only_to_play:
            pipeline.lstm = None
        return pipeline

    def places(self, n_places: int, n_threads: int = 1) -> Places:
        """Room for n_places songs to be stepped together, by n_threads when they are many."""
        return Places(self.packed, n_places, GRAMMARS if self.knows_labels else None, n_threads)

    def seed(self, settings: Settings, clip: SeedClip, n_steps: int, rng: np.random.Generator) -> Seed:
        """The first n_steps of a song; what of them is chance is decided by rng, and is yet to be dreamt up."""
        return Seed(
            clip, self.hear(clip), n_steps, settings.randomness, rng, self.layers, self.codec.config.band_edges_bins
        )

    def n_clip_steps(self, clip: SeedClip) -> int:
        """How many whole steps the clip has."""
        return int(len(clip.waveform) / (clip_hop(clip, self.metronome_rate) * FRAMES_PER_STEP))

    def hear(self, clip: SeedClip) -> EncodedClip:
        """The clip's spectrum and streams; the last few clips are remembered."""
        key = (clip.name, clip.tempo_bpm, hash(clip.waveform.tobytes()))
        with self._hearing:
            if key not in self._heard:
                self._heard[key] = self._hear(clip)
            self._heard.move_to_end(key)
            while len(self._heard) > N_CLIPS_KEPT:
                self._heard.popitem(last=False)
            return self._heard[key]

    @torch.inference_mode()
    def _hear(self, clip: SeedClip) -> EncodedClip:
        log_magnitudes = analyse(clip.waveform, clip_hop(clip, self.metronome_rate))
        codes = encode(self.codec, log_magnitudes)
        sizes = np.array(self.packed.config.codebook_sizes[: self.n_labels])
        labels = np.tile(sizes, (len(codes), 1))  # a stream's size: "not known"
        if clip.labels is not None and self.knows_labels:
            early = clip.labels[1 : 1 + len(codes)]  # a step's labels are those of the step that follows
            labels[: len(early)] = early
        return EncodedClip(log_magnitudes, np.concatenate([labels, codes], 1))

    def slots(self, first_slot: int, start: int, stop: int) -> np.ndarray:
        """Metronome slots (stop - start,) int64 of steps start to stop of a song whose first step is at first_slot."""
        return (first_slot + self.metronome_rate * np.arange(start, stop)).astype(np.int64) % N_METRE_POSITIONS


CEILING_DB = -0.1  # as little below full scale as a file needs: every decibel less is a loss that is not the stage's


def magnitude_copy(waveform: np.ndarray) -> np.ndarray:
    """(n_samples,) float32 -> its magnitudes inverted, at the same level; never clipped."""
    return _within_full_scale(reconstruct(np.abs(stft(waveform)), len(waveform)))


def codec_copy(waveform: np.ndarray, codec: Codec) -> np.ndarray:
    """(n_samples,) float32 -> its codes decoded and inverted, at the same level; never clipped.

    The codec knows music at TARGET_LUFS, so the sound passes through it at that level.
    """
    loudness = integrated_loudness(waveform)
    gain = 10 ** ((TARGET_LUFS - loudness) / 20) if np.isfinite(loudness) else 1.0
    features = analyse(waveform * np.float32(gain))
    copy = sound(decode(codec, encode(codec, features)), len(waveform), seed=0)
    return _within_full_scale(copy / np.float32(gain))


def copy_figures(waveform: np.ndarray, copy: np.ndarray) -> dict[str, float]:
    """How near a copy comes: spectral convergence and log-mel error in dB, crest factors of both in dB."""
    return {
        "spectral_convergence_db": spectral_convergence_db(np.abs(stft(waveform)), copy),
        "log_mel_error_db": log_mel_error_db(waveform, copy),
        "crest_factor_db": crest_factor_db(waveform),
        "crest_factor_of_copy_db": crest_factor_db(copy),
    }


def _within_full_scale(waveform: np.ndarray) -> np.ndarray:
    """The waveform at its own loudness; where samples would leave -1..1, the limiter of our songs sees to it."""
    loudness = integrated_loudness(waveform)
    return normalise(waveform, loudness, CEILING_DB) if np.abs(waveform).max(initial=0.0) > 1 else waveform
