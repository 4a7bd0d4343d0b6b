"""Figures of a model's parts and of its speed, from songs that it has never heard."""

import time

import numpy as np
import torch

from kpop.audio.measures import band_energy_db, crest_factor_db, log_mel_error_db
from kpop.audio.stft import from_log_magnitude, log_mel_db
from kpop.codec.model import Codec
from kpop.constants import SAMPLE_RATE_HZ
from kpop.evaluation.streams import CPU, sequence_of
from kpop.generation.clips import built_in_clip
from kpop.generation.pipeline import Pipeline, analyse, codec_copy, decode, encode
from kpop.generation.session import generate
from kpop.lstm.model import TokenLstm
from kpop.lstm.places import Stride
from kpop.settings import Settings
from kpop.training.codec import perplexity_shares
from kpop.training.data import TokenSequence, TrainingSong, corpus_song
from kpop.training.lstm import bits_by_codebook

FIRST_NUMBER = 2_000_000  # no training and no seed clip reaches these songs
STEPPED = 1_000  # steps of a song
INT16_SCALE = np.float32(32_767)


def unheard_songs(n_songs: int) -> list[TrainingSong]:
    """Songs of our corpus that no model was trained on."""
    return [corpus_song(FIRST_NUMBER + index) for index in range(n_songs)]


def codec_figures(codec: Codec, songs: list[TrainingSong]) -> dict[str, float]:
    """Means over songs: log-mel error, and absolute differences in treble energy and crest factor, in dB; and
    the smallest perplexity of a codebook's use, as a share of its size."""
    rows = [_copy_row(song.waveform / INT16_SCALE, codec) for song in songs]
    means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    codes = np.concatenate([encode(codec, analyse(song.waveform / INT16_SCALE)) for song in songs])
    return means | {
        "least_codebook_use": min(perplexity_shares(torch.from_numpy(codes), codec.config.flat_codebook_sizes))
    }


def _copy_row(waveform: np.ndarray, codec: Codec) -> dict[str, float]:
    truth = analyse(waveform)
    decoded = decode(codec, encode(codec, truth))
    mel_error = np.abs(log_mel_db(from_log_magnitude(decoded)) - log_mel_db(from_log_magnitude(truth))).mean()
    copy = codec_copy(waveform, codec)
    treble = [band_energy_db(sound, 4_000, 8_000) for sound in (waveform, copy)]
    return {
        "log_mel_error_db": float(mel_error),
        "log_mel_error_after_inversion_db": log_mel_error_db(waveform, copy),
        "treble_difference_db": abs(treble[1] - treble[0]),
        "crest_difference_db": abs(crest_factor_db(copy) - crest_factor_db(waveform)),
    }


def bits_figures(codec: Codec, lstm: TokenLstm, songs: list[TrainingSong]) -> dict[str, float]:
    """Bits a step on the songs: the LSTM's, and those of two baselines that are fitted to these very songs."""
    sequences = [sequence_of(song, codec) for song in songs]
    sizes = lstm.config.codebook_sizes
    return {
        "lstm": _lstm_bits(lstm, sequences),
        "same as one bar ago": float(lstm.bar_ago_bits(sequences, sequences, sizes).sum()),
        "unigram": float(lstm.unigram_bits(sequences, sequences, sizes).sum()),
    }


def stepping_figures(pipeline: Pipeline, songs: list[TrainingSong]) -> dict[str, float]:
    """Bits a step on the first STEPPED steps of the songs: of the network, and of its stepping in eight bits."""
    sequences = [sequence_of(song, pipeline.codec) for song in songs]
    whole = [bits_by_codebook(pipeline.lstm, [sequence], STEPPED, CPU).sum() for sequence in sequences]
    stepped = [_stepped_bits(pipeline, sequence) for sequence in sequences]
    return {"whole pass in float32": float(np.mean(whole)), "stepping in int8": float(np.mean(stepped))}


def _stepped_bits(pipeline: Pipeline, sequence: TokenSequence) -> float:
    known = sequence.tokens[:STEPPED].astype(np.int64)
    nats = pipeline.places(1).nats(Stride(0, sequence.metre_positions[:STEPPED].astype(np.int64), known=known))
    return float(-nats.sum() / np.log(2) / len(known))


def _lstm_bits(lstm: TokenLstm, sequences: list[TokenSequence]) -> float:
    lengths = [len(sequence.metre_positions) for sequence in sequences]
    bits = [bits_by_codebook(lstm, [sequence], len(sequence.metre_positions), CPU).sum() for sequence in sequences]
    return float(np.average(bits, weights=lengths))


def speed_figures(pipeline: Pipeline) -> dict[str, float]:
    """Seconds for 30 s of song at the default settings, the median of five; and those of its stages."""
    clip = built_in_clip(Settings().clip)
    generate(pipeline, Settings(length_s=4), clip)  # compiles what is compiled at first use
    songs = [generate(pipeline, Settings(seed_number=number), clip) for number in range(5)]
    stages = {name: float(np.median([song.seconds_taken[name] for song in songs])) for name in songs[0].seconds_taken}
    return {"song_of_30_s": float(np.median([song.taken_s for song in songs]))} | stages


def timed_corpus(n_songs: int) -> tuple[list[TrainingSong], float]:
    """Unheard songs, and how many times faster than real time one core made them."""
    corpus_song(FIRST_NUMBER)  # compiles what is compiled at first use
    started = time.perf_counter()
    songs = unheard_songs(n_songs)
    elapsed_s = time.perf_counter() - started
    return songs, sum(len(song.waveform) for song in songs) / SAMPLE_RATE_HZ / elapsed_s
