"""The instrument: settings and a seed clip in, a song out."""

import time
from collections.abc import Callable
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from kpop.audio.phase import warm_up
from kpop.audio.spectrum import log_mel_db, mel_centres_hz, stft
from kpop.checkpoint import load_checkpoint
from kpop.codec.network import Codec
from kpop.generation.clips import SEED_STEPS, SeedClip
from kpop.generation.form_rules import SECTION_STREAM, FormRules
from kpop.generation.seed import chance_mask, mix
from kpop.generation.settings import GeneratedSong, Settings
from kpop.generation.synthesis import analyse, decode, encode, master, sound
from kpop.grid import FRAMES_PER_STEP, SAMPLE_RATE_HZ, STEP_SAMPLES, STEPS_PER_BEAT
from kpop.lstm.config import N_METRONOME_SLOTS
from kpop.lstm.int8 import for_stepping
from kpop.lstm.network import CodeLstm
from kpop.lstm.sampler import Sampler
from kpop.lstm.stepper import Stepper

Progress = Callable[[float, str], None]
N_DISPLAY_MELS = 128
DREAMING_SHARE = 0.7  # of the time that a song takes, for the progress bar
PROGRESS_EVERY_STEPS = 16
ALL_THREADS = torch.get_num_threads()
LEAST = 0.03  # see Sampler: without it pulse, key and chords of whole songs are a little less clear
CHANCE_TEMPERATURE = 1.0  # chance must not depend on the listener's temperature, else the seed would


