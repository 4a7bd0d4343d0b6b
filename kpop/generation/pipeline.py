"""A codec and an LSTM, loaded and ready to generate, and the steps between waveform, spectrum and tokens."""

import threading
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch

from kpop.audio.loudness import TARGET_LUFS, integrated_loudness, normalise
from kpop.audio.phase import reconstruct
from kpop.audio.stft import frame_count, from_log_magnitude, log_magnitude, stft, stft_at
from kpop.checkpoint import load_checkpoint
from kpop.codec.model import Codec
from kpop.constants import FRAMES_PER_STEP, HOP_LENGTH
from kpop.generation.clips import SeedClip
from kpop.generation.labels import SECTION_CONSTRAINTS
from kpop.generation.seed import Seed, clip_hop, fit_rows, random_mask
from kpop.lstm.model import TokenLstm
from kpop.lstm.sampler import BatchState, Sampler
from kpop.settings import Settings

N_ITERATIONS = 8  # of Griffin-Lim: no waveform has exactly the decoded magnitudes, so more come no nearer
N_CLIPS_KEPT = 16
COPY_CEILING_DB = -0.1  # dBFS; copies are for measuring, and every decibel of limiting is not the stage's own loss


class Pipeline:
    """Codec and samplers of a checkpoint.

    score: of its score model, which writes the labels; None: `sampler` samples them with the other tokens
    positions_per_step: metre positions that a step advances at hop HOP_LENGTH: 1 for models trained at 125 BPM
    """

    def __init__(self, codec: Codec, lstm: TokenLstm, info: dict, score: TokenLstm | None = None) -> None:
        self.codec, self.info, self.lstm_config = codec, info, lstm.config
        self.has_labels = info.get("knows_labels", True)
        self.sampler = Sampler(lstm, SECTION_CONSTRAINTS if self.has_labels else None)
        self.score = Sampler(score, SECTION_CONSTRAINTS) if score else None
        self.positions_per_step = info.get("metronome_rate", 1.0)
        self.n_labels, self.n_codebooks = lstm.config.n_labels, lstm.config.n_codebooks
        self._encoded: OrderedDict[tuple, tuple[np.ndarray, np.ndarray]] = OrderedDict()
        self._encoding = threading.Lock()

    @classmethod
    def load(cls, checkpoint: Path) -> "Pipeline":
        """Raises KpopError when the checkpoint is missing or damaged."""
        return cls(*load_checkpoint(checkpoint))

    def batch_state(self, n_slots: int) -> BatchState:
        """State for n_slots songs that are sampled together."""
        return BatchState(self.lstm_config, n_slots)

    def seed(self, settings: Settings, clip: SeedClip, n_steps: int, rng: np.random.Generator) -> Seed:
        """The first n_steps of a song; rng decides which parts of them are random."""
        log_magnitudes, tokens = self.encode_clip(clip)
        mask = random_mask(n_steps, 1 + len(self.codec.config.codebook_sizes), settings.randomness, rng)
        bin_mask = np.repeat(mask[:, 1:], np.diff(self.codec.config.band_edges_bins), axis=1)
        return Seed(
            fit_rows(tokens, n_steps),  # a clip is too short only for a seed that is all random
            np.repeat(mask, [self.n_labels, *map(len, self.codec.config.codebook_sizes)], axis=1),
            fit_rows(log_magnitudes, n_steps * FRAMES_PER_STEP),
            np.repeat(bin_mask, FRAMES_PER_STEP, axis=0),
        )

    def encode_clip(self, clip: SeedClip) -> tuple[np.ndarray, np.ndarray]:
        """Log-magnitudes (n_steps * FRAMES_PER_STEP, N_BINS) float32 and tokens (n_steps, n_codebooks) int64 of a clip.

        Labels come before the codec's tokens; where they are unknown, mask tokens. The last few clips are cached.
        """
        key = (clip.name, clip.tempo_bpm, hash(clip.waveform.tobytes()))
        with self._encoding, torch.inference_mode():
            if key not in self._encoded:
                log_magnitudes = analyse(clip.waveform, clip_hop(clip, self.positions_per_step))
                tokens = encode(self.codec, log_magnitudes)
                labels = np.tile(self.lstm_config.codebook_sizes[: self.n_labels], (len(tokens), 1))  # mask tokens
                if clip.labels is not None and self.has_labels:
                    # a step carries the labels of the step that follows
                    leading = clip.labels[1 : 1 + len(tokens), : self.n_labels]
                    labels[: len(leading)] = leading
                self._encoded[key] = log_magnitudes, np.concatenate([labels, tokens], 1)
            self._encoded.move_to_end(key)
            while len(self._encoded) > N_CLIPS_KEPT:
                self._encoded.popitem(last=False)
            return self._encoded[key]


