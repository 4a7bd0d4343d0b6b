"""Songs as the LSTM under measurement knows them: labels, which it dreams too but nobody hears, and codes."""

from dataclasses import replace

import numpy as np
import torch

from kpop.codec.network import Codec
from kpop.lstm.network import CodeLstm
from kpop.training.sequences import Sequence, encode_song
from kpop.training.songs import Song

CPU = torch.device("cpu")
CHORD_LABEL = 2  # the one label that models of one label know


def n_labels(lstm: CodeLstm) -> int:
    """How many streams of a step are labels; its codes follow them."""
    return getattr(lstm.config, "n_labels", 1)


def sequence_of(song: Song, codec: Codec, lstm: CodeLstm) -> Sequence:
    """The song with the labels that this LSTM knows."""
    sequence = encode_song(song, codec, CPU)
    n_known = sequence.streams.shape[1] - len(codec.config.stream_sizes)
    if n_known == n_labels(lstm):
        return sequence
    return replace(sequence, streams=np.delete(sequence.streams, [i for i in range(n_known) if i != CHORD_LABEL], 1))


def codes_of(sequence: Sequence, lstm: CodeLstm) -> np.ndarray:
    """Codes (n_steps, n_code_streams) int64 of a sequence, without its labels."""
    return sequence.streams[:, n_labels(lstm) :].astype(np.int64)
