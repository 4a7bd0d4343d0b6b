"""Bits a step, song by song, for the table."""

from dataclasses import replace

import numpy as np

from kpop.evaluation.columns import BARS, CEILING, UNIGRAM
from kpop.evaluation.controls import streams_shuffled
from kpop.evaluation.streams import CPU, sequence_of
from kpop.generation.instrument import Instrument
from kpop.grid import STEPS_PER_BAR, STEPS_PER_S
from kpop.training.baselines import unigram_bits
from kpop.training.lstm_stage import bits_by_stream
from kpop.training.sequences import Sequence
from kpop.training.songs import Song


def bits_of_rows(instrument: Instrument, songs: list[Song], seconds: float) -> dict[str, np.ndarray]:
    """Row -> bits a step (n_songs,) of the first seconds of unheard songs: the LSTM's, the LSTM's with the bars in
    random order, and those of the frequencies of values in these very songs."""
    n_steps = max(round(seconds * STEPS_PER_S) // STEPS_PER_BAR, 1) * STEPS_PER_BAR
    sequences = [_first(sequence_of(song, instrument.codec), n_steps) for song in songs]
    sizes = instrument.lstm.config.stream_sizes
    return {
        CEILING: _lstm_bits(instrument, sequences),
        BARS: _lstm_bits(instrument, [_bars_shuffled(sequence, n) for n, sequence in enumerate(sequences)]),
        UNIGRAM: np.array([unigram_bits(sequences, [sequence], sizes).sum() for sequence in sequences]),
    }


def _first(sequence: Sequence, n_steps: int) -> Sequence:
    return replace(sequence, streams=sequence.streams[:n_steps], slots=sequence.slots[:n_steps])


def _bars_shuffled(sequence: Sequence, number: int) -> Sequence:
    streams = streams_shuffled(sequence.streams, np.random.default_rng([number, 8]))
    return replace(sequence, streams=streams, slots=sequence.slots[: len(streams)])


def _lstm_bits(instrument: Instrument, sequences: list[Sequence]) -> np.ndarray:
    return np.array([bits_by_stream(instrument.lstm, [s], len(s.slots), CPU).sum() for s in sequences])
