"""The instrument: the networks, ready to play. What is played on it is a dream: see dream.py."""

import threading
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch

from kpop.checkpoint import load_checkpoint
from kpop.codec.network import Codec
from kpop.generation import synthesis
from kpop.generation.clips import SeedClip
from kpop.generation.form_rules import GRAMMARS
from kpop.generation.seed import HeardClip, Seed, clip_hop
from kpop.generation.settings import Settings
from kpop.grid import FRAMES_PER_STEP
from kpop.lstm import places
from kpop.lstm.config import N_METRONOME_SLOTS
from kpop.lstm.network import CodeLstm
from kpop.lstm.pack import PackedLstm
from kpop.lstm.places import Places

N_CLIPS_KEPT = 16


class Instrument:
    """Codec and LSTM, ready to play."""

    def __init__(self, codec: Codec, lstm: CodeLstm, info: dict) -> None:
        self.codec, self.info = codec, info
        self.lstm: CodeLstm | None = lstm  # only for measuring it: what plays is packed
        self.packed = PackedLstm.of(lstm)
        self.metronome_rate = info.get("metronome_rate", 1.0)  # slots a step: the tempo of what it was trained on
        self.knows_labels = info.get("knows_labels", True)
        self.n_labels, self.n_streams = lstm.config.n_labels, lstm.config.n_streams
        # the labels are a layer together
        self.layers = [0] * self.n_labels + [1 + band for band in codec.config.stream_bands]
        self._heard: OrderedDict[tuple, HeardClip] = OrderedDict()
        self._hearing = threading.Lock()

    @classmethod
    def load(cls, checkpoint: Path, only_to_play: bool = False) -> "Instrument":
        """Raises KpopError when the checkpoint is missing or damaged. only_to_play: without the unpacked LSTM."""
        instrument = cls(*load_checkpoint(checkpoint))
        for warm_up in (places.warm_up, synthesis.warm_up):  # else the first song would wait for the compiler
            warm_up()
        if only_to_play:
            instrument.lstm = None
        return instrument

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

    def hear(self, clip: SeedClip) -> HeardClip:
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
    def _hear(self, clip: SeedClip) -> HeardClip:
        log_magnitudes = synthesis.analyse(clip.waveform, clip_hop(clip, self.metronome_rate))
        codes = synthesis.encode(self.codec, log_magnitudes)
        sizes = np.array(self.packed.config.stream_sizes[: self.n_labels])
        labels = np.tile(sizes, (len(codes), 1))  # a stream's size: "not known"
        if clip.labels is not None and self.knows_labels:
            early = clip.labels[1 : 1 + len(codes)]  # a step's labels are those of the step that follows
            labels[: len(early)] = early
        return HeardClip(log_magnitudes, np.concatenate([labels, codes], 1))

    def slots(self, first_slot: int, start: int, stop: int) -> np.ndarray:
        """Metronome slots (stop - start,) int64 of steps start to stop of a song whose first step is at first_slot."""
        return (first_slot + self.metronome_rate * np.arange(start, stop)).astype(np.int64) % N_METRONOME_SLOTS
