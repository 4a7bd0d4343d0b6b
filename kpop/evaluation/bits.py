"""Bits a step, song by song, for the table."""

from dataclasses import replace

import numpy as np

from kpop.constants import STEPS_PER_BAR, STEPS_PER_S
from kpop.evaluation.columns import BARS, CEILING, UNIGRAM
from kpop.evaluation.controls import streams_shuffled
from kpop.evaluation.streams import CPU, sequence_of
from kpop.generation.pipeline import Pipeline
from kpop.training.data import TokenSequence, TrainingSong
from kpop.training.lstm import bits_by_codebook, unigram_bits


def bits_of_rows(pipeline: Pipeline, songs: list[TrainingSong], seconds: float) -> dict[str, np.ndarray]:
    """Row -> bits a step (n_songs,) of the first seconds of unheard songs: the LSTM's, the LSTM's with the bars in
    random order, and those of the frequencies of values in these very songs."""
    n_steps = max(round(seconds * STEPS_PER_S) // STEPS_PER_BAR, 1) * STEPS_PER_BAR
    sequences = [_first(sequence_of(song, pipeline.codec), n_steps) for song in songs]
    sizes = pipeline.lstm.config.codebook_sizes
    return {
        CEILING: _lstm_bits(pipeline, sequences),
        BARS: _lstm_bits(pipeline, [_bars_shuffled(sequence, n) for n, sequence in enumerate(sequences)]),
        UNIGRAM: np.array([unigram_bits(sequences, [sequence], sizes).sum() for sequence in sequences]),
    }


def _first(sequence: TokenSequence, n_steps: int) -> TokenSequence:
    return replace(sequence, tokens=sequence.tokens[:n_steps], metre_positions=sequence.metre_positions[:n_steps])


def _bars_shuffled(sequence: TokenSequence, number: int) -> TokenSequence:
    streams = streams_shuffled(sequence.tokens, np.random.default_rng([number, 8]))
    return replace(sequence, tokens=streams, metre_positions=sequence.metre_positions[: len(streams)])


def _lstm_bits(pipeline: Pipeline, sequences: list[TokenSequence]) -> np.ndarray:
    return np.array([bits_by_codebook(pipeline.lstm, [s], len(s.metre_positions), CPU).sum() for s in sequences])