class Instrument:
    """Codec and LSTM, ready to play."""

    def __init__(self, codec: Codec, lstm: CodeLstm, info: dict) -> None:
        self.codec, self.lstm, self.info = codec, lstm, info
        self.metronome_rate = info.get("metronome_rate", 1.0)  # slots a step: the tempo of what it was trained on
        self.knows_labels = info.get("knows_labels", True)
        self.n_labels = lstm.config.n_labels
        self._stepping, self._stepping_layers = for_stepping(lstm)
        # the labels are a layer together
        self.layers = [0] * self.n_labels + [1 + band for band in codec.config.stream_bands]

    @classmethod
    def load(cls, checkpoint: Path) -> "Instrument":
        """Raises KpopError when the checkpoint is missing or damaged."""
        instrument = cls(*load_checkpoint(checkpoint))
        warm_up()  # else the first song would wait for the compiler
        return instrument

    def generate(self, settings: Settings, clip: SeedClip, on_progress: Progress | None = None) -> GeneratedSong:
        """A song of exactly settings.length_s seconds that begins with the seed and is dreamt on from there.

        on_progress(share done 0..1, what is being done) is called as it goes on; what it raises ends the work.
        """
        report, watch = on_progress or (lambda share, words: None), _Stopwatch()
        n_samples = round(settings.length_s * SAMPLE_RATE_HZ)
        n_steps = -(-n_samples // STEP_SAMPLES)
        with watch.lap("seed"), _one_thread():
            report(0.0, "Listening to the seed")
            seed = Seed(self, settings, clip, seed_length(n_steps, clip, settings.randomness))
        with watch.lap("dream"), _one_thread():
            streams = self._dream(settings, seed, n_steps, report)
        with watch.lap("decode"):
            report(DREAMING_SHARE, "Painting the spectrum")
            log_magnitudes = seed.keep_clip(decode(self.codec, streams[:, self.n_labels :]))
        with watch.lap("invert"):
            report(DREAMING_SHARE + 0.1, "Turning the spectrum into sound")
            waveform = sound(log_magnitudes, n_samples, settings.seed_number)
        with watch.lap("master"):
            report(0.97, "Mastering")
            waveform = master(waveform)
        report(1.0, "Done")
        return _finished(waveform, min(seed.n_steps * STEP_SAMPLES, n_samples), settings, watch.laps)

    def _dream(self, settings: Settings, seed: "Seed", n_steps: int, report: Progress) -> np.ndarray:
        """All streams of the song (n_steps, n_streams): the seed, and what the LSTM makes of it."""
        stepper = self.stepper()
        stepper.hear(torch.from_numpy(seed.streams).unsqueeze(0), self.slots(seed.first_slot, 0, seed.n_steps))
        choose = self._sampler(settings.temperature, settings.seed_number, 2)
        rules = FormRules(choose, int(seed.streams[-1, SECTION_STREAM])) if self.knows_labels else None
        n_new = n_steps - seed.n_steps
        new = np.empty((n_new, seed.streams.shape[1]), np.int64)
        for step, (slot, following) in enumerate(pairwise(self.slots(seed.first_slot, seed.n_steps, n_steps + 1))):
            if rules:
                rules.before(ends_four_bars=bool(following < slot), n_steps_left=n_new - step)
            if step % PROGRESS_EVERY_STEPS == 0:
                report(DREAMING_SHARE * step / n_new, "Dreaming up the song")
            new[step] = stepper.next(slot, rules or choose)[0].numpy()
        return np.concatenate([seed.streams, new])

    def stepper(self) -> Stepper:
        """A song in the making that has heard nothing yet."""
        return Stepper(self._stepping, layers=self._stepping_layers)

    def _sampler(self, temperature: float, seed_number: int, stage: int) -> Sampler:
        """Chance of its own for each stage of a song."""
        return Sampler(temperature, [np.random.default_rng([seed_number, stage])], LEAST, self.n_labels)

    def slots(self, first_slot: int, start: int, stop: int) -> torch.Tensor:
        """Metronome slots (stop - start,) int64 of steps start to stop of a song whose first step is at first_slot."""
        return (first_slot + self.metronome_rate * torch.arange(start, stop)).long() % N_METRONOME_SLOTS

    def chance(self, first_slot: int, n_steps: int, seed_number: int) -> np.ndarray:
        """Streams (n_steps, n_streams) that know of no clip but its metronome: what the LSTM dreams up from nothing."""
        stepper = self.stepper()
        choose = self._sampler(CHANCE_TEMPERATURE, seed_number, 1)
        return np.concatenate([stepper.next(slot, choose).numpy() for slot in self.slots(first_slot, 0, n_steps)])


class Seed:
    """The partially random seed of one song."""

    def __init__(self, instrument: Instrument, settings: Settings, clip: SeedClip, n_steps: int) -> None:
        self.n_steps = n_steps
        self.first_slot = clip.first_slot if settings.randomness < 1 else 0  # nothing of the clip remains at 1
        missing = max(0, n_steps * STEP_SAMPLES - len(clip.waveform))  # a short clip, none of which remains
        whole = analyse(np.pad(clip.waveform, (0, missing)))  # what follows the seed, too, so that its end is no cut
        self.log_magnitudes = whole[: n_steps * FRAMES_PER_STEP]
        self.edges_bins = instrument.codec.config.band_edges_bins
        streams = self._clip_streams(instrument, clip, encode(instrument.codec, whole)[:n_steps])
        rng = np.random.default_rng([settings.seed_number, 0])
        self.mask = chance_mask(n_steps, max(instrument.layers) + 1, settings.randomness, rng)
        if self.mask.any():
            streams = mix(
                streams, instrument.chance(self.first_slot, n_steps, settings.seed_number), self.mask, instrument.layers
            )
        self.streams = streams

    def _clip_streams(self, instrument: Instrument, clip: SeedClip, codes: np.ndarray) -> np.ndarray:
        sizes = instrument.lstm.config.stream_sizes[: instrument.n_labels]
        labels = np.tile(np.array(sizes), (len(codes), 1))  # a stream's size: "not known"
        if clip.labels is not None and instrument.knows_labels:
            early = clip.labels[
                1 : 1 + len(codes), slice(None) if instrument.n_labels > 1 else [2]
            ]  # a step's labels are those of the step that follows
            labels[: len(early)] = early
        return np.concatenate([labels, codes], 1)

    def keep_clip(self, decoded: np.ndarray) -> np.ndarray:
        """The song's log-magnitudes, with the clip itself instead of its copy where it was not given to chance."""
        for band, (low, high) in enumerate(zip(self.edges_bins, self.edges_bins[1:], strict=False)):
            kept = np.flatnonzero(np.repeat(~self.mask[:, 1 + band], FRAMES_PER_STEP))
            decoded[kept, low:high] = self.log_magnitudes[kept, low:high]
        return decoded


def seed_length(n_steps: int, clip: SeedClip, randomness: float) -> int:
    """Steps of the seed: four bars, but no more than the clip has (unless all is chance) or half of the song."""
    clip_steps = len(clip.waveform) // STEP_SAMPLES if randomness < 1 else SEED_STEPS
    return min(SEED_STEPS, clip_steps, n_steps // 2 // STEPS_PER_BEAT * STEPS_PER_BEAT)


def _finished(
    waveform: np.ndarray, n_seed_samples: int, settings: Settings, seconds: dict[str, float]
) -> GeneratedSong:
    level = log_mel_db(np.abs(stft(waveform)), N_DISPLAY_MELS)
    return GeneratedSong(
        waveform=waveform,
        log_mel_db=level - level.max(),
        mel_centres_hz=mel_centres_hz(N_DISPLAY_MELS),
        seed_end_s=n_seed_samples / SAMPLE_RATE_HZ,
        settings=settings,
        seconds_taken=seconds,
    )


class _Stopwatch:
    """Wall-clock seconds by name."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}

    @contextmanager
    def lap(self, name: str):
        started = time.perf_counter()
        yield
        self.laps[name] = time.perf_counter() - started


@contextmanager
def _one_thread():
    """Stepping is a row of tiny products: a second thread only waits, and beside another busy process for long."""
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(ALL_THREADS)  # not what was set before: that may be another visitor's 1
