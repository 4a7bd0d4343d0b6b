"""Songs as the LSTM under measurement knows them: labels, which it dreams too but nobody hears, and codes."""

import numpy as np
import torch

from kpop.codec.model import Codec
from kpop.lstm.model import LstmConfig
from kpop.training.data import TokenSequence, TrainingSong, encode_song

CPU = torch.device("cpu")


def sequence_of(song: TrainingSong, codec: Codec) -> TokenSequence:
    """Labels and codes of a song."""
    return encode_song(song, codec, CPU)


def codes_of(sequence: TokenSequence, config: LstmConfig) -> np.ndarray:
    """Codes (n_steps, n_code_streams) int64 of a sequence, without its labels."""
    return sequence.tokens[:, config.n_labels :].astype(np.int64)