def analyse(waveform: np.ndarray, hop: float = HOP_LENGTH) -> np.ndarray:
    """Log-magnitude float32 (n_steps * FRAMES_PER_STEP, N_BINS) of a waveform, zero-padded to whole steps.

    hop: samples between frames, not necessarily whole; frame centres are rounded.
    """
    n_frames = int(-(-len(waveform) // (hop * FRAMES_PER_STEP)) * FRAMES_PER_STEP)
    centres = np.rint(np.arange(n_frames) * hop).astype(int)
    padded = np.pad(waveform, (0, max(0, int(centres.max(initial=0)) + 1 - len(waveform))))
    return log_magnitude(np.abs(stft_at(padded, centres)))


def encode(codec: Codec, log_magnitudes: np.ndarray) -> np.ndarray:
    """Tokens int64 (n_steps, n_codebooks) of log-magnitudes (n_steps * FRAMES_PER_STEP, N_BINS)."""
    return codec.encode(torch.from_numpy(log_magnitudes).unsqueeze(0))[0].numpy()


def decode(codec: Codec, tokens: np.ndarray) -> np.ndarray:
    """Log-magnitudes float32 (n_steps * FRAMES_PER_STEP, N_BINS) of tokens int64 (n_steps, n_codebooks)."""
    return codec.decode(torch.from_numpy(tokens).unsqueeze(0))[0].numpy()


def invert(log_magnitudes: np.ndarray, n_samples: int, seed: int, hop: int = HOP_LENGTH) -> np.ndarray:
    """Waveform float32 (n_samples,) of log-magnitudes, without loudness normalisation. seed: of random phases."""
    magnitudes = from_log_magnitude(fit_rows(log_magnitudes, frame_count(n_samples, hop)))
    return reconstruct(magnitudes, n_samples, seed, N_ITERATIONS, hop)


def magnitude_copy(waveform: np.ndarray) -> np.ndarray:
    """A waveform float32 (n_samples,) inverted from its own magnitudes, at the same level, never clipped."""
    return _within_full_scale(reconstruct(np.abs(stft(waveform)), len(waveform)))


def codec_copy(waveform: np.ndarray, codec: Codec, hop: int = HOP_LENGTH) -> np.ndarray:
    """A waveform float32 (n_samples,) encoded at a hop length, decoded and inverted, at the same level, never clipped.

    It passes the codec at TARGET_LUFS, the loudness that the codec was trained at.
    """
    loudness = integrated_loudness(waveform)
    gain = 10 ** ((TARGET_LUFS - loudness) / 20) if np.isfinite(loudness) else 1.0
    tokens = encode(codec, analyse(waveform * np.float32(gain), hop))
    copy = invert(decode(codec, tokens), len(waveform), seed=0, hop=hop)
    return _within_full_scale(copy / np.float32(gain))


def _within_full_scale(waveform: np.ndarray) -> np.ndarray:
    """The waveform at its own loudness, limited only where samples would exceed full scale."""
    if np.abs(waveform).max(initial=0.0) <= 1:
        return waveform
    return normalise(waveform, integrated_loudness(waveform), COPY_CEILING_DB)
